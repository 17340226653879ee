"""What the tests of the engine share: a small network trained on digits, and samples to attack."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robbench.attacks.base import AttackEntry
from robbench.catalogue.builtins import ATTACKS
from robbench.core.tiles import RowEquality
from robbench.data.base import Split, sample_ids
from robbench.engine.counter import Counter
from robbench.engine.evaluate import evaluate
from robbench.engine.records import Verdict
from robbench.engine.shapes import equality_of
from robbench.threat.model import parse_threat


class Digits(NamedTuple):
    """A trained network and samples it has not seen."""

    model: nn.Module
    split: Split


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    ids = torch.from_numpy(sample_ids(images, labels))
    return Split(
        torch.from_numpy(images),
        torch.from_numpy(labels),
        ids,
        tuple("0123456789"),
        "digits",
        "test",
        scale=16,
    )


@pytest.fixture(scope="session")
def digits(one_thread: None) -> Digits:
    """A CNN trained for seconds in plain torch, partly on noisy images: partly robust."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images, labels = images.astype(np.uint8).reshape(-1, 1, 8, 8), labels.astype(np.int64)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    x, y = torch.from_numpy(images[:1200]).float() / 16, torch.from_numpy(labels[:1200])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(8):
        for batch in torch.randperm(1200).split(64):
            optimizer.zero_grad()
            noisy = (x[batch] + 0.15 * torch.randn_like(x[batch]).sign()).clamp(0, 1)
            F.cross_entropy(model(noisy), y[batch]).backward()
            optimizer.step()
    model.eval()
    return Digits(model, _split(images[1200:], labels[1200:]))


@pytest.fixture(scope="session")
def entries() -> Callable[..., list[AttackEntry]]:
    """A cascade from spec strings."""
    return lambda specs: [
        AttackEntry(ATTACKS.canonical(spec), ATTACKS.build(spec)) for spec in specs
    ]


@pytest.fixture(scope="session")
def decide(entries: Callable[..., list[AttackEntry]]) -> Callable[..., list[Verdict]]:
    """All verdicts of a cascade, in the order of the samples."""

    def run(
        specs: Sequence[str | AttackEntry],
        model: nn.Module,
        split: Split,
        threat: str,
        *,
        width: int = 64,
        seed: int = 0,
    ) -> list[Verdict]:
        cascade = [spec if isinstance(spec, AttackEntry) else entries([spec])[0] for spec in specs]
        return evaluate(
            model, split, parse_threat(threat), cascade, seed=seed, width=width
        ).verdicts

    return run


class Seen(Counter):
    """Counts what passes a model: rows forward and rows backward, call by call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.forward_rows: list[int] = []
        self.backward_rows: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.forward_rows.append(len(x))
        logits: Any = self.model(x)
        if logits.requires_grad:
            logits.register_hook(lambda grad: self.backward_rows.append(len(grad)))
        return logits


@pytest.fixture(scope="session")
def measured() -> Callable[[Any, Split], RowEquality]:
    """The measured row equality of a model; a model that counts its calls may restart."""
    return lambda model, split: equality_of([model], split.pixels(slice(0, 32)))


@pytest.fixture
def equal_rows(digits: Digits, measured: Callable[[Any, Split], RowEquality]) -> None:
    """For tests of what holds where some numbers of rows agree; else the run says so."""
    found = measured(digits.model, digits.split)
    if not found.equal:
        pytest.skip(f"no numbers of rows give equal answers on this processor: {found.why}")


@pytest.fixture
def fours(digits: Digits, measured: Callable[[Any, Split], RowEquality]) -> None:
    """For tests that count rows in tiles padded to multiples of four."""
    found = measured(digits.model, digits.split)
    if found.step != 4:
        pytest.skip(f"on this processor rows are padded to multiples of {found.step}")


@pytest.fixture
def seen() -> type[Seen]:
    """Wraps a model and counts what passes it."""
    return Seen


class Told(NamedTuple):
    """What a run said, by sample and budget."""

    verdicts: dict[tuple[int, int], Verdict]
    points: dict[tuple[int, int], Tensor]


@pytest.fixture(scope="session")
def told(entries: Callable[..., list[AttackEntry]]) -> Callable[..., Told]:
    """A run with its worst points; `abandon` N stops it after N steps, out of time."""

    def run(
        specs: Sequence[str | AttackEntry],
        model: nn.Module,
        split: Split,
        threat: str,
        *,
        width: int = 64,
        abandon: int | None = None,
        **settings: Any,
    ) -> Told:
        built = [spec if isinstance(spec, AttackEntry) else entries([spec])[0] for spec in specs]
        steps = itertools.count()
        threats = parse_threat(threat)
        found = evaluate(
            model,
            split,
            threats,
            built,
            seed=0,
            width=width,
            out_of_time=lambda: abandon is not None and next(steps) >= abandon,
            keep_points=True,
            **settings,
        )
        verdicts = {(v.sample, v.eps_index): v for v in found.verdicts}
        assert len(verdicts) == len(found.verdicts) == len(split) * len(threats)
        return Told(verdicts, found.points)

    return run


@dataclasses.dataclass
class Story:
    """A run with its worst points and how often search and model disagreed."""

    verdicts: list[Verdict]
    points: dict[int, Tensor]
    disagreements: int


@pytest.fixture(scope="session")
def run(entries: Callable[..., list[AttackEntry]]) -> Callable[..., Story]:
    """A run with a stand-in for the model."""

    def attack(
        specs: Sequence[str | AttackEntry],
        model: nn.Module,
        split: Split,
        threat: str,
        *,
        width: int = 64,
        **settings: Any,
    ) -> Story:
        built = [spec if isinstance(spec, AttackEntry) else entries([spec])[0] for spec in specs]
        found = evaluate(
            model,
            split,
            parse_threat(threat),
            built,
            seed=0,
            width=width,
            keep_points=True,
            **settings,
        )
        points = {i: x for (i, _), x in found.points.items()}
        return Story(found.verdicts, points, found.disagreements)

    return attack


@pytest.fixture
def dark(digits: Any) -> Split:
    """Ten images of class 0 with pixels 0.2: a line at 0.5 is 0.3 away."""
    images = torch.full((10, 1, 2, 2), 0.2)
    return dataclasses.replace(
        digits.split.take(torch.arange(10)),
        images=images,
        labels=torch.zeros(10, dtype=torch.int64),
        classes=("a", "b"),
    )
