"""How to call a foreign module and read its outputs: found with two inputs when it is wrapped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from robbench.core.errors import RobbenchError, UserError
from robbench.core.spec import short_hash
from robbench.models.outputs.choose import choose_outputs
from robbench.models.outputs.options import AS_THEY_ARE, UNKNOWN, Reading, Scale, ranges
from robbench.models.outputs.rejection import Rejection
from robbench.models.outputs.scales import as_logits, one_hot, require_scale
from robbench.models.reentrant import without_reentrant

_LONG = 24  # characters of a list of outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interface:
    """How a module differs from a map of any number of float32 images to logits [B,K].

    batch: the only number of images it takes at once. dtype: what inputs are cast to; logits are
    cast back. scale: what its outputs are. outputs: which of its `width` outputs are kept, those of
    the classes first, in their order; the last `outside` of them are no class of the data. named:
    the classes, where they were found by name. reject: the last output means "no answer"; guessed:
    so it seems. binary: one output z for two classes. reentrant: it has activation checkpoints of
    that kind. stated: how outputs are read was stated, not found out: it is part of what the model
    is.
    """

    batch: int | None = None
    dtype: torch.dtype | None = None
    scale: Scale = "logits"
    outputs: tuple[int, ...] | None = None
    width: int = 0
    outside: int = 0
    named: tuple[str, ...] = ()
    reject: bool = False
    guessed: bool = False
    binary: bool = False
    reentrant: bool = False
    stated: bool = False

    def ask(self, body: Callable[[Tensor], Any], x: Tensor, training: bool) -> Tensor:
        """Logits [B,K] of x [B,*]. The module gets a copy of x, which it may change in place."""
        if self.batch is None or len(x) == self.batch:
            return self._ask(body, x, training)
        parts = [self._ask(body, rows, training) for rows in batches(x, self.batch)]
        return torch.cat(parts)[: len(x)]

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
        if self.scale == "labels":
            z = one_hot(z.reshape(len(z)), self.width)
        if self.binary:
            # The odds are those of class 1, whichever way a single probability is written.
            scale: Scale = "logits" if self.scale == "logits" else "sigmoid"
            half = as_logits(z, scale).reshape(-1, 1) / 2
            return torch.cat([-half, half], 1)
        z = as_logits(z, self.scale)
        if self.outputs is not None:
            z = z[:, [*self.outputs, self.width - 1] if self.reject else list(self.outputs)]
        if self.reject:
            # An input that is rejected has no answer: the engine takes it for neither right nor an
            # adversarial success.
            return Rejection.apply(z)  # type: ignore[no-any-return]
        return z

    @property
    def text(self) -> str:
        """How outputs are read, where that is no matter of course: `outputs 3,8 of 10`."""
        if not self.stated:
            return ""
        parts: list[str] = [self.scale] if self.scale != "logits" else []
        if self.named:
            places = short_hash(self.outputs, 4)
            parts.append(f"{len(self.named)} of {self.width} outputs by name ({places})")
        elif self.outputs is not None or self.outside:
            outputs = self.outputs or range(self.width - self.reject)
            chosen = ranges(outputs[: len(outputs) - self.outside])
            if len(chosen) > _LONG:
                chosen = f"{chosen[:_LONG]}... ({short_hash(chosen, 4)})"
            parts.append(f"outputs {chosen} of {self.width}")
        if self.outside:
            parts.append("outside=wrong")
        return ", ".join([*parts, *["reject=last"] * self.reject])

    @property
    def identity(self) -> list[Any] | None:
        """What `text` is short for, None where it is empty."""
        fields = self.scale, self.outputs, self.outside, self.reject
        return list(fields) if self.text else None


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
    reading: Reading = UNKNOWN,
    places: Mapping[int, Sequence[int]] | None = None,
    batch: int | None = None,
) -> Interface:
    """What a module in evaluation mode needs, tried on x [2,*].

    dtype: that of its weights. reading: what is known of its outputs. places: the classes' outputs
    by the number of outputs, where the module is only to be judged and nothing else is known; one
    output beyond the classes is then a rejection. batch: the only number of rows it takes. Raises
    what the module raises when it takes none of these inputs; UserError when its outputs cannot be
    read so.
    """
    interface, z = _that_works(body, x, dtype, (None, 1) if batch is None else (batch,))
    scale = reading.options.scale
    if isinstance(z, Tensor) and (scale == "labels" or (z.ndim == 1 and not z.is_floating_point())):
        return _of_labels(interface, z, classes, reading, places)
    if not isinstance(z, Tensor) or not z.is_floating_point():
        return interface
    interface = dataclasses.replace(interface, scale=scale, stated=scale != "logits")
    if classes == 2 and z.shape in ((2,), (2, 1)):
        if dataclasses.replace(reading.options, outputs=None) != AS_THEY_ARE:
            raise UserError(
                "it has one output for two classes, above 0 for the second: leave out classes, "
                "outside and reject"
            )
        require_scale(z, "sigmoid" if scale == "probs" else scale)
        return dataclasses.replace(interface, binary=True)
    if z.ndim != 2:
        return interface
    require_scale(z, scale)
    choice = choose_outputs(z.shape[1], classes, reading, places)
    return dataclasses.replace(interface, **choice._asdict())


def _of_labels(
    interface: Interface,
    z: Tensor,
    classes: int,
    reading: Reading,
    places: Mapping[int, Sequence[int]] | None,
) -> Interface:
    """Of a module that names one of its classes [B]: any but the data's is a mistake."""
    if z.numel() != len(z):
        raise UserError(f"outputs=labels: it gives shape {tuple(z.shape)} for {len(z)} inputs")
    width = len(reading.labels) or max(places or {}, default=classes)
    options = dataclasses.replace(reading.options, outside="wrong")
    choice = choose_outputs(width, classes, reading._replace(options=options), places)
    return dataclasses.replace(interface, scale="labels", **{**choice._asdict(), "stated": True})


def batches(x: Tensor, size: int) -> list[Tensor]:
    """Rows [n,*] in batches of one size, the last filled up with copies of its first row."""
    parts = list(torch.split(x, size))
    last = parts[-1]
    like = last[:1] if len(last) else x.new_zeros(1, *x.shape[1:])
    return [*parts[:-1], torch.cat([last, like.expand(size - len(last), *x.shape[1:])])]


def _that_works(
    body: Callable[[Tensor], Any],
    x: Tensor,
    dtype: torch.dtype,
    sizes: Sequence[int | None],
) -> tuple[Interface, Any]:
    casts = [None] if dtype == torch.float32 else [None, dtype]
    ways = [Interface(batch=batch, dtype=cast) for cast in casts for batch in sizes]
    first: Exception | None = None
    for way in ways:
        try:
            with torch.no_grad():
                rows = [x] if way.batch is None else batches(x, way.batch)
                answers = [
                    main_output(body(row.to(way.dtype or x.dtype, copy=True)), training=False)
                    for row in rows
                ]
                return way, answers[0] if way.batch is None else torch.cat(answers)[: len(x)]
        except RobbenchError:
            raise
        except Exception as error:
            first = first or error
    assert first is not None
    raise first
