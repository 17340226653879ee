"""Audits against runs that give the same attacks to every sample, stopped ones, and their words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robbench.core.spec import validate
from robbench.core.status import UNFINISHED
from robbench.engine.audit import draw
from robbench.engine.fast_model import FastModel, fast_model
from robbench.store.run import Run, read_points
from robbench.store.store import Store
from robbench.tasks.attack import session
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.job import AttackJob
from robbench.tasks.attack.plan import AttackPlan, plan_attacks
from robbench.tasks.listener import Bar
from robbench.tasks.signals import StopFlag

from .listeners import Noting

SIZE, DRAWN = 40, 7
CHEAP, MORE = ["pgd:steps=3"], ["apgd-ce:steps=5", "square:steps=60"]
MODELS = """
import torch
from sklearn.datasets import load_digits
from torch import nn

class Plain(nn.Module):
    '''The nearest mean of a class.'''
    def __init__(self):
        super().__init__()
        images, labels = load_digits(return_X_y=True)
        images = torch.from_numpy(images).float() / 16
        means = torch.stack([images[labels == k].mean(0) for k in range(10)])
        self.means = nn.Parameter(means, requires_grad=False)

    def forward(self, x):
        x = x.flatten(1)
        return x @ self.means.T - (self.means ** 2).sum(1) / 2

class Half(Plain):
    '''No gradient where the first pixels are dark, as they are in about a half of the digits.'''
    def forward(self, x):
        z = super().forward(x)
        dark = x.flatten(1)[:, 26:28].sum(1, keepdim=True) < 0.9
        return torch.where(dark, z.detach(), z)
"""


class Stopping(Bar):
    """Asks to stop once the audit has decided so many samples."""

    def __init__(self, stop: StopFlag, after: int) -> None:
        self.stop, self.after = stop, after
        self.shares: list[float] = []

    def update(self, share: float, text: str, left: str = "") -> None:
        self.shares.append(share)
        if "audited" in text and int(text.partition("/")[0]) >= self.after:
            self.stop.exit_code = 130


Attacked = Callable[..., tuple[list[Run], list[str]]]


@pytest.fixture
def attacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attacked:
    """Attacks a model of MODELS into a folder: its runs, none where it was stopped; what it said.

    stop: after so many samples of the audit.
    """
    (tmp_path / "auditmodels.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)

    def run(
        out: str = "out", model: str = "Half", stop: int = SIZE + 1, **settings: Any
    ) -> tuple[list[Run], list[str]]:
        plan = planned(tmp_path / out, model, **settings)
        flag, listener = StopFlag(), Noting()
        bar = Stopping(flag, stop)
        job = AttackJob(plan, Store(tmp_path / out), listener, bar, flag, None)
        runs = job.run(force=False).runs
        assert bar.shares == sorted(bar.shares)
        return runs, listener.said

    return run


def planned(out: Path, model: str, **settings: Any) -> AttackPlan:
    given = {
        "data": "digits",
        "limit": SIZE,
        "threat": ["linf:0.1"],
        "attack": CHEAP,
        "batch_size": 8,
        **settings,
    }
    config = validate(AttackConfig, given, "attack")
    (plan,) = plan_attacks([f"auditmodels:{model}"], config, out=out, device="cpu")
    return plan


def audit(**settings: Any) -> dict[str, Any]:
    return {"audit": DRAWN, "audit_attack": MORE, **settings}


def rows(run: Run) -> list[dict[str, Any]]:
    return run.samples.drop_columns(["run_id"]).to_pylist()


VERDICT = ("adversarial", "robust", "adv_pred", "broken_by", "broken_variant", "n_backward")


def test_audited_samples_are_as_if_all_attacks_were_one_cascade(attacked: Attacked) -> None:
    """At every budget; the others are as without an audit, and the draw is by rank."""
    budgets = {"threat": ["linf:0.05,0.1,0.2"]}
    found, said = attacked(**audit(), **budgets)
    cheap, _ = attacked(**budgets)
    full, _ = attacked(attack=[*CHEAP, *MORE], **budgets)
    assert said == []
    broken = []
    for run, before, after in zip(found, cheap, full, strict=True):
        survivors = [row["sample_index"] for row in rows(before) if row["robust"]]
        chosen = planned(Path("none"), "Half").subject.split
        drawn = draw(survivors, DRAWN, chosen, 0)
        assert [row["sample_index"] for row in rows(run) if row["audited"]] == drawn
        assert len(survivors) > len(drawn) == DRAWN
        for row, one, other in zip(rows(run), rows(before), rows(after), strict=True):
            like = other if row["audited"] else {**one, "audited": False}
            names = VERDICT if row["audited"] else row
            if row["audited"] and run is not found[0]:  # at smaller budgets it was not drawn
                names = VERDICT[:-1]
            assert {name: row[name] for name in names} == {name: like[name] for name in names}
            assert row["dist_l0px"] == row["dist_l0"]  # grey images
        info = run.info
        assert info["audit_attack"] == "apgd:steps=5 + square:steps=60"
        assert info["n_audited"] == DRAWN
        assert info["n_audit_broken"] == sum(
            row["audited"] and row["adversarial"] for row in rows(run)
        )
        assert info["n_robust"] == sum(row["robust"] for row in rows(run))
        broken.append(info["n_audit_broken"])
        assert info["robust_accuracy"] <= before.info["robust_accuracy"]
        assert info["robust_accuracy_audited"] <= after.info["robust_accuracy"]
    assert max(broken) > 0
    robust = [run.info["robust_accuracy"] for run in found]
    assert robust == sorted(robust, reverse=True)


def test_the_audit_searches_the_copy_that_the_attacks_searched(
    attacked: Attacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At all budgets one copy is made, or each part would fold and measure its own."""
    made = []

    def spy(*args: Any, **options: Any) -> FastModel:
        made.append(fast_model(*args, **options))
        return made[-1]

    monkeypatch.setattr(session, "fast_model", spy)
    found, _ = attacked(**audit(), threat=["linf:0.05,0.1"])
    assert [run.info["n_audited"] for run in found] == [DRAWN, DRAWN]
    assert len(made) == 1


