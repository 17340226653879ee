"""Both bounds: of robust accuracy, and without a budget of each sample's distance to a mistake."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Literal, NamedTuple

from robbench.analysis.soundness import (
    Bound,
    Point,
    bound_of,
    conflicts,
    contradiction,
    merged,
    points_of,
)
from robbench.statistics.proportions import wilson
from robbench.store.find import parquet_files
from robbench.store.locations import Location, sibling_table
from robbench.store.run import Run
from robbench.store.store import Store
from robbench.store.tables import read_sibling
from robbench.threat.tolerance import fits, same_budget

Verdict = Literal["certified", "broken", "unknown"]


@dataclasses.dataclass(frozen=True)
class Bracket:
    """What is known of n samples under a threat model; `runs` are those that attacked them.

    The true robust accuracy of these samples lies between the certified share and the share that
    is not broken. contradicted: ids of samples with a mistake found within what is certified of
    them; they count as broken. unsound: those of which rounding of float32 does not explain it.
    radii: without a budget the certified radius of each sample, 0 of misclassified ones, else None.
    distances: likewise of the smallest perturbation found, 0 of misclassified ones, inf for none;
    None of a smoothed classifier.
    """

    verdicts: Mapping[int, Verdict]
    n_clean_correct: int
    runs: tuple[str, ...]
    contradicted: tuple[int, ...]
    unsound: tuple[int, ...]
    radii: Mapping[int, float] | None = None
    distances: Mapping[int, float] | None = None

    def count(self, verdict: Verdict) -> int:
        """How many samples have this verdict."""
        return sum(found == verdict for found in self.verdicts.values())

    def fields(self) -> dict[str, Any]:
        """Counts, and rates in [0,1] with Wilson's 95 % intervals, as plain values.

        Without a budget medians in their place: of radii, and of distances.
        """
        n = len(self.verdicts)
        facts = {
            "n_samples": n,
            "n_clean_correct": self.n_clean_correct,
            "clean_accuracy": self.n_clean_correct / n,
            "runs": list(self.runs),
            "contradicted": [f"{sample:016x}" for sample in self.contradicted],
            "unsound": [f"{sample:016x}" for sample in self.unsound],
        }
        if self.radii is not None:
            found = None if self.distances is None else median(self.distances.values())
            return facts | {
                "certified_radius_p50": median(self.radii.values()),
                "distance_p50": found,
            }
        n_certified, n_broken = self.count("certified"), self.count("broken")
        kept = n - n_broken
        return facts | {
            "n_certified": n_certified,
            "n_broken": n_broken,
            "n_unknown": self.count("unknown"),
            "certified_accuracy": n_certified / n,
            "certified_accuracy_low": wilson(n_certified, n)[0],
            "robust_accuracy": kept / n,
            "robust_accuracy_high": wilson(kept, n)[1],
        }


class Proofs(NamedTuple):
    """What certificates say of a run's samples.

    share: of those that are certified and that it did not break; radius_p50: of a run without a
    budget the median certified radius; unsound: ids of samples that have a mistake within what is
    certified of them which rounding of float32 does not explain.
    """

    share: float | None = None
    radius_p50: float | None = None
    unsound: tuple[int, ...] = ()

    def flags(self) -> list[dict[str, str]]:
        """A flag where a certificate and an attack contradict each other."""
        if not self.unsound:
            return []
        return [{"name": "unsound", "text": contradiction(self.unsound)}]

    def columns(self) -> dict[str, float | None]:
        """What the rows of `compare` have of it."""
        return {"certified_accuracy": self.share, "certified_radius_p50": self.radius_p50}


def add_proofs(rows: Iterable[dict[str, Any]], found: Mapping[str, Proofs]) -> None:
    """Put into the rows of `compare` what is certified of their runs: found by run id."""
    for row in rows:
        proof = found.get(row["run_id"], Proofs())
        row |= {**proof.columns(), "flags": [*row["flags"], *proof.flags()]}


def bracket(rows: Sequence[Mapping[str, Any]], store: Store) -> Bracket:
    """Certificates of one model, threat and method, and all attacks on these samples.

    The smallest perturbation that any run of these weights found in this norm counts. A sample that
    the certified classifier gets wrong without an attack is broken. Attacks say nothing about a
    smoothed classifier. Raises UserError for a run that cannot be read.
    """
    first, ids = rows[0], [row["sample_id"] for row in rows]
    attacked = {} if first["smoothed"] else _attacked(first, set(ids), store)
    smallest = _smallest(attacked.values())
    for row in rows:
        if row["predicted"] is not None and row["predicted"] != row["label"]:
            smallest[row["sample_id"]] = 0.0
    hit = {sample for sample, size in smallest.items() if fits(size, first["eps"])}
    verdicts: dict[int, Verdict] = {}
    for row in rows:
        broken = row["sample_id"] in hit
        verdicts[row["sample_id"]] = (
            "broken" if broken else "certified" if row["certified"] else "unknown"
        )
    bounds = {row["sample_id"]: [bound] for row in rows if (bound := bound_of(row)) is not None}
    against = merged(conflicts(bounds, points) for points in attacked.values())
    radii = distances = None
    if math.isinf(first["eps"]):
        radii = {sample: _largest(bounds.get(sample, ())) for sample in ids}
        if not first["smoothed"]:
            distances = {sample: smallest.get(sample, math.inf) for sample in ids}
    return Bracket(
        verdicts=verdicts,
        n_clean_correct=sum(row["predicted"] == row["label"] for row in rows),
        runs=tuple(attacked),
        contradicted=tuple(sample for sample in ids if sample in against),
        unsound=tuple(sample for sample in ids if not against.get(sample, True)),
        radii=radii,
        distances=distances,
    )


def proofs(paths: Sequence[Location], runs: Sequence[Run]) -> dict[str, Proofs]:
    """By run id what is certified of a run's samples.

    paths: of the runs' files; certificates are those beside them, of the same weights, data and
    norm, by any method, the largest. Each certifies every budget up to its own. There is no share
    or radius for a run with a larger budget than all of them, or a target. Samples without a
    certificate are not certified, or up to 0. Raises UserError for a damaged table.
    """
    beside = [sibling_table(path, "certificates").parent for path in paths]
    proven = {folder: _proven(folder) for folder in dict.fromkeys(beside)}
    found = {}
    for path, folder, run in zip(paths, beside, runs, strict=True):
        info = run.info
        known = proven[folder].get(tuple(info[name] for name in _ABOUT))
        if info["target"] is not None or known is None:
            continue
        eps, points = info["eps"], points_of(path, info)
        against = conflicts(known.bounds, points)
        unsound = tuple(sample for sample, explained in against.items() if not explained)
        sizes = {sample: _largest(known.bounds.get(sample, ())) for sample in points}
        share = radius = None
        if math.isinf(eps) and math.inf in known.budgets:
            radius = median(sizes.values())
        elif any(fits(eps, budget) for budget in known.budgets):
            kept = [sample for sample, point in points.items() if point is None]
            share = sum(fits(eps, sizes[sample]) for sample in kept) / len(points)
        found[info["run_id"]] = Proofs(share, radius, unsound)
    return found


_ABOUT = ("model_hash", "data", "norm")
"""What a certificate and a run have in common. data: its fixed features belong to a threat too."""


class _Known(NamedTuple):
    """What the certificates of a folder prove of one model: for which budgets, by sample id."""

    budgets: set[float]
    bounds: dict[int, list[Bound]]


def _proven(folder: Location) -> dict[tuple[Any, ...], _Known]:
    """By `_ABOUT`."""
    found: dict[tuple[Any, ...], _Known] = {}
    columns = ("smoothed", "sample_id", "label", "predicted", "certified", "margin_low", "radius")
    for path in parquet_files(folder):
        for row in read_sibling(path, "certificates", (*_ABOUT, "eps", *columns)):
            if row["smoothed"]:
                continue
            known = found.setdefault(tuple(row[n] for n in _ABOUT), _Known(set(), {}))
            known.budgets.add(row["eps"])
            if (bound := bound_of(row)) is not None:
                known.bounds.setdefault(row["sample_id"], []).append(bound)
    return found


def _largest(bounds: Iterable[Bound]) -> float:
    return max((bound.size for bound in bounds), default=0.0)


def _attacked(
    about: Mapping[str, Any], samples: set[int], store: Store
) -> dict[str, dict[int, Point | None]]:
    """What runs of the same weights, data and norm found of these samples, the latest run first.

    Of runs under another budget only those that found a perturbation within this one.
    """
    columns = ("run_id", *_ABOUT, "eps", "target", "answers", "started_at")
    same = [
        row
        for row in store.rows(columns)
        if row["target"] is None and all(row[name] == about[name] for name in _ABOUT)
    ]
    found = {}
    for info in sorted(same, key=lambda row: (row["started_at"], row["run_id"]), reverse=True):
        points = points_of(store.run_path(info["run_id"]), info)
        mine = {sample: point for sample, point in points.items() if sample in samples}
        within = any(
            point and point.size > 0 and fits(point.size, about["eps"]) for point in mine.values()
        )
        if within or (mine and same_budget(info["eps"], about["eps"])):
            found[info["run_id"]] = mine
    return found


def _smallest(runs: Iterable[Mapping[int, Point | None]]) -> dict[int, float]:
    """The size of the smallest perturbation found of each sample that has one."""
    found: dict[int, float] = {}
    for points in runs:
        for sample, point in points.items():
            if point is not None:
                found[sample] = min(point.size, found.get(sample, math.inf))
    return found
