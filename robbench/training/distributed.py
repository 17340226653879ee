"""Several processes on one training run, as `torchrun` starts them: each takes its share of every batch.

Gradients are summed over the processes, so that a step is the step of one process on the whole batch, but for rounding, for
batch-norm (each process has its own batch statistics; the running ones are those of the first) and for losses whose value
depends on the batch (`Loss.batch_coupled`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, distributed, nn


class World:
    """This process' place among those of the run."""

    def __init__(self) -> None:
        self.rank, self.size = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """This process' part of a batch of so many rows; parts differ by one row at most."""
        return slice(self.rank * rows // self.size, (self.rank + 1) * rows // self.size)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over the processes."""
        if self.size == 1:
            return
        found = [weight for weight in parameters if weight.requires_grad]
        for weight in found:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        flat = torch.cat([weight.grad.flatten() for weight in found if weight.grad is not None])
        distributed.all_reduce(flat)
        for weight, part in zip(found, torch.split(flat, [weight.numel() for weight in found]), strict=True):
            weight.grad = part.reshape(weight.shape)

    def add(self, values: Tensor) -> Tensor:
        """The sum of a tensor over the processes."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def same_buffers(self, model: nn.Module) -> None:
        """Give every process the first one's buffers."""
        if self.size > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            distributed.barrier()


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Join the processes that `torchrun` started, for the time of a run; alone without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """The device of this process: with several on one machine, the GPU of its number."""
    if str(device) == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device
