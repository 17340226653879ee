"""What runs know of each attack, from rows made by hand."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robbench.analysis.tried import AT_THE_END, BROKE, FAILED, UNKNOWN, fitting, tried
from robbench.core.errors import UserError
from robbench.core.status import UNFINISHED
from robbench.store.run import Run, read_run

SHORT = {"a:full": "a", "b:full": "b", "c:full": "c"}


def _row(rows: Callable[..., Any], i: int, by: str | None, **more: Any) -> dict[str, Any]:
    (row,) = rows(1)
    correct = by != "clean"
    return row | {
        "sample_id": i,
        "clean_correct": correct,
        "adversarial": by is not None,
        "robust": by is None,
        "broken_by": by,
        **more,
    }


@pytest.fixture
def run(
    add_run: Callable[..., tuple[Path, Run]], handmade_rows: Callable[..., Any]
) -> Callable[..., Run]:
    """A run of some attacks, by its samples (id, broken_by, more)."""

    def make(run_id: str, attacks: str, samples: list[Any], audit: str = "", **facts: Any) -> Run:
        rows = [_row(handmade_rows, i, by, **(more[0] if more else {})) for i, by, *more in samples]
        provenance = {"audit_params": [f"{a}:full" for a in audit]} if audit else {}
        path, _ = add_run(
            run_id,
            rows,
            attack=" + ".join(attacks),
            attack_params=json.dumps([f"{a}:full" for a in attacks]),
            provenance=json.dumps(provenance),
            **facts,
        )
        return read_run(path)

    return make


def _states(found: Any) -> dict[int, str]:
    """By sample: what is known of each attack, in letters."""
    letters = {UNKNOWN: "?", FAILED: "-", BROKE: "x"}
    return {
        int(i): "".join(letters[state] for state in row)
        for i, row in zip(found.sample_id, found.state.tolist(), strict=True)
    }


def test_a_cascade_hides_what_later_attacks_would_have_done(run: Callable[..., Run]) -> None:
    """Those before have failed, those after are unknown; nothing is known of wrong ones."""
    where = {"broken_variant": 2, "first_success_step": 7}
    samples = [(1, "a"), (2, "b", where), (3, None), (4, "clean"), (5, "replay"), (6, "gone")]
    found = tried([run("aaaa", "abc", samples)], SHORT)
    assert found.attacks == ("a:full", "b:full", "c:full")
    assert _states(found) == {1: "x??", 2: "-x?", 3: "---", 4: "???", 5: "???", 6: "???"}
    assert (found.variant[1, 1], found.step[1, 1]) == (2, 7)
    assert found.step[0, 0] == AT_THE_END  # the rows made by hand know of no step
    assert found.wrong.tolist() == [False, False, False, True, False, False]
    assert found.broken.tolist() == [True, True, False, True, True, True]


def test_runs_are_joined_by_sample_model_and_budget(run: Callable[..., Run]) -> None:
    """A run of one attack fills what a cascade hid; other weights or budgets are other pairs."""
    cascade = run("aaaa", "ab", [(1, "a"), (2, None)])
    alone = run("bbbb", "b", [(2, None), (1, "b"), (3, "b")])
    found = tried([cascade, alone], SHORT)
    assert _states(found) == {1: "xx", 2: "--", 3: "?x"}
    assert [whole.state.tolist() for whole in found.wholes] == [
        [BROKE, FAILED, UNKNOWN],
        [BROKE, FAILED, BROKE],
    ]
    other = run("cccc", "b", [(1, None)], model_hash="other")
    larger = run("dddd", "b", [(1, None)], eps=0.2)
    assert len(tried([cascade, other, larger], SHORT).sample_id) == 4


def test_an_audit_goes_on_behind_the_cascade(run: Callable[..., Run]) -> None:
    """A drawn sample has withstood the run's own attacks, whatever broke it then."""
    drawn = {"audited": True}
    rest = {"audited": False}
    samples = [(1, "b", drawn), (2, None, drawn), (3, None, rest), (4, "a", rest)]
    found = tried([run("aaaa", "a", samples, audit="ab")], SHORT)
    assert _states(found) == {1: "-x", 2: "--", 3: "-?", 4: "x?"}


