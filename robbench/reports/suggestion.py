"""A suggested cascade as a file and as the command that uses it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robbench.analysis.suggest import Judged, Suggestion
from robbench.core.escaping import one_line
from robbench.reports.texts import percent, plural

Row = Mapping[str, Any]
AUDIT = 300
"""Survivors that the suggested command audits."""


def cascade_file(found: Suggestion, runs: Sequence[Row]) -> str:
    """TOML that `robbench attack --attack FILE` takes, with where it comes from as comments."""
    lines = [
        "A cascade suggested by robbench cascade suggest: most samples broken per query.",
        f"{budgets(runs)}; {found.chosen_on} samples chose it, {found.judged_on} others judge it "
        f"(seed {found.seed}):",
        *(f"  {each.name}: {_figures(each)}" for each in (found.it, found.union)),
        f"  {verdict(found)}",
        "From the runs:",
        *(f"  {run['run_id']} {run['model']}, {run['threat']}, {run['attack']}" for run in runs),
    ]
    attacks = "".join(f"    {_basic(entry.spec)},{_comment(entry)}\n" for entry in found.entries)
    return "".join(f"# {one_line(line)}\n" for line in lines) + f"attacks = [\n{attacks}]\n"


def command_of(found: Suggestion, runs: Sequence[Row], file: Path | None, *, trusted: bool) -> str:
    """The command that attacks a model with the cascade and audits it."""
    names = [str(file)] if file is not None else list(found.attacks)
    words = [word for name in names for word in ("--attack", shlex.quote(name))]
    threats = dict.fromkeys(str(run["threat"]) for run in runs)
    words += ["--threat", shlex.quote(*threats)] if len(threats) == 1 else []
    words += ["--audit", str(AUDIT), *["--trust-code"] * trusted]
    return " ".join(["robbench attack MODEL", *words])


def budgets(runs: Sequence[Row]) -> str:
    """`linf:0.1, linf:0.2; 2 models, 6 runs`."""
    rising = sorted(runs, key=lambda run: float(run["eps"]))
    threats = ", ".join(dict.fromkeys(str(run["threat"]) for run in rising))
    models = len({(run["model_hash"], run["model_arch"]) for run in runs})
    return f"{threats}; {plural(models, 'model')}, {plural(len(runs), 'run')}"


def verdict(found: Suggestion) -> str:
    """How many samples it misses, and why."""
    if not found.missed:
        said = "it breaks all that any run broke"
    else:
        unseen = (
            f" (on {found.unseen} of them not all its attacks were tried)" if found.unseen else ""
        )
        said = f"it misses {found.missed} that some run broke{unseen}"
    return f"{said}; at most {100 * found.missed_high:.2g} points missed (95 %)"


def queries(pair: tuple[float, float] | None) -> str:
    """`120+118`; `-` where they are not known."""
    return "-" if pair is None else f"{pair[0]:,.0f}+{pair[1]:,.0f}"


def _figures(judged: Judged) -> str:
    cost = f", F+B {queries(judged.survivor)} per survivor, {queries(judged.sample)} per sample"
    robust = f"robust accuracy {percent(judged.robust_accuracy)} of {judged.n}"
    return robust + (cost if judged.sample else "")


def _comment(entry: Any) -> str:
    seen = f"breaks {entry.broke} of {entry.of} left, {entry.seen} known"
    return f"  # F+B {queries((entry.forward, entry.backward))}, {seen}"


def _basic(text: str) -> str:
    """A basic string of TOML: its escapes are those of JSON, but for surrogates and DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
