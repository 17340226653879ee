"""What is attacked and what it is called: names for display, tags, patterns of models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import robbench
from robbench.core.spec import validate
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.plan import plan_attacks

MODEL = "mlp:width=8,depth=1"
ATTACK = f"attack {MODEL} --data digits --limit 12 --threat linf:0.1 --attack fgsm --json --out"
Cli = Callable[..., Any]


def _row(out: Path) -> dict[str, Any]:
    (path,) = (out / "results" / "runs").glob("*.parquet")
    return dict(pq.read_table(path).to_pylist()[0])


def test_a_name_and_tags_change_no_run_id(cli: Cli, tmp_path: Path) -> None:
    """What a run is called is no part of what was computed; tables have the name and the tags."""
    (plain,) = cli(ATTACK, tmp_path / "plain").json["rows"]
    (named,) = cli(f"{ATTACK} {tmp_path} --name small --tag a=b --tag nightly").json["rows"]
    assert named["run_id"] == plain["run_id"]
    assert (named["model"], named["tags"]) == ("small", ["a=b", "nightly"])
    assert [_row(tmp_path)[key] for key in ("model", "model_source")] == ["small", MODEL]
    assert _row(tmp_path / "plain")["model_source"] is None
    (listed,) = (line for line in cli("runs", tmp_path).out.splitlines() if named["run_id"] in line)
    assert listed.split()[1] == "small"
    assert listed.endswith("a=b, nightly")
    assert "tags a=b, nightly" in " ".join(cli("show small --out", tmp_path).out.split())
    for tag, code in (("a=b", 0), ("nightly", 0), ("a", 2)):
        assert cli("compare --out", tmp_path, "--where", f"tag={tag}").code == code


@pytest.mark.slow
def test_a_named_run_is_checked_and_measured_by_its_model(cli: Cli, tmp_path: Path) -> None:
    """The name is for people; what is made again is made of the model that was attacked."""
    cli(ATTACK, tmp_path, "--name", "small", "--store-points")
    assert cli("check small --limit 4 --json --out", tmp_path).code in (0, 1)
    assert cli("measure small --json --out", tmp_path).code == 0


def test_a_run_that_is_there_keeps_its_name(cli: Cli, tmp_path: Path) -> None:
    """The command says under which name, and which tags it has not."""
    cli(ATTACK, tmp_path, "--name", "small")
    before = _row(tmp_path)
    done = cli(ATTACK, tmp_path, "--name", "other", "--tag", "new")
    assert "is in the store already as small and without tag new; nothing to do" in done.err
    assert _row(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--name at", "--name at belongs to another model (a trained model"),
        ("--name taken", "--name taken belongs to another model (mlp:width=4,depth=1)"),
        ("mlp:width=2,depth=1 --name x", "--name x is for one model, not for 2"),
        ("--name a*", "which patterns, checkpoints and paths have"),
        ("--name ''", "a name is 1 to 200 characters"),
        ("--tag =x --tag y", "tag='=x,y': a tag is KEY=VALUE or a text"),
        ("--tag a=1 --tag a=2", "a has two values, a=1 and a=2"),
    ],
)
def test_bad_names_and_tags(cli: Cli, tmp_path: Path, words: str, message: str) -> None:
    """One line, exit 2, nothing is written."""
    (tmp_path / "models" / "at").mkdir(parents=True)
    cli(ATTACK.replace("width=8", "width=4"), tmp_path, "--name", "taken")
    before = sorted(tmp_path.rglob("*"))
    done = cli(f"{ATTACK} {tmp_path} {words}")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert message in done.err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_function_takes_them_too(tmp_path: Path) -> None:
    """And its results have them."""
    (found,) = robbench.attack(
        MODEL, "fgsm", "linf:0.1", data="digits", limit=12, name="small", tags="t", out=tmp_path
    )
    assert (found.info["model"], found.info["tags"]) == ("small", '["t"]')
    assert list(robbench.compare(out=tmp_path, where="tag=t")["tags"]) == [["t"]]


def test_a_pattern_attacks_every_trained_model_that_matches(trained: Path, cli: Cli) -> None:
    """Each once; what matches nothing is bad input that says what there is."""
    config = validate(AttackConfig, {"limit": 4}, "attack")
    plans = plan_attacks(["ce", "[ac]*"], config, out=trained, device="cpu")
    assert [plan.subject.name for plan in plans] == ["ce", "at"]
    done = cli("attack 'x*' --out", trained)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "matches 'x*'; there is at, ce" in done.err
