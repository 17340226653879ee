"""Which of a model's outputs are the data's classes, and what the others mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from robbench.core.errors import UserError
from robbench.models.outputs.class_names import known, match, read_labels
from robbench.models.outputs.options import AS_THEY_ARE, OutputOptions, Reading


class Choice(NamedTuple):
    """The fields of an `Interface` of the same names."""

    width: int
    outputs: tuple[int, ...] | None = None
    outside: int = 0
    named: tuple[str, ...] = ()
    reject: bool = False
    guessed: bool = False
    stated: bool = False


def choose_outputs(
    width: int, classes: int, reading: Reading, places: Mapping[int, Sequence[int]] | None
) -> Choice:
    """What `width` outputs mean for data of some classes. UserError where it cannot be told.

    places: see `find_interface`.
    """
    options, names = reading.options, reading.names
    reject = options.reject == "last"
    last = width - reject  # outputs from here on are no classes
    outputs: Sequence[int] | None = options.chosen
    named: tuple[str, ...] = ()
    if outputs is not None and options.classes is not None:
        raise UserError(
            "give outputs or classes, not both: each says which outputs are the classes"
        )
    if outputs is not None and len(outputs) != classes:
        raise UserError(
            f"outputs={options.outputs} should be {classes} different ones, one for each class in "
            "their order"
        )
    if outputs is not None and max(outputs) >= last:
        raise UserError(
            f"it has {last} outputs, 0 to {last - 1}; there is no output {max(outputs)}"
        )
    if outputs is None and (labels := _labels(last, reading)):
        outputs, named = _matched(names, labels, options), names
    if outputs is None and places is not None:
        outputs = places.get(last)
    # Only what the user or the source states is part of what the model is.
    stated = bool(named) or options != AS_THEY_ARE
    if outputs is None and last == classes:
        outputs = range(classes)
    if outputs is None:
        plain = options.reject == "auto" and options.outside == "ignore"
        guessed = places is not None and plain and width == classes + 1
        return Choice(width, reject=reject or guessed, guessed=guessed, stated=stated)
    chosen = tuple(outputs)
    if options.outside == "wrong":
        chosen += tuple(sorted({*range(last)} - {*chosen}))
    whole = chosen == tuple(range(last))
    return Choice(
        width,
        outputs=None if whole else chosen,
        outside=len(chosen) - classes,
        named=() if whole else named,
        reject=reject,
        stated=stated,
    )


def _matched(
    names: Sequence[str], labels: Sequence[str], options: OutputOptions
) -> tuple[int, ...]:
    try:
        return match(names, labels)
    except UserError as error:
        whose = "the model's own" if options.classes is None else "those of the option classes"
        raise UserError(
            f"the data's classes are not {whose}: {error}; name the outputs instead, one for each "
            f"class in their order, as in outputs=0-{len(names) - 1} or outputs=(3,8)"
        ) from None


def _labels(count: int, reading: Reading) -> tuple[str, ...]:
    """The class of each of `count` outputs, () where nobody says it."""
    if reading.options.classes is not None:
        labels = read_labels(reading.options.classes)
        if len(labels) != count:
            last = "; reject=last if its last output is no class" * (len(labels) == count - 1)
            raise UserError(f"classes names {len(labels)} outputs, the model has {count}{last}")
        return labels
    numbered = all(name.isdecimal() for name in reading.names)  # nothing to match
    if numbered or len(reading.labels) != count or not known(reading.labels):
        return ()
    return reading.labels
