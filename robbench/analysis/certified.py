"""Both bounds of robust accuracy: what is certified, and what attacks have broken."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

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
    float32; they count as broken.
    """

    verdicts: Mapping[int, Verdict]
    n_clean_correct: int
    runs: tuple[str, ...]
    contradicted: tuple[int, ...]

    def count(self, verdict: Verdict) -> int:
        """How many samples have this verdict."""
        return sum(found == verdict for found in self.verdicts.values())

    def fields(self) -> dict[str, Any]:
        """Counts, and rates in [0,1] with Wilson's 95 % intervals, as plain values."""
        n = len(self.verdicts)
        n_certified, n_broken = self.count("certified"), self.count("broken")
        kept = n - n_broken
        return {
            "n_samples": n,
            "n_clean_correct": self.n_clean_correct,
            "n_certified": n_certified,
            "n_broken": n_broken,
            "n_unknown": self.count("unknown"),
            "clean_accuracy": self.n_clean_correct / n,
            "certified_accuracy": n_certified / n,
            "certified_accuracy_low": wilson(n_certified, n)[0],
            "robust_accuracy": kept / n,
            "robust_accuracy_high": wilson(kept, n)[1],
            "runs": list(self.runs),
            "contradicted": [f"{sample:016x}" for sample in self.contradicted],
        }


def bracket(rows: Sequence[Mapping[str, Any]], store: Store) -> Bracket:
    """Certificates of one model, threat and method, and the latest attack on these samples.

    A sample that the certified classifier gets wrong without an attack is broken. Attacks say
    nothing about a smoothed classifier. Raises UserError for a run that cannot be read.
    """
    first = rows[0]
    attacked = {} if first["smoothed"] else _attacked(first, {r["sample_id"] for r in rows}, store)
    hit = {sample for broken in attacked.values() for sample in broken}
    verdicts: dict[int, Verdict] = {}
    for row in rows:
        wrong = row["predicted"] is not None and row["predicted"] != row["label"]
        broken = wrong or row["sample_id"] in hit
        verdicts[row["sample_id"]] = (
            "broken" if broken else "certified" if row["certified"] else "unknown"
        )
    correct = sum(row["predicted"] == row["label"] for row in rows)
    against = [row["sample_id"] for row in rows if row["certified"] and row["sample_id"] in hit]
    return Bracket(verdicts, correct, tuple(attacked), tuple(against))


def certified_shares(paths: Sequence[Location], runs: Sequence[Run]) -> dict[str, float]:
    """By run id the share of a run's samples that are certified and that it did not break.

    paths: of the runs' files; certificates are those beside them, of the same weights and threat
    model, by any method. Runs without any are left out; those of a target too. Raises UserError for
    a damaged table.
    """
    beside = [sibling_table(path, "certificates").parent for path in paths]
    proven = {folder: _proven(folder) for folder in dict.fromkeys(beside)}
    shares = {}
    for folder, run in zip(beside, runs, strict=True):
        key = tuple(run.info[name] for name in _ABOUT)
        if run.info["target"] is None and (known := proven[folder].get(key)) is not None:
            columns = (run.samples[name].to_pylist() for name in ("sample_id", "adversarial"))
            kept = [s for s, adversarial in zip(*columns, strict=True) if not adversarial]
            shares[run.info["run_id"]] = sum(s in known for s in kept) / len(run.samples)
    return shares


_ABOUT = ("model_hash", "norm", "eps")


def _proven(folder: Location) -> dict[tuple[Any, ...], set[int]]:
    """The certified samples of the certificates of a folder, by weights, norm and eps."""
    found: dict[tuple[Any, ...], set[int]] = {}
    columns = (*_ABOUT, "smoothed", "sample_id", "certified")
    for path in parquet_files(folder):
        for row in read_sibling(path, "certificates", columns):
            if not row["smoothed"]:
                samples = found.setdefault(tuple(row[name] for name in _ABOUT), set())
                samples.update([row["sample_id"]] if row["certified"] else [])
    return found


def _attacked(about: Mapping[str, Any], samples: set[int], store: Store) -> dict[str, set[int]]:
    """The adversarial ones among samples, by the latest run of the same weights and threat."""
    columns = ("run_id", *_ABOUT, "target", "started_at")
    same = [
        row
        for row in store.rows(columns)
        if row["target"] is None and all(row[name] == about[name] for name in _ABOUT)
    ]
    for info in sorted(same, key=lambda row: (row["started_at"], row["run_id"]), reverse=True):
        run = read_run(store.run_path(info["run_id"]), ("sample_id", "adversarial"))
        found = dict(zip(*(column.to_pylist() for column in run.samples.columns), strict=True))
        if samples & found.keys():
            return {info["run_id"]: {sample for sample in samples if found.get(sample)}}
    return {}
