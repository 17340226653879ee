"""The problems of samples: a function of sample, seed and attack, not of the place."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robbench.core.tiles import Tiles
from robbench.data.base import Split, sample_ids
from robbench.engine.pool import CleanAnswers, Pool, clean_tiles, stream_of
from robbench.objectives import temperatures
from robbench.threat.model import parse_threat

pytestmark = pytest.mark.usefixtures("one_thread")

N, CLASSES = 20, 3


def _split() -> Split:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (N, 1, 2, 2), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (N,), generator=generator)
    ids = torch.from_numpy(sample_ids(images.numpy(), labels.numpy()))
    return Split(images, labels, ids, ("a", "b", "c"), "toy", "test")


def _model(x: Tensor) -> Tensor:
    weight = torch.linspace(-2, 3, CLASSES * 4).reshape(CLASSES, 4).sin()
    return (x.flatten(1)[:, None] * weight).sum(2)  # row by row, whatever their number


def _pool(split: Split, seed: int = 0, threat: str = "linf:0.1,0.2,0.4") -> Pool:
    return Pool.of(split, parse_threat(threat), _model, seed=seed, tiles=Tiles(8, 8))


@given(st.permutations(range(N)), st.integers(0, 2**62))
def test_a_problem_goes_with_its_sample(order: list[int], stream: int) -> None:
    """In any order of the split the same sample has the same problem, its key included."""
    split = _split()
    here, there = _pool(split), _pool(split.take(torch.tensor(order)))
    a = here.problem(torch.tensor(order), stream)
    b = there.problem(torch.arange(N), stream)
    for name, value in a.tensors().items():
        if name != "index":
            assert torch.equal(value, b.tensors()[name]), name
    assert torch.equal(a.x0, split.images[order] / 255)
    assert torch.equal(a.logits0, _model(a.x0))
    assert torch.equal(a.temperature, temperatures(a.logits0))
    assert a.index.tolist() == order


def test_keys_differ_by_sample_seed_and_stream() -> None:
    """No two of 20 samples, 3 seeds and 3 streams draw the same numbers."""
    split, everyone = _split(), torch.arange(N)
    keys = [
        key
        for seed in range(3)
        for stream in (0, stream_of("fgsm"), stream_of("pgd:steps=10"))
        for key in _pool(split, seed).problem(everyone, stream).key.tolist()
    ]
    assert len(set(keys)) == N * 9


def test_each_row_has_its_own_budget() -> None:
    """The largest by default."""
    pool, rows = _pool(_split()), torch.tensor([4, 4, 0])
    assert pool.problem(rows).eps.tolist() == pytest.approx([0.4] * 3)
    found = pool.problem(rows, eps_index=torch.tensor([2, 0, 1]))
    assert found.eps.tolist() == pytest.approx([0.4, 0.1, 0.2])


def test_wrong_from_the_start() -> None:
    """The model's argmax against the label; non-finite logits are always wrong."""
    split = _split()
    logits = _model(split.pixels(slice(None)))
    ill = logits.clone()
    ill[3], ill[5, 0], ill[7, 1] = torch.nan, torch.inf, -torch.inf
    for answers, lost in ((logits, set()), (ill, {3, 5})):
        clean = answers, answers.argmax(1) != split.labels
        pool = Pool(split, parse_threat("linf:0.1"), clean, seed=0)
        expected = [
            i in lost or int(row.argmax()) != int(y)
            for i, (row, y) in enumerate(zip(answers, split.labels, strict=True))
        ]
        assert pool.wrong.tolist() == expected


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, N])
def test_the_clean_pass_comes_tile_by_tile(n: int) -> None:
    """No tile is larger than asked; together they are one pass; an empty split has classes."""
    split = _split().take(torch.arange(n))
    tiles = list(clean_tiles(split, _model, Tiles(8, 8)))
    assert len(tiles) == max(1, -(-n // 8))
    assert all(len(logits) <= 8 for logits, _ in tiles)
    answers = CleanAnswers(n)
    for logits, wrong in tiles:
        answers.add(logits, wrong)
    logits, wrong = answers.columns
    assert logits.shape == (n, CLASSES)
    assert torch.equal(logits, _model(split.pixels(slice(None))))
    assert torch.equal(wrong, logits.argmax(1) != split.labels)


def test_the_clean_pass_tells_what_it_asks_for_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tile while the one before it is evaluated; after the last there is none."""
    told = []
    monkeypatch.setattr(Split, "ahead", lambda self, rows: told.append(list(range(N))[rows]))
    for _ in clean_tiles(_split(), _model, Tiles(8, 8)):
        pass
    assert told == [[*range(8, 16)], [*range(16, 20)], []]


@given(st.text(max_size=40))
def test_streams_are_63_bits_of_the_spec(spec: str) -> None:
    """Any string, and never negative: the number goes into an int64."""
    digest = hashlib.blake2b(spec.encode(), digest_size=8).hexdigest()
    assert stream_of(spec) == int(digest, 16) // 2
    assert 0 <= stream_of(spec) < 2**63
