"""Keyed random numbers: big-integer SplitMix64, distributions, and independence."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robbench.core import keyed

pytestmark = pytest.mark.usefixtures("one_thread")

MASK = (1 << 64) - 1
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


def splitmix(z: int) -> int:
    """One step of SplitMix64 and its finaliser, on big integers (Steele, Lea and Flood 2014)."""
    z = (z + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def uniform(key: int, n: int, counter: int) -> list[float]:
    """What keyed.uniform promises, in plain integers."""
    folded = splitmix((key & MASK) ^ splitmix(counter & MASK))
    return [(splitmix(folded ^ splitmix(i)) >> 40) / (1 << 24) for i in range(n)]


def test_the_reference_is_splitmix64() -> None:
    """The oracle gives the first published outputs of SplitMix64 with seed 1234567."""
    state, found = 1234567, []
    for _ in range(3):
        found.append(splitmix(state))
        state = (state + 0x9E3779B97F4A7C15) & MASK
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(st.lists(INT64, min_size=1, max_size=20))
@settings(deadline=None, derandomize=True)
def test_mix_is_splitmix64(values: list[int]) -> None:
    """`mix` on int64 equals the big-integer SplitMix64, bit for bit."""
    mixed = keyed.mix(torch.tensor(values, dtype=torch.int64)).tolist()
    assert [value & MASK for value in mixed] == [splitmix(value & MASK) for value in values]


@given(INT64, INT64)
@settings(deadline=None, derandomize=True)
def test_fold_of_a_number_and_of_numbers(key: int, value: int) -> None:
    """`fold` is mix(key ^ mix(value)), the same for a number and for a tensor of numbers."""
    keys = torch.tensor([key, key], dtype=torch.int64)
    expected = splitmix((key & MASK) ^ splitmix(value & MASK))
    assert [folded & MASK for folded in keyed.fold(keys, value).tolist()] == [expected] * 2
    assert torch.equal(keyed.fold(keys, torch.tensor([value, value])), keyed.fold(keys, value))


@given(INT64, st.integers(0, 5))
@settings(deadline=None, derandomize=True, max_examples=50)
def test_uniform_is_the_plain_integer_one(key: int, counter: int) -> None:
    """Each number is the top 24 bits of SplitMix64 of key, counter and position."""
    drawn = keyed.uniform(torch.tensor([key]), (2, 3), counter, torch.float64)
    assert drawn.flatten().tolist() == uniform(key, 6, counter)


def test_normal_is_box_and_muller_of_two_uniforms() -> None:
    """sqrt(-2 log(1-u)) cos(2 pi v) of the uniforms with counters 2c and 2c+1."""
    drawn = keyed.normal(torch.tensor([99]), (50,), 3, torch.float64)[0].tolist()
    pairs = zip(uniform(99, 50, 6), uniform(99, 50, 7), strict=True)
    expected = [math.sqrt(-2 * math.log1p(-u)) * math.cos(2 * math.pi * v) for u, v in pairs]
    assert drawn == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("axis", ["within a key", "across consecutive keys", "across counters"])
def test_distributions(axis: str) -> None:
    """Uniform and normal pass Kolmogorov-Smirnov over positions, neighbouring keys and counters."""

    def draw(law: str) -> torch.Tensor:
        make = getattr(keyed, law)
        if axis == "within a key":
            return make(torch.tensor([5]), (20_000,), dtype=torch.float64).flatten()
        if axis == "across consecutive keys":
            return make(torch.arange(20_000), (1,), dtype=torch.float64).flatten()
        return torch.cat(
            [
                make(torch.tensor([5]), (10,), counter, torch.float64).flatten()
                for counter in range(2_000)
            ]
        )

    assert stats.kstest(draw("uniform").numpy(), "uniform").pvalue > 0.001
    assert stats.kstest(draw("normal").numpy(), "norm").pvalue > 0.001


def test_range_and_finiteness_in_float32() -> None:
    """Uniforms lie in [0, 1) and normals are finite, a million of each."""
    u = keyed.uniform(torch.arange(1000), (1000,))
    assert u.dtype == torch.float32
    assert float(u.min()) >= 0
    assert float(u.max()) < 1
    assert bool(torch.isfinite(keyed.normal(torch.arange(1000), (1000,))).all())


def test_streams_are_uncorrelated() -> None:
    """Keys, counters and seeds that differ by one give uncorrelated numbers (six sigma)."""
    n = 20_000
    key = torch.tensor([12345])
    streams = [
        keyed.uniform(key, (n,)),
        keyed.uniform(key + 1, (n,)),
        keyed.uniform(key, (n,), 1),
        keyed.uniform(keyed.fold(key, 1), (n,)),
        keyed.uniform(keyed.fold(key, 2), (n,)),
        keyed.uniform(key, (n + 1,))[:, 1:],
        keyed.normal(key, (n,), 1),
    ]
    for a, b in itertools.combinations(streams, 2):
        assert abs(float(torch.corrcoef(torch.cat([a, b]).double())[0, 1])) < 6 / math.sqrt(n)


@pytest.mark.parametrize("law", [keyed.uniform, keyed.normal])
def test_a_rows_numbers_depend_on_its_key_only(law: object) -> None:
    """The same key draws the same in any batch and place; the global generator is untouched."""
    state = torch.get_rng_state()
    keys = torch.tensor([3, -7, 1 << 60, 0, 42])
    whole = law(keys, (3, 4))  # type: ignore[operator]
    for row in range(5):
        assert torch.equal(law(keys[row : row + 1], (3, 4))[0], whole[row])
    order = torch.tensor([4, 0, 2, 1, 3, 3])
    assert torch.equal(law(keys[order], (3, 4)), whole[order])  # type: ignore[operator]
    assert len({tuple(row.flatten().tolist()) for row in whole}) == 5
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("begin", [[0, 63, 1000], [0, 0, 0]], ids=str)
@pytest.mark.parametrize("pace", [[1, 1, 7], [1, 1, 1], [-1, -1, -1]], ids=str)
def test_a_blocks_numbers_are_those_of_each_step(begin: list[int], pace: list[int]) -> None:
    """Rows together or at steps of their own, in and across blocks, also once moved and joined."""
    keys, t = torch.tensor([3, -7, 1 << 60]), torch.tensor(begin)
    if pace[0] < 0:
        t = t + 200
    block = keyed.Block.blank(keys, 5, torch.float64)

    def draw(key: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return keyed.uniform(keyed.fold(key, t + 1), (5,), dtype=torch.float64)

    for move in range(200):
        u, block = block.at(t, keys, draw)
        assert torch.equal(u, keyed.uniform(keyed.fold(keys, t + 1), (5,), dtype=torch.float64))
        t = t + torch.tensor(pace)
        if move == 100 and pace[0] > 0:
            fresh = torch.tensor([11])
            order = torch.tensor([2, 0])
            blank = keyed.Block.blank(fresh, 5, torch.float64)
            block = keyed.Block.concat([block.take(order), blank])
            keys, t = torch.cat([keys[order], fresh]), torch.cat([t[order], fresh * 0])
