"""Both bounds: of robust accuracy, and without a budget of each sample's distance to a mistake."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Literal, NamedTuple

from robbench.statistics.proportions import wilson
from robbench.store.find import parquet_files
from robbench.store.locations import Location, sibling_table
from robbench.store.run import Run, read_run
from robbench.store.store import Store
from robbench.store.tables import read_sibling

Verdict = Literal["certified", "broken", "unknown"]


@dataclasses.dataclass(frozen=True)
class Bracket:
    """What is known of n samples under a threat model; `runs` are those that attacked them.

    The true robust accuracy of these samples lies between the certified share and the share that
    is not broken. contradicted: ids of certified samples that an attack broke, by the rounding of
    float32; they count as broken. radii: without a budget the certified radius of each sample, 0 of
    misclassified ones, else None; contradicted are samples with a perturbation found within it.
    distances: of the smallest perturbation found of each sample, inf for none; None without a run.
    """

    verdicts: Mapping[int, Verdict]
    n_clean_correct: int
    runs: tuple[str, ...]
    contradicted: tuple[int, ...]
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
    budget the median certified radius; within: ids of samples that have a perturbation found within
    their radius.
    """

    share: float | None = None
    radius_p50: float | None = None
    within: tuple[int, ...] = ()

    def flags(self) -> list[dict[str, str]]:
        """A flag where a certificate and an attack contradict each other."""
        if not self.within:
            return []
        return [{"name": "unsound", "text": contradiction(self.within)}]

    def columns(self) -> dict[str, float | None]:
        """What the rows of `compare` have of it."""
        return {"certified_accuracy": self.share, "certified_radius_p50": self.radius_p50}


def add_proofs(rows: Iterable[dict[str, Any]], found: Mapping[str, Proofs]) -> None:
    """Put into the rows of `compare` what is certified of their runs: found by run id."""
    for row in rows:
        proof = found.get(row["run_id"], Proofs())
        row |= {**proof.columns(), "flags": [*row["flags"], *proof.flags()]}


def contradiction(samples: Sequence[int]) -> str:
    """That perturbations of these samples were found within their certified radii."""
    which = ", ".join(f"{sample:016x}" for sample in samples[:3])
    more = f" and {len(samples) - 3} more" if len(samples) > 3 else ""
    return (
        f"error of soundness: an attack found perturbations within the certified radius of "
        f"{len(samples)} samples ({which}{more}): the bounds are wrong, a file was changed, or "
        "both are equal up to the rounding of float32"
    )


def bracket(rows: Sequence[Mapping[str, Any]], store: Store) -> Bracket:
    """Certificates of one model, threat and method, and the latest attack on these samples.

    Without a budget all attacks, of which the smallest perturbation counts. A sample that the
    certified classifier gets wrong without an attack is broken. Attacks say nothing about a
    smoothed classifier. Raises UserError for a run that cannot be read.
    """
    first, ids = rows[0], {row["sample_id"] for row in rows}
    attacked = {} if first["smoothed"] else _attacked(first, ids, store)
    smallest = _smallest(attacked.values())
    hit = {sample for sample in ids if smallest.get(sample, math.inf) < math.inf}
    verdicts: dict[int, Verdict] = {}
    for row in rows:
        wrong = row["predicted"] is not None and row["predicted"] != row["label"]
        broken = wrong or row["sample_id"] in hit
        verdicts[row["sample_id"]] = (
            "broken" if broken else "certified" if row["certified"] else "unknown"
        )
    correct = sum(row["predicted"] == row["label"] for row in rows)
    if math.isinf(first["eps"]):
        radii = {row["sample_id"]: _radius(row) for row in rows}
        distances = {sample: smallest.get(sample, math.inf) for sample in ids}
        within = _within(radii, smallest)
        known = distances if attacked else None
        return Bracket(verdicts, correct, tuple(attacked), within, radii, known)
    against = [row["sample_id"] for row in rows if row["certified"] and row["sample_id"] in hit]
    return Bracket(verdicts, correct, tuple(attacked), tuple(against))


