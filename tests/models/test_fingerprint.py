"""What a model is asked: the same inputs on every machine, with the spread of a random one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.data.base import Split
from robbench.models.fingerprint import output_fingerprint

N, SHAPE = 6, (1, 4, 4)
SPLIT = Split(
    images=torch.arange(N * 16, dtype=torch.uint8).reshape(N, *SHAPE),
    labels=torch.zeros(N, dtype=torch.int64),
    ids=torch.arange(N),
    classes=("a", "b"),
    name="made",
    split="test",
)


class Asked(nn.Module):
    """Keeps what it is asked."""

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.answer, self.seen = answer, list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.answer(x)


def _sums(x: Tensor) -> Tensor:
    return torch.stack([x.flatten(1).sum(1), x.flatten(1)[:, 0]], 1)


def test_the_inputs_are_the_first_samples_and_noise_of_rising_strength() -> None:
    model = Asked(_sums)
    found = json.loads(output_fingerprint(model, SPLIT))
    x = model.seen[0]
    assert torch.equal(x, model.seen[1])
    assert torch.equal(x[:4], SPLIT.pixels(slice(0, 4)))
    # The noise is made of whole numbers: these bytes on every machine.
    assert (
        hashlib.blake2b(x[4:].numpy().astype("<f4").tobytes(), digest_size=8).hexdigest()
        == "e255c80d6cd7545a"
    )
    strength = x[4:].flatten(1).amax(1)
    assert (strength <= torch.tensor([0.25, 0.5, 0.75, 1.0])).all()
    assert (strength > torch.tensor([0.2, 0.4, 0.6, 0.8])).all()
    assert found["samples"] == pytest.approx(_sums(x[:4]).double().numpy(), rel=1e-6)
    assert found["made"] == pytest.approx(_sums(x[4:]).double().numpy(), rel=1e-6)
    assert found["spread"] == 0


def test_fewer_samples_than_that_are_all_asked() -> None:
    found = json.loads(output_fingerprint(Asked(_sums), SPLIT.take(torch.tensor([2]))))
    assert (len(found["samples"]), len(found["made"])) == (1, 4)


def test_the_spread_of_a_random_model_is_measured() -> None:
    found = json.loads(
        output_fingerprint(Asked(lambda x: _sums(x) + torch.randn(len(x), 2)), SPLIT)
    )
    assert 0.5 < found["spread"] < 10


def test_answers_that_are_no_numbers_are_null() -> None:
    def answer(x: Tensor) -> Tensor:
        return torch.stack(
            [x.new_full((len(x),), float("nan")), x.new_full((len(x),), float("inf"))], 1
        )

    found: Any = json.loads(output_fingerprint(Asked(answer), SPLIT))
    assert found == {"samples": [[None, None]] * 4, "made": [[None, None]] * 4, "spread": 0.0}


def test_many_classes_are_grouped_and_a_change_of_one_shows() -> None:
    torch.manual_seed(0)
    z = torch.randn(8, 1000)
    found = []
    for change in (0.0, 0.5):
        moved = z.clone()
        moved[:, 777] += change
        found.append(
            torch.tensor(
                json.loads(output_fingerprint(Asked(lambda x, moved=moved: moved), SPLIT))["made"]
            )
        )
    assert found[0].shape == (4, 16)
    assert (found[0] - found[1]).norm(dim=1) == pytest.approx([0.5] * 4, rel=1e-5)
