"""Two finished runs held against each other: which they are, and what must be known of them."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from robbench.analysis.gate import Note
from robbench.analysis.gate_checks import Tolerances
from robbench.analysis.gate_runs import find_reference, gate_runs, remarks
from robbench.core.errors import UserError
from robbench.store.baseline import set_baseline
from robbench.store.store import Store


def _info(**changes: Any) -> dict[str, Any]:
    return {
        "model_hash": "h",
        "model_arch": "mlp",
        "answers": None,
        "n_unfinished": 0,
        "flags": None,
        "config": "{}",
        "eps": 0.1,
        "seed": 0,
        "attack": "pgd",
    } | changes


FLAG = {"name": "random", "text": "so"}
REPLAYED = {"config": '{"replay": ["x"]}'}
OTHER = {"model_hash": "k"}
PAIRS: list[tuple[dict[str, Any], dict[str, Any], Note]] = [
    ({}, {"model_hash": "h"}, Note("same-weights")),
    (
        {},
        {"attack": "lite", "audit_attack": "autoattack", "n_audited": 300},
        Note("audited-differently", {"baseline": "no audit", "candidate": "autoattack on 300"}),
    ),
    ({}, {"n_unfinished": 3}, Note("unfinished", {"which": "candidate", "n": 3})),
    ({"n_unfinished": 2}, {}, Note("unfinished", {"which": "baseline", "n": 2})),
    ({"flags": json.dumps([FLAG])}, {}, Note("flag", {"which": "baseline", **FLAG})),
    ({}, REPLAYED, Note("replayed", {"which": "candidate", "other": "baseline"})),
    (REPLAYED, {}, Note("replayed", {"which": "baseline", "other": "candidate"})),
    ({}, {"seed": 7}, Note("seeds", {"baseline": 0, "candidate": 7})),
]


@pytest.mark.parametrize(("mine", "theirs", "note"), PAIRS)
def test_what_must_be_known_of_a_pair(
    mine: dict[str, Any], theirs: dict[str, Any], note: Note
) -> None:
    """Each remark where there is reason for it, and no other."""
    assert remarks(_info(**mine), _info(**{**OTHER, **theirs})) == [note]


@pytest.mark.parametrize(
    "changes",
    [
        {"model_hash": "k"},
        {"model_arch": "cnn"},
        {"model_hash": "k", "eps": float("inf"), "seed": 7},
        {"model_hash": "k", "config": "not json"},
        {"model_hash": "k", "config": '{"replay": []}'},
    ],
)
def test_an_ordinary_pair_has_no_remark(changes: dict[str, Any]) -> None:
    """Other weights; seeds of attacks without a budget do not matter; no points were replayed."""
    base = _info(eps=changes.get("eps", 0.1))
    assert remarks(base, _info(**changes)) == []


def test_remarks_add_up() -> None:
    """Two reasons give both."""
    for first, second in itertools.combinations(PAIRS[1:4], 2):
        found = remarks(_info(**first[0], **second[0]), _info(**OTHER, **first[1], **second[1]))
        assert sorted(found, key=str) == sorted([first[2], second[2]], key=str)


@pytest.fixture
def store(tmp_path: Path, stored: Any, make_samples: Any) -> Store:
    """A robust model's run, and a weaker one's on the same samples."""
    stored("aaaa", make_samples(200, 1, 0.2), model_hash="h")
    weak = make_samples(200, 1, 0.7)
    stored("bbbb", weak, model="at", model_hash="k")
    return Store(tmp_path)


def test_a_run_is_judged_by_its_samples(store: Store) -> None:
    """The finding has both runs, the number of samples, and the drop of their accuracies."""
    found = gate_runs(store, "ce", "at", Tolerances())
    assert (found.baseline["run_id"], found.candidate["run_id"]) == ("aaaa", "bbbb")
    assert (found.seen, found.total) == (200, 200)
    drop = found.baseline["robust_accuracy"] - found.candidate["robust_accuracy"]
    assert found.checks[0].drop == pytest.approx(drop)
    assert found.verdict == "regression"
    assert gate_runs(store, "at", "ce", Tolerances()).verdict == "pass"


def test_the_reference_is_the_named_run_or_the_one_that_was_set(store: Store) -> None:
    """Without either it says what to do."""
    with pytest.raises(UserError, match="baseline set"):
        find_reference(store, None, None)
    set_baseline(store, "ce")
    for name, run_id in ((None, "aaaa"), ("at", "bbbb"), ("bbbb", "bbbb")):
        run, path = find_reference(store, name, None)
        assert run.info["run_id"] == run_id
        assert path.stem == run_id


@pytest.mark.parametrize("later", [False, True])
def test_weights_that_are_newer_than_the_run_are_named(store: Store, later: bool) -> None:
    """The run was of others."""
    weights = store.models / "at" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    if not later:
        os.utime(weights, (0, 0))
    notes = gate_runs(store, "ce", "at", Tolerances()).notes
    assert (Note("trained-since", {"model": "at"}) in notes) == later