def proofs(paths: Sequence[Location], runs: Sequence[Run]) -> dict[str, Proofs]:
    """By run id what is certified of a run's samples.

    paths: of the runs' files; certificates are those beside them, of the same weights, data, norm
    and budget or of no budget, by any method, the largest. A radius certifies each budget up to it.
    Runs without any are left out; those of a target too. Samples without one are not certified, or
    up to 0. Raises UserError for a damaged table.
    """
    beside = [sibling_table(path, "certificates").parent for path in paths]
    proven = {folder: _proven(folder) for folder in dict.fromkeys(beside)}
    found = {}
    for path, folder, run in zip(paths, beside, runs, strict=True):
        info = run.info
        eps, about = info["eps"], tuple(info[name] for name in _ABOUT)
        tables = proven[folder]
        known = {e: tables[*about, e] for e in (eps, math.inf) if (*about, e) in tables}
        if info["target"] is not None or not known:
            continue
        sizes = _sizes(path, info)
        radii = {sample: known.get(math.inf, {}).get(sample, 0.0) for sample in sizes}
        within = _within(radii, sizes)
        if math.isinf(eps):
            proof = Proofs(None, median(radii.values()), within)
        else:
            at = known.get(eps, {})
            kept = [s for s, size in sizes.items() if math.isinf(size)]
            proof = Proofs(sum(s in at or radii[s] >= eps for s in kept) / len(sizes), None, within)
        found[info["run_id"]] = proof
    return found


_ABOUT = ("model_hash", "data", "norm")
"""What a certificate and a run have in common. data: its fixed features belong to a threat too."""
_AT = (*_ABOUT, "eps")


def _proven(folder: Location) -> dict[tuple[Any, ...], dict[int, float]]:
    """The certified samples of the certificates of a folder, by `_AT`.

    Each with the largest size it is certified for.
    """
    found: dict[tuple[Any, ...], dict[int, float]] = {}
    columns = (*_AT, "smoothed", "sample_id", "label", "predicted", "certified", "radius")
    for path in parquet_files(folder):
        for row in read_sibling(path, "certificates", columns):
            if row["smoothed"]:
                continue
            samples, sample = found.setdefault(tuple(row[n] for n in _AT), {}), row["sample_id"]
            if math.isinf(row["eps"]):
                samples[sample] = max(samples.get(sample, 0.0), _radius(row))
            elif row["certified"]:
                samples[sample] = row["eps"]
    return found


def _radius(row: Mapping[str, Any]) -> float:
    """Up to which size no perturbation is misclassified, by a certificate."""
    right = row["predicted"] == row["label"] and row["radius"] is not None
    return float(row["radius"]) if right else 0.0


def _within(radii: Mapping[int, float], sizes: Mapping[int, float]) -> tuple[int, ...]:
    """The samples of which a perturbation was found within their radius."""
    return tuple(s for s, radius in radii.items() if radius and sizes.get(s, math.inf) <= radius)


def _attacked(
    about: Mapping[str, Any], samples: set[int], store: Store
) -> dict[str, dict[int, float]]:
    """`_sizes` of the latest run that has some of these samples, of the same weights and threat.

    The same data, too. Of every such run where there is no budget.
    """
    columns = ("run_id", *_AT, "target", "started_at")
    same = [
        row
        for row in store.rows(columns)
        if row["target"] is None and all(row[name] == about[name] for name in _AT)
    ]
    found = {}
    for info in sorted(same, key=lambda row: (row["started_at"], row["run_id"]), reverse=True):
        sizes = _sizes(store.run_path(info["run_id"]), info)
        if samples & sizes.keys():
            found[info["run_id"]] = sizes
            if math.isfinite(about["eps"]):
                break
    return found


def _sizes(path: Location, info: Mapping[str, Any]) -> dict[int, float]:
    """The size of the perturbation that a run found of each sample; inf where it found none."""
    name = f"dist_{info['norm']}"
    samples = read_run(path, ("sample_id", "adversarial", name)).samples
    columns = (samples[each].to_pylist() for each in ("sample_id", "adversarial", name))
    return {
        sample: math.inf if not hit else info["eps"] if size is None else size
        for sample, hit, size in zip(*columns, strict=True)
    }


def _smallest(runs: Iterable[Mapping[int, float]]) -> dict[int, float]:
    found: dict[int, float] = {}
    for sizes in runs:
        for sample, size in sizes.items():
            found[sample] = min(size, found.get(sample, math.inf))
    return found
