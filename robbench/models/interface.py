"""How to call a foreign module and read its outputs: found with two inputs when it is wrapped."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from robbench.core.errors import RobbenchError, UserError
from robbench.models.reentrant import without_reentrant
from robbench.models.rejection import Rejection


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interface:
    """How a module differs from a map of any number of float32 images to logits [B,K].

    alone: it takes one image at a time. dtype: what inputs are cast to; logits are cast back.
    outputs: which outputs are the classes, in their order. reject: the last output, beyond
    the classes, means "no answer". binary: one output z for two classes. reentrant: it has
    activation checkpoints of that kind.
    """

    alone: bool = False
    dtype: torch.dtype | None = None
    outputs: tuple[int, ...] | None = None
    reject: bool = False
    binary: bool = False
    reentrant: bool = False

    def ask(self, body: Callable[[Tensor], Any], x: Tensor, training: bool) -> Tensor:
        """Logits [B,K] of x [B,*]. The module gets a copy of x, which it may change in place."""
        if self.alone and len(x) != 1:
            return torch.cat([self._ask(body, row, training) for row in torch.split(x, 1)])
        return self._ask(body, x, training)

    def _ask(self, body: Callable[[Tensor], Any], x: Tensor, training: bool) -> Tensor:
        given = x.clone() if self.dtype is None else x.to(self.dtype, copy=True)
        if not self.reentrant:
            return self.logits(main_output(body(given), training))
        with without_reentrant():
            return self.logits(main_output(body(given), training))

    def logits(self, z: Tensor) -> Tensor:
        """[B,K] from the module's own outputs."""
        if self.dtype is not None:
            z = z.float()
        if self.binary:
            half = z.reshape(-1, 1) / 2
            return torch.cat([-half, half], 1)
        if self.outputs is not None:
            return z[:, list(self.outputs)]
        if self.reject:
            # An input that is rejected has no answer: the engine takes it for neither right nor an
            # adversarial success.
            return Rejection.apply(z)  # type: ignore[no-any-return]
        return z

    def notes(self, classes: int) -> list[str]:
        """What a user should know of this, one line each."""
        found = []
        if self.alone:
            found.append(
                "the model takes a batch of one only, so it gets one image at a time, which is slow"
            )
        if self.dtype is not None:
            found.append(
                f"the model computes in {str(self.dtype).removeprefix('torch.')}: its inputs are "
                "cast to it"
            )
        if self.binary:
            found.append(
                "the model has one output z for two classes: its logits are taken to be (-z/2, z/2)"
            )
        if self.outputs is not None:
            names = ", ".join(map(str, self.outputs[:10])) + ", ..." * (len(self.outputs) > 10)
            found.append(
                f"the model has more outputs than there are classes: outputs {names} are the "
                "classes, the rest is left out"
            )
        if self.reject:
            found.append(
                f"output {classes} of the model, beyond the {classes} classes, is taken for a "
                "rejection: a rejected clean "
                "input is wrong, a rejected adversarial one is no success, which calls for an "
                "attack of its own; give "
                f"outputs=0-{classes - 1} if it is none"
            )
        return found


def main_output(answer: Any, training: bool) -> Any:
    """The logits in what a module returns.

    That is the value itself, its `.logits` or `["logits"]`, in training mode the first of several.
    """
    tensor = (Tensor, fx.Proxy)  # what tracing passes in place of tensors
    if isinstance(answer, tensor):
        return answer
    found = answer.get("logits") if isinstance(answer, Mapping) else getattr(answer, "logits", None)
    if isinstance(found, tensor):
        return found
    if training and isinstance(answer, tuple | list) and answer and isinstance(answer[0], tensor):
        return answer[0]  # beside the outputs of auxiliary classifiers
    return answer


def find_interface(
    body: Callable[[Tensor], Any],
    x: Tensor,
    classes: int,
    *,
    dtype: torch.dtype,
    outputs: Sequence[int] | None = None,
    of: Mapping[int, Sequence[int]] | None = None,
) -> Interface:
    """What a module in evaluation mode needs, tried on x [2,*].

    dtype: that of its weights. outputs: which of its outputs are the classes. of: the same, by the
    number of outputs, where the module is only to be judged; one output beyond the classes is then
    a rejection. Raises what the module raises when it takes none of these inputs; UserError when it
    lacks some of the outputs.
    """
    interface, z = _that_works(body, x, dtype)
    if not isinstance(z, Tensor) or not z.is_floating_point():
        return interface
    if classes == 2 and z.shape in ((2,), (2, 1)):
        return dataclasses.replace(interface, binary=True)
    if z.ndim != 2:
        return interface
    if outputs is None and of is not None:
        outputs = of.get(z.shape[1])
    if outputs is None:
        return dataclasses.replace(interface, reject=of is not None and z.shape[1] == classes + 1)
    if max(outputs) >= z.shape[1]:
        raise UserError(
            f"it has {z.shape[1]} outputs, 0 to {z.shape[1] - 1}; there is no output {max(outputs)}"
        )
    whole = list(outputs) == list(range(z.shape[1]))
    return interface if whole else dataclasses.replace(interface, outputs=tuple(outputs))


def parse_outputs(text: str, classes: int) -> tuple[int, ...]:
    """Parse `0-9` or `3,8`: the classes' outputs, in order. UserError when it is malformed."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part.strip())
        if match is None:
            raise UserError(f"outputs '{text}' should be numbers from 0, such as 0-9 or (3,8)")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    if len(found) != classes or len(set(found)) < classes:
        raise UserError(
            f"outputs '{text}' should be {classes} different ones, one for each class in their "
            "order"
        )
    return tuple(found)


def _that_works(
    body: Callable[[Tensor], Any], x: Tensor, dtype: torch.dtype
) -> tuple[Interface, Any]:
    casts = [None] if dtype == torch.float32 else [None, dtype]
    ways = [Interface(alone=alone, dtype=cast) for cast in casts for alone in (False, True)]
    first: Exception | None = None
    for way in ways:
        try:
            with torch.no_grad():
                rows = torch.split(x, 1) if way.alone else (x,)
                answers = [
                    main_output(body(row.to(way.dtype or x.dtype, copy=True)), training=False)
                    for row in rows
                ]
                return way, torch.cat(answers) if way.alone else answers[0]
        except RobbenchError:
            raise
        except Exception as error:
            first = first or error
    assert first is not None
    raise first
