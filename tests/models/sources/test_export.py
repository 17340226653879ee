"""Programs of torch.export: the model's own logits and gradients; nothing in a file is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.models.create import create
from robbench.models.sources.export import require_plain

from .programs import Digits, same_logits_and_gradients, write

INFO = DataInfo((1, 8, 8), tuple("0123456789"), (0.5,), (0.25,))
X = torch.rand(11, 1, 8, 8, generator=torch.Generator().manual_seed(2))


class Marks:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def model() -> Digits:
    return Digits()


@pytest.mark.parametrize("kind", ["export", "export-fixed"])
def test_logits_and_gradients_are_the_models_own(kind: str, model: Digits, tmp_path: Path) -> None:
    """For any number of rows, also where the file takes batches of one size only."""
    file = write(kind, tmp_path / "net.pt2", model)
    loaded = create(f"export:{file}", INFO)
    same_logits_and_gradients(loaded, model, X)
    assert loaded.batch == (8 if "fixed" in kind else None)


def rewritten(file: Path, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """The archive with other records, by name without the archive's own folder."""
    with zipfile.ZipFile(file) as archive:
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(records)
    content = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(content)
    for name, record in records.items():
        if not name.startswith((".data/", "byteorder")):
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return content.getvalue()


def replaced(before: str, after: str) -> Callable[[dict[str, bytes]], None]:
    """Another text in the graph."""

    def change(records: dict[str, bytes]) -> None:
        text = records["models/model.json"].decode()
        assert before in text
        records["models/model.json"] = text.replace(before, after).encode()

    return change


def pickled(name: str, mark: Path) -> Callable[[dict[str, bytes]], None]:
    """A record that makes `mark` when it is unpickled."""
    content = io.BytesIO()
    torch.save(Marks(mark), content)
    return lambda records: records.update({name: content.getvalue()})


def in_another_case(mark: Path) -> Callable[[dict[str, bytes]], None]:
    """A pickled weight that the archive calls by its name in capitals, as torch finds it too."""

    def change(records: dict[str, bytes]) -> None:
        config = json.loads(records["data/weights/model_weights_config.json"])
        first = next(iter(config["config"].values()))
        pickled(f"data/weights/{first['path_name']}", mark)(records)
        first |= {"use_pickle": True, "path_name": first["path_name"].upper()}
        records["data/weights/model_weights_config.json"] = json.dumps(config).encode()

    return change


def weight_named(name: str) -> Callable[[dict[str, bytes]], None]:
    """Another name of a weight wherever it is named."""

    def change(records: dict[str, bytes]) -> None:
        for record in ("models/model.json", "data/weights/model_weights_config.json"):
            text = records[record].decode()
            records[record] = text.replace("fc.weight", json.dumps(name)[1:-1]).encode()

    return change


def test_an_archive_that_could_run_code_is_refused_before_torch_reads_it(
    model: Digits, tmp_path: Path
) -> None:
    """Pickles, compiled libraries, operators that are none, expressions that call functions."""
    file, mark = write("export", tmp_path / "net.pt2", model), tmp_path / "ran"
    with zipfile.ZipFile(file) as archive:
        graph = archive.read(next(n for n in archive.namelist() if n.endswith("model.json")))
    symbol = json.loads(graph)["range_constraints"]
    (size,) = symbol
    code = f"__import__('os').mkdir('{mark}')"
    spec = '\\"type\\": \\"builtins.tuple\\", \\"context\\": \\"null\\"'
    other = '\\"type\\": \\"collections.defaultdict\\", \\"context\\": \\"null\\"'
    for change, words in [
        (lambda records: None, None),
        (pickled("data/sample_inputs/model.pt", mark), "a pickle of more than tensors"),
        (pickled("data/weights/model.pt", mark), "a pickle of more than tensors"),
        (pickled("data/constants/opaque_obj_0", mark), "opaque_obj_0, which may be code"),
        (pickled("data/aotinductor/model/lib.so", mark), "lib.so, which may be code"),
        (pickled("models/other.json", mark), "other.json, which may be code"),
        (replaced("torch.ops.aten.relu.default", "torch.hub.load"), "operator 'torch.hub.load'"),
        (replaced("torch.ops.aten.relu.default", "torch.ops.aten.from_file"), "from_file"),
        (replaced(f"Symbol('{size}', positive=True, integer=True)", code), "no plain expression"),
        (
            replaced(f"Symbol('{size}', positive=True, integer=True)", "exec(chr(65)+chr(66))"),
            "no plain expression",
        ),
        (replaced(spec, other), "passes a collections.defaultdict"),
        (in_another_case(mark), "no record 'data/weights/WEIGHT_0'"),
        (weight_named("fc.a b"), None),
        (weight_named(f'fc.w", __import__("os").mkdir("{mark}")) #'), "the name 'fc.w\""),
        (replaced('["x"]', f"[\"x=open('{mark}','w')\"]"), 'the name "x=open'),
    ]:
        bad = tmp_path / "bad.pt2"
        bad.write_bytes(rewritten(file, change))
        if words is None:
            require_plain(bad.read_bytes())
            create(f"export:{bad}", INFO)
            continue
        with pytest.raises(UserError, match=words) as caught:
            create(f"export:{bad}", INFO)
        assert "\n" not in str(caught.value)
        assert not mark.exists()


def test_a_pickle_of_this_name_is_not_opened(tmp_path: Path) -> None:
    """Neither a plain one nor what torch.save wrote."""
    mark, file = tmp_path / "ran", tmp_path / "net.pt2"
    torch.save(Marks(mark), tmp_path / "saved")
    for content in (pickle.dumps(Marks(mark)), (tmp_path / "saved").read_bytes()):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"net\.pt2"):
            create(f"export:{file}", INFO)
        assert not mark.exists()


def test_what_is_no_program_for_these_data_is_refused_in_one_line(
    model: Digits, tmp_path: Path
) -> None:
    """Cut short, another shape, two inputs, integers."""

    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) + y.flatten(1)

    class Whole(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :10].long()

    whole = write("export", tmp_path / "net.pt2", model)
    (tmp_path / "cut.pt2").write_bytes(whole.read_bytes()[:-500])
    write("export", tmp_path / "whole.pt2", Whole())
    two = torch.export.export(Two(), (X[:2], X[:2]))
    torch.export.save(two, tmp_path / "two.pt2")
    colour = DataInfo((3, 8, 8), INFO.classes, (0.5,) * 3, (0.25,) * 3)
    for name, info, words in [
        ("cut", INFO, "no whole program of torch.export"),
        ("gone", INFO, "cannot be read"),
        ("net", colour, "inputs of shape 1x8x8, the data have 3x8x8"),
        ("two", INFO, "has 2 inputs"),
        ("whole", INFO, "logits should be floats|returns"),
    ]:
        with pytest.raises(UserError, match=words) as caught:
            create(f"export:{tmp_path / name}.pt2", info)
        assert "\n" not in str(caught.value)
