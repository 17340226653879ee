"""ONNX files: the model's own logits by onnxruntime, or converted, with the model's gradients."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
import torchvision
from torch import nn

from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.models.create import create
from robbench.models.state import state_of

from .programs import Digits, onnx_of, write
from .test_export import INFO, X

node = onnx.helper.make_node


@pytest.mark.parametrize("kind", ["onnx", "onnx-fixed"])
def test_logits_are_the_models_own(kind: str, tmp_path: Path) -> None:
    """Without a gradient, but where it was asked for; for any number of rows."""
    model = Digits()
    file = write(kind, tmp_path / "net.onnx", model)
    scores, converted = (create(f"onnx:{file}{more}", INFO) for more in ("", ",gradients=true"))
    leaf, own = X.clone().requires_grad_(), X.clone().requires_grad_()
    wanted = model(own)
    assert not scores(leaf).requires_grad
    torch.testing.assert_close(scores(X), wanted, atol=1e-5, rtol=1e-5)
    found = converted(leaf)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    found[:, 3].sum().backward()
    wanted[:, 3].sum().backward()
    torch.testing.assert_close(leaf.grad, own.grad, atol=1e-5, rtol=1e-5)
    assert scores.batch == converted.batch == (8 if "fixed" in kind else None)


NETS = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=10),
    "mobilenet": lambda: torchvision.models.mobilenet_v3_small(num_classes=10),
    "vit": lambda: torchvision.models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=10),
}


@pytest.mark.parametrize(
    "name", ["vit", "resnet18", pytest.param("mobilenet", marks=pytest.mark.slow)]
)
def test_usual_networks_are_converted(name: str, tmp_path: Path) -> None:
    """Their logits and gradients are those of the network itself."""
    torch.manual_seed(0)
    model = NETS[name]().eval()
    nn.init.normal_([m for m in model.modules() if isinstance(m, nn.Linear)][-1].weight)
    file = write("onnx", tmp_path / "net.onnx", model, (3, 32, 32))
    info = DataInfo((3, 32, 32), INFO.classes, (0.5,) * 3, (0.25,) * 3)
    loaded = create(f"onnx:{file},gradients=true", info)
    x = torch.rand(3, 3, 32, 32)
    leaf, own = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, wanted = loaded(leaf), model(own)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    found[:, 3].sum().backward()
    wanted[:, 3].sum().backward()
    torch.testing.assert_close(leaf.grad, own.grad, atol=1e-4, rtol=1e-3)


def test_external_data_count_as_content(tmp_path: Path) -> None:
    """Where the weights lie changes nothing, what they are does; missing ones are one line."""
    file = write("onnx", tmp_path / "net.onnx", Digits())
    outside = tmp_path / "out" / "net.onnx"
    outside.parent.mkdir()
    options = {"all_tensors_to_one_file": True, "location": "w.bin", "size_threshold": 0}
    onnx.save(onnx.load(file), outside, save_as_external_data=True, **options)

    def content(path: Path) -> str:
        return state_of(create(f"onnx:{path}", INFO)).hash()

    first = content(outside)
    assert first == content(outside)
    data = bytearray((outside.parent / "w.bin").read_bytes())
    data[0] ^= 1
    (outside.parent / "w.bin").write_bytes(data)
    assert content(outside) != first
    (outside.parent / "w.bin").unlink()
    with pytest.raises(UserError, match="cannot be read with its external data") as caught:
        content(outside)
    assert "\n" not in str(caught.value)


def test_a_model_elsewhere_has_the_same_content(tmp_path: Path) -> None:
    file = write("onnx", tmp_path / "net.onnx", Digits())
    copy = tmp_path / "other.onnx"
    copy.write_bytes(file.read_bytes())
    for more in ("", ",gradients=true"):
        first, second = (create(f"onnx:{path}{more}", INFO) for path in (file, copy))
        assert state_of(first).hash() == state_of(second).hash()


def test_what_is_no_classifier_is_refused_in_one_line(tmp_path: Path) -> None:
    """Cut short, an unknown operator, two inputs, integer outputs; what cannot be converted."""
    (tmp_path / "cut.onnx").write_bytes(
        write("onnx", tmp_path / "net.onnx", Digits()).read_bytes()[:-400]
    )
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "pickle.onnx").write_bytes(b"\x80\x04N.")
    onnx_of(tmp_path / "unknown.onnx", [node("Frobnicate", ["x"], ["z"])])
    flat = node("Flatten", ["s"], ["z"])
    onnx_of(tmp_path / "two.onnx", [node("Add", ["x", "y"], ["s"]), flat], ("x", "y"))
    whole = node("Cast", ["x"], ["s"], to=onnx.TensorProto.INT64)
    onnx_of(tmp_path / "whole.onnx", [whole, flat], kind=onnx.TensorProto.INT64)
    gelu = node("QuickGelu", ["x"], ["s"], domain="com.microsoft")
    onnx_of(tmp_path / "gelu.onnx", [gelu, flat])
    for name, words in [
        ("cut", "no whole ONNX model"),
        ("empty", "no whole ONNX model"),
        ("pickle", "no whole ONNX model"),
        ("gone", "cannot be read"),
        ("unknown", r"cannot be run by onnxruntime .*Frobnicate"),
        ("two", "has 2 inputs .x, y."),
        ("whole", "has 0 outputs of floats"),
    ]:
        with pytest.raises(UserError, match=words) as caught:
            create(f"onnx:{tmp_path / name}.onnx", INFO)
        assert "\n" not in str(caught.value)
    info = DataInfo((1, 8, 8), tuple(map(str, range(64))), (0.5,), (0.25,))
    create(f"onnx:{tmp_path / 'gelu.onnx'}", info)
    with pytest.raises(UserError, match=r"cannot be converted to torch .*QuickGelu"):
        create(f"onnx:{tmp_path / 'gelu.onnx'},gradients=true", info)


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("onnx", tmp_path / "net.onnx", Digits())
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"this model needs the package onnxruntime: pip install"):
        create(f"onnx:{file}", INFO)
