"""The functions behind the commands: the same results on disk, and nothing is printed."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

import robbench

TINY = {"model": "mlp:width=16,depth=1", "limit": 150, "epochs": 3, "inner": "pgd:steps=2"}
VARYING = {"started_at", "finished_at", "wall_s", "provenance"}


@pytest.fixture(autouse=True)
def _silent(capfd):
    """Nothing goes to either stream."""
    yield
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


@pytest.fixture(scope="module")
def trained_here(one_thread, tmp_path_factory):
    """An output folder with a model that was trained from Python."""
    folder = tmp_path_factory.mktemp("api") / "S"
    robbench.train("cross-entropy", data="digits", name="m", out=folder, **TINY)
    return folder


def rows(out, table, *without):
    """All rows of a results table."""
    found = [pq.read_table(p).to_pylist() for p in sorted((out / "results" / table).glob("*"))]
    return [{k: v for k, v in row.items() if k not in without} for part in found for row in part]


def test_training_gives_the_weights_of_the_command(trained_here, cli, tmp_path):
    """Byte by byte; a second call finds it done; progress ends at 1."""
    line = "train --loss cross-entropy --data digits --name m --model mlp:width=16,depth=1"
    done = cli(f"{line} --limit 150 --epochs 3 --inner pgd:steps=2 --out", tmp_path)
    assert done.code == 0, done.err
    ours, theirs = (
        (folder / "models" / "m" / "model.safetensors").read_bytes()
        for folder in (trained_here, tmp_path)
    )
    assert ours == theirs
    seen = []
    again = robbench.train(
        "cross-entropy", data="digits", name="m", out=trained_here, **TINY, progress=seen.append
    )
    assert not again.fresh
    assert again.folder == trained_here / "models" / "m"
    shares = []
    robbench.train(
        "cross-entropy",
        data="digits",
        out=tmp_path,
        name="other",
        lr=0.01,
        progress=lambda share, text: shares.append(share),
        **TINY,
    )
    assert shares[-1] == 1
    with pytest.raises(robbench.UserError, match="did you mean epochs"):
        robbench.train("cross-entropy", epoch=3)


def test_attacks_give_the_files_of_the_command(trained_here, cli, tmp_path):
    """Runs, samples, points, checks and measures: the same rows; a second call finds them done."""
    import shutil

    shutil.copytree(trained_here / "models", tmp_path / "models")
    line = "attack m --attack pgd:steps=3 --threat linf:0.05,0.1 -n 40 --measure --out"
    done = cli(line, tmp_path)
    assert done.code == 0, done.err
    settings = {"limit": 40, "measure": True, "out": trained_here}
    found = robbench.attack("m", "pgd:steps=3", "linf:0.05,0.1", **settings)
    for table, varying in (
        ("runs", VARYING),
        ("samples", ()),
        ("points", ()),
        ("checks", {"checked_at"}),
        ("measures", ()),
        ("sample_measures", ()),
    ):
        ours, theirs = (rows(out, table, *varying) for out in (trained_here, tmp_path))
        assert ours, table
        assert str(ours) == str(theirs), table
    assert [one.info["threat"] for one in found] == ["linf:0.05", "linf:0.1"]
    assert found[0].robust_accuracy >= found[1].robust_accuracy
    assert found[0].points.shape == (40, 1, 8, 8)
    before = found[0].path.stat().st_mtime_ns
    robbench.attack("m", "pgd:steps=3", "linf:0.05,0.1", **settings)
    assert found[0].path.stat().st_mtime_ns == before
    frame = robbench.measure("m", out=trained_here)
    assert {"run_id", "name", "value"} <= {*frame}
    assert frame["run_id"].nunique() == 2
    checks = robbench.check(found[1].info["run_id"], out=trained_here, limit=20)
    assert len(checks) == len(
        pq.read_table(trained_here / "results" / "checks" / found[1].path.name)
    )
    assert robbench.load_runs(out=trained_here, table="checks")["check"].nunique() == len(checks)


def test_tables_are_data_frames(trained_here):
    """load_runs and compare agree with the command's JSON; unknown names say what there is."""
    robbench.attack("m", "fgsm", "linf:0.1", limit=40, out=trained_here)
    runs = robbench.load_runs("m", out=trained_here)
    assert isinstance(runs, pd.DataFrame)
    assert (runs["model"] == "m").all()
    samples = robbench.load_runs(out=trained_here, table="samples")
    assert len(samples) == runs["n_samples"].sum()
    rows = robbench.compare(out=trained_here, where=["threat=linf:0.1"], allow="attack")
    assert set(rows["threat"]) == {"linf:0.1"}
    assert rows.sort_values("robust_accuracy").iloc[-1]["robust_accuracy"] <= 1
    best = robbench.compare(
        out=trained_here, where="threat=linf:0.1", allow="attack", sort="robust_accuracy"
    )
    assert best["robust_accuracy"].is_monotonic_decreasing
    with pytest.raises(robbench.UserError, match="unknown table"):
        robbench.load_runs(out=trained_here, table="sample")
    with pytest.raises(robbench.UserError, match="no-such-run"):
        robbench.compare("no-such-run", out=trained_here)


def test_the_report_is_written(trained_here, tmp_path):
    """One page; what it shows is given back."""
    robbench.attack("m", "fgsm", "linf:0.1", limit=40, out=trained_here)
    made = robbench.report("m", html=tmp_path / "r.html", out=trained_here)
    assert made.size == (tmp_path / "r.html").stat().st_size
    with pytest.raises(robbench.UserError, match=r"\.html"):
        robbench.report("m", html=tmp_path / "r.txt", out=trained_here)


def test_a_gate_holds_a_model_or_a_run_against_a_baseline(trained_here, cli):
    """As the command: the same verdict and checks."""
    (run,) = robbench.attack(
        "m", "pgd:steps=3", "linf:0.12", limit=60, store_points=True, out=trained_here
    )
    run_id = run.info["run_id"]
    found = robbench.gate(
        candidate=run_id, baseline=run_id, max_drop=20, out=trained_here, these_samples=True
    )
    assert found.verdict == "pass"
    words = f"gate --candidate {run_id} --baseline {run_id} --max-drop 20 --these-samples --json"
    done = cli(f"{words} --out", trained_here)
    assert json.loads(done.out)["verdict"] == "pass"
    shares = []
    found = robbench.gate(
        "m",
        baseline=run_id,
        max_drop=30,
        max_time="5m",
        out=trained_here,
        progress=lambda share, text: shares.append(share),
    )
    assert found.verdict in ("pass", "undecided")
    assert shares
    with pytest.raises(robbench.UserError, match="either a candidate"):
        robbench.gate(out=trained_here)
    with pytest.raises(robbench.UserError, match="max_time"):
        robbench.gate("m", baseline=run_id, max_time="soon", out=trained_here)
