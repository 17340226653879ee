"""How a model's outputs are to be read: the options of every model that comes from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from robbench.core.errors import UserError
from robbench.core.spec import OrNone

Scale = Literal["logits", "probs", "log-probs", "sigmoid", "labels"]
_MOST = 1_000_000
SCALES: tuple[Scale, ...] = ("logits", "probs", "log-probs", "sigmoid", "labels")


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Which of a model's outputs are the classes, in which form, and what the others mean."""

    outputs: Annotated[
        str | None,
        OrNone,
        Field(
            description=(
                "which outputs are the classes, in their order: 0-9 or (3,8); or what they are: "
                "probs, log-probs, sigmoid, labels; or both, (probs,0-9)"
            )
        ),
    ] = None
    classes: Annotated[
        str | tuple[str, ...] | None,
        OrNone,
        Field(description="the class of each output: a file of names, or (cat,dog)"),
    ] = None
    outside: Annotated[
        Literal["ignore", "wrong"],
        Field(description="outputs beyond the data's classes: left out, or misclassifications"),
    ] = "ignore"
    reject: Annotated[
        Literal["auto", "last", "none"],
        Field(
            description=(
                "last: the last output means no answer; auto: only if there is one output more "
                "than classes; none: no output does"
            )
        ),
    ] = "auto"

    @property
    def scale(self) -> Scale:
        """What the outputs are. Raises UserError where two are named."""
        named = [one for one in SCALES if one in _items(self.outputs)]
        if len(named) > 1:
            raise UserError(f"outputs '{self.outputs}' should name one of {', '.join(named)}")
        return named[0] if named else "logits"

    @property
    def chosen(self) -> tuple[int, ...] | None:
        """The outputs that are named, None where none is. Raises UserError when malformed."""
        numbers = [item for item in _items(self.outputs) if item not in SCALES]
        if self.outputs is None or (not numbers and _items(self.outputs)):
            return None
        return parse_outputs(",".join(numbers))

    def count(self, outputs: int) -> int:
        """How many classes there are, as far as a number of outputs tells."""
        return len(self.chosen or ()) or outputs - (self.reject == "last")


AS_THEY_ARE = OutputOptions()


class Reading(NamedTuple):
    """What is known of a model's outputs before it is asked.

    names: the data's classes. labels: the class of each output, as the source says; () = unknown.
    """

    options: OutputOptions = AS_THEY_ARE
    names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


UNKNOWN = Reading()


def _items(text: str | None) -> list[str]:
    return [item for item in (part.strip() for part in (text or "").split(",")) if item]


def parse_outputs(text: str) -> tuple[int, ...]:
    """Parse `0-9` or `3,8`: the classes' outputs, in order. UserError when it is malformed."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part.strip())
        if match is None:
            raise UserError(
                f"outputs '{text}' should be numbers from 0, such as 0-9 or (3,8), or one of "
                f"{', '.join(SCALES)}"
            )
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
        if len(found) > _MOST:
            raise UserError(f"outputs '{text}' names more than {_MOST:,}")
    if len(set(found)) < len(found) or not found:
        raise UserError(f"outputs '{text}' should be different ones, one for each class")
    return tuple(found)


def ranges(numbers: Sequence[int]) -> str:
    """(0, 1, 2, 5) -> `0-2,5`, in their order."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{a}-{b}" if b > a else str(a) for a, b in parts)
