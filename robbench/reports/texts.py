"""Numbers as a person in a hurry reads them.

One place, so that the terminal and Markdown never disagree.

Each function takes a row of `compare` (or of the runs table). Plain ASCII, so that any terminal can
show it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from robbench.analysis.checked import speaks_against
from robbench.core.threat_text import ARROW, split_threat

NOTHING = "-"


def name(row: Mapping[str, Any]) -> str:
    """The model's name and the settings that tell it apart.

    `*`: the best of its table, `!`: it differs from its neighbours.
    """
    return (
        str(row["model"])
        + (f" ({row['settings']})" if row["settings"] else "")
        + (" *" if row["best"] else "")
        + (" !" if row["differs"] else "")
    )


def percent(rate: float | None) -> str:
    """A rate in [0,1] in percent with one decimal; None, of a run without a budget, is `-`."""
    return NOTHING if rate is None else f"{100 * rate:.1f}%"


def points(rate: float | None, *, signed: bool = False) -> str:
    """A rate, a difference or a spread of rates in percentage points with one decimal."""
    return NOTHING if rate is None else f"{100 * rate:{'+' if signed else ''}z.1f}"


def bounds(low: float | None, high: float | None) -> str:
    """Two rates in percent, `41.2-49.3`; `-` where they are not known."""
    if low is None or high is None or math.isnan(low):
        return NOTHING
    return f"{points(low)}-{points(high)}"


def rates(row: Mapping[str, Any]) -> tuple[str, str]:
    """What robust accuracy and adversarial ratio of a row are called."""
    if row["target"] is None:
        return "robust accuracy", "adversarial ratio"
    return "target not reached", "targeted success"


def threat(text: str) -> str:
    """A threat model as it is typed, `linf:8/255`; without a budget in words, `l2, no budget`."""
    parts = split_threat(text)
    if parts.budget != "inf":
        return text
    return f"{parts.norm}, no budget" + (f" {ARROW} {parts.target}" if parts.target else "")


def shortened(name: str, most: int) -> str:
    """A name of at most so many characters, at least 5, cut in the middle where it is longer."""
    if len(name) <= most:
        return name
    end = (most - 3) // 2
    return f"{name[: most - 3 - end]}...{name[-end:]}"


def interval(row: Mapping[str, Any], name: str = "robust_accuracy") -> str:
    """The interval of a rate in percent, `41.2-49.3`."""
    return bounds(row[f"{name}_low"], row[f"{name}_high"])


def robust(row: Mapping[str, Any]) -> str:
    """Robust accuracy with its interval; `-` without a budget."""
    return (
        NOTHING
        if row["robust_accuracy"] is None
        else f"{percent(row['robust_accuracy'])} {interval(row)}"
    )


def adversarial(row: Mapping[str, Any]) -> float | None:
    """The adversarial ratio in [0,1]; None without a budget, where every sample has a point."""
    return None if row["robust_accuracy"] is None else row["adversarial_ratio"]


_SAID_AS_WARNINGS = {"unconfirmed", "unfinished", "odd-answers", "audit"}
"""Checks of what the run's own row says already."""


