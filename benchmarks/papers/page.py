"""Markdown of the page `papers` from the recorded results: a part for each sweep.

    python tests/docs/generated.py

writes it into robbench/guide/papers.md.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from claims import Claim, Verdict, judge, mean_text, values
from tables import CLAIMS, SHEETS, Column, Sheet

from robbench.store.provenance import provenance

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def part(sweep: str) -> str:
    """The tables and verdicts of a sweep, and where they were measured."""
    rows = read(sweep)
    if rows is None:
        return "Not measured yet.\n"
    losses = _losses(sweep)
    parts = [_origin(sweep, rows), *(_sheet(sheet, losses, rows) for sheet in SHEETS[sweep])]
    if claims := CLAIMS.get(sweep):
        parts.append(_claims(claims, rows))
    return "\n".join(text for text in parts if text)


def _origin(sweep: str, rows: pd.DataFrame) -> str:
    """Recipe, samples, seeds, and where it was measured."""
    recipe = json.loads(rows.recipe.iloc[0])
    seeds = rows.groupby("loss").train_seed.nunique()
    least, most = seeds.min(), seeds.max()
    trained = ", ".join(
        f"{name} {recipe[name]}"
        for name in ("model", "limit", "inner", "epochs", "eps_warmup")
        if recipe.get(name)
    )
    return (
        f"`benchmarks/papers/{sweep}.toml`: {trained}; "
        f"{rows.n_samples.iloc[0]} samples, {least if least == most else f'{least} to {most}'} "
        f"seeds, {_machine(rows)}.\n"
    )


def _machine(rows: pd.DataFrame) -> str:
    devices, versions = (_all(rows[name]) for name in ("device_name", "torch_version"))
    commits = _all(rows.git_sha.str[:7])
    return f"{devices}, torch {versions}{f', commit {commits}' if commits else ''}"


def _all(column: pd.Series[str]) -> str:
    return ", ".join(sorted(column.dropna().unique()))


def _sheet(sheet: Sheet, losses: Sequence[str], rows: pd.DataFrame) -> str:
    for name, value in sheet.where.items():
        rows = rows[rows[name] == value]
    found = []
    for loss in losses:
        seeds = [values(rows, loss, column.metric, column.where) for column in sheet.columns]
        if any(seeds):
            texts = [
                mean_text(each, column.scale, column.digits)
                for each, column in zip(seeds, sheet.columns, strict=True)
            ]
            found.append([f"`{loss}`", *texts, *([_failed(rows, loss)] if sheet.checks else [])])
    if not found:
        return ""
    head = f"loss ({sheet.title})" if sheet.title else "loss"
    heads = [column.head for column in sheet.columns]
    return table([head, *heads, *(["failed checks"] if sheet.checks else [])], found)


def _failed(rows: pd.DataFrame, loss: str) -> str:
    """The checks of severity error that failed, and of how many runs."""
    checks = rows[rows.loss == loss].failed_checks.dropna()
    if checks.empty:
        return "not checked"
    times = Counter(name for row in checks for name in json.loads(row))
    return ", ".join(f"{name} {count}" for name, count in sorted(times.items())) or "-"


def _losses(sweep: str) -> list[str]:
    """In the order of the sweep's file."""
    losses: list[str] = tomllib.loads((HERE / f"{sweep}.toml").read_text())["grid"]["loss"]
    return losses


def _claims(claims: Sequence[Claim], rows: pd.DataFrame) -> str:
    judged = [(claim, judge(claim, rows)) for claim in claims]
    found = [
        [claim.text, _difference(claim, verdict), str(verdict.seeds), verdict.word]
        for claim, verdict in judged
        if verdict.difference is not None
    ]
    return (
        table(["claim", "measured difference (95 %)", "seeds", "verdict"], found) if found else ""
    )


def _difference(claim: Claim, verdict: Verdict) -> str:
    estimate = verdict.difference
    assert estimate is not None
    share = (
        claim.metric.partition(" ")[0] not in ("measures", "logs") or "near_zero" in claim.metric
    )
    scale, unit = (100, " points") if share else (1, "")
    text = f"{scale * estimate.value:+.1f}{unit}"
    if not math.isnan(estimate.low):
        text = (
            f"{scale * estimate.value:+.1f} "
            f"({scale * estimate.low:+.1f} to {scale * estimate.high:+.1f}){unit}"
        )
    if verdict.stronger is not None:
        text += f"; stronger attack {scale * verdict.stronger.value:+.1f}"
    return text


def verdicts() -> str:
    """The claims that stand for the papers, each with its verdict."""
    found = []
    for sweep, claims in CLAIMS.items():
        rows = read(sweep)
        for claim in claims:
            if claim.paper is None:
                continue
            verdict = Verdict("not measured", None, 0) if rows is None else judge(claim, rows)
            shown = "-" if verdict.difference is None else _difference(claim, verdict)
            found.append([claim.paper, claim.text, claim.published, shown, verdict.word])
    return table(["paper", "claim", "published", "measured difference (95 %)", "verdict"], found)


def read(sweep: str) -> pd.DataFrame | None:
    """The recorded rows of a sweep; None where there are none."""
    path = RESULTS / f"{sweep}.parquet"
    rows = pd.read_parquet(path) if path.exists() else None
    if rows is None or rows.empty:
        return None
    if "robust_accuracy" in rows:
        rows["adversarial_ratio"] = 1 - rows.robust_accuracy
        rows["train_passes"] = (rows.train_forward + rows.train_backward) / 1e6
    return rows


def linear() -> str:
    """Margins over the SVM's by the common coordinate, of `linear_theorem.py`."""
    rows = read("linear")
    assert rows is not None
    losses = list(dict.fromkeys(rows.loss))
    found = [
        [f"{common:g}", *(mean_text(values(part, loss, "over_svm", {}), 1, 2) for loss in losses)]
        for common, part in rows.groupby("common")
    ]
    shown = table(["D", *(f"`{loss}`" for loss in losses)], found)
    return f"{_of_script('linear_theorem', rows)}\n{shown}"


def log_odds_drop() -> str:
    """Log-odds and what PGD takes of them by budget, of `log_odds_drop.py`."""
    rows = read("log-odds-drop")
    assert rows is not None
    columns = (
        Column("m", "margin", scale=1),
        Column("D", "drop", scale=1),
        Column("m / D", "margin_over_drop", scale=1, digits=2),
    )
    losses = list(dict.fromkeys(rows.loss))
    sheets = [Sheet(threat, columns, {"threat": threat}) for threat in sorted(set(rows.threat))]
    shown = [_sheet(sheet, losses, rows) for sheet in sheets]
    return "\n".join([_of_script("log_odds_drop", rows), *shown])


def _of_script(name: str, rows: pd.DataFrame) -> str:
    """Seeds, and where it was measured."""
    return f"`benchmarks/papers/{name}.py`: {rows.train_seed.nunique()} seeds, {_machine(rows)}.\n"


def here() -> dict[str, str | None]:
    """The columns of a row that say where it was measured."""
    facts = provenance()
    return {
        "device_name": facts["cpu"],
        "robbench_version": facts["packages"]["robbench"],
        "torch_version": facts["packages"]["torch"],
        "git_sha": facts["git_sha"],
    }


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
