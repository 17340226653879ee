"""What other jobs than attacks are said to cost."""

from __future__ import annotations

import re

import pytest
import torch

from robbench.core.spec import validate
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.forecast import device_text, forecast_measures, forecast_queries
from robbench.tasks.subject import find_subject


@pytest.fixture
def subject(tmp_path):
    config = validate(AttackConfig, {"data": "digits", "limit": 50}, "attack")
    place = (Store(tmp_path), torch.device("cpu"), None, False)
    return find_subject("mlp:width=8,depth=1", config, *place)[0]


def test_queries_of_all_parts_and_time_of_the_model_alone(subject):
    found = forecast_queries(subject.model, subject.split, {"a": (10.0, 30.0), "b": (5.0, 0.0)})
    assert found.queries_at_most == 45
    assert found.alone
    a, b = found.parts
    assert found.seconds_at_most == pytest.approx(40 * a.seconds + 5 * b.seconds)
    assert b.seconds > 0
    assert found.queries is None


@pytest.mark.parametrize("points", [False, True])
def test_measures_take_a_forward_and_two_backwards_at_each_point(subject, points):
    """At the worst points also at the clean ones again."""
    found = forecast_measures(subject, 20, points=points)
    assert found.queries_at_most == 3 * (50 + 20 + 2 * 50 * points)


def test_the_device_is_named_with_its_threads():
    before = torch.get_num_threads()
    try:
        for n, text in ((1, "cpu (1 thread)"), (2, "cpu (2 threads)")):
            torch.set_num_threads(n)
            assert device_text(torch.device("cpu")) == text
    finally:
        torch.set_num_threads(before)


def test_check_measure_and_gate_begin_with_a_forecast(cli, tmp_path):
    """On stderr, once; not with --quiet."""
    out = tmp_path / "S"
    model = "mlp:width=8,depth=1"
    attack = f"attack {model} --attack pgd:steps=2 --data digits --limit 30 --store-points --out"
    assert cli(attack, out).code == 0
    (path,) = (out / "results" / "runs").glob("*.parquet")
    assert cli("baseline set", path.stem, "--out", out).code == 0
    told = re.compile(r"^(.*): (about|at most) [\d,]+.* queries(,| in) .* on cpu", re.MULTILINE)
    for line, title in (
        (f"check {path.stem} --limit 4", f"check {path.stem}"),
        (f"measure {path.stem} --train-samples 20", f"measuring {path.stem}"),
        (f"gate --model {model} --max-drop 50", ", if it takes all samples"),
    ):
        for quiet in (True, False):
            again = "" if line.startswith("check") else " --force"
            done = cli(f"{line}{again}{' --quiet' * quiet} --device cpu --out", out)
            assert done.code in (0, 1, 4), done.err
            titles = [found[0] for found in told.findall(done.err)]
            assert len(titles) == (not quiet), (line, done)
            assert all(title in found for found in titles)