def warnings(row: Mapping[str, Any], checks: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """What to know before believing a run, one text each, without the run's name.

    What was `loaded` is no warning. `row` is of the runs table or of `compare`; `checks` are the
    run's rows of the checks table, of which those that failed and that no other warning covers are
    repeated.
    """
    flags = [flag for flag in _flags(row) if flag["name"] != "loaded"]
    said = [f"{flag['name']}: {flag['text']}" for flag in flags]
    covered = {flag["name"] for flag in flags} | _SAID_AS_WARNINGS
    failed = [
        f"check {check['check']}: {check['text']}"
        for check in checks
        if speaks_against(check) and check["check"] not in covered
    ]
    return [*counted(row).values(), *said, *failed]


def loaded(row: Mapping[str, Any]) -> list[str]:
    """What a run's model was loaded from, one text each; empty where its name says it."""
    return [f"loaded: {flag['text']}" for flag in _flags(row) if flag["name"] == "loaded"]


def _flags(row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    flags = row["flags"] or []
    return json.loads(flags) if isinstance(flags, str) else flags


def counted(row: Mapping[str, Any]) -> dict[str, str]:
    """What the counts of a row say against its number, by the count's name."""
    said = {}
    if n := row["n_unconfirmed"]:
        said["unconfirmed"] = (
            f"{n} claimed successes did not survive the re-check: is the model random?"
        )
    if n := row["n_error"]:
        said["error"] = f"{n} samples gave logits or gradients that are not finite numbers"
    if row["n_unfinished"]:
        said["unfinished"] = unfinished(row)
    if row["distance_p50"] == math.inf:
        said["distance"] = "half of the samples have no perturbation found"
    return said


def unfinished(row: Mapping[str, Any]) -> str:
    """That time or queries ran out on some samples.

    With a budget also the range of robust accuracy, `41.0% to 48.2%`.
    """
    n = row["n_unfinished"]
    said = f"{plural(n, 'sample')} unfinished within the limits"
    if row["robust_accuracy"] is None:
        return said
    return (
        f"{said}: robust accuracy is {percent(row['robust_accuracy_floor'])} to "
        f"{percent(row['robust_accuracy'])}"
    )


def disagreements(row: Mapping[str, Any]) -> str:
    """How often the model itself did not confirm the faster search, of a row of the runs table.

    Empty for never.
    """
    if not (n := row["n_disagreements"]):
        return ""
    share = n / row["n_samples"]
    return f"the model refused or added {n} successes of the faster search ({share:.2f} a sample)"


def rejections(row: Mapping[str, Any]) -> str:
    """Share of samples that the model rejects, clean -> under attack; empty if it never does."""
    clean, worst = row.get("clean_rejection_rate"), row.get("adv_rejection_rate")
    return "" if clean is None or worst is None else f"{percent(clean)} -> {percent(worst)}"


def margins(row: Mapping[str, Any]) -> str:
    """Median logit margin, clean -> worst found inside the threat model."""
    return f"{number(row['clean_margin_p50'])} -> {number(row['adv_margin_p50'])}"


def difference(row: Mapping[str, Any]) -> str:
    """Difference in robust accuracy to the baseline in points, with the corrected p value."""
    if row["robust_difference"] is None:
        return NOTHING
    moved = points(row["robust_difference"], signed=True)
    return moved if row["p_holm"] is None else f"{moved} {p_value(row['p_holm'])}"


def p_value(p: float) -> str:
    """`p=0.012`, and `p<0.001` for anything below."""
    return "p<0.001" if p < 0.001 else f"p={p:.3f}" if p < 0.1 else f"p={p:.2f}"


def queries(row: Mapping[str, Any]) -> str:
    """Forwards + backwards per sample."""
    forward, backward = row["n_forward"] / row["n_samples"], row["n_backward"] / row["n_samples"]
    return f"{_count(forward)}+{_count(backward)}"


def queries_per_sample(row: Mapping[str, Any]) -> float:
    """Forwards and backwards together."""
    return float((row["n_forward"] + row["n_backward"]) / row["n_samples"])


def number(value: float | None) -> str:
    """At most six characters, so that a table keeps its width."""
    if value is None or not math.isfinite(value):
        return NOTHING
    size = abs(value)
    return (
        f"{value:.0e}"
        if size >= 99_999
        else f"{value:z.{2 if size < 10 else 1 if size < 100 else 0}f}"
    )


def digits(value: float | None, n: int = 3) -> str:
    """`n` digits that matter; what is not a finite number is `-`."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.{n}g}"


def amount(value: float) -> str:
    """One decimal, thousands apart: queries of a sample, seconds."""
    return f"{value:z,.1f}"


def decimals(value: float | None) -> str:
    """Three decimals, for figures below each other."""
    return NOTHING if value is None else f"{value:z.3f}"


def plural(n: int, what: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{n} {what}{'s' * (n != 1)}"


def _count(value: float) -> str:
    return (
        f"{value / 1000:.0f}k"
        if value >= 9_999
        else f"{value:.0f}"
        if value >= 10
        else f"{value:.1f}"
    )
