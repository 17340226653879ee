"""Result files and images from others: what they hold is read, never followed."""

from __future__ import annotations

import contextlib
import io
import os
import pickle

import pyarrow.parquet as pq
import pytest
from PIL import EpsImagePlugin, Image

from robbench.core.errors import UserError
from robbench.data.images import decode_image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A Ghostscript that leaves a mark."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    return tmp_path / "ran"


def test_no_image_starts_a_program(ghostscript, tmp_path):
    """PostScript is no image, in a cell or under another name; Pillow alone would run it."""
    (tmp_path / "a.png").write_bytes(EPS)
    for source in (EPS, tmp_path / "a.png"):
        with pytest.raises(UserError, match="row 3: not a readable image"):
            decode_image(source, "row 3")
    assert not ghostscript.exists()
    with contextlib.suppress(OSError), Image.open(io.BytesIO(EPS)) as image:
        image.load()
    assert ghostscript.exists()


@pytest.mark.parametrize("command", ["check", "measure", "compare", "show", "report --html r.html"])
@pytest.mark.parametrize("run_id", ["../../../victim", "/tmp/victim", "a\x1b[31m", ""])
def test_a_run_id_is_no_path(cli, attacked, row_of, rewrite, snapshot, tmp_path, command, run_id):
    """Files are named after run ids: an invalid one is refused, and nothing is written."""
    path = row_of(attacked)
    rewrite(path, run_id=run_id)
    before = snapshot(tmp_path)
    done = cli(command, path, "--out", tmp_path / "S", cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    assert "run id" in done.err
    assert "\x1b" not in done.err
    assert snapshot(tmp_path) == before


class Touch:
    """Unpickling it leaves a mark."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_pickled_data_sets_are_the_published_ones(cli, tmp_path, data):
    """CIFAR's files are pickles: only those with the published checksums are opened."""
    names = {
        "cifar10": [
            "cifar-10-batches-py/" + name
            for name in ("test_batch", "batches.meta", *(f"data_batch_{i}" for i in range(1, 6)))
        ],
        "cifar100": ["cifar-100-python/" + name for name in ("train", "test", "meta")],
    }
    for name in names[data]:
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    done = cli(
        "attack mlp --attack fgsm --limit 4 --data",
        data,
        "--data-dir",
        tmp_path / "data",
        "--out",
        tmp_path / "S",
    )
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    assert not (tmp_path / "ran").exists()


def test_checkpoints_run_nothing(cli, tmp_path):
    """Weights and the state of a stopped training that are pickles of code are refused."""
    out = tmp_path / "S"
    train = "train --model mlp:width=4 --epochs 2 --limit 40 --name m --quiet --out"
    assert cli(train, out).code == 0
    evil = pickle.dumps(Touch(tmp_path / "ran"))
    (out / "models" / "m" / "model.safetensors").write_bytes(evil)
    done = cli("attack m --attack fgsm --limit 4 --out", out)
    assert (done.code, "model.safetensors is corrupt" in done.err) == (2, True), done
    config = out / "models" / "m" / "config.json"
    config.write_text(config.read_text().replace('"status": "done"', '"status": "running"'))
    (out / "models" / "m" / "state.pt").write_bytes(evil)
    done = cli(train, out)
    assert (done.code, "state.pt cannot be resumed" in done.err) == (2, True), done
    assert not (tmp_path / "ran").exists()
    pickle.loads(evil)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("command", ["check", "measure", "compare"])
def test_answers_nested_without_end(cli, attacked, row_of, rewrite, command):
    """They cannot be compared: the model is told to have changed, or nothing is said."""
    path = row_of(attacked)
    rewrite(path, answers="[" * 100_000)
    done = cli(command, path, "--out", attacked)
    assert done.code == (0 if command == "compare" else 2), done.err
    assert "internal" not in done.err


def test_settings_without_a_limit(cli, attacked, row_of, rewrite):
    """A run row may lack settings: then all samples are meant, which are not the run's."""
    path = row_of(attacked)
    rewrite(path, config="{}")
    done = cli("check", path, "--out", attacked)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert "data" in done.err


def test_a_sample_twice(cli, attacked, row_of):
    """Rows are joined by sample: a table that names one twice is refused."""
    path = row_of(attacked)
    samples = path.parent.with_name("samples") / path.name
    table = pq.read_table(samples)
    ids = [table["sample_id"][0].as_py()] * len(table)
    pq.write_table(
        table.set_column(
            table.schema.get_field_index("sample_id"), table.schema.field("sample_id"), [ids]
        ),
        samples,
    )
    done = cli("compare", path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "sample_id" in done.err


def test_more_rows_than_bytes(cli, attacked, row_of):
    """A small file of endless equal rows is refused before they are made."""
    path = row_of(attacked)
    table = pq.read_table(path)
    pq.write_table(table.take([0] * 100_000), path, compression="zstd")
    assert path.stat().st_size < 100_000
    done = cli("show", path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "100,000 rows" in done.err


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_lock_that_is_none(cli, attacked, row_of, tmp_path, kind):
    """Nobody owns a run by it or waits for it, and nothing is written through a link."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    os.utime(victim, (0, 0))
    name = f"{row_of(attacked).stem}.lock.{'0' * 24}.{'0' * 8}.alone"
    lock = attacked / "results" / "locks" / name
    lock.parent.mkdir(exist_ok=True)
    {
        "link": lambda: (lock.symlink_to(victim), os.utime(lock, (0, 0), follow_symlinks=False)),
        "pipe": lambda: os.mkfifo(lock),
        "folder": lock.mkdir,
    }[kind]()
    done = cli(
        "attack mlp:width=4 --attack fgsm --threat linf:0.05 --limit 8 --force --out", attacked
    )
    assert done.code == 0, done.err
    assert "working on it" not in done.err
    assert victim.read_text() == "precious"


def test_a_pipe_in_place_of_answers(cli, attacked, row_of):
    """Of a run that was not finished: nobody waits for it."""
    partial = attacked / "results" / "partial" / row_of(attacked).stem
    partial.mkdir(parents=True)
    os.mkfifo(partial / "answers.json")
    row_of(attacked).unlink()
    done = cli(
        "attack mlp:width=4 --attack fgsm --threat linf:0.05 --limit 8 --quiet --out", attacked
    )
    assert done.code == 0, done.err
