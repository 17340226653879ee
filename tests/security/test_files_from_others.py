"""Result files and images from others: what they hold is read, never followed."""

from __future__ import annotations

import contextlib
import io
import pickle

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
    """PostScript is no image, whether in a cell or in a file with another name; Pillow by itself would run it."""
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
    """Files are named after run ids: one that is none is refused, and nothing is written anywhere."""
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
            "cifar-10-batches-py/" + name for name in ("test_batch", "batches.meta", *(f"data_batch_{i}" for i in range(1, 6)))
        ],
        "cifar100": ["cifar-100-python/" + name for name in ("train", "test", "meta")],
    }
    for name in names[data]:
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    done = cli("attack mlp --attack fgsm --limit 4 --data", data, "--data-dir", tmp_path / "data", "--out", tmp_path / "S")
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
