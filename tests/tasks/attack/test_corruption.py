"""Whole runs under corruptions: rows, resumption, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from torch import Tensor

from robbench.engine.corrupted import Answer, CorruptedPass

MODEL = "mlp:width=8,depth=1"
BASE = f"attack {MODEL} --data digits --limit 24"
Cli = Callable[..., Any]


def _table(out: Path, table: str) -> dict[str, list[dict[str, Any]]]:
    return {
        path.stem: pq.read_table(path).to_pylist()
        for path in (out / "results" / table).glob("*.parquet")
    }


def test_each_corruption_and_severity_is_a_run(cli: Cli, tmp_path: Path) -> None:
    """Without attacks; samples are broken by the corruption, and no file contradicts itself."""
    done = cli(f"{BASE} --threat corruption:contrast,fog@2-3 --tag c --json --out", tmp_path)
    assert done.code == 0
    rows = done.json["rows"]
    assert [row["threat"] for row in rows] == [
        *(f"corruption:contrast@{n}" for n in (1, 2, 3, 4, 5)),
        "corruption:fog@2",
        "corruption:fog@3",
    ]
    assert {(row["norm"], row["eps"]) for row in rows[5:]} == {
        ("corruption:fog", 2.0),
        ("corruption:fog", 3.0),
    }
    assert {row["attack"] for row in rows} == {"none"}
    assert not [flag for row in rows for flag in row["flags"] if flag["name"] == "edited"]
    samples = _table(tmp_path, "samples")
    for row in rows:
        mine = samples[row["run_id"]]
        assert row["robust_accuracy"] == sum(s["adv_pred"] == s["label"] for s in mine) / 24
        broken = {s["broken_by"] for s in mine if s["adversarial"]}
        assert broken <= {row["threat"]}
        assert row["n_forward"] == 48


def test_one_command_asks_for_clean_inputs_once(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each model, in one tile of samples; a command of its own says the same of them."""
    asked = []
    usual = CorruptedPass._answers

    def counted(self: CorruptedPass, x: Tensor, labels: Tensor) -> list[Answer]:
        asked.append(len(x))
        return usual(self, x, labels)

    monkeypatch.setattr(CorruptedPass, "_answers", counted)
    models = f"attack {MODEL} mlp:width=4,depth=1 --data digits --limit 24"
    assert cli(f"{models} --threat corruption:fog@1-3 --out", tmp_path / "both").code == 0
    assert asked == [24] * 2 * (1 + 3)
    cli(f"{BASE} --threat corruption:fog@3 --out", tmp_path / "alone")
    together = _table(tmp_path / "both", "samples")
    ((run_id, rows),) = _table(tmp_path / "alone", "samples").items()
    assert together[run_id] == rows


