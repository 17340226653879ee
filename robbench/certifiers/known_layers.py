"""The layers that bounds can pass: what modules, functions and methods of torch are."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from robbench.certifiers.layers import (
    Affine,
    Layer,
    Maximum,
    Rectifier,
    Sum,
    linear,
    monotone,
    scaled,
)
from robbench.models.base import InUnits, Normalize
from robbench.models.heads import GaussianHead, MaxMahalanobisHead, ScoreHead, ScoresHead

KNOWN = (
    "Linear, Conv2d, ReLU, LeakyReLU, AvgPool2d, AdaptiveAvgPool2d to one pixel, MaxPool2d, "
    "BatchNorm, Flatten, Identity, Dropout, and sums"
)


class UnknownError(Exception):
    """An operation that has no bounds here."""


def _conv(module: Any, x: Tensor) -> Affine:
    if module.padding_mode != "zeros":
        raise UnknownError(f"Conv2d with {module.padding_mode} padding")
    w = module.weight.detach().double()
    b = None if module.bias is None else module.bias.detach().double()
    how = (module.stride, module.padding, module.dilation, module.groups)
    terms = int(w[0].numel() + w[:, 0].numel())
    return Affine(
        lambda x: F.conv2d(x, w, b, *how), lambda r: F.conv2d(r, w.abs(), None, *how), terms
    )


def _batch_norm(module: Any, x: Tensor) -> Affine:
    if module.training or module.running_mean is None:
        raise UnknownError(f"{type(module).__name__} by the statistics of a batch")
    scale = (module.running_var.double() + module.eps).rsqrt()
    if module.weight is not None:
        scale = scale * module.weight.double()
    shift = -module.running_mean.double() * scale
    if module.bias is not None:
        shift = shift + module.bias.double()
    shape = (-1, *[1] * (x.ndim - 2))
    return scaled(scale.reshape(shape), shift.reshape(shape))


def _normalize(module: Any, x: Tensor) -> Affine:
    shape = (-1, *[1] * (x.ndim - 2))
    mean, std = (module.get_buffer(name).double().reshape(shape) for name in ("mean", "std"))
    return scaled(1 / std, -mean / std)


def _average(module: Any, x: Tensor) -> Affine:
    if module.divisor_override is not None:
        raise UnknownError("AvgPool2d with a divisor of its own")
    return monotone(module, 2 * _window(module.kernel_size))


def _max(module: Any, x: Tensor) -> Maximum:
    if module.return_indices:
        raise UnknownError("MaxPool2d with indices")
    return Maximum(module)


def _window(size: Any) -> int:
    return int(size * size if isinstance(size, int) else size[0] * size[1])


def _global_average(module: Any, x: Tensor) -> Affine:
    if module.output_size not in (1, (1, 1)):
        raise UnknownError(f"AdaptiveAvgPool2d to {module.output_size}")
    return _mean(x, (2, 3), keepdim=True)


def _mean(x: Tensor, axes: Any, keepdim: bool) -> Affine:
    return monotone(lambda x: x.mean(axes, keepdim=keepdim), x[0].numel())


def _dropout(module: Any, x: Tensor) -> Affine:
    if module.training:
        raise UnknownError("Dropout in training mode")
    return monotone(lambda x: x, 1)


def _score(module: Any, x: Tensor) -> Affine:
    half = torch.cat([-module.weight, module.weight]).double() / 2
    return linear(half, torch.cat([-module.bias, module.bias]).double() / 2)


def _centres(centres: Tensor, factor: float, embed: nn.Module) -> Affine:
    """-f ||h - mu_k||^2 without the term that all classes share: 2 f mu_k . h - f ||mu_k||^2."""
    mu = centres.detach().double()
    head = linear(2 * factor * mu, -factor * mu.square().sum(1))
    if not isinstance(embed, nn.Linear):
        return head
    first = linear(embed.weight, embed.bias)
    return Affine(
        lambda x: head.whole(first.whole(x)),
        lambda r: head.absolute(first.absolute(r)),
        first.terms + head.terms,
    )


_Args: TypeAlias = list[Any]
_Options: TypeAlias = dict[str, Any]
_Read: TypeAlias = Callable[[Any, Tensor], Layer]
_MODULES: Mapping[type[nn.Module], _Read] = {
    nn.Linear: lambda m, x: linear(m.weight, m.bias),
    nn.Conv2d: _conv,
    nn.ReLU: lambda m, x: Rectifier(),
    nn.LeakyReLU: lambda m, x: _leaky(m.negative_slope),
    nn.AvgPool2d: _average,
    nn.AdaptiveAvgPool2d: _global_average,
    nn.MaxPool2d: _max,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.Flatten: lambda m, x: _flatten(m.start_dim, m.end_dim),
    nn.Identity: lambda m, x: monotone(lambda x: x, 1),
    nn.Dropout: _dropout,
    nn.Dropout2d: _dropout,
    Normalize: _normalize,
    ScoreHead: _score,
    ScoresHead: lambda m, x: linear(m.weight, m.bias),
    GaussianHead: lambda m, x: _centres(m.means, 0.5, nn.Identity()),
    MaxMahalanobisHead: lambda m, x: _centres(m.centers, m.factor, m.embed),
    InUnits: lambda m, x: scaled(m.get_buffer("width"), m.get_buffer("low")),
}


def reader_of(module: nn.Module) -> _Read | None:
    """What reads a module of a known kind whose forward pass is that kind's own."""
    if "forward" in vars(module):
        return None
    for kind, read in _MODULES.items():
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return read
    return None


