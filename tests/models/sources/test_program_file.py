"""Files of models: what reads one, what it is called, which batches it takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from robbench.catalogue.builtins import MODELS
from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.models.sources.program_file import fixed_batch, program_spec

INFO = DataInfo((3, 8, 8), ("a", "b"), (0.5,) * 3, (0.25,) * 3)


def test_a_name_says_what_reads_the_file() -> None:
    found = [program_spec(f"d/net{end}") for end in (".onnx", ".pt2", ".ts.pt", ".ts", ".pt")]
    specs = ["onnx:d/net.onnx", "export:d/net.pt2", "torchscript:d/net.ts.pt"]
    assert found == [*specs, "torchscript:d/net.ts", ""]


def test_a_model_is_called_as_its_file() -> None:
    """The folder and the ends of its name are no part of that, nor of what it is."""
    for spec in ("onnx:d/net.v2.onnx", "torchscript:net.v2.ts.pt", "export:/d/net.v2.pt2"):
        model = MODELS.build(spec)
        assert model.label(spec) == "net.v2"
        assert model.places == ("file",)
        assert model.pretrained


def test_the_batch_is_what_the_shape_says_and_the_rest_has_to_fit() -> None:
    assert fixed_batch((None, 3, 8, 8), INFO, "f") is None
    assert fixed_batch(None, INFO, "f") is None
    assert fixed_batch((16, 3, None, 8), INFO, "f") == 16
    for shape, text in [((None, 3, 8, 9), "3x8x9"), ((1, 64), "64"), ((1, None, 9, 8), r"\?x9x8")]:
        with pytest.raises(UserError, match=f"f takes inputs of shape {text}, the data have 3x8x8"):
            fixed_batch(shape, INFO, "f")


@pytest.mark.parametrize("kind", ["onnx", "export", "torchscript"])
def test_a_pipe_or_a_device_is_not_read(kind: str, tmp_path: Path) -> None:
    """Either may never end."""
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UserError, match="is a pipe or a device"):
            MODELS.build(f"{kind}:{file}").build(INFO)
