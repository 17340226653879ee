"""robbench.attack: the files of the command."""

import shutil

import pyarrow.parquet as pq
import pytest

import robbench

VARYING = {"started_at", "finished_at", "wall_s", "provenance"}
pytestmark = pytest.mark.usefixtures("silent")


def rows(out, table, *without):
    """All rows of a results table."""
    found = [pq.read_table(p).to_pylist() for p in sorted((out / "results" / table).glob("*"))]
    return [{k: v for k, v in row.items() if k not in without} for part in found for row in part]


def test_attacks_give_the_files_of_the_command(trained_here, cli, tmp_path):
    """Runs, samples, points, checks and measures: the same rows; a second call finds them done."""
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
    wrong = (checks["verdict"] == "fail") & (checks["severity"] == "error")
    failed = bool(wrong.any())
    subject = found[1].info["run_id"]
    assert checks.attrs == {"subject": subject, "failed": failed, "edited": []}
    assert len(checks) == len(
        pq.read_table(trained_here / "results" / "checks" / found[1].path.name)
    )
    assert robbench.load_runs(out=trained_here, table="checks")["check"].nunique() == len(checks)
