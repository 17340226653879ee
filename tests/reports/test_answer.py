"""What the sentence says: never more than the numbers behind it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from robbench.analysis.answer import Answer, Doubt
from robbench.reports.answer import as_json, doubt, how_to_check, sentence
from robbench.store.address.copies import working_copy


def _row(model: str, kept: float | None, **changes: Any) -> dict[str, Any]:
    row = {
        "model": model,
        "robust_accuracy": kept,
        "n_samples": 597,
        "n_common": 597,
        "n_seeds": None,
    }
    row |= {"robust_accuracy_low": 0.4, "robust_accuracy_high": 0.5, "clean_accuracy": 0.9}
    row |= {"distance_p50": None, "best": False, "run_id": model * 6, "n_unfinished": 0}
    return row | {"n_unconfirmed": 0, "n_error": 0} | changes


def _answer(**changes: Any) -> Answer:
    known = {"data": "digits", "split": "test", "threat": "linf:8/255", "top": _row("at", 0.442)}
    known |= {"other": _row("ce", 0.191), "difference": 0.251, "p": 1e-9, "n_models": 2}
    return Answer(**(known | {"doubts": (), "unchecked": [], "n_checks": {"pass": 21}} | changes))


def _run(run_id: str, **changes: Any) -> dict[str, Any]:
    row = {"run_id": run_id, "model": "at", "model_source": None, "model_arch": "cnn"}
    row |= {"loss": "cross-entropy", "data": "digits", "attack_params": '["pgd:steps=5"]'}
    return row | changes


SEEDS = {"n_seeds": 3, "n_common": None}


AT = "at keeps 44.2% of the samples at linf:8/255"
SURE = "(p<0.001, 597 samples)"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, f"{AT}, 25.1 points more than ce {SURE}."),
        (
            {"p": 0.31, "difference": 0.012},
            f"{AT}, 1.2 points more than ce, which may be chance (p=0.31, 597 samples).",
        ),
        ({"p": 1.0, "difference": 0.0}, f"{AT}, as many as ce (p=1.00, 597 samples)."),
        (
            {"n_models": 4},
            f"{AT}, the most of 4: 25.1 points more than ce {SURE}; "
            "the test does not tell it from every other model.",
        ),
        (
            {"n_models": 4, "top": _row("at", 0.442, best=True)},
            f"{AT}, the most of 4: 25.1 points more than ce {SURE}; "
            "the test tells it from every other model.",
        ),
        (
            {"other": None, "difference": None, "p": None, "n_models": 1},
            "at keeps 44.2% (95 % interval 40.0-50.0) of 597 samples at linf:8/255; without an "
            "attack it classifies 90.0% correctly.",
        ),
        (
            {"difference": None, "p": None},
            f"{AT}; ce shares no samples or seeds with it, so nothing can be tested.",
        ),
        (
            {"top": _row("at (3 seeds)", 0.442, **SEEDS), "p": 0.012},
            "at (3 seeds) keeps 44.2% of the samples at linf:8/255 on average, 25.1 points more "
            "than ce (p=0.012, paired over training seeds).",
        ),
        (
            {"top": _row("at (1 seed)", 0.442, **SEEDS), "p": None},
            "at (1 seed) keeps 44.2% of the samples at linf:8/255 on average, 25.1 points more "
            "than ce (not tested: too few training seeds in common).",
        ),
        (
            {
                "threat": "l2:inf",
                "top": _row("at", None, distance_p50=0.83),
                "other": _row("ce", None, distance_p50=math.inf),
            },
            "The median distance to the nearest adversarial point found is l2 0.83 for at and "
            "unknown for ce (none found for half of the samples); without a budget there is no "
            "test.",
        ),
    ],
)
def test_sentences(changes: dict[str, Any], said: str) -> None:
    """Sure only where the test is, and honest about one run, seeds, chance and no budget."""
    assert sentence(_answer(**changes)) == said


def test_the_data_are_named_where_they_differ() -> None:
    """Of two answers about one data set neither names it."""
    one, other = _answer(), _answer(data="mnist")
    assert sentence(one, among=[one, other]).startswith("On digits test: at keeps")
    assert sentence(one, among=[one, one]).startswith("at keeps")


ERROR = Doubt("error", _row("at", 0.4, n_error=2), "error", None)


@pytest.mark.parametrize(
    ("changes", "severity", "said"),
    [
        ({}, "none", "Nothing speaks against the attack: 21 checks passed."),
        (
            {"n_checks": {"pass": 21, "skipped": 2}},
            "none",
            "Nothing speaks against the attack: 21 checks passed, 2 were skipped.",
        ),
        (
            {"n_checks": {"pass": 30, "unclear": 5, "fail": 1, "skipped": 1}},
            "none",
            "Nothing speaks against the attack: 30 checks passed, 5 were unclear, "
            "1 failed for information only, 1 was skipped.",
        ),
        (
            {"n_checks": {"pass": 1, "unclear": 1}},
            "none",
            "Nothing speaks against the attack: 1 check passed, 1 was unclear.",
        ),
        ({"unchecked": None}, "none", ""),
        (
            {"unchecked": [_run("at" * 6)]},
            "unchecked",
            "at is not checked yet for a weak attack: robbench check atatatatatat",
        ),
        (
            {"unchecked": [_run("at" * 6), _run("ce" * 6)]},
            "unchecked",
            "at and ce are not checked yet for a weak attack: robbench check atatatatatat; "
            "robbench check cececececece",
        ),
        (
            {"unchecked": [*map(_run, "abc")], "top": _row("at", 0.442, run_id="a+b+c")},
            "unchecked",
            "at is not checked yet for a weak attack: robbench check a; "
            "robbench check b (and 1 more)",
        ),
        (
            {"doubts": [Doubt("error", _row("at", 0.4), "check unmoved", "5 did not move")]},
            "error",
            "But at, check unmoved: 5 did not move",
        ),
        (
            {"doubts": [ERROR, ERROR]},
            "error",
            "But at, error: 2 samples gave logits or gradients that are not finite numbers "
            "(1 more doubt)",
        ),
    ],
)
def test_doubts(changes: dict[str, Any], severity: str, said: str) -> None:
    """The strongest first and how many more; a missing check is not a passed one."""
    assert doubt(_answer(**changes)) == (severity, said)
    assert as_json(_answer(**changes))["doubt"] == {"severity": severity, "text": said}


UNCHECKED = "at is not checked yet for a weak attack: "


@pytest.mark.parametrize(
    ("changes", "out", "said"),
    [
        ({}, "runs", "robbench check atatatatatat"),
        ({}, "my runs", "robbench check atatatatatat --out 'my runs'"),
        (
            {"attack_params": '["eot:attack=(own:Mine),draws=2"]'},
            "runs",
            "robbench check atatatatatat --trust-code",
        ),
        (
            {"model_arch": "nets:make", "model": "nets:make", "loss": None},
            "x",
            "robbench check atatatatatat --trust-code --out x",
        ),
        (
            {"model_arch": "__main__:Net", "model": "plain", "loss": None},
            "x",
            "in Python, result.check(), then result.save('x')",
        ),
    ],
)
def test_what_to_do_about_a_missing_check(changes: dict[str, Any], out: str, said: str) -> None:
    """A command for the folder at hand; none for a model that only Python had."""
    answer = _answer(unchecked=[_run("at" * 6, **changes)])
    assert doubt(answer, Path(out)) == ("unchecked", UNCHECKED + said)


def test_results_of_a_program_go_to_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to its working copy of the moment."""
    monkeypatch.setenv("ROBBENCH_COPIES", str(tmp_path))
    run = _run("at" * 6, model_arch="__main__:Net", model="plain", loss=None)
    with working_copy("memory://answer", print) as out:
        assert how_to_check([run], out).endswith("result.save('memory://answer')")
