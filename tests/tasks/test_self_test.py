"""The self-test: masked models are flagged, good ones not, and blind checks noticed."""

from __future__ import annotations

import json

import pytest

from robbench.checks.broken_defences import DEFENCES
from robbench.checks.registry import CHECKS
from robbench.tasks.self_test import WEAK, self_test

FEW = (
    "undefended",
    "TRADES",
    "linear",
    "logits x 1000",
    "gradient stopped",
    "probabilities",
    "shattered gradient",
    "rugged loss",
)
CHEAP = tuple(check for check in CHECKS if check.cost <= 50)


@pytest.fixture(scope="module")
def examined(one_thread: None):
    """Some cases, fewer samples, the cheap checks only."""
    heard = []
    found = self_test(
        lambda share, name: heard.append((share, name)),
        samples=32,
        checks=CHEAP,
        only=lambda name: name in FEW,
    )
    assert [name for _, name in heard] == ["training", *FEW]
    assert all(0 <= share <= 1 for share, _ in heard)
    return {e.name: e for e in found}


def test_masked_models_are_flagged_and_good_ones_are_not(examined) -> None:
    """By the checks that were made for what is wrong with them, among others."""
    assert {name: e.as_expected for name, e in examined.items()} == dict.fromkeys(FEW, True)
    for good in ("undefended", "TRADES", "linear"):
        assert examined[good].flagged_by == []
    assert examined["logits x 1000"].flagged_by == ["zero-gradient"]  # attacks rescale such logits
    assert {"no-gradient", "finite-difference", "huge-eps"} <= set(
        examined["gradient stopped"].flagged_by
    )
    assert {"finite-difference", "huge-eps"} <= set(examined["shattered gradient"].flagged_by)
    assert {"stationary", "single-step"} <= set(examined["rugged loss"].flagged_by)
    assert "finite-difference" not in examined["rugged loss"].flagged_by
    assert examined["probabilities"].flagged_by == ["probabilities"]


def test_blind_checks_would_be_noticed(examined) -> None:
    """A masked model without a flag, and a good one with one, are not as expected."""
    masked, good = examined["logits x 1000"], examined["undefended"]
    assert not masked._replace(findings=good.findings).as_expected
    assert not good._replace(findings=masked.findings).as_expected


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, examined):
    """The command with these cases in place of all of them."""
    monkeypatch.setattr("robbench.tasks.self_test.self_test", lambda watch: list(examined.values()))
    return examined


def test_the_command_shows_who_was_flagged_and_the_figures(short, cli) -> None:
    """Exit 0; 80 columns; every case, and for each check the good figures beside the threshold."""
    done = cli("check --self-test")
    assert done.code == 0, done.err
    assert all(name in done.out for name in FEW)
    assert "WRONG" not in done.out
    assert "threshold" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    rows = cli("check --self-test --json").json["rows"]
    assert [row["case"] for row in rows] == list(FEW)
    assert all(row["as_expected"] for row in rows)
    assert ": NaN" not in json.dumps(rows)


def test_the_command_fails_when_a_masked_model_passes(
    monkeypatch: pytest.MonkeyPatch, examined, cli
) -> None:
    """Exit 1, and the case is marked."""
    blind = examined["logits x 1000"]._replace(findings=examined["undefended"].findings)
    monkeypatch.setattr(
        "robbench.tasks.self_test.self_test", lambda watch: [examined["undefended"], blind]
    )
    done = cli("check --self-test")
    assert done.code == 1
    assert "WRONG" in done.out


@pytest.mark.slow
def test_the_whole_self_test(one_thread: None) -> None:
    """All good models, masks, weak attacks and checks; checks without points hold too."""
    found = self_test()
    assert [e.name for e in found if not e.as_expected] == []
    assert {e.name for e in found if e.bad} == {*DEFENCES, *WEAK}
    assert sum(not e.bad for e in found) >= 4
    flagged = {name for e in found for name in e.flagged_by}
    assert len(flagged) >= 18
    unordered = {e.name for e in found if "margin-consistency" in e.flagged_by}
    assert unordered == {"logits over their margin"}
