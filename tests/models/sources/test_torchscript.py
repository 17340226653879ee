"""TorchScript archives: the model's own logits and gradients; none that names a file is loaded."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from robbench.core.errors import UserError
from robbench.core.trust import names_from
from robbench.data.base import DataInfo
from robbench.models.create import create

from .programs import Digits, same_logits_and_gradients, write
from .test_export import INFO, Marks, X


@pytest.mark.parametrize("kind", ["traced", "scripted", "frozen"])
def test_logits_and_gradients_are_the_models_own(kind: str, tmp_path: Path) -> None:
    model = Digits()
    file = write(kind, tmp_path / "net.ts.pt", model)
    loaded = create(f"torchscript:{file}", INFO)
    same_logits_and_gradients(loaded, model, X)


class Eight(nn.Module):
    """Takes eight images at once, no other number."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Digits()

    def forward(self, x: Tensor) -> Tensor:
        """[8,10]."""
        return self.inner(x.view(8, 1, 8, 8))


class Saves(nn.Module):
    """Writes a file with each answer."""

    def forward(self, x: Tensor) -> Tensor:
        """[B,10]."""
        torch.save(x, "ran")
        return x.flatten(1)[:, :10]


class Few(nn.Module):
    """Ten of the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """[B,10]."""
        return x.flatten(1)[:, :10]


class Maps(nn.Module):
    """Makes a file by an operator of torch."""

    def forward(self, x: Tensor) -> Tensor:
        """[B,10]."""
        return x.flatten(1)[:, :10] + torch.from_file("ran", True, 10)


def test_the_only_batch_size_of_a_script_is_found(tmp_path: Path) -> None:
    """It is not written in the file."""
    model = Eight()
    loaded = create(f"torchscript:{write('scripted', tmp_path / 'net.pt', model)}", INFO)
    assert loaded.batch == 8
    torch.testing.assert_close(loaded(X), Digits()(X), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("model", "word"), [(Saves(), "save"), (Maps(), "from_file")])
def test_a_script_that_would_write_files_is_not_loaded(
    model: nn.Module, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("scripted", Path("net.pt"), model.eval())
    Path("ran").unlink(missing_ok=True)
    with pytest.raises(UserError, match=f"its code names '{word}'"):
        create("torchscript:net.pt", INFO)
    assert not Path("ran").exists()


def changed(file: Path, line: str, folder: str = "code") -> None:
    """A script with a line more in front of what it returns, its code in another folder."""
    with zipfile.ZipFile(file) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, record in records.items():
            text = record.replace(b"    return ", f"    {line}\n    return ".encode())
            archive.writestr(
                name.replace("/code/", f"/{folder}/"), text if name.endswith(".py") else record
            )


@pytest.mark.parametrize(
    ("line", "folder", "word"),
    [
        ('torch.save(x, "ran")', "Code", "save"),  # torch finds files of code in any case
        ('a = torch\n    b = getattr(a, "\\163ave")(x, "ran")', "code", "torch"),
        ('getattr((torch), "sa" "ve")(x, "ran")', "code", "torch"),
        ("a = ops\n    b = a.image.read_file", "code", "ops"),
        ("a = __torch__.torch\n    b = a.classes", "code", "torch"),
        ("a = torch.\\\n  classes.dist.Store()", "code", "torch"),
    ],
)
def test_a_script_cannot_hide_what_it_names(
    line: str, folder: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    changed(write("scripted", Path("net.pt"), Few()), line, folder)
    with pytest.raises(UserError, match=f"its code names '{word}"):
        create("torchscript:net.pt", INFO)
    assert not Path("ran").exists()


def test_modules_of_a_package_named_ops_are_no_operators(tmp_path: Path) -> None:
    model = torchvision.models.mobilenet_v3_small(num_classes=10)
    file = write("scripted", tmp_path / "net.pt", model, (3, 32, 32))
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    colours = DataInfo((3, 32, 32), INFO.classes, (0.5,) * 3, (0.5,) * 3)
    found = create(f"torchscript:{file}", colours)(x)
    torch.testing.assert_close(found, model(x), atol=1e-5, rtol=1e-5)


def test_a_script_that_only_a_file_names_is_not_run(tmp_path: Path) -> None:
    """It is code: who reads a stored row has to trust it."""
    spec = f"torchscript:{write('scripted', tmp_path / 'net.pt', Digits())}"
    with names_from("run.parquet", spec):
        create(spec, INFO)
    with names_from("run.parquet"), pytest.raises(UserError, match=r"run\.parquet names private"):
        create(spec, INFO)


def test_what_is_no_script_is_refused_in_one_line(tmp_path: Path) -> None:
    """A pickle, weights, a file cut short: nothing is unpickled."""
    mark, file = tmp_path / "ran", tmp_path / "net.pt"
    whole = write("scripted", tmp_path / "whole.pt", Digits()).read_bytes()
    torch.save(Marks(mark), tmp_path / "saved")
    torch.save(Digits().state_dict(), tmp_path / "weights")
    for content in (
        pickle.dumps(Marks(mark)),
        (tmp_path / "saved").read_bytes(),
        (tmp_path / "weights").read_bytes(),
        whole[:-300],
        b"",
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match="no whole TorchScript archive") as caught:
            create(f"torchscript:{file}", INFO)
        assert "\n" not in str(caught.value)
        assert not mark.exists()