def test_undecided_samples_say_nothing(run: Callable[..., Run]) -> None:
    """Which attacks a sample came to before a limit is not known."""
    found = tried([run("aaaa", "ab", [(1, None, {"status": UNFINISHED}), (2, None)])], SHORT)
    assert (_states(found), found.left_out) == ({2: "--"}, 1)


def test_what_a_smaller_budget_broke_was_not_attacked_again(run: Callable[..., Run]) -> None:
    """Of a run with several budgets; without the smaller one nobody can tell."""
    config = json.dumps({"threat": ["linf:0.1,0.2"]})
    small = run("aaaa", "a", [(1, "a"), (2, None), (3, None)], config=config)
    large = run("bbbb", "a", [(1, "a"), (2, "a"), (3, None)], eps=0.2, config=config)
    found = tried([small, large], SHORT)
    assert sorted(found.sample_id.tolist()) == [1, 2, 2, 3, 3]
    assert found.left_out == 1
    assert [_states(found)[i] for i in (2, 3)] == ["x", "-"]  # the larger comes last
    assert [whole.dear for whole in found.wholes] == [True]
    with pytest.raises(UserError, match="name those runs"):
        tried([large], SHORT)


def test_a_smaller_budget_may_be_of_a_command_of_its_own(run: Callable[..., Run]) -> None:
    """With another name and tag; not one with other settings, nor one of another curve."""
    usual = {"limit": 3, "name": None, "tag": []}
    config = json.dumps({**usual, "threat": ["linf:0.1,0.2"], "name": "other"})
    large = run("bbbb", "a", [(1, "a"), (2, "a"), (3, None)], eps=0.2, config=config)
    own = {"threat": ["linf:0.1"], "tag": ["night=1"]}
    rows = [(1, "a"), (2, None), (3, None)]
    small = run("aaaa", "a", rows, config=json.dumps(usual | own))
    assert tried([small, large], SHORT).left_out == 1
    for changes in ({"limit": 4}, {"threat": ["linf:0.05,0.1"]}):
        odd = run("cccc", "a", rows, config=json.dumps(usual | own | changes))
        with pytest.raises(UserError, match="run bbbb"):
            tried([large, odd], SHORT)


def test_classes_are_those_of_the_model(run: Callable[..., Run]) -> None:
    """As it answered before the attack; of an older run, as many as labels and predictions say."""
    answers = json.dumps({"made": [[0.0] * 7], "samples": [], "spread": 0.0})
    assert tried([run("aaaa", "a", [(1, None)], answers=answers)], SHORT).classes.tolist() == [7]
    rows = [(1, None, {"label": 4, "clean_pred": 2})]
    assert tried([run("bbbb", "a", rows)], SHORT).classes.tolist() == [5]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"eps": float("inf")}, "of minimum norm"),
        ({"target": "3"}, "with a target"),
        ({"norm": "corruption:fog"}, "a corruption"),
    ],
)
def test_runs_that_say_nothing_of_others_are_left_out(
    run: Callable[..., Run], facts: Any, said: str
) -> None:
    """With a note; an error where no other is left."""
    fits, odd = run("aaaa", "a", [(1, None)]), run("bbbb", "a", [(1, None)])
    assert fitting([fits, odd]) == ([fits, odd], [])
    odd = dataclasses.replace(odd, info=odd.info | facts)
    kept, (note,) = fitting([fits, odd, odd])
    assert kept == [fits]
    assert note.startswith(f"left out: {odd.info['run_id']} and 1 more, {said}")
    with pytest.raises(UserError, match=said):
        fitting([odd])


def test_runs_of_several_norms(run: Callable[..., Run]) -> None:
    """They need a cascade each."""
    runs = [run("aaaa", "a", [(1, None)]), run("bbbb", "a", [(1, None)])]
    runs[1] = dataclasses.replace(runs[1], info=runs[1].info | {"norm": "l2"})
    with pytest.raises(UserError, match="several norms"):
        fitting(runs)
