"""One run on a screen, and the list of runs, of handmade rows whose numbers are counted here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from robbench.analysis.show import list_runs, show_run
from robbench.reports.terminal.run import run_card, run_list
from robbench.store.run import Run, read_run
from robbench.store.store import Store

AddRun = Callable[..., tuple[Path, Run]]
Printed = Callable[..., list[str]]
FLAG = json.dumps([{"name": "loss-gap", "text": "the loss [misleads]"}])
CHECK = {
    "subject": "aaaa11111111",
    "run_id": "aaaa11111111",
    "model": "ce",
    "check": "random",
    "family": "budget",
    "severity": "error",
    "verdict": "fail",
    "figure": 0.5,
    "threshold": 0.1,
    "text": "noise finds more",
    "source": "x",
    "evidence": [1],
    "n_samples": 4,
    "n_forward": 1,
    "n_backward": 0,
    "automatic": True,
    "model_hash": "x",
    "data": "digits",
    "split": "test",
    "threat": "linf:0.1",
}


@pytest.fixture
def card(tmp_path: Path, add_run: AddRun, printed: Printed) -> Callable[..., list[str]]:
    """The card of one handmade run at a width, with changes to its row."""

    def lines(width: int = 80, **changes: Any) -> list[str]:
        add_run("aaaa11111111", **changes)
        return printed(run_card(show_run("aaaa11111111", tmp_path / "S")), width)

    return lines


def below(lines: list[str], label: str) -> str:
    """The text beside a label, on all its lines."""
    first = next(i for i, line in enumerate(lines) if line.startswith(label))
    last = next((i for i in range(first + 1, len(lines)) if not lines[i].startswith("    ")), None)
    return " ".join(" ".join(lines[first:last]).removeprefix(label).split())


def test_the_numbers_are_counted_from_the_samples(
    card: Callable[..., list[str]], handmade_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    """Accuracies, the ratio, what fell to the attack, the weakest classes and the queries."""
    lines, rows = card(), handmade_rows()
    n, fallen = len(rows), [row for row in rows if row["adversarial"]]
    assert lines[0] == "ce under linf:0.1, run aaaa11111111"
    assert below(lines, "clean accuracy").startswith("90.0% (")
    assert below(lines, "robust accuracy").startswith(f"{100 * (1 - len(fallen) / n):.1f}% (")
    ratio = f"{100 * len(fallen) / n:.1f}%, {len(fallen)} of {n} samples"
    assert below(lines, "adversarial ratio") == ratio
    broken = sum(row["broken_by"] == "pgd" for row in rows)
    assert below(lines, "fell to") == f"pgd: {broken} ({100 * broken / n:.1f}%)"
    shares = sorted(
        sum(r["robust"] for r in rows if r["label"] == label) / 10 for label in range(4)
    )
    said = [float(part.split("%")[0].split()[-1]) for part in below(lines, "weakest").split(",")]
    assert said == pytest.approx([100 * share for share in shares[:3]])
    assert below(lines, "queries").startswith("11+10 per sample")
    assert below(lines, "command").startswith("robbench attack ce --threat linf:0.1")


@pytest.mark.parametrize("width", [50, 80, 120])
def test_it_fits(card: Callable[..., list[str]], width: int) -> None:
    """With a long attack and a long model."""
    lines = card(width, attack="a + " * 60, model="m" * 70)
    assert max(map(len, lines)) <= width


def test_flags_and_failed_checks_are_said(
    card: Callable[..., list[str]], tmp_path: Path, add_run: AddRun, printed: Printed
) -> None:
    """Brackets are no markup; a failed check has its text beside the count."""
    assert "loss-gap: the loss [misleads]" in " ".join(card(flags=FLAG))
    Store(tmp_path / "S").write_checks("aaaa11111111", [CHECK | {"checked_at": 0}])
    lines = printed(run_card(show_run("aaaa11111111", tmp_path / "S")))
    assert below(lines, "checks") == "1 fail random: noise finds more"


def test_without_a_budget_there_is_a_distance_and_no_robust_accuracy(
    card: Callable[..., list[str]], tmp_path: Path
) -> None:
    """A dash for the accuracy; the distance is the samples'; no class has one either."""
    lines = card(eps=float("inf"), threat="linf:inf", distance_p50=9.0)
    rows = read_run(Store(tmp_path / "S").run_path("aaaa11111111")).samples.to_pylist()
    half = median(row["dist_linf"] if row["adversarial"] else float("inf") for row in rows)
    assert below(lines, "adversarial ratio").startswith("-, ")
    assert below(lines, "robust accuracy") == f"- (no budget); median distance linf {half:.2g}"
    assert not [line for line in lines if line.startswith("weakest")]


def test_the_list_groups_runs_by_what_they_share(
    tmp_path: Path, add_run: AddRun, printed: Printed
) -> None:
    """A table for each threat, a line per run; without a budget no robust accuracy."""
    add_run("aaaa11111111")
    add_run("bbbb22222222", model="at")
    add_run("cccc33333333", eps=float("inf"), threat="linf:inf")
    lines = printed(run_list(list_runs(None, tmp_path / "S"), tmp_path / "S"))
    titles = [line for line in lines if line.startswith("digits test")]
    assert titles == ["digits test, linf:0.1, pgd", "digits test, linf:inf, pgd"]
    named = {line.split()[0]: line.split()[1:5] for line in lines if line[4:12].isdigit()}
    assert named["aaaa11111111"][:3] == ["ce", "40", "90.0%"]
    assert named["bbbb22222222"][0] == "at"
    assert named["cccc33333333"][3] == "-"


def test_the_audit_has_a_line(card: Callable[..., list[str]]) -> None:
    """Or that there is none of a cheap verdict; other runs want none."""
    assert not any(line.startswith("audit") for line in card())
    cheap = below(card(attack="autoattack-fast"), "audit")
    assert cheap.startswith("not audited: autoattack may break more than autoattack-fast")
