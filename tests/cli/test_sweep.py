"""The command: its lines, its objects, its refusals."""

import json

import pytest

WORDS = (
    "sweep --name s --grid seed=0..1 --data digits --epochs 1 --limit 40 --attack fgsm "
    "--set model=mlp:width=4,depth=1"
)


def test_a_dry_run_lists_the_tasks_and_writes_nothing(cli, tmp_path):
    done = cli(f"{WORDS} --dry-run --out", tmp_path)
    assert done.code == 0, done.err
    assert done.out.splitlines()[:2] == ["train cross-entropy-s0", "attack cross-entropy-s0"]
    found = cli(f"{WORDS} --dry-run --json --out", tmp_path).json
    assert found["schema"] == "robbench.sweep.plan/1"
    assert [task["kind"] for task in found["tasks"]] == ["train", "attack"] * 2
    assert found["tasks"][1]["after"] == [found["tasks"][0]["task"]]
    assert not any(task["done"] for task in found["tasks"])
    assert list(tmp_path.iterdir()) == []


def test_a_flag_comes_before_set(cli, tmp_path):
    """As in train and attack."""
    found = cli(f"{WORDS} --set epochs=3 --dry-run --json --out", tmp_path).json
    assert found["tasks"][0]["settings"]["epochs"] == 1


@pytest.mark.slow
def test_measure_looks_at_the_runs(cli, tmp_path):
    words = f"{WORDS.replace('seed=0..1', 'seed=0')} --steps train,attack,measure"
    done = cli(f"{words} --json --out", tmp_path)
    assert done.code == 0, done.err
    assert done.json["tasks"] == {"total": 3, "computed": 3, "done": 3}
    assert done.json["rows"] == []
    for table in ("measures", "points", "runs"):
        names = {path.stem for path in (tmp_path / "results" / table).glob("*.parquet")}
        assert names == set(done.json["run_ids"])
    listed = cli(f"{words} --dry-run --out", tmp_path).out.splitlines()
    assert all(line.endswith(", done") for line in listed[:-1])
    assert listed[-1] == "nothing left to do"


@pytest.mark.slow
def test_check_looks_at_the_runs(cli, tmp_path):
    done = cli(f"{WORDS} --steps train,attack,check,compare --json --out", tmp_path)
    assert done.code == 0, done.err
    assert all(row["checks"] in ("pass", "fail") for row in done.json["rows"])


def test_a_file_of_a_sweep(cli, tmp_path):
    (tmp_path / "mine.toml").write_text(
        """
        [grid]
        seed = "0..1"
        [train]
        epochs = 1
        limit = 40
        model = "mlp:width=4,depth=1"
        [attack]
        attack = ["fgsm"]
        limit = 40
        """
    )
    done = cli("sweep mine.toml --json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.json["name"] == "mine"
    other = cli(f"{WORDS} --json --out", tmp_path / "other")
    assert other.json["run_ids"] == done.json["run_ids"]
    table = cli("sweep mine.toml", cwd=tmp_path)
    assert "2 seeds" in table.out
    assert "nothing to do" in table.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--grid los=trades --name s", "unknown setting 'los'"),
        ("--grid loss= --name s", "--grid 'loss='"),
        ("--grid seed=0..99999 --grid epochs=1..9999 --name s", "999,900,000 points"),
        ("--grid seed=0..1", "needs --name"),
        ("--name s", "nothing to do"),
        ("--grid seed=0..1 --name s/t", "name 's/t'"),
        ("--grid seed=0..1 --name s --steps train,attac", "did you mean attack"),
        ("--grid seed=0..1 --name s --set seed", "write KEY=VALUE"),
        ("nowhere.toml", "nowhere.toml"),
        ("--grid seed=0..1 --name s --address auto", "address"),
        ("--grid seed=0..1 --name s --engine bogus", "unknown engine 'bogus'"),
        ("--grid seed=0..1 --name s --engine ray --address a:b", "a:b"),
        ("--grid attack=mine:A --name s", "mine"),
        ("--grid seed=0..1 --name s --steps ''", "unknown step ''"),
        ("--grid seed=0..1 --name s --device gpu", "unknown device 'gpu'"),
        ("--grid seed=0..1 --name s --device gpu --jobs 2", "unknown device 'gpu'"),
        ("--grid seed=0..1 --name s --device gpu --engine ray", "not 'gpu'"),
    ],
)
@pytest.mark.parametrize("more", ["", "--dry-run"])
def test_bad_input_is_one_line_and_nothing_is_written(cli, tmp_path, words, said, more):
    done = cli(f"sweep {words} {more}", cwd=tmp_path)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_name_in_use_is_refused_before_anything_begins(cli, tmp_path):
    assert cli(f"{WORDS} --quiet --out", tmp_path).code == 0
    done = cli(f"{WORDS.replace('epochs 1', 'epochs 2')} --out", tmp_path)
    assert done.code == 2
    assert "different: epochs" in done.err
    done = cli(f"{WORDS.replace('epochs 1', 'epochs 2')} --prefix two --json --out", tmp_path)
    assert done.code == 0, done.err
    configs = sorted((tmp_path / "models").glob("*/config.json"))
    assert [json.loads(path.read_text())["config"]["epochs"] for path in configs] == [1, 1, 2, 2]
