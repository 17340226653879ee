"""One run on one screen, and the list of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from robbench.core.limits import Limits
from robbench.reports import audit, texts
from robbench.reports.terminal.checks import summary
from robbench.reports.terminal.fitted import FittedTable, Head, cell, shortened
from robbench.store.hints import command
from robbench.store.run import tags_of
from robbench.store.settings import settings

_SHOWN_CLASSES = 3
_SHOWN_MEASURES = 8


def run_card(found: Mapping[str, Any]) -> RenderableType:
    """`analysis.show.show_run` in 80 columns: labels on the left, warnings in yellow."""
    run, summary = found["run"], found["summary"]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in _lines(found, run, summary):
        if text:
            table.add_row(label, Text(text))
    title = Text(f"{run['model']} under {run['threat']}, run {run['run_id']}", style="bold")
    return Group(
        title,
        Text(),
        table,
        *map(Text, texts.loaded(run)),
        *(Text(warning, style="yellow") for warning in _warnings(found)),
    )


def _lines(
    found: Mapping[str, Any], run: Mapping[str, Any], summary: Mapping[str, Any]
) -> list[tuple[str, str]]:
    n = summary["n_samples"]
    trained = (
        f"loss {run['loss']}, seed {run['train_seed']}" if run["loss"] else "trained elsewhere"
    )
    limits = Limits(run["max_time_s"], run["max_queries"])
    subset = f", {run['subset']}" if run["subset"] else ""
    return [
        ("model", f"{run['model_arch'] or 'own code'}, {trained}; hash {run['model_hash']}"),
        ("tags", ", ".join(run["tags"] or [])),
        (
            "data",
            f"{run['data']} {run['split']}, {n} samples{subset}; fingerprint {run['data_hash']}",
        ),
        (
            "attack",
            f"{run['attack']}, seed {run['seed']}" + (f", limits {limits}" if limits else ""),
        ),
        ("", "\n".join(run["attack_params"]) if isinstance(run["attack_params"], list) else ""),
        (
            "clean accuracy",
            f"{texts.percent(summary['clean_accuracy'])} "
            f"({texts.interval(summary, 'clean_accuracy')})",
        ),
        (texts.rates(run)[0], _robust(run, summary)),
        ("rejected", texts.rejections(summary) and f"{texts.rejections(summary)} (under attack)"),
        ("outputs", run.get("model_outputs") or ""),
        (
            texts.rates(run)[1],
            f"{texts.percent(texts.adversarial(summary))}, {summary['n_adversarial']} of {n} "
            "samples",
        ),
        (
            "logit margin",
            f"median {texts.margins(summary)}; worst 5 %: "
            f"{texts.number(summary['adv_margin_p05'])}",
        ),
        ("audit", audit.audit(run).removeprefix("audit: ")),
        ("fell to", _fell(found["fell_to"], n)),
        ("smallest found", _sizes(found["distances"])),
        ("weakest classes", _classes(found["classes"], found["class_names"])),
        (
            "queries",
            f"{texts.queries(summary)} per sample (forwards + backwards), {run['wall_s']:.1f} s",
        ),
        (
            "device",
            f"{run['device']} ({run['device_name']}), batch {run['batch_size']}, "
            f"{run['precision'] or 'fp32'}",
        ),
        ("rows", _rows(run)),
        ("made", f"{run['started_at']:%Y-%m-%d %H:%M} UTC by {_versions(run)}"),
        ("command", found["command"] or ""),
        ("checks", _checks(found["tables"].get("checks", []))),
        ("measures", _measures(found["tables"].get("measures", []))),
        (
            "also there",
            ", ".join(
                f"{name} ({rows} rows)"
                for name, rows in found["tables"].items()
                if isinstance(rows, int)
            ),
        ),
        ("own code", "\n".join(found["own_code"])),
        ("files", "\n".join(found["files"])),
    ]


def _robust(run: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    if summary["robust_accuracy"] is not None:
        return (
            f"{texts.percent(summary['robust_accuracy'])} ({texts.interval(summary)}), Wilson 95 %"
        )
    return (
        f"{texts.NOTHING} (no budget); median distance {run['norm']} "
        f"{texts.digits(summary['distance_p50'])}{_certified(summary)}"
    )


def _certified(summary: Mapping[str, Any]) -> str:
    radius = summary.get("certified_radius_p50")
    return "" if radius is None else f", certified radius {texts.digits(radius)}"


def _rows(run: Mapping[str, Any]) -> str:
    if run["row_step"] is None:
        return ""
    proved = (
        "bit-equal at any batch size"
        if run["deterministic"]
        else "not proved to be bit-equal at other batch sizes"
    )
    return f"asked in multiples of {run['row_step']}; {proved}"


def _fell(fell: Sequence[Mapping[str, Any]], n: int) -> str:
    steps = (f", half by step {each['step']:.0f}" if each["step"] else "" for each in fell)
    names = ("no attack" if each["attack"] == "clean" else each["attack"] for each in fell)
    parts = (
        f"{name}: {each['n']} ({each['n'] / n:.1%}{step})"
        for each, name, step in zip(fell, names, steps, strict=True)
    )
    return "\n".join(parts) or "nothing: no sample was broken"


def _sizes(distances: Mapping[str, float]) -> str:
    sizes = ", ".join(f"{norm} {texts.digits(size, 4)}" for norm, size in distances.items())
    return f"{sizes} (medians over the samples that an attack broke)" if sizes else ""


def _classes(classes: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    if any(each["robust_accuracy"] is None for each in classes):
        return ""
    worst = sorted(classes, key=lambda each: each["robust_accuracy"])[:_SHOWN_CLASSES]
    named = {
        each["label"]: names[each["label"]] if each["label"] < len(names) else each["label"]
        for each in worst
    }
    return ", ".join(
        f"{named[each['label']]}: {texts.percent(each['robust_accuracy'])} of {each['n']}"
        for each in worst
    )


def _versions(run: Mapping[str, Any]) -> str:
    git = (
        f", commit {run['git_sha'][:8]}{' with changes' if run['git_dirty'] else ''}"
        if run["git_sha"]
        else ""
    )
    return (
        f"robbench {run['robbench_version']}, torch {run['torch_version']}, Python "
        f"{run['python_version']}{git}"
    )


def _checks(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    bad = [f"{row['check']}: {row['text']}" for row in rows if row["verdict"] == "fail"]
    return "\n".join([summary(rows), *bad])


def _measures(rows: Sequence[Mapping[str, Any]]) -> str:
    whole = [row for row in rows if row["class"] is None and row["value"] is not None]
    said = [
        f"{row['name']} ({row['points']}) {texts.number(row['value'])}"
        for row in whole[:_SHOWN_MEASURES]
    ]
    return ", ".join(said) + (f"; {len(rows)} in all" if len(rows) > len(said) else "")


def _warnings(found: Mapping[str, Any]) -> list[str]:
    row = {**found["run"], **found["summary"]}
    older = f"written by an older robbench ({found['older']}): what it lacks counts as unknown"
    return texts.warnings(row) + ([older] if found["older"] else [])


def run_list(
    found: Mapping[str, Sequence[Mapping[str, Any]]], out: Path | None = None
) -> RenderableType:
    """`analysis.show.list_runs`: runs by data, threat and attack, then what is unfinished.

    out: the folder they are in.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for run, apart in zip(found["runs"], settings(found["runs"]), strict=True):
        row = {**run, "model": f"{run['model']} ({apart})"} if apart else run
        groups.setdefault(
            f"{row['data']} {row['split']}, {row['threat']}, {row['attack']}", []
        ).append(row)
    shown: list[RenderableType] = []
    for title, rows in groups.items():
        tagged = any(row["tags"] for row in rows)
        cells = [
            [cell(text) for text in (*_listed(row), *([_tags(row)] if tagged else []))]
            for row in rows
        ]
        listed = _LISTED | ({"tags": False} if tagged else {})
        heads = [Head(text, text, right) for text, right in listed.items()]
        shown += [
            FittedTable(title, heads, cells, [""] * len(rows), name=1, gap=1 if tagged else 3),
            Text(),
        ]
    notes = [
        f"{row['run_id']}: not finished, {row['n_decided']} samples decided; the same command or "
        "call goes on with it"
        for row in found["unfinished"]
    ]
    notes += [f"{row['run_id']}: {row['problem']}" for row in found["damaged"]]
    for row in found["models"]:
        if not row["finished"]:
            again = (
                f"to go on: {row['command']}"
                if row["command"]
                else "its robbench train command goes on with it"
            )
            notes.append(f"model {row['model']}: training not finished; {again}")
    if names := [row["model"] for row in found["models"] if row["finished"]]:
        how = command("attack", *names, out=out)
        notes.append(f"trained, not attacked yet: {' '.join(names)} ({how})")
    return Group(*shown, *(Text(note, style="yellow") for note in notes))


_LONGEST_TAGS = 20  # characters in the list of runs; `show` has all

_LISTED = {
    "run": False,
    "model": False,
    "samples": True,
    "clean": True,
    "robust": True,
    "begun (UTC)": True,
}
"""The columns of `run_list`, and whether they hold numbers."""


def _tags(row: Mapping[str, Any]) -> str:
    return shortened(", ".join(tags_of(row)) or texts.NOTHING, _LONGEST_TAGS)


def _listed(row: Mapping[str, Any]) -> list[str]:
    robust = row["robust_accuracy"] if math.isfinite(row["eps"]) else None
    return [
        row["run_id"],
        row["model"],
        str(row["n_samples"]),
        texts.percent(row["clean_accuracy"]),
        texts.percent(robust),
        f"{row['started_at']:%Y-%m-%d %H:%M}",
    ]
