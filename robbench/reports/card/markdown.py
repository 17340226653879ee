"""The robustness section of a model card, and its metadata for the Hugging Face Hub."""

from __future__ import annotations

import re
from typing import Any

from robbench.core.escaping import markdown
from robbench.reports import texts
from robbench.reports.card.facts import (
    CERTIFIED,
    Evaluation,
    Metric,
    Subject,
    attack_text,
    samples_text,
)

BEGIN, END = "<!-- robbench card: begin -->", "<!-- robbench card: end -->"
MARK = "robbench_version"
"""The argument that every metric of ours has in the metadata of a card."""
_BOUND = (
    "Robust accuracy: share of the samples for which the attack found no misclassified point "
    "inside the threat model, an upper bound of the truth. Certified accuracy is a lower one. "
    "Likewise the true distance of a sample lies between its certified radius and the distance "
    "found. Under a corruption: share classified correctly. Intervals: Wilson, 95 %."
)


def results(subject: Subject) -> list[dict[str, Any]]:
    """The `results` of a model-index, one entry for each run, with all digits.

    Form: https://github.com/huggingface/hub-docs/blob/main/modelcard.md. Threat model, attack,
    interval and run are arguments of each metric.
    """
    return [_result(one) for one in subject.evaluations]


def _result(one: Evaluation) -> dict[str, Any]:
    data = one.facts["data"]
    # The Hub takes identifiers only, with one slash at most.
    kind = re.sub(r"[^\w.-]+", "-", data["data"], flags=re.ASCII).strip("-.") or "data"
    tabular = data["data"].startswith("csv:")
    title = "Tabular Classification" if tabular else "Image Classification"
    return {
        "task": {"type": title.lower().replace(" ", "-"), "name": title},
        "dataset": {"type": kind, "name": data["data"], "split": data["split"]},
        "metrics": [_metric(one, each) for each in one.metrics if each.value is not None],
    }


def _metric(one: Evaluation, metric: Metric) -> dict[str, Any]:
    facts = one.facts
    about = {"threat": facts["threat"]["text"], "attack": attack_text(facts)}
    title = metric.name.capitalize()
    kind = metric.name.replace(" ", "_")
    if metric.name == "clean accuracy":
        about, kind = {}, "accuracy"
    elif facts["threat"]["eps"] is not None:
        title = f"{title} under {about['threat']}"
    if metric.name in CERTIFIED:
        del about["attack"]
    subset = facts["data"]["subset"]
    attacked = metric.name not in ("clean accuracy", *CERTIFIED)
    unfinished = facts["counts"]["n_unfinished"] if attacked else 0
    bounds = {} if metric.low is None else {"interval_95": [metric.low, metric.high]}
    args = {
        **about,
        **bounds,
        **({"subset": subset} if subset else {}),
        **({"unfinished": unfinished} if unfinished else {}),
        "samples": facts["data"]["samples"],
        "samples_hash": facts["data"]["hash"],
        "run": facts["run_id"],
        MARK: facts["versions"]["robbench"],
    }
    return {"type": kind, "name": title, "value": metric.value, "args": args}


def section(subject: Subject) -> str:
    """The section, from one marker comment to the other."""
    notes = [
        f"- {_code(one.facts['run_id'])}: {markdown(note)}"
        for one in subject.evaluations
        for note in one.notes
    ]
    head = [BEGIN, "## Adversarial robustness", "", _BOUND, ""]
    parts = [*head, *_table(subject), "", *notes, *([""] if notes else []), *_how(subject), END]
    return "\n".join(parts) + "\n"


def _table(subject: Subject) -> list[str]:
    names = list(dict.fromkeys(m.name for one in subject.evaluations for m in one.metrics))
    heads = ["threat model", "attack", "data", "samples", *names, "checks", "run"]
    right = {"samples", *names}
    rows = [[markdown(head) for head in heads]]
    rows += [["---:" if head in right else "---" for head in heads]]
    for one in subject.evaluations:
        facts, found = one.facts, {metric.name: metric for metric in one.metrics}
        cells = [
            texts.threat(facts["threat"]["text"]),
            attack_text(facts),
            samples_text(facts),
            f"{facts['data']['samples']:,}",
            *(_number(found.get(name)) for name in names),
            facts["checks"]["state"],
        ]
        rows.append([*map(markdown, cells), _code(facts["run_id"])])
    return ["| " + " | ".join(row) + " |" for row in rows]


def _number(metric: Metric | None) -> str:
    if metric is None:
        return texts.NOTHING
    if metric.value is None:
        return "none found"
    if metric.low is None:
        return texts.digits(metric.value, 3)
    return f"{texts.percent(metric.value)} ({texts.bounds(metric.low, metric.high)})"


def _how(subject: Subject) -> list[str]:
    """What was measured, with what, and how a reader checks it."""
    weights, runs = subject.weights, [one.facts["run_id"] for one in subject.evaluations]
    data = dict.fromkeys(
        f"{samples_text(one.facts)} (hash of the samples {one.facts['data']['hash']})"
        for one in subject.evaluations
    )
    versions = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in one.facts["versions"].items())
        for one in subject.evaluations
    )
    file = (
        f"{_code(weights.name)}, SHA-256 {_code(weights.sha256)}"
        if weights
        else "no file of them was found"
    )
    return [
        f"- Model: {markdown(subject.name)}, {markdown(subject.architecture)}, robbench's hash "
        f"{_code(subject.hash)}",
        f"- Weights: {file}",
        *(f"- Data: {markdown(each)}" for each in data),
        *(f"- Made with {markdown(each)}" for each in versions),
        f"- To check these numbers: {_code('robbench verify FILE.zip')}, of the bundle that "
        f"{_code('robbench bundle ' + ' '.join(runs) + ' -o FILE.zip')} wrote",
    ]


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"
