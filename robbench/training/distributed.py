"""Several processes on one training run, as `torchrun` starts them.

Each takes its share of every batch.

Gradients are summed over the processes, so that a step is the step of one process on the whole
batch up to rounding (weights within 1e-6 in the tests' short float32 runs), but for dropout, for
batch-norm (each process has its own batch statistics; the running ones are those of the first) and
for losses whose value depends on the batch (`Loss.batch_coupled`: each process sees its share as
the batch; center loss keeps the centres of the first).
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from robbench.core.config import process_number
from robbench.core.errors import UserError

Name = TypeVar("Name", str, tuple[Any, ...])


class World:
    """This process' place among those of the run."""

    def __init__(self) -> None:
        joined = distributed.is_initialized()
        self.rank = distributed.get_rank() if joined else 0
        self.size = distributed.get_world_size() if joined else 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """This process' part of a batch of so many rows.

        Parts differ by one row at most, but none is a lone row of a larger batch, on which
        batch-norm could not train: where there are fewer than two rows for each, some processes
        have none.
        """
        busy = min(self.size, max(rows // 2, 1))
        if self.rank >= busy:
            return slice(rows, rows)
        return slice(self.rank * rows // busy, (self.rank + 1) * rows // busy)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over the processes."""
        if self.size == 1:
            return
        found = [weight for weight in parameters if weight.requires_grad]
        sums = self.add(
            [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in found]
        )
        for weight, total in zip(found, sums, strict=True):
            weight.grad = total

    def add(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sum of each tensor over the processes, in one exchange; of one dtype and device."""
        if self.size == 1 or not tensors:
            return list(tensors)
        # Flattened, so that every process sends the same order whatever the memory format of its
        # own tensors.
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def most(self, number: int) -> int:
        """The largest of the processes' numbers; waits for the processes, not for the device."""
        if self.size == 1:
            return number
        found = torch.tensor(number)
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return int(found)

    def names(self, known: Iterable[Name]) -> list[Name]:
        """All names that some process knows, in one order for all."""
        lists: list[Any] = [sorted(known)]
        if self.size > 1:
            lists *= self.size
            distributed.all_gather_object(lists, lists[0])
        return sorted(set().union(*lists))

    def same_buffers(self, model: nn.Module) -> None:
        """Give every process the first one's buffers."""
        if self.size > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

    def wait(self) -> None:
        """Wait until every process gets here."""
        self.most(0)


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Join the processes that `torchrun` started, for the time of a run; without it, do nothing."""
    if process_number("WORLD_SIZE", 1) <= 1 or distributed.is_initialized():
        yield
        return
    # Imported by torch's optimizers if not before, when its default arguments would hold on to the
    # group: its threads would outlive it, and now and then abort the process at its end.
    importlib.import_module("torch.distributed.nn.functional")
    if device.type == "cuda":
        torch.cuda.set_device(device)  # nccl would otherwise put every process on the first GPU
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    except ValueError as error:  # torchrun sets its variables together
        raise UserError(
            f"this is not one of the processes that torchrun starts ({error}): "
            "unset WORLD_SIZE, or use torchrun"
        ) from None
    try:
        yield
    finally:
        distributed.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """The device of this process: with several on one machine, the GPU of its number."""
    if str(device) == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", process_number("LOCAL_RANK", 0))
    return device
