"""Flags: signs that a number may say more about the attack than about the model.

These are seen in finished rows; what shows before an attack is in `inspection.py`. As AutoAttack
does (Croce and Hein 2020, arXiv:2003.01690), black-box attacks are compared with the others; on
purpose, by the samples that the gradient attacks of the run had failed on, not by a difference of
accuracies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from robbench.core.tiles import RowEquality
from robbench.engine.advice import HINTS, TEXTS
from robbench.statistics.proportions import wilson

BLACK_BOX_SHARE = 0.002  # more than this share of all samples (AutoAttack's 0.2 points) ...
BLACK_BOX_COUNT = 2  # ... and at least so many: a single one can be luck
VARYING = ("random", "moving-state")
"""Flags of models whose answers depend on what they were asked before."""


class Flag(NamedTuple):
    """Something to look into before believing the numbers."""

    name: str
    # Samples concerned; 0 when it is not a matter of samples.
    count: int  # type: ignore[assignment]
    text: str  # one line: what it means and what to do


def of_rows(equality: RowEquality, known: Sequence[Flag]) -> list[Flag]:
    """That no number of rows agrees with another, unless a flag already says why."""
    if equality.equal or any(flag.name in VARYING for flag in known):
        return []
    return [make_flag(equality.why, 0, 0, text="random-rows" if equality.why == "random" else "")]


def afterwards(
    entries: Sequence[str],
    black_box: Collection[str],
    broken_by: Sequence[str | None],
    *,
    n_nonfinite: Sequence[int],
    n_zero_gradient: Sequence[int],
    rejects: bool = False,
    done: Collection[str] = (),
) -> list[Flag]:
    """What the finished samples of a run say, at one finite budget; `done` as for `make_flag`.

    entries: specs of the cascade in their order; black_box: those among them that use no gradient
    of the model. Per sample: the spec that broke it (anything else, such as None or `clean`, when
    no attack did), how many of its answers were not finite (`rejects`: that is how the model
    rejects), and how many of its gradients exactly zero. A sample that a black-box attack broke
    after one with gradients had failed is evidence against the latter; it takes BLACK_BOX_COUNT of
    them, and more than BLACK_BOX_SHARE of all samples.
    """
    n = len(broken_by)
    first = next(
        (place for place, spec in enumerate(entries) if spec not in black_box), len(entries)
    )
    late = {spec for spec in entries[first:] if spec in black_box}
    alone = sum(spec in late for spec in broken_by)
    zero, bad = (sum(count > 0 for count in column) for column in (n_zero_gradient, n_nonfinite))
    flags = []
    if alone >= BLACK_BOX_COUNT and alone > BLACK_BOX_SHARE * n:
        specs = " or ".join(spec for spec in entries if spec in late & set(broken_by))
        flags.append(make_flag("black-box-only", alone, n, specs=specs))
    if zero:
        flags.append(
            make_flag("zero-gradient", zero, n, done, text="zero-gradient-met", share=zero / n)
        )
    if bad:
        flags.append(make_flag("rejected" if rejects else "non-finite", bad, n, share=bad / n))
    return flags


def at_chance(correct: Sequence[bool], labels: Sequence[int]) -> list[Flag]:
    """Whether clean accuracy is no better than always naming one class.

    Better is where the lower end of its 95 % interval is above the share of that class.
    Nothing is said of so few samples that not even a perfect model would be better.
    """
    n, right, most = len(labels), sum(correct), max(Counter(labels).values(), default=0)
    if n and wilson(n, n)[0] > most / n >= wilson(right, n)[0]:
        return [make_flag("at-chance", right, n, most=most)]
    return []


def notes(name: str, texts: Sequence[str]) -> list[Flag]:
    """Remarks that are no matter of samples: on the model, its training, its code, the classes."""
    return [make_flag(name, 0, 0, note=text, spec=text) for text in texts]


def adaptations(classes: int, entries: Sequence[tuple[str, Any]]) -> list[Flag]:
    """What few classes change about attacks, given as pairs of spec and attack."""
    found = [(spec, attack.adapted(classes)) for spec, attack in entries]
    return [
        make_flag("few-classes", 0, 0, spec=spec, classes=classes, changes="; ".join(changes))
        for spec, changes in found
        if changes
    ]


def make_flag(
    name: str, count: int, n: int, done: Collection[str] = (), *, text: str = "", **words: Any
) -> Flag:
    """The flag of a sign that `count` of n samples show; its text is filled with `words`.

    `done`: kinds of attacks that the run has made and that are not advised.
    """
    hint = HINTS[text or name].text(done) if (text or name) in HINTS else ""
    return Flag(name, count, TEXTS[text or name].format(count=count, n=n, hint=hint, **words))
