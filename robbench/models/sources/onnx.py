"""Models in ONNX files: scores by onnxruntime, or converted to torch for their gradients."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from robbench.data.base import DataInfo, reason
from robbench.models.base import Loading
from robbench.models.sources.base import Loaded
from robbench.models.sources.libraries import library
from robbench.models.sources.program_file import ProgramFile, fixed_batch

_FLOATS = {1: torch.float32, 10: torch.float16, 11: torch.float64}  # of TensorProto.DataType
_CLOSE = 1e-4  # of the largest logit: how far the converted model may be from onnxruntime


@dataclass(frozen=True, kw_only=True)
class Onnx(ProgramFile):
    """An ONNX file: scores only, by onnxruntime on the CPU; converted to torch on request.

    Its external data lie beside it and are part of what the model is. Nothing in such a file is
    code.
    """

    gradients: Annotated[
        bool, Field(description="convert it to torch, for attacks that need gradients")
    ] = False

    def load(self, loading: Loading) -> Loaded:
        """The model. UserError where the file is none, or has an operator that is not known."""
        proto, whole = self._read()
        digest = hashlib.blake2b(whole, digest_size=8).hexdigest()
        given = {tensor.name for tensor in proto.graph.initializer}
        inputs = [value for value in proto.graph.input if value.name not in given]
        if len(inputs) != 1:
            names = ", ".join(value.name for value in inputs)
            raise self.refuse(f"has {len(inputs)} inputs ({names}); a classifier has one")
        kind = inputs[0].type.tensor_type
        if kind.elem_type not in _FLOATS:
            raise self.refuse("takes no floats; export it with the images in [0,1] as input")
        dims = [dim.dim_value or None for dim in kind.shape.dim] if kind.HasField("shape") else None
        batch = fixed_batch(dims, loading.info, self.file)
        runtime = Runtime(self._session(whole), _output(proto, self), _FLOATS[kind.elem_type])
        if not self.gradients:
            return Loaded(Identified(runtime, digest), batch=batch)
        converted = Identified(self._converted(proto), digest)
        self._require_same(converted, runtime, loading.info, batch)
        return Loaded(converted, batch=batch)

    def _read(self) -> tuple[Any, bytes]:
        """The model with its external data, and all their bytes."""
        onnx = library("onnx", "onnx")
        content = self.read()
        try:
            proto = onnx.load_model_from_string(content)
            if not proto.graph.node:
                raise ValueError("it holds no graph")
        except Exception as error:  # protobuf's own errors have no common class
            raise self.refuse(
                f"is no whole ONNX model ({reason(error)}): copy or save it again"
            ) from None
        try:
            onnx.load_external_data_for_model(proto, str(Path(self.file).parent))
            return proto, proto.SerializeToString(deterministic=True)
        except Exception as error:
            raise self.refuse(
                f"cannot be read with its external data ({reason(error)}): keep both in one folder"
            ) from None

    def _session(self, model: bytes) -> Any:
        ort = library("onnxruntime", "onnx")
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        try:
            return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors have no common class
            text = reason(error).rpartition(" : ")[2]
            raise self.refuse(f"cannot be run by onnxruntime ({text})") from None

    def _converted(self, proto: Any) -> nn.Module:
        converter = library("onnx2pytorch", "onnx")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # `experimental` is its word for batches of more than one.
                model: nn.Module = converter.ConvertModel(proto, experimental=True)
        except Exception as error:  # whatever a converter meets in a graph it does not know
            raise self.refuse(
                f"cannot be converted to torch ({reason(error)}): leave out gradients=true for "
                "attacks on its scores"
            ) from None
        return model.eval()

    def _require_same(
        self, converted: nn.Module, runtime: Runtime, info: DataInfo, batch: int | None
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(batch or 4, *info.shape, generator=generator)
        try:
            with torch.no_grad():
                found, wanted = converted(x.to(runtime.dtype)), runtime(x)
                near = (found - wanted).abs().max() <= _CLOSE * wanted.abs().max().clamp(min=1)
        except Exception as error:
            raise self.refuse(f"cannot be run after its conversion ({reason(error)})") from None
        if not near:
            raise self.refuse(
                "gives other logits when it is converted to torch: leave out gradients=true"
            )


class Runtime(nn.Module):
    """A session of onnxruntime as a module without gradients."""

    def __init__(self, session: Any, output: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.session = session
        self.output = output
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """[B,K] float32."""
        rows = x if len(x) else x.new_zeros(1, *x.shape[1:])
        given = rows.detach().cpu().to(self.dtype).numpy()
        (found,) = self.session.run([self.output], {self.session.get_inputs()[0].name: given})
        return torch.from_numpy(np.asarray(found, np.float32))[: len(x)].to(x.device)


class Identified(nn.Module):
    """A module whose state is the hash of the file it was made of."""

    def __init__(self, model: nn.Module, content: str) -> None:
        super().__init__()
        self.model = model
        self.content = content

    def forward(self, x: Tensor) -> Any:
        """What the module returns; converted ones warn of torch's plans with every call."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.model(x)

    def get_extra_state(self) -> str:
        """The hash."""
        return self.content


def _output(proto: Any, file: ProgramFile) -> str:
    """The name of the one output of floats; UserError where there is none, or several."""
    outputs = list(proto.graph.output)
    floats = [value.name for value in outputs if value.type.tensor_type.elem_type in _FLOATS]
    if len(floats) != 1:
        names = ", ".join(value.name for value in outputs)
        raise file.refuse(
            f"has {len(floats)} outputs of floats among {names}; it should have one, the logits"
        )
    return str(floats[0])