def _leaky(slope: float) -> Rectifier:
    if not 0 <= slope < 1:
        raise UnknownError(f"LeakyReLU with slope {slope:g}")
    return Rectifier(float(slope))


def _flatten(start: int, end: int) -> Affine:
    if start != 1 or end != -1:
        raise UnknownError(f"Flatten of the axes {start} to {end}")
    return monotone(lambda x: x.flatten(1), 1)


# Functions and methods, from the arguments after the first: None where these are not known.


def _add_of(rest: _Args, options: _Options, x: Tensor) -> Layer | None:
    return Sum() if len(rest) == 1 and isinstance(rest[0], fx.Node) and not options else None


def _relu_of(rest: _Args, options: _Options, x: Tensor) -> Layer | None:
    return Rectifier() if not rest and options.keys() <= {"inplace"} else None


def _flatten_of(rest: _Args, options: _Options, x: Tensor) -> Layer | None:
    return _flatten(1, -1) if rest == [1] and not options else None


def _view_of(rest: _Args, options: _Options, x: Tensor) -> Layer | None:
    return _flatten(1, -1) if len(rest) == 2 and rest[1] == -1 and not options else None


def _mean_of(rest: _Args, options: _Options, x: Tensor) -> Layer | None:
    axes = rest[0] if rest else options.get("dim")
    image = x.ndim == 4 and isinstance(axes, list | tuple) and {a % 4 for a in axes} == {2, 3}
    return _mean(x, axes, bool(options.get("keepdim"))) if image else None


def _average_of(rest: _Args, options: _Options, x: Tensor) -> Layer | None:
    plain = len(rest) == 1 and not options and isinstance(rest[0], int | list | tuple)
    return monotone(lambda x: F.avg_pool2d(x, rest[0]), 2 * _window(rest[0])) if plain else None


FUNCTIONS: Mapping[Any, Callable[[_Args, _Options, Tensor], Layer | None]] = {
    **dict.fromkeys([operator.add, operator.iadd, torch.add, "add", "add_"], _add_of),
    **dict.fromkeys([F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"], _relu_of),
    **dict.fromkeys([torch.flatten, "flatten"], _flatten_of),
    **dict.fromkeys(["view", "reshape"], _view_of),
    **dict.fromkeys([torch.mean, "mean"], _mean_of),
    F.avg_pool2d: _average_of,
}
