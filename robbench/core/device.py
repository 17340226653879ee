"""Which device, and how it is set."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import torch
from torch import nn

from robbench.core.errors import UserError
from robbench.core.subnormals import flushed


def find_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps` -> device. Raises UserError for a missing one."""
    if name == "auto":
        name = (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    # Torch itself would wrap cuda:999 around to another index.
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,2})?", name):
        raise UserError(f"unknown device '{name}': use auto, cpu, cuda, cuda:N or mps")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device '{name}' is not there ({torch.cuda.device_count()} CUDA devices); "
            "use --device auto or cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device 'mps' is not there; use --device auto or cpu")
    return device


@contextlib.contextmanager
def placed(model: nn.Module, name: str | torch.device | None) -> Iterator[torch.device]:
    """The model on a device (None: where it is), and back afterwards.

    Raises UserError as `find_device` does, and for a model on several devices that is to be moved.
    """
    tensors = [*model.parameters(), *model.buffers()]
    here = list({tensor.device: None for tensor in tensors}) or [torch.device("cpu")]
    where = here[0] if name is None else find_device(name) if isinstance(name, str) else name
    if here == [where] or name is None:
        yield where
        return
    if len(here) > 1:
        raise UserError(f"the model is on {len(here)} devices: leave device out")
    try:
        model.to(where)
        yield where
    finally:
        model.to(here[0])


def widest(device: torch.device) -> torch.dtype:
    """The widest float type of a device: Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def default_batch_size(device: torch.device) -> int:
    """Rows kept in flight when the user says `auto`."""
    return 128 if device.type == "cpu" else 512


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """For the time of a run: full float32, deterministic cuDNN, no subnormal numbers."""
    before = (
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        with flushed():
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before[:2]
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[2:]
