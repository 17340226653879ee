"""A small classifier of digits, and files of it in every format."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

BATCH = 8  # of the programs that take no other


class Digits(nn.Module):
    """1x8x8 images to ten logits, mostly right: least squares on random features."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv, self.fc = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(128, 10)
        digits = load_digits()
        x = torch.tensor(digits.images[:400], dtype=torch.float32)[:, None] / 16
        y = torch.tensor(digits.target[:400])
        with torch.no_grad():
            for weight in self.conv.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator) / 3)
            h, wanted = self.pool(x).double(), nn.functional.one_hot(y).double()
            solved = torch.linalg.solve(h.T @ h + torch.eye(128), h.T @ wanted)
            self.fc.weight.copy_(10 * solved.T)
            self.fc.bias.zero_()

    def pool(self, x: Tensor) -> Tensor:
        """[B,128]."""
        h = torch.relu(self.conv(x * 2 - 1))
        return nn.functional.avg_pool2d(h, 2).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """[B,10]."""
        return self.fc(self.pool(x))


def write(kind: str, path: Path, model: nn.Module, shape: tuple[int, ...] = (1, 8, 8)) -> Path:
    """The model in a file.

    kind: `export`, `onnx`, with `-fixed` for batches of BATCH only; `traced`, `scripted`, `frozen`.
    """
    model.eval()
    name, _, fixed = kind.partition("-")
    x = torch.rand(BATCH if fixed else 2, *shape, generator=torch.Generator().manual_seed(1))
    sizes = None if fixed else ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # formats in use may be deprecated
        if name == "export":
            torch.export.save(torch.export.export(model, (x,), dynamic_shapes=sizes), path)
        elif name == "onnx":
            torch.onnx.export(
                model, (x,), path, dynamo=True, dynamic_shapes=sizes, verbose=False,
                external_data=False,
            )  # fmt: skip
        elif name == "traced":
            torch.jit.save(torch.jit.trace(model, x), path)
        else:
            script = torch.jit.script(model)
            torch.jit.save(torch.jit.freeze(script) if name == "frozen" else script, path)
    return path


def onnx_of(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: tuple[str, ...] = ("x",),
    kind: int = onnx.TensorProto.FLOAT,
) -> Path:
    """An ONNX file of these nodes, from inputs [B,1,8,8] to `z` [B,64]."""
    given = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["b", 1, 8, 8])
        for name in inputs
    ]
    z = onnx.helper.make_tensor_value_info("z", kind, ["b", 64])
    graph = onnx.helper.make_graph(nodes, "graph", given, [z])
    opset = [onnx.helper.make_opsetid(*one) for one in [("", 18), ("com.microsoft", 1)]]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def same_logits_and_gradients(loaded: nn.Module, model: nn.Module, x: Tensor) -> None:
    """Assert that a loaded program is the model it was made of, also backwards."""
    leaf, own = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, wanted = loaded(leaf), model(own)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    found[:, 3].sum().backward()
    wanted[:, 3].sum().backward()
    torch.testing.assert_close(leaf.grad, own.grad, atol=1e-5, rtol=1e-5)
