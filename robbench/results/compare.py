"""Runs side by side, recomputed from their sample rows, and each paired with the first run it can be held against."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robbench.core.errors import UserError
from robbench.core.spec import finite
from robbench.results import texts
from robbench.results.statistics import mcnemar_exact
from robbench.results.store import Run
from robbench.results.summary import COLUMNS as SUMMARY_COLUMNS
from robbench.results.summary import column, summarise

COLUMNS = ("sample_id", *SUMMARY_COLUMNS)
"""The sample columns that `compare` needs: give them to `read_run`."""

_FACTS = ("model", "loss", "data", "split", "threat", "attack", "run_id")
_MEASURED = (
    "n_samples",
    "clean_accuracy",
    "clean_accuracy_low",
    "clean_accuracy_high",
    "robust_accuracy",
    "robust_accuracy_low",
    "robust_accuracy_high",
    "adversarial_ratio",
    "clean_margin_mean",
    "clean_margin_p50",
    "adv_margin_mean",
    "adv_margin_p50",
    "n_forward",
    "n_backward",
    "n_unconfirmed",
    "n_error",
    "n_unfinished",
    "robust_accuracy_floor",
)
_UNPAIRED = dict.fromkeys(("baseline", "n_common", "robust_difference", "won", "lost", "mcnemar_p"))


def compare(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row per run, in the given order. Rates are in [0,1], margins in logits, queries are sample evaluations.

    A run is paired, sample by sample, with the first run before it that has its data, split, norm and eps: `baseline` (its
    run id), n_common samples, robust_difference (robust accuracy on them minus the baseline's, in [-1,1]), won and lost
    (samples robust only here, only there), mcnemar_p. These are None when there is nothing to pair; `note` says why, or
    what to mind about the pair. Raises UserError for no run.
    """
    if not runs:
        raise UserError("no runs to compare")
    first: dict[tuple[Any, ...], Run] = {}
    rows = []
    for run in runs:
        info, summary = run.info, summarise(run.samples)
        key = (info["data"], info["split"], info["norm"], info["eps"])
        rows.append(
            {name: info[name] for name in _FACTS}
            | {name: summary[name] for name in _MEASURED}
            | {"n_forward_per_sample": summary["n_forward"] / summary["n_samples"], "wall_s": info["wall_s"]}
            | {"distance_p50": info["distance_p50"], "flags": json.loads(info["flags"] or "[]")}
            | (_pair(run, first[key]) if key in first else {**_UNPAIRED, "note": _why_unpaired(run, runs)})
        )
        first.setdefault(key, run)
    return rows


def _why_unpaired(run: Run, runs: Sequence[Run]) -> str:
    alike = [r for r in runs if all(r.info[name] == run.info[name] for name in ("data", "split", "norm", "eps"))]
    return "baseline" if len(alike) > 1 else "nothing to pair: no other run has this data, split and threat"


def _pair(run: Run, baseline: Run) -> dict[str, Any]:
    """Join two runs by sample and count on which samples their verdicts differ."""
    mine, theirs = (column(r.samples, "sample_id") for r in (run, baseline))
    robust, reference = (column(r.samples, "robust") for r in (run, baseline))
    if not np.array_equal(mine, theirs):  # the same samples in the same order need no join
        _, here, there = np.intersect1d(mine, theirs, return_indices=True)
        robust, reference = robust[here], reference[there]
    n = len(robust)
    if n == 0:
        return {**_UNPAIRED, "note": f"nothing to pair: no sample in common with {baseline.info['run_id']}"}
    won, lost = int((robust & ~reference).sum()), int((reference & ~robust).sum())
    remarks = []
    if n < max(len(mine), len(theirs)):
        remarks.append(f"paired on the {n} samples in common of {len(mine)} and {len(theirs)}")
    if run.info["attack"] != baseline.info["attack"]:
        remarks.append(f"the baseline was attacked by {baseline.info['attack']}")
    return {
        "baseline": baseline.info["run_id"],
        "n_common": n,
        "robust_difference": (won - lost) / n,
        "won": won,
        "lost": lost,
        "mcnemar_p": mcnemar_exact(won, lost),
        "note": "; ".join(remarks) or None,
    }


def to_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """One JSON object {"schema": "robbench.compare/1", "rows": [...]}; what is not a finite number is null."""
    return json.dumps(finite({"schema": "robbench.compare/1", "rows": list(rows)}), indent=2, allow_nan=False)


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """All columns as CSV with a header line; null and what is not a finite number are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(finite(dict(row)) for row in rows)
    return text.getvalue()


def to_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table for a pull request or an issue: the columns of the terminal's table, and what tells runs apart."""
    heads = ["model", "data", "threat", "attack", "clean accuracy", "robust accuracy (95 % interval)", "adversarial ratio"]
    heads += ["logit margin, clean -> worst", "difference to the first", "queries per sample (F+B)"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        robust = f"{texts.percent(row['robust_accuracy'])} ({texts.interval(row)})"
        facts = [row["model"], f"{row['data']} {row['split']}", row["threat"], row["attack"]]
        measured = [texts.percent(row["clean_accuracy"]), robust, texts.percent(row["adversarial_ratio"])]
        lines.append([*facts, *measured, texts.margins(row), texts.difference(row), texts.queries(row)])
    table = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([*table, "", texts.FOOTNOTE, ""])