def test_a_model_that_draws_is_asked_for_clean_inputs_in_each_run(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its draws, and so its verdicts, would depend on the runs before."""
    (tmp_path / "noisy_model_here.py").write_text(
        "import torch\n"
        "class Noisy(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x.flatten(1)[:, :10] + torch.rand(len(x), 10)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = "attack noisy_model_here:Noisy --data digits --limit 24"
    assert cli(f"{words} --threat corruption:fog@1-2 --out", tmp_path / "both").code == 0
    assert cli(f"{words} --threat corruption:fog@2 --out", tmp_path / "alone").code == 0
    together = _table(tmp_path / "both", "samples")
    ((run_id, rows),) = _table(tmp_path / "alone", "samples").items()
    assert together[run_id] == rows


def test_samples_are_the_same_in_any_part_order_and_limit(cli: Cli, tmp_path: Path) -> None:
    """Two shards, and a limit that takes the first samples alone."""
    threat = "--threat corruption:gaussian_noise@5"
    cli(f"{BASE} {threat} --out", tmp_path / "whole")
    cli(f"{BASE} {threat} --batch-size 5 --shard 1/2 --out", tmp_path / "parts")
    assert cli(f"{BASE} {threat} --batch-size 5 --shard 2/2 --out", tmp_path / "parts").code == 0
    cli(f"attack {MODEL} --data digits --limit 9 {threat} --out", tmp_path / "few")
    whole, parts, few = (
        {s["sample_id"]: (s["adv_margin"], s["adv_pred"]) for s in rows}
        for name in ("whole", "parts", "few")
        for rows in _table(tmp_path / name, "samples").values()
    )
    assert whole == parts
    assert few == {sample: whole[sample] for sample in few}
    assert len(few) == 9


def test_a_finished_run_is_not_made_again(cli: Cli, tmp_path: Path) -> None:
    command = f"{BASE} --threat corruption:snow@1 --out"
    cli(command, tmp_path)
    assert "nothing to do" in cli(command, tmp_path).err


def test_balls_and_corruptions_go_together(cli: Cli, tmp_path: Path) -> None:
    """Each has its runs; the default attack is for the ball."""
    threats = "--threat corruption:fog@1 --threat linf:0.05"
    rows = cli(f"{BASE} {threats} --json --out", tmp_path).json["rows"]
    assert [row["attack"] for row in rows] == ["none", "apgd"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--attack pgd", "leave out --attack"),
        ("--attack apgd", "leave out --attack"),
        ("--set attack=apgd", "leave out --attack"),
        ("--audit 5", "leave out --audit"),
        ("--max-queries 9", "leave out --max-queries"),
        ("--max-time 9s", "leave out --max-time"),
        ("--precision bf16", "leave out --precision"),
        ("--measure", "leave out --measure"),
        ("--target 3", "seeks no target"),
    ],
)
def test_what_is_of_attacks_is_refused(cli: Cli, tmp_path: Path, words: str, said: str) -> None:
    done = cli(f"{BASE} --threat corruption:fog@1 {words} --out", tmp_path)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "results").exists()


def test_a_table_of_numbers_has_no_weather(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b,y\n" + "".join(f"{i},{i % 3},{i % 2}\n" for i in range(40)))
    done = cli(f"attack mlp:width=4,depth=1 --data csv:{file},label=y --threat corruption:fog@1")
    assert done.code == 2
    assert "is for images of at least 8x8 pixels, the data have the shape 2" in done.err


def test_entries_that_are_fixed_are_not_corrupted(cli: Cli, tmp_path: Path) -> None:
    """A corruption would change them, and what no attack may change it may not either."""
    images = np.zeros((6, 1, 8, 8), np.float32) + np.linspace(0, 1, 8, dtype=np.float32)
    np.savez(tmp_path / "t.npz", x_test=images, y_test=np.arange(6) % 2, fixed=images[0] > 0.5)
    data = f"--data npz:{tmp_path / 't.npz'},fixed=fixed"
    done = cli(f"attack mlp:width=4,depth=1 {data} --threat corruption:fog@1 --out", tmp_path / "o")
    assert (done.code, "and some are fixed here" in done.err) == (2, True)
    assert not (tmp_path / "o").exists()


def test_there_is_nothing_to_check(cli: Cli, tmp_path: Path) -> None:
    """Of a run, nor of a model under a corruption."""
    cli(f"{BASE} --threat corruption:fog@1 --out", tmp_path)
    done = cli(f"check '{MODEL}' --out", tmp_path)
    assert (done.code, "there is nothing to check" in done.err) == (2, True)


def test_what_is_decided_is_not_made_again(cli: Cli, tmp_path: Path) -> None:
    """A part, then the whole: the other samples are joined to it."""
    command = f"{BASE} --threat corruption:shot_noise@2 --out"
    cli(command, tmp_path, "--shard", "1/2")
    done = cli(command, tmp_path)
    assert "12 of 24 samples are decided already" in done.err
    (rows,) = _table(tmp_path, "samples").values()
    cli(command, tmp_path / "new")
    (fresh,) = _table(tmp_path / "new", "samples").values()
    assert rows == fresh


@pytest.mark.parametrize(
    "command",
    [
        "show RUN",
        "report RUN",
        "view RUN",
        pytest.param("measure RUN", marks=pytest.mark.slow),
        "compare RUN --pivot threat",
        "history RUN",
        "plot margins RUN",
        f"baseline set RUN && gate --model {MODEL.replace('8', '4')} --max-drop 99",
    ],
)
def test_other_commands_take_such_a_run(cli: Cli, tmp_path: Path, command: str) -> None:
    """With its points, like any other."""
    base = f"{BASE} --threat corruption:contrast@5 --store-points --json --out"
    (row,) = cli(base, tmp_path).json["rows"]
    for part in command.split(" && "):
        done = cli(part.replace("RUN", row["run_id"]), "--out", tmp_path, cwd=tmp_path)
        assert done.code == 0, done.err


@pytest.mark.slow
def test_a_measure_of_the_budget_is_none_of_a_severity(cli: Cli, tmp_path: Path) -> None:
    """How many samples a perturbation of size 5 flips would be nonsense."""
    cli(f"{BASE} --threat corruption:contrast@5 --store-points --out", tmp_path)
    assert cli(f"measure '{MODEL}' --out", tmp_path).code == 0
    (rows,) = _table(tmp_path, "measures").values()
    (flips,) = (row for row in rows if row["name"] == "flip_share")
    assert flips["value"] is None


def test_inspect_takes_one_severity(cli: Cli) -> None:
    done = cli(f"inspect {MODEL} --data digits --threat corruption:fog")
    assert (done.code, "inspect forecasts one attack" in done.err) == (2, True)
