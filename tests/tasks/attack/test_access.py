"""Models without gradients: what cannot work is refused before it runs, the rest says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from robbench.attacks.base import AttackEntry
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.tasks.attack.access import require_access
from robbench.threat.model import parse_threat

SOURCE = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(64, 10)
    def forward(self, x):
        return self.layer(x.flatten(1))

class Detached(Plain):
    def forward(self, x):
        return super().forward(x.detach()).detach()

class Arrays(Plain):
    def forward(self, x):
        weight, bias = self.layer.weight.detach().numpy(), self.layer.bias.detach().numpy()
        return torch.from_numpy(x.numpy().reshape(len(x), -1) @ weight.T + bias)
"""
COMMON = "--data digits --threat linf:0.1 --limit 12 --json --quiet --out"


def _entries(*specs: str) -> list[AttackEntry]:
    return [AttackEntry(spec, ATTACKS.build(spec)) for spec in specs]


def test_what_works_is_listed() -> None:
    """In the norm of the run, with or without a budget, of what the model shows."""
    for access, threat, spec, words in [
        ("score-based", "linf:0.1", "pgd", "gradients.* in linf are square, hopskipjump, noise$"),
        ("score-based", "l1:2", "pgd", "gradients.* in l1 are square, noise$"),
        (
            "score-based",
            "l2:inf",
            "fmn",
            "without a budget are minimal:attack=square, hopskipjump$",
        ),
        ("decision-based", "l2:1", "square", "scores: .* in l2 are hopskipjump, noise$"),
        ("decision-based", "l2:1", "pgd", "predicted classes only, pgd needs gradients"),
    ]:
        with pytest.raises(UserError, match=words):
            require_access("m", access, _entries(spec), parse_threat(threat))


def test_what_needs_no_more_than_the_model_shows_is_left_alone() -> None:
    (threat,) = parse_threat("linf:0.1")
    require_access("m", "white-box", _entries("pgd", "square"), [threat])
    require_access("m", "score-based", _entries("square", "hopskipjump", "noise"), [threat])
    require_access("m", "decision-based", _entries("hopskipjump", "noise"), [threat])


@pytest.mark.parametrize("name", ["Detached", "Arrays"])
def test_a_model_whose_outputs_have_no_gradient_is_attacked_by_its_scores(
    name: str, cli: Callable[..., Any], private: Callable[..., Path], tmp_path: Path
) -> None:
    """Gradient attacks and cascades with one are refused; square finds what it finds otherwise."""
    cwd = private("cut", SOURCE)
    for attack in ("apgd", "autoattack"):
        done = cli("attack", f"cut:{name}", "--attack", attack, *COMMON.split(), "S", cwd=cwd)
        assert done.code == 2
        assert f"model cut:{name} gives scores without gradients, apgd" in done.err
        assert done.err.count("\n") == 1
        assert not (cwd / "S").exists()
    models = ("cut:Plain", f"cut:{name}")
    done = cli("attack", *models, "--attack", "square:steps=30", *COMMON.split(), "S", cwd=cwd)
    assert done.code == 0, done.err
    plain, cut = done.json["rows"]
    assert [flag["name"] for flag in cut["flags"] if flag["name"] == "no-gradient"]
    columns = ["sample_id", "adversarial", "clean_margin", "adv_margin"]
    rows = [
        pq.read_table(cwd / f"S/results/samples/{row['run_id']}.parquet", columns=columns)
        for row in (plain, cut)
    ]
    for mine, expected in zip(*(table.to_pylist() for table in rows), strict=True):
        assert mine == pytest.approx(expected, abs=1e-4)


def test_checks_measures_and_inspection_do_without_gradients(
    cli: Callable[..., Any], private: Callable[..., Path]
) -> None:
    """Checks that need them are skipped and say why, measures of them are empty."""
    cwd = private("cut", SOURCE)
    words = ("attack", "cut:Detached", "--attack", "square:steps=30", "--store-points")
    done = cli(*words, *COMMON.split(), "S", cwd=cwd)
    assert done.code == 0, done.err
    run_id = done.json["rows"][0]["run_id"]
    own = ("--model", "cut:Detached", "--out", "S")
    checked = cli("check", run_id, *own, "--json", cwd=cwd)
    assert checked.code == 1, checked.err
    found = {row["check"]: row for row in checked.json["rows"]}
    assert found["no-gradient"]["verdict"] == "fail"  # its weights are torch's: it is cut
    for name in ("finite-difference", "huge-eps", "steps-doubled", "progress"):
        assert found[name]["verdict"] == "skipped", name
        assert found[name]["text"] == "the model shows no gradients"
    assert found["black-box"]["verdict"] != "skipped"
    measured = cli("measure", run_id, *own, "--json", cwd=cwd)
    assert measured.code == 0, measured.err
    values = {
        row["name"]: row["value"]
        for row in measured.json["rows"]
        if (row["points"], row["split"], row["class"]) == ("clean", "test", None)
    }
    assert values["margin_gradient_l1"] is None
    assert values["flip_share"] is None
    assert values["logit_margin_median"] is not None
    inspected = cli("inspect", "cut:Detached", "--data", "digits", "--out", "S", cwd=cwd)
    assert inspected.code in (0, 1), inspected.err
    assert "square under linf" in inspected.out
    transfer = "transfer:source=(cut:Detached)"
    done = cli("attack", "cut:Plain", "--attack", transfer, *COMMON.split(), "S", cwd=cwd)
    assert done.code == 2
    assert "source cut:Detached shows no gradients, which pgd needs of it" in done.err
