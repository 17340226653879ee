"""Random networks: many at once, each row with weights of its own."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robbench.certifiers.layers import Affine, Rectifier
from robbench.certifiers.network import Network, Node
from robbench.certifiers.region import Region
from robbench.models.base import Classifier


def own_weights(weight: Tensor, bias: Tensor) -> Affine:
    """A fully connected layer whose row b of B has weight[b], [B,out,in], and bias[b]."""

    def rows(x: Tensor, w: Tensor, b: Tensor | float) -> Tensor:
        return (x.reshape(len(w), -1, x.shape[-1]) @ w.mT + b).reshape(len(x), -1)

    return Affine(
        lambda x: rows(x, weight, bias[:, None]),
        lambda r: rows(r, weight.abs(), 0.0),
        sum(weight.shape[1:]),
    )


def chain(*layers: Affine | Rectifier) -> Network:
    """Layers one after the other."""
    return Network(tuple(Node(layer, (i,)) for i, layer in enumerate(layers)))


def random_nets(
    count: int, sizes: tuple[int, ...], slope: float = 0.0, seed: int = 0
) -> tuple[Network, Tensor]:
    """So many networks as the rows of one, and an input in [0,1] for each."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    layers: list[Affine | Rectifier] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        weight = normal(count, fan_out, fan_in) / fan_in**0.5
        layers += [own_weights(weight, normal(count, fan_out) / 4), Rectifier(slope)]
    x = torch.rand(count, sizes[0], generator=draw, dtype=torch.float64)
    return chain(*layers[:-1]), x


def attack(network: Network, region: Region, weights: Tensor, steps: int = 12) -> Tensor:
    """[B,S]: the smallest <w, logits> found in the region by descent from several points."""
    shape = weights.shape[:2]
    best = torch.full(shape, torch.inf, dtype=torch.float64)

    def inside(x: Tensor) -> Tensor:
        if region.norm == "l2":
            d = x - region.x0
            d = d * (region.eps / d.norm(dim=1, keepdim=True).clamp(min=region.eps))
            x = region.x0 + d
        return torch.minimum(torch.maximum(x, region.low), region.high)

    for s in range(shape[1]):
        for x in (region.x0, region.low, region.high):
            x = inside(x.clone())
            for step in range(steps):
                x.requires_grad_()
                value = (network.values(x)[-1] * weights[:, s]).sum(1)
                best[:, s] = torch.minimum(best[:, s], value.detach())
                (g,) = torch.autograd.grad(value.sum(), x)
                d = g.sign() if region.norm == "linf" else torch.nn.functional.normalize(g)
                x = inside(x.detach() - region.eps * 2 / (1 + step) * d)
    return best


def exact_minimum(
    weights: tuple[NDArray[np.float64], ...],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The smallest w2 relu(w1 x + b1) + b2 over a box of the plane, by its vertices.

    The function is linear on each cell that the neurons' lines cut the box into, so it is smallest
    at a corner of a cell: where two lines meet, of the neurons or of the box.
    """
    w1, b1, w2, b2 = weights
    lines = [(*w, b) for w, b in zip(w1, b1, strict=True)]
    lines += [(*axis, -side[i]) for i, axis in enumerate(np.eye(2)) for side in (low, high)]
    found = []
    for (a, b, c), (d, e, f) in itertools.combinations(lines, 2):
        if abs(a * e - b * d) > 1e-12:
            found.append(np.linalg.solve([[a, b], [d, e]], [-c, -f]))
    points = np.array(found)
    inside = ((points >= low - 1e-12) & (points <= high + 1e-12)).all(1)
    values = np.maximum(points[inside] @ w1.T + b1, 0) @ w2.T + b2
    return values.min(0)


def classifier(*layers: nn.Module, features: int, classes: int) -> Classifier:
    """A model whose last layer is its head, frozen."""
    *body, head = layers
    model = Classifier(
        nn.Identity(), nn.Sequential(*body), head, features=features, classes=classes
    )
    return model.eval().requires_grad_(False)
