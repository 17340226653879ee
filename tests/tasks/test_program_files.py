"""Models in files under the command: the verdicts of `module:factory`, whatever the width."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.models.sources.programs import Digits, write

SOURCE = "from tests.models.sources.programs import Digits\n"
FILES = {
    "export": "export.pt2",
    "export-fixed": "fixed.pt2",
    "scripted": "scripted.ts.pt",
    "onnx": "net.onnx",
    "onnx-fixed": "fixed.onnx",
}
COMMON = "--data digits --threat linf:0.1 --limit 20 --json --quiet"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind."""
    folder = tmp_path_factory.mktemp("files")
    for kind, name in FILES.items():
        write(kind, folder / name, Digits())
    return folder


def verdicts(folder: Path, row: dict[str, Any]) -> list[dict[str, Any]]:
    columns = ["sample_id", "clean_correct", "adversarial", "clean_margin", "adv_margin"]
    path = folder / "results" / "samples" / f"{row['run_id']}.parquet"
    return pq.read_table(path, columns=columns).to_pylist()


@pytest.mark.parametrize(
    ("attack", "specs"),
    [
        (
            "pgd:steps=4",
            (
                "export:export.pt2",
                "export:fixed.pt2",
                "torchscript:scripted.ts.pt",
                "onnx:net.onnx,gradients=true",
            ),
        ),
        ("square:steps=40", ("onnx:net.onnx", "onnx:fixed.onnx")),
    ],
)
def test_verdicts_are_those_of_the_factory(
    attack: str,
    specs: tuple[str, ...],
    cli: Callable[..., Any],
    files: Path,
    private: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Of each kind of file, also one for batches of eight only; results bear the file's name."""
    cwd = shutil.copytree(files, private("nets", SOURCE), dirs_exist_ok=True)
    words = ("attack", "nets:Digits", *specs, "--attack", attack, *COMMON.split())
    done = cli(*words, "--out", tmp_path / "S", cwd=cwd)
    assert done.code == 0, done.err
    first, *others = (verdicts(tmp_path / "S", row) for row in done.json["rows"])
    assert 0 < sum(row["adversarial"] for row in first) < len(first)
    for spec, found in zip(specs, others, strict=True):
        for mine, expected in zip(found, first, strict=True):
            assert mine == pytest.approx(expected, abs=1e-3), spec
    names = [spec.partition(":")[2].partition(".")[0] for spec in specs]
    assert [row["model"] for row in done.json["rows"]][1:] == names


def test_a_fixed_batch_changes_no_verdict_with_the_width(
    cli: Callable[..., Any], files: Path, tmp_path: Path
) -> None:
    """Three or a hundred samples in flight; a copy of the file elsewhere is the same run."""
    other = tmp_path / "fixed.pt2"
    shutil.copy(files / "fixed.pt2", other)
    found, ids = [], []
    for n, (file, width) in enumerate([(files / "fixed.pt2", 3), (other, 100)]):
        done = cli(
            "attack", f"export:{file}", "--attack", "apgd:steps=5", *COMMON.split(),
            "--batch-size", width, "--out", tmp_path / f"S{n}",
        )  # fmt: skip
        assert done.code == 0, done.err
        (row,) = done.json["rows"]
        assert "batches of 8 only" in str(row["flags"])
        found.append(verdicts(tmp_path / f"S{n}", row))
        ids.append(row["run_id"])
    assert found[0] == found[1]
    assert ids[0] == ids[1]


def test_a_script_in_a_stored_row_is_run_on_request_only(
    cli: Callable[..., Any], files: Path, tmp_path: Path
) -> None:
    """It is code: `check` wants it named again, or --trust-code."""
    spec = f"torchscript:{files / 'scripted.ts.pt'}"
    done = cli("attack", spec, "--attack", "fgsm", *COMMON.split(), "--out", tmp_path / "S")
    assert done.code == 0, done.err
    words = ("check", done.json["rows"][0]["run_id"], "--limit", "4", "--out", tmp_path / "S")
    refused = cli(*words)
    assert refused.code == 2
    assert "--trust-code" in refused.err
    assert cli(*words, "--trust-code").code in (0, 1)
    assert cli(*words, "--model", spec).code in (0, 1)


def test_a_program_is_not_trained(cli: Callable[..., Any], files: Path, tmp_path: Path) -> None:
    done = cli("train --data digits --loss cross-entropy --model", f"export:{files}/export.pt2")
    assert done.code == 2
    assert "a program in a file, which is attacked as it is" in done.err
    assert done.err.count("\n") == 1


def test_later_commands_find_the_file_again(
    cli: Callable[..., Any], files: Path, tmp_path: Path
) -> None:
    """`check` and `measure` as the row names it; `gate` judges other files of the same model."""
    out = ("--out", tmp_path / "S")
    attack = ("--attack", "square:steps=20", *COMMON.split(), "--store-points")
    done = cli("attack", f"onnx:{files / 'net.onnx'}", *attack, *out)
    assert done.code == 0, done.err
    run_id = done.json["rows"][0]["run_id"]
    again = cli("attack", f"onnx:{files / 'net.onnx'}", *attack, *out)
    assert again.json["rows"][0]["run_id"] == run_id
    assert cli("measure", run_id, *out).code == 0
    checked = cli("check", run_id, "--limit", "12", "--json", *out)
    assert checked.code in (0, 1), checked.err
    found = {row["check"]: row["verdict"] for row in checked.json["rows"]}
    assert found["reproduced"] == "pass"
    assert cli("baseline", "set", run_id, *out).code == 0
    for spec in (f"export:{files / 'export.pt2'}", f"torchscript:{files / 'scripted.ts.pt'}"):
        gate = cli("gate", "--model", spec, "--max-drop", "60", *out)
        assert gate.code == 0, gate.err
    refused = cli("attack", f"onnx:{files / 'net.onnx'}", *attack, "--precision", "bf16", *out)
    assert refused.code == 2
    assert "the model cannot run in bfloat16" in refused.err
