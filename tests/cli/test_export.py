"""`robbench export`: what is printed, and errors in a line."""

from __future__ import annotations

import json

import pytest

import robbench


def test_bencher_on_stdout_and_in_a_file(cli, stored, tmp_path):
    """The same object; the latest of the runs with one title counts, and that is said."""
    stored("aaaa11111111")
    stored("bbbb11111111", age=1)
    shown = cli("export --to bencher --out", tmp_path)
    assert shown.code == 0, shown.err
    assert "1 earlier left out" in shown.err
    assert shown.json == robbench.export("bbbb11111111", to="bencher", out=tmp_path).content
    done = cli("export ce --to bencher:b.json --json --out", tmp_path, cwd=tmp_path)
    assert json.loads((tmp_path / "b.json").read_text()) == shown.json
    assert done.json["schema"] == "robbench.export/1"
    assert [row["place"] for row in done.json["runs"]] == ["b.json", "b.json"]


def test_mlflow_twice(cli, stored, tmp_path):
    """The second time it says that the run was there."""
    pytest.importorskip("mlflow")
    stored("aaaa11111111")
    env = {"MLFLOW_ALLOW_FILE_STORE": "true", "DO_NOT_TRACK": "true"}
    words = f"export --to mlflow:{(tmp_path / 'mlruns').as_uri()} --out"
    first, again = (cli(words, tmp_path, env=env) for _ in range(2))
    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert first.out.startswith("aaaa11111111: MLflow run ")
    assert again.out == f"{first.out.strip()}, was there\n"


def test_what_is_wrong_is_one_line(cli, stored, tmp_path):
    """Exit 2, nothing written; 3 for a server that does not answer."""
    stored("aaaa11111111", robust_accuracy=0.99)
    env = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}
    (tmp_path / "file").write_text("x")
    for words, code, said in (
        ("export", 2, "mlflow or mlflow:URI, tensorboard:DIR, bencher or bencher:FILE"),
        ("export --to tensorboard", 2, "--to tensorboard: write tensorboard:DIR"),
        ("export --to mlflow:", 2, "--to mlflow:: write mlflow or mlflow:URI"),
        ("export --to x", 2, "unknown tool for --to 'x'"),
        ("export nobody --to bencher", 2, "nobody"),
        ("export --to bencher --json", 2, "leave out --json"),
        ("export --to tensorboard:file", 2, "file"),
        ("export --to bencher:runs", 2, "runs"),
        ("export --to mlflow:http://127.0.0.1:9", 3, "MLflow at http://127.0.0.1:9"),
    ):
        (tmp_path / "runs").mkdir(exist_ok=True)
        done = cli(words, "--out", tmp_path, cwd=tmp_path, env=env)
        assert (done.code, done.out, done.err.count("\n")) == (code, "", 1), (words, done)
        assert said in done.err
    assert (tmp_path / "file").read_text() == "x"


def test_what_speaks_against_a_run_is_said(cli, stored, tmp_path):
    """As other commands do, and not with --quiet."""
    stored("aaaa11111111", robust_accuracy=0.99)
    assert "warning: ce, linf:0.15: edited" in cli("export --to bencher --out", tmp_path).err
    assert cli("export -q --to bencher --out", tmp_path).err == ""


def test_it_starts_without_torch_and_pandas(spawn, stored, tmp_path):
    """Only tables are read."""
    stored("aaaa11111111")
    code = """
import sys
from robbench.cli.app import run
code = run(sys.argv[1:])
print("heavy", sorted({"torch", "pandas", "scipy", "mlflow", "tensorboard"} & {*sys.modules}))
sys.exit(code)
"""
    done = spawn("export", "--to", "bencher:b.json", "--out", tmp_path, cwd=tmp_path, code=code)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "heavy []"
