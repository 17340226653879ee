"""A linear classifier of two classes with robustness in closed form, and ways to spoil it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robbench.checks.base import Reading
from robbench.checks.evidence import Evidence
from robbench.data.base import Split, sample_ids
from robbench.threat.model import parse_threat

EPS = 0.05


class Linear(nn.Module):
    """Logits scale * (w.x, 0), w.x from the middle of the box; `before` changes the input first."""

    def __init__(
        self, before: Callable[[Tensor], Tensor] | None = None, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.register_buffer("w", torch.tensor([1.0, -2.0, 0.5, 1.5] * 4).reshape(1, 4, 4))
        self.before, self.scale = before, scale

    def score(self, x: Tensor) -> Tensor:
        """[B]"""
        return ((x - 0.5) * self.w).flatten(1).sum(1)

    def forward(self, x: Tensor) -> Tensor:
        score = self.score(self.before(x) if self.before else x)
        return self.scale * torch.stack([score, torch.zeros_like(score)], 1)


class Crowded(nn.Module):
    """Logits scale * (0, a, -2 - a/2 twenty times), a = w.x from the middle of the box.

    The true class 0, one that can be reached, and a crowd towards which cross-entropy climbs
    instead while their logits are close together.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.score, self.scale = Linear().score, scale

    def forward(self, x: Tensor) -> Tensor:
        a = self.score(x)[:, None]
        return self.scale * torch.cat([0 * a, a, (-2 - a / 2).expand(-1, 20)], 1)


def make_split(images: Tensor, labels: Tensor, classes: int = 2) -> Split:
    """A split of float images."""
    ids = torch.from_numpy(sample_ids(images.numpy(), labels.numpy()))
    return Split(images, labels, ids, tuple(map(str, range(classes))), "made", "test", scale=1)


@pytest.fixture
def made() -> Callable[..., Split]:
    """`made(images, labels, classes)`: a split of them."""
    return make_split


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Small models only."""


@pytest.fixture
def linear() -> type[Linear]:
    """The classifier."""
    return Linear


@pytest.fixture
def crowded(split: Split) -> tuple[type[Crowded], Split]:
    """The classifier, and the images of `split` with label 1 at 0.1 to 1.9 of the reach of EPS."""
    model, reach = Linear(), EPS * float(Linear().w.abs().sum())
    wanted = -torch.linspace(0.1, 1.9, 60) * reach
    images = (
        split.images
        + ((wanted - model.score(split.images)) / model.w.square().sum())[:, None, None, None]
        * model.w
    )
    return Crowded, make_split(images, torch.zeros(60, dtype=torch.int64), 22)


@pytest.fixture
def split() -> Split:
    """60 images in the middle of the box, labelled by the classifier, half within reach of EPS."""
    generator = np.random.default_rng(0)
    reach = EPS * float(Linear().w.abs().sum())
    images = torch.from_numpy(generator.uniform(0.3, 0.7, (60, 1, 4, 4)).astype(np.float32))
    model, signs = Linear(), torch.tensor([1.0, -1.0]).repeat(30)
    wanted = (
        signs * torch.linspace(0.1, 1.9, 60) * reach
    )  # scores: moved along w to where they should be
    images = (
        images
        + ((wanted - model.score(images)) / model.w.square().sum())[:, None, None, None] * model.w
    )
    return make_split(images, (signs < 0).long())


@pytest.fixture
def evidence(split: Split) -> Callable[..., Evidence]:
    """`evidence(model)`: what checks see of it at linf:EPS."""

    def make(
        model: nn.Module, of: Split | None = None, threat: str = f"linf:{EPS}", **extra: Any
    ) -> Evidence:
        return Evidence(
            model.eval().requires_grad_(False), of or split, parse_threat(threat)[0], **extra
        )

    return make


@pytest.fixture
def run_of(split: Split) -> Callable[..., dict[str, Any]]:
    """`run_of(adversarial=[...], attack=[...])`: rows and info of a run on the split."""

    def make(
        attack: list[str] | None = None,
        flags: str = "[]",
        audit: dict[str, Any] | None = None,
        **columns: list[Any],
    ) -> dict[str, Any]:
        specs, n = attack or ["pgd:steps=20"], len(split)
        usual = {
            "clean_pred": split.labels.tolist(),
            "clean_correct": [True] * n,
            "adversarial": [False] * n,
            "broken_by": [None] * n,
            "broken_variant": [None] * n,
            "first_success_step": [None] * n,
            "clean_margin": [1.0] * n,
            "adv_margin": [0.5] * n,
            "status": [0] * n,
            "n_nonfinite": [0] * n,
            "n_zero_gradient": [0] * n,
        }
        table = usual | columns
        rows = [{name: values[i] for name, values in table.items()} for i in range(n)]
        info = {
            "attack_params": json.dumps(specs),
            "flags": flags,
            "n_audited": None,
            "provenance": "{}",
        }
        return {"rows": rows, "info": info | {"audit_attack": None} | (audit or {})}

    return make


@pytest.fixture
def told_apart(evidence: Callable[..., Evidence]) -> Callable[..., tuple[Reading, Reading]]:
    """`told_apart(check, before, scale)`: readings of a good and of a spoilt classifier."""

    def readings(
        check: Callable[[Evidence], Reading],
        before: Callable[[Tensor], Tensor] | None,
        scale: float,
    ) -> tuple[Reading, Reading]:
        good = check(evidence(Linear(), source=Linear()))
        bad = check(evidence(Linear(before, scale), source=Linear()))
        assert (good.failed, bad.failed) == (False, True), (good, bad)
        assert good.figure <= good.threshold < bad.figure
        return good, bad

    return readings