@pytest.mark.parametrize(("points", "adaptive"), [(False, False), (True, True)])
def test_a_stopped_audit_goes_on_bit_for_bit(
    attacked: Attacked, tmp_path: Path, points: bool, adaptive: bool
) -> None:
    """Stopped several times in the middle of it, at another width: all rows and points."""
    curve = {"threat": ["linf:0.05,0.1"], "store_points": points}
    settings = audit(audit=20, adaptive=adaptive, **curve)
    whole, _ = attacked("whole", **settings)
    stops = 0
    while not (found := attacked("parts", stop=6 + 12 * stops, **{**settings, "batch_size": 4})[0]):
        stops += 1
        if stops == 1:  # a kill loses what was not written yet, but for its points
            max((tmp_path / "parts").rglob("audited/*.parquet")).unlink()
    assert stops > 1
    assert [rows(run) for run in found] == [rows(run) for run in whole]
    assert [run.info["flags"] for run in found] == [run.info["flags"] for run in whole]
    for run in found if points else []:
        mine, theirs = (
            {
                row["sample_id"]: row
                for row in read_points(Store(tmp_path / out).run_path(run.info["run_id"]))
            }
            for out in ("parts", "whole")
        )
        assert mine == theirs
        moved = {row["sample_id"] for row in rows(run) if row["dist_linf"]}
        assert set(mine) == moved
        for row in rows(run):
            if row["sample_id"] in moved:
                assert mine[row["sample_id"]]["adversarial"] == row["adversarial"]


def test_a_run_with_signs_of_masking_advises_or_audits_all(attacked: Attacked) -> None:
    """Zero gradients: with --adaptive the verdict is that of the whole cascade on every sample."""
    some, _ = attacked(**audit())
    every, said = attacked(**audit(adaptive=True))
    full, _ = attacked(attack=[*CHEAP, *MORE])
    names = [flag["name"] for flag in json.loads(some[0].info["flags"])]
    assert "audit-all" in names
    assert "audit-all" not in every[0].info["flags"]
    assert "zero-gradient" in said[0]
    assert [row["robust"] for row in rows(every[0])] == [row["robust"] for row in rows(full[0])]
    info = every[0].info
    assert info["robust_accuracy_audited"] == info["robust_accuracy"]
    assert info["audit_missed_high"] == info["n_audit_broken"] / info["n_audited"]


def test_without_signs_the_audit_stays_small(attacked: Attacked) -> None:
    """A model with gradients, adaptive or not: the same verdicts, and no advice."""
    found = [attacked("out", "Plain", **audit(adaptive=adaptive)) for adaptive in (False, True)]
    assert rows(found[0][0][0]) == rows(found[1][0][0])
    for (run,), said in found:
        assert (said, run.info["n_audited"]) == ([], DRAWN)
        assert "audit-all" not in run.info["flags"]


def test_more_than_are_left_is_all_of_them_and_said(attacked: Attacked) -> None:
    """The bound is exact; where none is left there is none, which is said too."""
    (run,), (said,) = attacked(**audit(audit=1000))
    assert "fewer than --audit 1000: all are audited" in said
    assert run.info["audit_missed_high"] == run.info["n_audit_broken"] / run.info["n_audited"]
    (run,), (said,) = attacked(model="Plain", **audit(threat=["linf:0.9"]))
    assert "no sample is left to audit" in said
    names = ("n_audited", "n_audit_broken", "audit_missed_high", "robust_accuracy_audited")
    assert [run.info[name] for name in names] == [0, 0, None, None]
    assert {row["audited"] for row in rows(run)} == {False}


def test_limits_hold_for_the_audit(attacked: Attacked) -> None:
    """Forwards count anew in it; what runs out counts as broken in the bound alone."""
    (run,), _ = attacked(**audit(max_queries=20))
    late = [row for row in rows(run) if row["audited"] and row["status"] == UNFINISHED]
    assert 0 < len(late) <= DRAWN
    assert all(row["robust"] for row in late)
    broken = run.info["n_audit_broken"] + len(late)
    assert run.info["audit_missed_high"] >= broken / run.info["n_audited"] - 1e-9
    (run,), _ = attacked(**audit(max_queries=3))
    unfinished = [row for row in rows(run) if row["status"] == UNFINISHED]
    assert unfinished
    assert not any(row["audited"] for row in unfinished)
    assert run.info["n_audited"] == 0


def test_a_time_limit_ends_the_audit(attacked: Attacked) -> None:
    """No time for it at all: what was drawn is unfinished."""
    (run,), _ = attacked(**audit(max_time="0.000001s"))
    assert run.info["n_audited"] == 0
    assert run.info["n_unfinished"] > 0


def test_a_target_is_the_audits_too(attacked: Attacked) -> None:
    """Only the target class is a success of the audit."""
    (run,), _ = attacked(**audit(target="3", threat=["linf:0.3"]))
    mine = [row for row in rows(run) if row["audited"]]
    assert len(mine) == DRAWN
    assert {row["adv_pred"] for row in mine if row["adversarial"]} == {3}
