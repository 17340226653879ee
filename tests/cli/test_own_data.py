"""A user's own data sets on the command line: messages about them, and what runs record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robbench.data.load import load
from robbench.store.run import read_run
from robbench.store.store import Store

NAMES = ("caf\udce9", "four", "nine")
ATTACK = "attack mlp --attack fgsm --threat linf:0.1"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images of three classes, 40 for training and 8 in `val` of each; one name no UTF-8."""
    root, source = tmp_path_factory.mktemp("own") / "digits", load("digits[1,4,9]", "train")
    for split, count, skip in (("train", 40, 0), ("val", 8, 40)):
        for label, name in enumerate(NAMES):
            (root / split / name).mkdir(parents=True)
            for i, image in enumerate(source.images[source.labels == label][skip : skip + count]):
                Image.fromarray(np.asarray(image[0] * 15)).save(root / split / name / f"{i:02}.png")
    return root


def _runs(out: Path) -> list[dict[str, Any]]:
    return [read_run(path).info for path in Store(out).find()]


def test_any_split_a_limit_of_one_class_and_a_stratified_one(cli, digits, tmp_path):
    """The first 6 of `val` are of one class, with a warning; stratified=6 is of three, recorded."""
    done = cli(f"{ATTACK} --split val -n 6 --data folder:{digits} --json --out", tmp_path)
    assert done.code == 0, done.err
    assert (
        "all 6 samples are of one class (caf\\xe9), the data have 3; "
        "the limit stratified=6 takes of every class" in done.err
    )
    assert "one-class" in [flag["name"] for flag in done.json["rows"][0]["flags"]]
    assert [info["subset"] for info in _runs(tmp_path)] == ["first=6"]
    done = cli(
        f"{ATTACK} --split val -n stratified=6 --data folder:{digits} --json --out", tmp_path
    )
    assert done.code == 0, done.err
    assert "one class" not in done.err
    assert "one-class" not in [flag["name"] for flag in done.json["rows"][0]["flags"]]
    assert {info["subset"] for info in _runs(tmp_path)} == {"first=6", "stratified=6"}


def test_a_folder_without_the_split_names_those_it_has(cli, digits, tmp_path):
    """The default split is test; the folder has train and val."""
    done = cli(f"{ATTACK} --data folder:{digits} --out", tmp_path)
    assert done.code == 2
    assert "has no sub-folder 'test'; it has: train, val" in done.err


def test_names_that_are_no_utf8_reach_the_report(cli, digits, tmp_path):
    """Training, attack, show and report work; the report's class names are printable."""
    words = f"--data folder:{digits} --threat linf:0.1 --out {tmp_path}"
    assert cli(f"train --loss cross-entropy --epochs 1 --model mlp --name m {words}").code == 0
    assert cli(f"attack m --attack fgsm --split val --out {tmp_path}").code == 0
    shown = cli(f"show m --out {tmp_path}")
    assert shown.code == 0
    assert "caf\\xe9: " in shown.out
    done = cli(f"report m --html {tmp_path}/r.html --out {tmp_path}")
    assert done.code == 0, done.err
    assert "caf\\xe9" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_classes_that_differ_are_shown_where_they_do(cli, digits, tmp_path):
    """A model trained on `nine` and data with `of nine`: place and both names in the message."""
    words = (
        f"--epochs 1 --model mlp --name m --threat linf:0.1 --data folder:{digits} --out {tmp_path}"
    )
    assert cli(f"train --loss cross-entropy {words}").code == 0
    for name, other in zip(NAMES, (*NAMES[:2], "of nine"), strict=True):
        (tmp_path / "other/test" / other).mkdir(parents=True)
        (tmp_path / "other/test" / other / "0.png").write_bytes(
            (digits / "val" / name / "00.png").read_bytes()
        )
    done = cli(f"attack m --attack fgsm --data folder:{tmp_path / 'other'} --out {tmp_path}")
    assert done.code == 2
    assert "class 2 is 'nine' in model m and 'of nine' in data 'folder:" in done.err


def test_a_check_looks_at_the_first_samples(cli, tmp_path):
    """A stratified limit is refused with what to give instead; the parser itself takes it."""
    done = cli("check mlp --threat linf:0.1 --limit stratified=5 --out", tmp_path)
    assert done.code == 2
    assert "give --limit N instead of stratified=5" in done.err


def test_a_data_folders_own_sets_are_listed_and_explained(cli, tmp_path):
    """A folder with Parquet files is a data set: list shows it, explain says how it is read."""
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/test.parquet").write_bytes(b"")
    (tmp_path / "photos/train").mkdir(parents=True)
    where = {"ROBBENCH_DATA_DIR": str(tmp_path)}
    listed = cli("list data --quiet", env=where).out.split()
    assert {"scans", "digits"} <= {*listed}
    assert "photos" not in listed
    assert "Parquet files" in cli("explain scans", env=where).out
    done = cli("explain scan", env=where)
    assert done.code == 2
    assert "scans" in done.err
