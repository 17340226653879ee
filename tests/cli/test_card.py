"""`robbench card`: what goes to which stream, and bad input."""

from __future__ import annotations

import json

import pytest


def test_the_document_is_the_result(attacked, cli, tmp_path):
    """Alone on stdout, or in a file with a line about it."""
    done = cli("card at --format in-toto --out", attacked)
    assert (done.code, done.err) == (0, "")
    assert done.json["_type"] == "https://in-toto.io/Statement/v1"
    path = tmp_path / "new" / "at.json"
    told = cli("card at --format in-toto --out", attacked, "-o", path)
    assert json.loads(path.read_text()) == done.json
    digest = done.json["subject"][0]["digest"]["sha256"]
    assert told.out == f"{path}: in-toto about model.safetensors, SHA-256 {digest}, 1 run\n"


def test_json_has_text_and_weights(attacked, cli):
    """One object."""
    found = cli("card at --json --out", attacked).json
    assert (found["schema"], found["format"], found["path"]) == (
        "robbench.card/1",
        "markdown",
        None,
    )
    assert found["text"].startswith("---\nmodel-index:")
    assert found["weights"]["name"] == "model.safetensors"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nowhere", "unknown model, run or path"),
        ("at --format yaml", "unknown format"),
        ("at ce", "runs of 2 models"),
        ("at --where threat=linf:9", "no run has threat=linf:9"),
        ("at --into README.md -o x.md", "not both"),
        ("at --into README.md --format in-toto", "write in-toto by --file"),
        ("at --into broken.md", "cannot be merged"),
        ("at --into folder", "it is a folder"),
        ("at -o folder", "it is a folder"),
        ("at -o README.md/x", "is not a folder"),
        ("at --model nowhere", "no folder of a model"),
        ("at --into binary.md", "no UTF-8 text"),
        ("", "Missing argument"),
    ],
)
def test_bad_input_is_one_line_and_2(attacked, cli, tmp_path, snapshot, words, said):
    """Nothing is written."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "README.md").write_text("# mine\n")
    (tmp_path / "broken.md").write_text("---\na: [\n---\n")
    (tmp_path / "binary.md").write_bytes(b"\xff\xfe")
    before = snapshot(tmp_path)
    done = cli(f"card {words} --out", attacked, cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert said in done.err
    assert snapshot(tmp_path) == before


def test_a_folder_without_runs(cli, tmp_path):
    """What to do first."""
    done = cli("card at --out", tmp_path / "nowhere")
    assert (done.code, done.out) == (2, "")
    assert "no results" in done.err
    assert not (tmp_path / "nowhere").exists()
