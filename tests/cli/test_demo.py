"""`robbench demo`, the README's first command, and the table that the README shows of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from robbench.tasks.attack import plan as attack_plan
from robbench.tasks.train import plan as train_plan

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ROW = re.compile(r"^(demo-\w+) +(?:\* +)?([\d.]+)% +([\d.]+)%", re.MULTILINE)


def require_whole(done, cli, folder, size):
    """Both runs are there, with points, and what is said of them; the last line makes the page."""
    assert done.code == 0, done.err
    rows = [
        pq.read_table(path).to_pylist()[0]
        for path in (folder / "results" / "runs").glob("*.parquet")
    ]
    assert sorted(row["model"] for row in rows) == ["demo-at", "demo-ce"]
    assert all(row["n_samples"] == size and row["status"] == "done" for row in rows)
    assert {path.name for path in (folder / "results" / "points").glob("*.parquet")} == {
        f"{row['run_id']}.parquet" for row in rows
    }  # the report shows pictures
    ratios = {row["model"]: f"{100 * row['adversarial_ratio']:.1f}%" for row in rows}
    for name, ratio in ratios.items():
        assert re.search(rf"{name} (wrong )?on {re.escape(ratio)}", done.out)
    last = done.out.splitlines()[-1].partition("robbench ")[2]
    assert last == f"report demo-ce demo-at --open --out {folder}"
    page = folder / "page.html"
    assert cli(*last.replace(" --open", "").split(), "--html", page).code == 0
    assert page.read_text(encoding="utf-8").count("data:image/png") > 10


@pytest.fixture
def short(monkeypatch):
    """One epoch, and the first 40 digits attacked."""
    train, attack = train_plan.plan_training, attack_plan.plan_attacks
    with monkeypatch.context() as patch:
        patch.setattr(
            train_plan,
            "plan_training",
            lambda config, **more: train(replace(config, epochs=1), **more),
        )
        patch.setattr(
            attack_plan,
            "plan_attacks",
            lambda models, config, **more: attack(models, replace(config, limit=40), **more),
        )
        yield


def test_it_trains_attacks_and_compares_both_models(short, cli, tmp_path):
    """In short: the same steps, words and files."""
    require_whole(cli("demo --device cpu --out", tmp_path), cli, tmp_path, 40)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_is_the_readmes(cli, tmp_path):
    """Its rates are near those of the README's table."""
    done = cli("demo --device cpu --out", tmp_path)
    require_whole(done, cli, tmp_path, 597)
    shown, found = (
        {name: (float(clean), float(robust)) for name, clean, robust in ROW.findall(text)}
        for text in (README, done.out)
    )
    assert shown.keys() == found.keys() == {"demo-ce", "demo-at"}
    for name, rates in shown.items():
        assert found[name] == pytest.approx(
            rates, abs=2.5
        )  # points; 15 of 597 samples: processors round otherwise
