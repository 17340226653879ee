"""Certificates held against the mistakes that attacks found. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from robbench.store.answers import largest_output
from robbench.store.locations import Location
from robbench.store.run import read_run
from robbench.threat.tolerance import fits, same_budget

ROUNDING = 1e-5
"""What rounding of float32 may change in a margin, as a share of the largest logit known."""


class Bound(NamedTuple):
    """That no perturbation of a sample up to `size` is a mistake, by a certificate.

    margin: a lower bound of its logit margin there; None where it is only known to be above 0.
    """

    size: float
    margin: float | None = None


class Point(NamedTuple):
    """A mistake that a run found: the size of its perturbation, and its logit margin.

    margin: None where it is not known. rounding: what float32 may change in it.
    """

    size: float
    margin: float | None
    rounding: float


def bound_of(row: Mapping[str, Any]) -> Bound | None:
    """What a row of the certificates table proves, None for nothing."""
    if math.isfinite(row["eps"]):
        return Bound(row["eps"], row["margin_low"]) if row["certified"] else None
    right = row["predicted"] == row["label"]
    return Bound(float(row["radius"])) if right and row["radius"] else None


def points_of(path: Location, info: Mapping[str, Any]) -> dict[int, Point | None]:
    """The mistake that a run found of each sample, None where it found none.

    path: its runs file; info: the columns norm, eps and answers of its row. Raises UserError as
    `read_run` does.
    """
    names = ("sample_id", "adversarial", f"dist_{info['norm']}", "adv_margin", "clean_margin")
    table = read_run(path, names).samples
    columns = {name: table[name].to_pylist() for name in names}
    clean = (abs(margin) for margin in columns.pop("clean_margin") if math.isfinite(margin))
    rounding = ROUNDING * max(largest_output(info["answers"]), *clean, 0.0)
    eps = info["eps"]
    return {
        # Rounding may have put it just outside of the budget it was found in.
        sample: Point(eps if size is None else min(size, eps), margin, rounding) if hit else None
        for sample, hit, size, margin in zip(*columns.values(), strict=True)
    }


def conflicts(
    bounds: Mapping[int, Sequence[Bound]], points: Mapping[int, Point | None]
) -> dict[int, bool]:
    """The samples with a mistake within what is certified of them.

    With each, whether rounding of float32 alone explains it.
    """
    found = {}
    for sample, point in points.items():
        if point is None:
            continue
        against = [bound for bound in bounds.get(sample, ()) if fits(point.size, bound.size)]
        if against:
            found[sample] = all(_is_rounding(bound, point) for bound in against)
    return found


def _is_rounding(bound: Bound, point: Point) -> bool:
    """Whether the margins of both differ by no more than rounding.

    Where only the sign of a margin is certified it may be far above 0 at a smaller size.
    """
    if point.margin is None or (bound.margin is None and not same_budget(point.size, bound.size)):
        return False
    return (bound.margin or 0.0) - point.margin <= point.rounding


def merged(found: Iterable[Mapping[int, bool]]) -> dict[int, bool]:
    """The conflicts of several runs: rounding explains a sample's where it explains each."""
    both: dict[int, bool] = {}
    for each in found:
        for sample, explained in each.items():
            both[sample] = both.get(sample, True) and explained
    return both


def contradiction(samples: Sequence[int]) -> str:
    """That mistakes were found within what is certified of these samples."""
    which = ", ".join(f"{sample:016x}" for sample in samples[:3])
    more = f" and {len(samples) - 3} more" if len(samples) > 3 else ""
    return (
        "error of soundness: an attack found perturbations within the certified budget or radius "
        f"of {len(samples)} sample{'s' * (len(samples) != 1)} ({which}{more}), which rounding in "
        "float32 does not explain: the certificate or the attack is wrong, or a file was changed"
    )
