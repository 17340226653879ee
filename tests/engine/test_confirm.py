"""Claims against the model: on a line, where the first sufficient factor is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robbench.core.tiles import Tiles
from robbench.engine.confirm import confirm
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

FACTORS = (1.0, 1.001, 1.01, 1.1)
LINE, START = 0.75, 0.25


def _model(x: Tensor) -> Tensor:
    z = x[:, 0] - LINE
    return torch.stack([-z, z], 1)


def _problem(rows: int, eps: float) -> Problem:
    x0 = torch.full((rows, 2), START)
    return Problem.of(x0, torch.zeros(rows, dtype=torch.int64), eps, NORMS["l2"])


def _points(distances: list[float]) -> Tensor:
    x = torch.full((len(distances), 2), START)
    x[:, 0] += torch.tensor(distances)
    return x


# Shares of the way to the line, away from where rounding decides which factor is the first.
SHARES = st.lists(
    st.tuples(
        st.floats(0.5, 1.2).filter(lambda s: all(abs(s * f - 1) > 1e-5 for f in FACTORS)),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@given(SHARES, st.booleans(), st.integers(1, 3))
def test_a_refused_claim_is_tried_again_farther_out(
    rows: list[tuple[float, bool]], stretch: bool, draws: int
) -> None:
    """The first factor that suffices, else the last; one look without a claim or with eps."""
    way = LINE - START
    x = _points([share * way for share, _ in rows])
    p = _problem(len(rows), math.inf if stretch else 1.0)
    found = confirm(_model, p, x, [c for _, c in rows], Tiles(32, 8), draws, stretch=stretch)
    for (share, claimed), point, seen in zip(rows, x, found, strict=True):
        tried = FACTORS if stretch and claimed else FACTORS[:1]
        enough = [factor for factor in tried if share * factor > 1]
        used = enough[0] if enough else tried[-1]
        assert seen.judged.adversarial == bool(enough)
        assert seen.n_forward == draws * (tried.index(used) + 1)
        assert float(seen.x[0]) == pytest.approx(START + used * share * way, abs=1e-6)
        assert seen.judged.l2 == pytest.approx(used * share * way, abs=1e-6)
        if used == 1:
            assert torch.equal(seen.x, point)


def test_farther_out_stays_in_the_box() -> None:
    """A point at the face of the box cannot go on: the judged one is the face's."""
    p = Problem.of(torch.tensor([[0.25, 0.5]]), torch.tensor([0]), math.inf, NORMS["l2"])
    (seen,) = confirm(
        lambda x: torch.tensor([[1.0, 0.0]]).expand(len(x), 2),
        p,
        torch.tensor([[1.0, 0.75]]),
        [True],
        Tiles(32, 8),
        1,
        stretch=True,
    )
    assert seen.x.tolist() == pytest.approx([1.0, 0.5 + 1.1 * 0.25])
    assert (seen.judged.adversarial, seen.judged.fits, seen.n_forward) == (False, True, 4)


def test_nothing_to_confirm_asks_nothing() -> None:
    """No rows, no query."""
    asked: list[int] = []

    def model(x: Tensor) -> Tensor:
        asked.append(len(x))
        return _model(x)

    assert confirm(model, _problem(0, 1.0), _points([]), [], Tiles(32, 8), 1, stretch=True) == []
    assert asked == []
