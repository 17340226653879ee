"""A fingerprint of a model's outputs, as text that runs record (`store/answers.py`)."""

from __future__ import annotations

import json

import torch
from torch import Tensor, nn

from robbench.data.base import Split

SAMPLES, MADE, WIDTH = 4, 4, 16


def output_fingerprint(model: nn.Module, split: Split) -> str:
    """JSON: logits of the first `samples` and of `made` inputs, and the `spread` of two answers.

    The model is called as it is, twice, from two states of torch's generator; the caller
    restores that. Logits of more than 16 classes are added up in 16 groups with changing signs,
    which keeps distances about as they are.
    """
    x = torch.cat([split.pixels(slice(0, SAMPLES)), _made(split)])
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        with torch.no_grad():
            found.append(_grouped(model(x).detach().cpu().double()))
    apart = (found[0] - found[1]).nan_to_num().norm(dim=1).max()
    rows = [
        [float(f"{z:.8g}") if abs(z) < float("inf") else None for z in row]
        for row in found[0].tolist()
    ]
    return json.dumps(
        {"samples": rows[:-MADE], "made": rows[-MADE:], "spread": float(f"{float(apart):.4g}")}
    )


def _made(split: Split) -> Tensor:
    """[MADE,*]: noise of rising strength from whole numbers, the same on every machine."""
    shape = split.images.shape[1:]
    n = torch.arange(MADE * shape.numel(), dtype=torch.int64)
    n = (n * 2654435761 + 374761393) % 2**32
    n = ((n ^ (n >> 15)) * 2246822519) % 2**32
    noise = ((n >> 16).float() / 2**16).reshape(MADE, *shape)
    strength = (torch.arange(MADE) + 1).reshape(-1, *[1] * len(shape)) / MADE
    return (noise * strength).to(split.images.device)


def _grouped(logits: Tensor) -> Tensor:
    """[n,K] -> [n,min(K,WIDTH)]."""
    k = torch.arange(logits.shape[1])
    signs = 1 - 2 * (((k // WIDTH) * 40503 >> (k % WIDTH)) % 2)  # all 1 among the first WIDTH
    groups = logits.new_zeros(len(logits), min(len(k), WIDTH))
    return groups.index_add_(1, k % WIDTH, logits * signs)
