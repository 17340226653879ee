"""Files of weights: what they hold, and one line for whatever is none. Nothing of a file is run."""

from __future__ import annotations

import argparse
import os
import pathlib
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from robbench.core.errors import UserError
from robbench.models.sources.weight_files import read_weight_file

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


class Runs:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Settings:
    """An object of private code."""


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".pth.tar", ".bin"])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_are_read_whatever_their_name(tmp_path, suffix, zipped):
    path = tmp_path / f"x{suffix}"
    torch.save({"state_dict": WEIGHTS, "epoch": 3}, path, _use_new_zipfile_serialization=zipped)
    found = read_weight_file(path)
    assert found["epoch"] == 3
    for name, tensor in WEIGHTS.items():
        assert torch.equal(found["state_dict"][name], tensor)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_safetensors_are_read_by_content(tmp_path, suffix):
    safetensors.torch.save_file(WEIGHTS, tmp_path / f"x{suffix}")
    found = read_weight_file(tmp_path / f"x{suffix}")
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())


@pytest.mark.parametrize(
    "beside",
    [
        argparse.Namespace(lr=0.1),
        np.float64(0.5),
        np.arange(3),
        {"best": np.float32(0.5), "from": pathlib.PurePosixPath("x")},
    ],
)
def test_settings_and_numpy_numbers_beside_the_weights_are_never_made(tmp_path, beside):
    """Their classes are not called: something of ours takes the place of each."""
    torch.save({"state_dict": WEIGHTS, "beside": beside}, tmp_path / "x.pth")
    found = read_weight_file(tmp_path / "x.pth")
    assert torch.equal(found["state_dict"]["a.weight"], WEIGHTS["a.weight"])
    made = found["beside"]
    for value in made.values() if isinstance(made, dict) else [made]:
        assert type(value).__name__ == "LeftOut"
        assert vars(value) == {}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (nn.Linear(2, 2), "Linear, which only unpickling makes"),
        ({"args": Settings()}, "Settings, which only unpickling makes"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_objects_are_refused_by_name_with_the_way_out(tmp_path, value, words, zipped):
    torch.save(value, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=words) as caught:
        read_weight_file(tmp_path / "x.pth")
    assert "torch.save(x['state_dict'], 'weights.pth')" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_would_run_code_is_not_run(tmp_path, zipped):
    made = tmp_path / "made"
    torch.save(
        {"state_dict": WEIGHTS, "x": Runs(made)},
        tmp_path / "x.pth",
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(UserError, match=r"names \w+\.mkdir, which runs code"):
        read_weight_file(tmp_path / "x.pth")
    assert not made.exists()


def test_what_other_packages_allow_is_not_allowed_here(tmp_path):
    """Nor is what they allow changed by it."""
    torch.save({"args": Settings()}, tmp_path / "x.pth")
    with torch.serialization.safe_globals([Settings]):
        before = set(torch.serialization.get_safe_globals())
        with pytest.raises(UserError, match="Settings"):
            read_weight_file(tmp_path / "x.pth")
        assert set(torch.serialization.get_safe_globals()) == before


def broken(path: Path, kind: str) -> None:
    torch.save(WEIGHTS, path)
    whole = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "half":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "half-old":
        torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes()[:-10])
    elif kind == "half-safe":
        path.write_bytes(safetensors.torch.save(WEIGHTS)[:-5])
    elif kind == "text":
        path.write_text("hello, this is no file of weights\n")
    elif kind == "page":
        path.write_text("<!DOCTYPE html><html><body>Sign in</body></html>")
    elif kind == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"a": [1, 2]}))
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "missing":
        path.unlink()
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "a")
    elif kind == "tar":
        path.with_suffix(".txt").write_text("a")
        with tarfile.open(path, "w") as archive:
            archive.add(path.with_suffix(".txt"))
    elif kind == "script":
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("empty", "is empty"),
        ("half", "truncated"),
        ("half-old", "truncated"),
        ("half-safe", "truncated"),
        ("text", "no file of weights"),
        ("page", "a web page"),
        ("pointer", "git lfs pull"),
        ("pickle", "a pickle that torch.save did not write"),
        ("folder", "is a folder"),
        ("missing", "no file of weights at"),
        ("zip", "a zip file that torch.save did not write"),
        ("tar", "the tar format"),
        ("script", "write torchscript:"),
    ],
)
def test_whatever_is_no_file_of_weights_is_refused_in_one_line(tmp_path, kind, words):
    broken(tmp_path / "x.pth", kind)
    with pytest.raises(UserError, match=words) as caught:
        read_weight_file(tmp_path / "x.pth")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "x.pth") in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_bytes_end_in_one_line_or_in_tensors(tmp_path, zipped):
    """Whatever byte of the pickle is another, and wherever the file ends."""
    path = tmp_path / "x.pth"
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=zipped)
    whole, generator = path.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        changed = bytearray(whole)
        changed[generator.integers(len(whole))] = generator.integers(256)
        path.write_bytes(bytes(changed[: generator.integers(1, len(whole) + 1)]))
        try:
            read_weight_file(path)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_a_compressed_file_is_read_and_a_bomb_is_not(tmp_path):
    plain, packed, bomb = (tmp_path / f"{name}.pt" for name in ("plain", "packed", "bomb"))
    torch.save(WEIGHTS, plain)
    with (
        zipfile.ZipFile(plain) as archive,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as small,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as large,
    ):
        for name in archive.namelist():
            small.writestr(name, archive.read(name))
            large.writestr(name, archive.read(name))
        with large.open("plain/data/9", "w", force_zip64=True) as record:
            for _ in range(1025):
                record.write(bytes(2**20))
    found = read_weight_file(packed)
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())
    with pytest.raises(UserError, match="is compressed and too large"):
        read_weight_file(bomb)


def test_a_flipped_bit_is_found(tmp_path):
    path = tmp_path / "x.pt"
    torch.save(WEIGHTS, path)
    content = bytearray(path.read_bytes())
    content[content.index(WEIGHTS["a.weight"].numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.pt is damaged \(x/data/0 in it\)"):
        read_weight_file(path)


def test_files_without_checksums_are_read(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(WEIGHTS, tmp_path / "x.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(read_weight_file(tmp_path / "x.pt")["a.bias"], WEIGHTS["a.bias"])
