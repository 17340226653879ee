"""The sentence that answers, and the strongest doubt beside it, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robbench.analysis.answer import LEVEL, Answer, Doubt
from robbench.analysis.commands import about_runs
from robbench.core.threat_text import split_threat
from robbench.reports import texts
from robbench.store.address.copies import shown
from robbench.store.run import from_memory

_COMMANDS = 2  # checks that are named one by one
_OTHERWISE = (
    ("unclear", "was unclear", "were unclear"),
    ("fail", "failed for information only", "failed for information only"),
    ("skipped", "was skipped", "were skipped"),
)
"""What became of checks that did not pass, where none is a doubt: of one, of several."""


def sentence(answer: Answer, *, among: Sequence[Answer] = ()) -> str:
    """One sentence: what the best model keeps, how much more than the other, and how sure that is.

    It names the data where `among` all answers of the page they differ.
    """
    places = {(one.data, one.split) for one in among}
    where = f"On {answer.data} {answer.split}: " if len(places) > 1 else ""
    said = _distance(answer) if answer.endless else _kept(answer)
    return f"{where}{said}."


def doubt(answer: Answer, out: Path | None = None) -> tuple[str, str]:
    """How bad the strongest doubt is, `error`, `warning`, `unchecked` or `none`, and what it says.

    Empty where there is none and the checks are unknown. out: the output folder that commands to
    paste are for, None where it is not known.
    """
    if answer.doubts:
        first = answer.doubts[0]
        more = len(answer.doubts) - 1
        rest = f" ({more} more {'doubt' if more == 1 else 'doubts'})" if more else ""
        about = f"{first.row['model']}, {first.about}"
        return first.severity, f"But {about}: {_text(first)}{rest}"
    if answer.unchecked is None:
        return "none", ""
    if answer.unchecked:
        missing = {info["run_id"] for info in answer.unchecked}
        models = [
            row["model"]
            for row in (answer.top, answer.other)
            if row is not None and set(row["run_id"].split("+")) & missing
        ]
        verb = "is" if len(models) == 1 else "are"
        return "unchecked", (
            f"{' and '.join(models)} {verb} not checked yet for a weak attack: "
            f"{how_to_check(answer.unchecked, out)}"
        )
    return "none", f"Nothing speaks against the attack: {_counts(answer.n_checks)}."


def _counts(found: Mapping[str, int]) -> str:
    """How many checks came to which verdict; those that failed are for information."""
    passed = found.get("pass", 0)
    parts = [f"{passed} {'check' if passed == 1 else 'checks'} passed"]
    for verdict, one, many in _OTHERWISE:
        if n := found.get(verdict, 0):
            parts.append(f"{n} {one if n == 1 else many}")
    return ", ".join(parts)


def how_to_check(runs: Sequence[Mapping[str, Any]], out: Path | None) -> str:
    """Commands, and what to call in Python for a model that no command finds."""
    named = [info for info in runs if not from_memory(info)]
    ways = [about_runs("check", [info], out) for info in named[:_COMMANDS]]
    more = len(named) - len(ways)
    rest = f" (and {more} more)" if more else ""
    if len(named) < len(runs):
        folder = "" if out is None else repr(shown(out))
        ways.append(f"in Python, result.check(), then result.save({folder})")
    return "; ".join(ways) + rest


def as_json(
    answer: Answer, *, among: Sequence[Answer] = (), out: Path | None = None
) -> dict[str, Any]:
    """The answer as plain values: the sentence, the doubt, and the numbers in them."""
    severity, text = doubt(answer, out)
    return {
        "text": sentence(answer, among=among),
        "doubt": {"severity": severity, "text": text},
        "data": answer.data,
        "split": answer.split,
        "threat": answer.threat,
        "model": answer.top["model"],
        "robust_accuracy": answer.top["robust_accuracy"],
        "distance_p50": answer.top["distance_p50"],
        "other": answer.other["model"] if answer.other else None,
        "robust_difference": answer.difference,
        "p_holm": answer.p,
    }


def _kept(answer: Answer) -> str:
    top, other = answer.top, answer.other
    seeds, budget = top["n_seeds"] is not None, texts.threat(answer.threat)
    rate, n = texts.percent(top["robust_accuracy"]), f"{top['n_samples']:,}"
    mean = " on average" if seeds else ""
    if other is None:
        low = top["robust_accuracy_low"]
        known = low is not None and not math.isnan(low)
        interval = f" (95 % interval {texts.interval(top)})" if known else ""
        return (
            f"{top['model']} keeps {rate}{interval} of {n} samples at {budget}{mean}; without an "
            f"attack it classifies {texts.percent(top['clean_accuracy'])} correctly"
        )
    most = f", the most of {answer.n_models}" if answer.n_models > 2 else ""
    return (
        f"{top['model']} keeps {rate} of the samples at {budget}{mean}{most}{_more(answer)}"
        f"{_rank(answer)}"
    )


def _more(answer: Answer) -> str:
    """How much more than the other, and how sure that is."""
    assert answer.other is not None
    other, n = answer.other["model"], answer.top["n_samples"]
    seeds = answer.top["n_seeds"] is not None
    if answer.difference is None:
        return f"; {other} shares no samples or seeds with it, so nothing can be tested"
    moved = answer.difference
    way = "more" if moved > 0 else "fewer"
    more = (
        f"{texts.points(abs(moved))} points {way} than {other}" if moved else f"as many as {other}"
    )
    colon = ":" if answer.n_models > 2 else ","
    if answer.p is None:
        return f"{colon} {more} (not tested: too few training seeds in common)"
    pair = answer.top if answer.top["n_common"] is not None else answer.other
    size = "paired over training seeds" if seeds else f"{pair['n_common'] or n:,} samples"
    said = f"({texts.p_value(answer.p)}, {size})"
    if answer.p > LEVEL and moved:
        return f"{colon} {more}, which may be chance {said}"
    return f"{colon} {more} {said}"


def _rank(answer: Answer) -> str:
    """Whether the test tells the best of three or more models from every other."""
    if answer.n_models < 3 or answer.difference is None:
        return ""
    if answer.top["best"]:
        return "; the test tells it from every other model"
    return "; the test does not tell it from every other model"


def _distance(answer: Answer) -> str:
    threat = split_threat(answer.threat)
    what = (
        "adversarial point found"
        if threat.target is None
        else f"point found that is predicted as its target ({threat.target})"
    )
    rows = [row for row in (answer.top, answer.other) if row is not None]
    far = [
        f"{texts.digits(row['distance_p50'])} for {row['model']}"
        if row["distance_p50"] is not None and math.isfinite(row["distance_p50"])
        else f"unknown for {row['model']} (none found for half of the samples)"
        for row in rows
    ]
    untested = "; without a budget there is no test" if len(rows) > 1 else ""
    return (
        f"The median distance to the nearest {what} is {threat.norm} {' and '.join(far)}{untested}"
    )


def _text(found: Doubt) -> str:
    return found.text if found.text is not None else texts.counted(found.row)[found.about]
