"""Loops against torch's operators, bit by bit, and whole attacks with either."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from robbench.attacks import apgd
from robbench.attacks.base import Answer, AttackEntry
from robbench.catalogue.builtins import ATTACKS
from robbench.core import fused, keyed
from robbench.core.device import deterministic
from robbench.core.rows import pick
from robbench.data.load import load
from robbench.engine.evaluate import evaluate
from robbench.objectives import cross_entropy, margins
from robbench.slopes import SLOPES
from robbench.threat.model import parse_threat
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed"),
]

SHAPES = [(1,), (5,), (37,), (3, 8, 9), (2, 1, 3, 16)]
ROWS = 23


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch):
    """`both(call)`: what it gives with loops, and with operators."""

    def run(call):
        with_loops = call()
        monkeypatch.setattr(fused, "_kernels", lambda: None)
        found = with_loops, call()
        monkeypatch.undo()
        return found

    return run


def _random(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _problem(shape: tuple[int, ...]) -> Problem:
    """Rows at faces of the box and inside, with budgets of 0 to infinity."""
    x0 = _random(ROWS, *shape, seed=1).add(0.5).clamp(0, 1)
    eps = torch.tensor([0.0, 0.03, 0.3, 1.0, math.inf]).repeat(5)[:ROWS].contiguous()
    return Problem.of(x0, torch.arange(ROWS) % 4, eps, NORMS["linf"])


def _gradient(shape: tuple[int, ...]) -> Tensor:
    g = _random(ROWS, *shape, seed=2)
    return g.masked_fill(g.abs() < 0.3, 0.0)


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.nan_to_num(-7, 8, -9), b.nan_to_num(-7, 8, -9)) and a.dtype == b.dtype


@pytest.mark.parametrize("shape", SHAPES)
def test_moves_in_the_ball(both, shape: tuple[int, ...]) -> None:
    p, g = _problem(shape), _gradient(shape)
    x = p.x0 + _random(ROWS, *shape, seed=3, scale=0.2)
    before = p.x0 + _random(ROWS, *shape, seed=4, scale=0.1)
    x.flatten()[::7] = torch.nan
    length = torch.rand(ROWS, generator=torch.Generator().manual_seed(5))
    share = torch.where(torch.arange(ROWS) % 3 == 0, 1.0, 0.75)
    assert p.ball.fusable(x, g, before)
    for call in (
        lambda: p.ball.project(x),
        lambda: p.ball.project(x.clone(), overwrite=True),
        lambda: p.ball.ascend(x, g, length),
        lambda: p.ball.stride(x, g, length, before, share, 0.25),
        lambda: p.ball.uniform(),
    ):
        assert _same(*both(call))


def test_a_step_without_bound_ends_at_the_face(both) -> None:
    p, g = _problem((6,)), _gradient((6,))
    loops, operators = both(lambda: p.ball.ascend(p.x0, g, torch.full((ROWS,), torch.inf)))
    assert _same(loops, operators)


@pytest.mark.parametrize(
    "length", [torch.tensor(0.1), torch.tensor([0.1]), torch.full((ROWS,), 0.1).double()]
)
def test_numbers_of_another_shape_or_type_are_left_to_operators(both, length: Tensor) -> None:
    p, g = _problem((6,)), _gradient((6,))
    assert _same(*both(lambda: p.ball.ascend(p.x0, g, length)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("values", ["some higher", "none higher", "all higher", "no numbers"])
def test_a_move_of_apgd(both, shape: tuple[int, ...], values: str) -> None:
    p = _problem(shape)
    x, before, x_top = (p.ball.project(p.x0 + _random(ROWS, *shape, seed=k)) for k in range(3))
    f_top, f_prev, value = (_random(ROWS, seed=k) for k in range(3, 6))
    value = {"some higher": value, "none higher": f_top, "all higher": f_top + 1}.get(
        values, value.masked_fill(torch.arange(ROWS) % 3 == 0, torch.nan)
    )
    s = apgd.begin(x, p).replace(
        x_prev=before,
        x_top=x_top,
        g_top=_random(ROWS, *shape, seed=6),
        f_top=f_top,
        f_prev=f_prev,
        rises=torch.arange(ROWS) % 5,
        eta=torch.linspace(0, 0.4, ROWS),
    )
    a = Answer(x.flatten(1), value, _gradient(shape), torch.zeros(ROWS).bool())
    t = torch.arange(ROWS) % 20 + 2  # 22 is a checkpoint
    for alpha in (0.75, 0.3):
        with mock.patch.object(fused, "advance", wraps=fused.advance) as loop:
            moved = both(lambda alpha=alpha: apgd.advance(s, a, t, p, 100, alpha=alpha))
        assert loop.call_count == 1
        for loops, operators in zip(*(m.tensors().values() for m in moved), strict=True):
            assert _same(loops, operators)


class _Seen:
    """Answers with margins and hits that are given."""

    def __init__(self, margin: Tensor, hit: Tensor) -> None:
        self.margins = lambda x, p: (margin, hit)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", ["square", "square:rescale=true,steps=700", "square:p_init=1"])
@pytest.mark.parametrize("better", ["some", "none"])
def test_a_move_of_square(both, shape: tuple[int, ...], spec: str, better: str) -> None:
    """Each row at a step of its own, from none to beyond the last mark."""
    p, attack = _problem(shape), ATTACKS.build(spec)
    p = p.replace(key=p.key * 0x123456789ABCDEF - (1 << 62))
    s = attack.start(p).replace(x_best=p.ball.uniform(), margin=_random(ROWS, seed=7))
    margin, hit = s.margin + 1, torch.zeros(ROWS).bool()
    if better == "some":
        margin, hit = _random(ROWS, seed=8), torch.arange(ROWS) % 4 == 0
        margin[1::5] = torch.nan
    for t in (torch.full((ROWS,), 3), (torch.arange(2 * ROWS) ** 3)[::2]):
        with mock.patch.object(fused, "squares", wraps=fused.squares) as loop:
            moved = both(lambda t=t: attack.step(s, t, p, _Seen(margin, hit)))
        assert loop.call_count == 1
        for field in ("x", "x_best", "margin"):
            assert _same(*(getattr(m, field) for m in moved))


def test_keys_of_another_type_draw_the_same(both) -> None:
    """Read as they are, their bits would end before the array does."""
    p, attack = _problem((5,)), ATTACKS.build("square")
    s, seen = attack.start(p), _Seen(torch.zeros(ROWS), torch.zeros(ROWS).bool())
    t, narrow = torch.full((ROWS,), 3), p.replace(key=p.key.int())
    for found in both(lambda: attack.step(s, t, narrow, seen).x):
        assert _same(found, attack.step(s, t, p, seen).x)


@pytest.mark.parametrize("shape", [(3000,), (3, 32, 32)])
def test_rows_are_picked(both, shape: tuple[int, ...]) -> None:
    a, b = _random(ROWS, *shape, seed=1), _random(ROWS, *shape, seed=2)
    a[0] = torch.nan
    for mask in (torch.arange(ROWS) % 2 == 0, torch.zeros(ROWS).bool(), torch.ones(ROWS).bool()):
        loops, operators = both(lambda mask=mask: pick(mask, a, b))
        assert _same(loops, operators)
        assert _same(loops, torch.where(mask.reshape(-1, *[1] * len(shape)), a, b))


@pytest.mark.parametrize("odd", [0.0, torch.nan, torch.inf, -torch.inf, None])
def test_plain_gradients(odd: float | None) -> None:
    g = _random(4, 3, 5, seed=0)
    if odd == 0:
        g[2] = 0.0
    elif odd is not None:
        g[2, 1, 3] = odd
    counts, moves = torch.tensor([1, 2, 3, 4]), torch.tensor([True, False, True, False])
    assert fused.plain(g, moves, counts, 3) is (odd is None)
    assert counts.tolist() == [4, 2, 6, 4]


@pytest.mark.parametrize("classes", [1, 2, 4, 10, 33])
def test_margins(both, classes: int) -> None:
    z = _random(60, classes, seed=classes).mul(2).round()  # many tie
    z[::7, 0], z[1::7, -1], z[2::7, -1] = torch.nan, torch.inf, -torch.inf
    assert _same(*both(lambda: margins(z, torch.arange(60) % classes)))


@pytest.mark.parametrize("objective", SLOPES)
def test_slopes(both, objective) -> None:
    """Computed in float64, which only rarely rounds to another float32."""
    z = _random(500, 10, seed=3, scale=4.0)
    z[::9] *= 1000
    z[1::9] = z[1::9].round()
    p = Problem.of(z, torch.arange(500) % 10, 1.0, NORMS["linf"])
    p = p.replace(target=(p.y + 1 + torch.arange(500) % 9) % 10)
    for loops, operators in zip(*both(lambda: SLOPES[objective](z, p)), strict=True):
        assert torch.allclose(loops, operators, rtol=1.2e-7, atol=0)
        assert (loops != operators).float().mean() < 1e-3


@pytest.mark.parametrize("objective", SLOPES)
def test_slopes_do_not_depend_on_the_layout_of_logits(objective) -> None:
    z = _random(30, 10, seed=3, scale=4.0)
    p = Problem.of(z, torch.arange(30) % 10, 1.0, NORMS["linf"])
    p = p.replace(target=(p.y + 3) % 10)
    other = SLOPES[objective](z.t().contiguous().t(), p)
    assert all(torch.equal(*pair) for pair in zip(SLOPES[objective](z, p), other, strict=True))


def test_slopes_at_temperatures(both) -> None:
    """What is rounded is divided, with either: of 5000 entries at most one rounds otherwise."""
    z = _random(500, 10, seed=4, scale=4.0)
    p = Problem.of(z, torch.arange(500) % 10, 1.0, NORMS["linf"])
    p = p.replace(temperature=torch.linspace(0.3, 7, 500))
    loops, operators = both(lambda: SLOPES[cross_entropy](z, p)[1])
    assert (loops != operators).sum() <= 1


@pytest.mark.parametrize("classes", [[0, 1, -1], [0, 1, 4], [0, 1], [0, 1, 2, 3]])
def test_classes_without_a_logit_are_refused(classes: list[int]) -> None:
    """Loops would read and write beside the array."""
    z, y, known = _random(3, 4, seed=0), torch.tensor(classes), torch.tensor([0, 1, 2])
    marks = torch.ones(3).bool(), torch.ones(3), torch.zeros(3).long()
    for call in (
        lambda: fused.margins(z, y),
        lambda: fused.look(z, y, False, *marks),
        lambda: fused.cross_entropy(z, y, 40.0),
        lambda: fused.dlr_targeted(z, y, known, 1e-12),
        lambda: fused.dlr_targeted(z, known, y, 1e-12),
    ):
        with pytest.raises(IndexError, match="class"):
            call()


def test_the_default_type_is_not_asked() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        found = keyed.uniform(torch.arange(3), (2,))
    finally:
        torch.set_default_dtype(torch.float32)
    assert _same(found, keyed.uniform(torch.arange(3), (2,)))


@pytest.mark.parametrize("shape", SHAPES)
def test_random_numbers(both, shape: tuple[int, ...]) -> None:
    key = torch.arange(ROWS) * 0x123456789ABCDEF - (1 << 62)
    assert _same(*both(lambda: keyed.uniform(key, shape, counter=5)))


def test_what_loops_do_not_take() -> None:
    x = torch.rand(4, 3, 5)
    assert fused.fusable(x)
    assert fused.fusable(x, x)
    for other in (
        x.double(),
        x.bfloat16(),
        x.transpose(1, 2),
        x[:3],
        x.clone().requires_grad_(),
        x.to("meta"),
    ):
        assert not fused.fusable(x, other)
    assert fused.fusable(x[:3])
    assert not fused.fusable(x[:0])


class _Small(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))


@pytest.mark.parametrize(
    ("spec", "threat"),
    [
        ("apgd:steps=20", "linf:0.1"),
        ("apgd:steps=12,objective=dlr-targeted,targets=3,restarts=2", "linf:0.03,0.3"),
        ("pgd:steps=10,restarts=2", "linf:0.03,0.3"),
        ("square:steps=60", "linf:0.1"),
        ("square:steps=20,restarts=2,rescale=true", "linf:0.03,0.3"),
        ("tsta", "linf:0.1"),
        ("fab:iterations=12,targeted=true,targets=2", "linf:0.1"),
        ("fab:iterations=12,candidates=3", "linf:inf"),
        ("noise:steps=10", "linf:0.1"),
    ],
)
def test_attacks_are_the_same_with_either(both, spec: str, threat: str) -> None:
    torch.manual_seed(0)
    model, split = _Small(), load("digits", "test", limit=40)

    def attacked():
        with deterministic():
            return evaluate(
                model,
                split,
                parse_threat(threat),
                [AttackEntry(spec, ATTACKS.build(spec))],
                seed=0,
                width=16,
                keep_points=True,
            )

    loops, operators = both(attacked)
    assert loops.verdicts == operators.verdicts
    assert loops.points.keys() == operators.points.keys()
    assert all(torch.equal(x, operators.points[key]) for key, x in loops.points.items())


@pytest.mark.slow
def test_without_a_folder_to_keep_them_in_loops_are_compiled_anew() -> None:
    """A package that lies in a place that cannot be written, and no home."""
    script = (
        "import numba, numpy as np\n"
        "def refused(*a, **k):\n"
        "    if k.get('cache'): raise RuntimeError('cannot cache function')\n"
        "    return plain(*a, **k)\n"
        "plain, numba.njit = numba.njit, refused\n"
        "import torch\n"
        "from robbench.core import fused\n"
        "print(fused.margins(torch.eye(2), torch.tensor([0, 1])).tolist())\n"
    )
    assert _printed(script) == "[1.0, 1.0]"


@pytest.mark.parametrize("error", ["ImportError('needs another numpy')", "OSError('no library')"])
def test_without_a_numba_that_works_operators_are_used(tmp_path: Path, error: str) -> None:
    (tmp_path / "numba.py").write_text(f"raise {error}\n", encoding="utf-8")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import torch\n"
        "from robbench.core import fused\n"
        "from robbench.objectives import margins\n"
        "print(fused.fusable(torch.eye(2)), margins(torch.eye(2), torch.tensor([0, 1])).tolist())\n"
    )
    assert _printed(script) == "False [1.0, 1.0]"


def _printed(script: str) -> str:
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ, check=True
    ).stdout.strip()
