"""What a reader of a comparison has to know, in every form it is shown in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robbench.core.corruptions import is_corruption
from robbench.reports import audit

FOOTNOTE = (
    "adversarial ratio: share of samples for which the attack found a misclassified point inside "
    "the threat model; samples misclassified without any attack count. Interval: Wilson, 95 %. "
    "p: exact McNemar test on the samples in common, Holm-corrected."
)
SEEDS = (
    "Means over training seeds. Interval: Student's t over seeds, 95 %. p: paired t test over the "
    "seeds in common, Holm-corrected, which can make several equal (--json has each alone, "
    "t_test_p)."
)
BEST = (
    "* best: the paired test, Holm-corrected over all pairs of its table, tells it from every "
    "other (p <= 0.05)."
)
CORRUPTION = (
    "under a corruption: adversarial ratio is the share of samples misclassified when corrupted, "
    "whatever their clean input is."
)
TARGET = (
    "with a target (->): share of samples for which the attack found a point predicted as the "
    "target; samples of that class are left out. Margins: largest other logit - target's."
)
DIFFERS = "! shown on request: it differs from the other runs of its table in"


def footnotes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of the table has to know, marks that occur in it included."""
    shares, rest = FOOTNOTE.split(" Interval")
    targeted = [row["target"] is not None for row in rows]
    corrupted = [is_corruption(row["threat"]) for row in rows]
    attacked = any(not (aimed or fixed) for aimed, fixed in zip(targeted, corrupted, strict=True))
    first = [shares] if attacked else []
    first += [TARGET] if any(targeted) else []
    first += [CORRUPTION] if any(corrupted) else []
    seeds = any(row["n_seeds"] for row in rows)
    notes = [" ".join([*first, SEEDS if seeds else f"Interval{rest}"])]
    if any(row["best"] for row in rows):
        notes.append(BEST)
    if differs := sorted({name for row in rows for name in row["differs"]}):
        notes.append(f"{DIFFERS} {', '.join(differs)}.")
    return [*notes, *audit.of_a_table(rows)]
