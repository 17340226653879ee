"""A model as an attack sees it: weights without gradients, one mode; all put back after."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn


@contextlib.contextmanager
def frozen(model: nn.Module, *, training: bool = False, thorough: bool = True) -> Iterator[None]:
    """Freeze weights and set every module's mode; put everything back, also after an exception.

    Put back are each module's mode, gradient flags, the weights' `.grad`, all buffers, and the
    global random states of torch, numpy and Python, which models and other packages draw from or
    reseed.

    Without weight gradients a backward pass costs about a third less. In training mode batch-norm
    uses the batch's own statistics; its running ones are among the buffers. `thorough=False` is for
    the step of a training loop, which comes here once per batch with an attack of ours: it copies
    buffers in training mode only, and leaves the random states to run on, or dropout in the step
    would repeat what it drew in the attack.
    """
    with kept(model, random_states=thorough, buffers=thorough or training):
        model.train(training)
        for weight in model.parameters():
            weight.requires_grad_(False)
            weight.grad = None  # so that whatever is added up inside has no part in what is there
        yield


@contextlib.contextmanager
def kept(model: nn.Module, *, random_states: bool = True, buffers: bool = True) -> Iterator[None]:
    """Put back modes, gradient flags and gradients; if asked, buffers and global random states."""
    with contextlib.ExitStack() as stack:
        if random_states:
            stack.enter_context(_random_states_kept())
        if buffers:
            stack.enter_context(buffers_kept(model))
        stack.enter_context(_settings_kept(model))
        yield


@contextlib.contextmanager
def _settings_kept(model: nn.Module) -> Iterator[None]:
    """Put back the same modes, flags and gradient tensors: nothing has to be copied."""
    weights = [(weight, weight.requires_grad, weight.grad) for weight in model.parameters()]
    try:
        with modes_kept(model):
            yield
    finally:
        for weight, flag, grad in weights:
            weight.requires_grad_(flag)
            weight.grad = grad


@contextlib.contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Put back the mode of every module; `model.train()` would wake layers frozen on purpose."""
    modes = [(module, getattr(module, "training", False)) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Put back every buffer, written to or replaced; buffers that a module adds stay."""
    buffers = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module._buffers.items()
    ]
    saved = [None if buffer is None else buffer.detach().clone() for _, _, buffer in buffers]
    try:
        yield
    finally:
        for (module, name, buffer), value in zip(buffers, saved, strict=True):
            if getattr(module, name, None) is not buffer:
                setattr(module, name, buffer)
            if buffer is not None and value is not None:
                # By way of `.data`: graphs made before are still valid, and a plain copy_ would
                # make autograd refuse them.
                buffer.data.copy_(value)


@contextlib.contextmanager
def _random_states_kept() -> Iterator[None]:
    """Put back what torch, numpy and Python draw from when no generator is given."""
    torch_state, numpy_state, python_state = (
        torch.get_rng_state(),
        np.random.get_state(),  # noqa: NPY002
        random.getstate(),
    )
    cuda = torch.cuda.get_rng_state_all() if _cuda_runs() else []
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


def _cuda_runs() -> bool:
    """Whether CUDA has been used yet: merely asking for its random state would start it."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
