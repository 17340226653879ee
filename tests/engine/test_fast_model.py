"""What the attacks may see instead of the model: folded, in bfloat16, compiled."""

from __future__ import annotations

import copy
import dataclasses
import math
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.catalogue.builtins import MODELS
from robbench.core.errors import UserError
from robbench.core.freeze import frozen
from robbench.data.base import DataInfo, Split
from robbench.engine.fast_model import BFloat16, fast_model
from robbench.engine.records import CLEAN
from robbench.objectives import margins

pytestmark = pytest.mark.usefixtures("one_thread")


# -- folding


class Block(nn.Module):
    """Convolution, batch-norm and a skip connection, with a head."""

    def __init__(self, *, bias: bool = False) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(1, 6, 3, padding=1, bias=bias), nn.BatchNorm2d(6)
        self.second, self.norm2 = (
            nn.Conv2d(6, 6, 3, padding=1, bias=bias),
            nn.BatchNorm2d(6, affine=bias),
        )
        self.head = nn.Linear(6 * 64, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(self.first(x)).relu()
        h = (h + self.norm2(self.second(h))).relu()
        logits: Tensor = self.head(h.flatten(1))
        return logits


def _used(model: nn.Module) -> nn.Module:
    """With statistics as if it had been trained, so that folding has something to do."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator))
            module.running_var.copy_(
                0.2 + torch.rand(module.running_var.shape, generator=generator)
            )  # type: ignore[union-attr]
            if module.affine:
                module.weight.data.copy_(torch.randn(module.weight.shape, generator=generator))
                module.bias.data.copy_(torch.randn(module.bias.shape, generator=generator))
    return model.eval()


@pytest.fixture
def x(digits: Any) -> Tensor:
    """Eight images."""
    pixels: Tensor = digits.split.pixels(slice(0, 8))
    return pixels


def _fast(model: nn.Module, x: Tensor) -> nn.Module:
    return fast_model(model, x, precision="fp32", compiled=False, tile=32).model


def _norms(model: nn.Module, x: Tensor) -> int:
    """How many batch-norms a forward pass goes through."""
    counts: list[int] = []
    norms = [
        module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    hooks = [norm.register_forward_hook(lambda *_: counts.append(1)) for norm in norms]
    model(x)
    for hook in hooks:
        hook.remove()
    return len(counts)


def _gradient(model: nn.Module, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    weights = torch.linspace(-1, 1, logits.shape[1])
    return (
        torch.autograd.grad((logits * weights).sum(), leaf)[0]
        if logits.requires_grad
        else torch.zeros_like(x)
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1)], ids=str)
def test_folding_gives_the_same_logits_and_gradients(
    bias: bool, shape: tuple[int, ...], digits: Any, x: Tensor
) -> None:
    """To 1e-4, on new samples, without any batch norm left; for any batch size."""
    torch.manual_seed(0)
    model = _used(Block(bias=bias)).requires_grad_(False)
    fast = _fast(model, x)
    assert (_norms(model, x), _norms(fast, x)) == (2, 0)
    for rows in (slice(0, 1), slice(100, 164)):
        inputs = digits.split.pixels(rows)
        assert torch.allclose(fast(inputs), model(inputs), rtol=0, atol=1e-4)
        assert torch.allclose(_gradient(fast, inputs), _gradient(model, inputs), rtol=0, atol=1e-4)
    assert not any(weight.requires_grad for weight in fast.parameters())


@pytest.mark.parametrize(
    "spec", ["wide-resnet:depth=10,width=1", "preact-resnet18", "small-cnn", "mlp:width=8,depth=2"]
)
def test_our_own_architectures_fold_or_stay(spec: str, digits: Any, x: Tensor) -> None:
    """Each gives its own logits and gradients, with and without the normalisation of its inputs."""
    torch.manual_seed(0)
    info = DataInfo((1, 8, 8), digits.split.classes, (0.3,), (0.2,))
    from robbench.models.create import create

    model = _used(create(spec, info)).requires_grad_(False)
    fast = _fast(model, x)
    assert torch.allclose(fast(x), model(x), rtol=1e-5, atol=1e-4)
    assert torch.allclose(_gradient(fast, x), _gradient(model, x), rtol=1e-3, atol=1e-4)
    assert MODELS.entries[spec.partition(":")[0]]
    if spec.startswith("wide"):
        assert _norms(fast, x) < _norms(model, x)


def test_a_model_is_asked_about_two_inputs_before_its_folded_copy_is_used(x: Tensor) -> None:
    """Of a large model each more would cost as much as a step of an attack."""
    model, rows = _used(Block()), []
    model.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    fast = _fast(model, x)
    assert fast is not model
    assert rows == [2]


def _state(model: nn.Module) -> dict[str, Any]:
    """Everything of a model that a user could miss."""
    return {
        **{name: value.clone() for name, value in model.state_dict().items()},
        "modes": [module.training for module in model.modules()],
        "gradients": [weight.requires_grad for weight in model.parameters()],
        "hooks": [
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for module in model.modules()
        ],
        "names": [name for name, _ in model.named_modules()],
        "types": [value.dtype for value in model.state_dict().values()],
        "places": [value.data_ptr() for value in model.state_dict().values()],
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("folds", [False, True])
def test_nothing_of_the_model_changes(precision: str, folds: bool, digits: Any, x: Tensor) -> None:
    """Weights, buffers, modes, flags, hooks and modules are restored after the search."""
    torch.manual_seed(0)
    model = _used(Block()) if folds else copy.deepcopy(digits.model)
    before, logits = _state(model), model(x).detach()
    fast = fast_model(model, x, precision=precision, compiled=False, tile=32).model
    _gradient(fast, x)
    after = _state(model)
    for name, value in before.items():
        assert (
            torch.equal(value, after[name]) if isinstance(value, Tensor) else value == after[name]
        ), name
    assert torch.equal(model(x), logits)


class Branching(Block):
    """Looks at its data in Python: cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if float(x.sum()) > -1 else x


class Random(Block):
    """Another answer each time: a trace of it cannot be compared."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn(len(x), 1)


class Twice(Block):
    """One convolution with two batch-norms."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(self.first(x)) + self.norm2(self.first(x))
        logits: Tensor = self.head(h.relu().flatten(1))
        return logits


class Seen(Block):
    """What leaves the convolution is used beside the batch-norm too."""

    def forward(self, x: Tensor) -> Tensor:
        raw = self.first(x)
        logits: Tensor = self.head((self.norm1(raw) + raw).relu().flatten(1))
        return logits


class Strange(Block):
    """Raises something of its own when it is traced."""

    def forward(self, x: Tensor) -> Tensor:
        if type(x) is not Tensor:
            raise KeyError("who are you?")
        return super().forward(x)


class Rounding(torch.autograd.Function):
    """Rounds; its gradient is that of the identity (Bengio et al. 2013)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x * 16).round() / 16

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad


class StraightThrough(Block):
    """A quantised input with a gradient of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(Rounding.apply(x))  # type: ignore[no-untyped-call]


class PartlyWithoutGradient(Block):
    """The rounding error is a constant to autograd."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            error = (x * 16).round() / 16 - x
        return super().forward(x + error)


class Detached(Block):
    """The same without a context."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + ((x * 16).round() / 16 - x).detach())


class Hooked(Block):
    """A hook on a batch-norm adds to what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1.register_forward_hook(lambda module, inputs, output: output + 1)


class Bare(Block):
    """A batch-norm without statistics: it uses those of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(6, track_running_stats=False)


class Always(Block):
    """A batch-norm that stays in training mode whatever it is told."""

    def train(self, mode: bool = True) -> Always:
        super().train(mode)
        self.norm1.training = True
        return self


ODD = [
    Branching,
    Random,
    Twice,
    Seen,
    Strange,
    StraightThrough,
    PartlyWithoutGradient,
    Detached,
    Hooked,
    Bare,
    Always,
]


@pytest.mark.parametrize("kind", ODD, ids=lambda kind: kind.__name__)
def test_what_cannot_be_folded_is_left_alone(kind: type[nn.Module], digits: Any) -> None:
    """Where folding changes function or gradient, the copy is the model, or folds less."""
    torch.manual_seed(0)
    model = _used(kind()).requires_grad_(False)
    inputs = digits.split.pixels(slice(0, 8)) * 0.95 + 0.013  # off the grid of sixteenths
    fast = _fast(model, inputs)
    if kind in (Random, Branching, Strange):
        assert fast is model
        return
    states = [copy.deepcopy(model.state_dict()) for _ in range(2)]
    answers = []
    for one in (fast, model):
        model.load_state_dict(states.pop())
        answers.append((one(inputs), _gradient(one, inputs)))
    assert torch.allclose(answers[0][0], answers[1][0], rtol=0, atol=1e-3)
    assert float(answers[1][1].abs().max()) > 1e-3
    assert torch.allclose(answers[0][1], answers[1][1], rtol=0, atol=1e-3)


class Viewed(Block):
    """Flattens its feature maps by a `view`, which the usual layout alone allows."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(self.first(x)).relu()
        logits: Tensor = self.head(self.norm2(self.second(h)).view(-1, 6 * 64))
        return logits


@pytest.mark.parametrize(("kind", "usual"), [(Block, False), (Viewed, True)])
def test_a_folded_copy_computes_in_channels_last_where_it_can(
    kind: type[nn.Module], usual: bool, x: Tensor
) -> None:
    """Images and weights of a convolution of the copy; those of the model stay as they are."""
    torch.manual_seed(0)
    model = _used(kind()).requires_grad_(False)
    fast, found = _fast(model, x), []

    def look(module: nn.Conv2d, inputs: tuple[Tensor, ...]) -> None:
        if module.in_channels > 1:  # of one channel both layouts are one
            found.append((module.weight.is_contiguous(), inputs[0].is_contiguous()))

    for module in (*fast.modules(), *model.modules()):
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(look)
    assert torch.allclose(fast(x), model(x), rtol=0, atol=1e-4)
    assert found == [(usual, usual), (True, True)]
    assert (_norms(fast, x), _norms(model, x)) == (0, 2)


class Quantised(nn.Module):
    """A trained network behind a straight-through quantisation and an identity batch norm."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.first, self.norm, self.model = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1), model
        self.first.weight.data.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(self.norm(self.first(Rounding.apply(x))))
        return logits


def test_folding_does_not_hide_broken_samples(digits: Any, run: Callable[..., Any]) -> None:
    """A rounding network with its own gradient is as easy to break through its copy."""
    model, split = (
        Quantised(copy.deepcopy(digits.model)).eval(),
        digits.split.take(torch.arange(60)),
    )
    with frozen(model):
        fast = _fast(model, split.pixels(slice(0, 8)))
    stories = [
        run(["pgd:steps=8,init=clean"], model, split, "linf:0.15", fast=search)
        for search in (None, fast)
    ]
    counts = [sum(v.adversarial for v in story.verdicts) for story in stories]
    assert counts[0] > 20
    assert counts[1] >= 0.9 * counts[0]


# -- bfloat16

CASCADE = ["pgd:steps=4,restarts=2", "apgd:steps=8", "apgd-t:steps=6,targets=3"]


def test_bf16_is_near_the_model(digits: Any) -> None:
    """Float32 logits within a few bfloat16 steps, predictions nearly equal; for one row too."""
    search = fast_model(
        digits.model, digits.split.pixels(slice(0, 8)), precision="bf16", compiled=False, tile=32
    )
    assert search.recheck
    x, y = digits.split.pixels(slice(0, 200)), digits.split.labels[:200]
    with torch.no_grad():
        exact, coarse = digits.model(x), search.model(x)
    assert coarse.dtype == torch.float32
    assert 0 < float((exact - coarse).abs().max()) < 0.03 * float(exact.abs().max())
    assert (exact.argmax(1) == coarse.argmax(1)).float().mean() > 0.97
    assert len(torch.unique(margins(coarse, y))) > 190  # margins are not rounded to eight bits
    assert torch.isfinite(_gradient(search.model, x[:1])).all()


@pytest.mark.parametrize("threat", ["linf:0.1", "l2:0.5", "linf:0.05,0.1"])
def test_bf16_verdicts_are_the_models(threat: str, digits: Any, run: Callable[..., Any]) -> None:
    """Every adversarial verdict holds in float32; as many samples fall as in float32."""
    split = digits.split.take(torch.arange(80))
    search = fast_model(
        digits.model, split.pixels(slice(0, 8)), precision="bf16", compiled=False, tile=32
    )
    exact = run(CASCADE, digits.model, split, threat)
    coarse = run(CASCADE, digits.model, split, threat, fast=search.model, recheck=search.recheck)
    _hold(coarse, digits.model, split)
    counts = [sum(v.adversarial for v in story.verdicts) for story in (exact, coarse)]
    assert abs(counts[0] - counts[1]) <= 3


def _hold(story: Any, model: nn.Module, split: Split) -> None:
    """Every broken sample is misclassified by the model itself at its point (largest budget)."""
    last = max(v.eps_index for v in story.verdicts)
    fallen = [
        v for v in story.verdicts if v.adversarial and v.entry != CLEAN and v.eps_index == last
    ]
    assert len(fallen) > 5
    for v in fallen:
        with torch.no_grad():
            assert (
                int(model(story.points[v.sample][None]).argmax())
                == v.adv_pred
                != int(split.labels[v.sample])
            )


@pytest.mark.parametrize("spec", ["fmn:steps=30", "ddn:steps=30"])
def test_bf16_without_a_budget_finds_as_many(
    spec: str, digits: Any, run: Callable[..., Any]
) -> None:
    """A nearest point in bfloat16 is often none: without a budget the model is searched."""
    split = digits.split.take(torch.arange(60))
    search = fast_model(
        digits.model, split.pixels(slice(0, 8)), precision="bf16", compiled=False, tile=32
    )
    exact = run([spec], digits.model, split, "l2:inf")
    coarse = run([spec], digits.model, split, "l2:inf", fast=search.model, recheck=search.recheck)
    _hold(coarse, digits.model, split)
    assert coarse.verdicts == exact.verdicts
    assert sum(v.adversarial for v in exact.verdicts) == 60


def test_a_linear_model_in_bf16_keeps_its_margins(digits: Any) -> None:
    """A model of one layer, which sees pixels and gives logits, has nothing to be coarse about."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    x = digits.split.pixels(slice(0, 64))
    search = fast_model(model, x[:8], precision="bf16", compiled=False, tile=32)
    with torch.no_grad():
        assert torch.allclose(search.model(x), model(x), atol=1e-4)


def test_a_model_that_knows_no_bfloat16(digits: Any, x: Tensor) -> None:
    """A user's error that says what to do, and the model is left as it was."""

    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.middle, self.last = (
                nn.Linear(64, 32),
                nn.Linear(32, 32),
                nn.Linear(32, 10),
            )

        def forward(self, x: Tensor) -> Tensor:
            h = self.middle(self.first(x.flatten(1)))
            logits: Tensor = self.last(torch.linalg.solve(torch.eye(32, dtype=h.dtype), h.T).T)
            return logits

    with pytest.raises(UserError, match="--precision fp32"):
        fast_model(Picky(), x, precision="bf16", compiled=False, tile=32)


def test_bf16_of_other_shapes() -> None:
    """Flat inputs, one-dimensional convolutions and double-check of `forward` without gradients."""
    for model, x in (
        (nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)), torch.rand(8, 5)),
        (
            nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(4 * 5, 3)),
            torch.rand(8, 2, 7),
        ),
    ):
        fast = BFloat16(model.eval())
        assert fast(x).shape == (8, 3)
        assert torch.isfinite(fast(x)).all()


# -- compiled


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_stand_in(
    run: Callable[..., Any], digits: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A tiny compiled model has the model's logits for any rows, and the same verdicts."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)).eval()
    split = digits.split.take(torch.arange(24))
    with torch.no_grad():
        split = dataclasses.replace(split, labels=model(split.pixels(slice(None))).argmax(1))
    with frozen(model):
        search = fast_model(
            model, split.pixels(slice(0, 8)), precision="fp32", compiled=True, tile=8
        )
        for rows in (8, 3, 1):
            x = split.pixels(slice(0, rows))
            with torch.no_grad():
                assert torch.allclose(search.model(x), model(x), atol=1e-5)
            assert torch.allclose(_gradient(search.model, x), _gradient(model, x), atol=1e-5)
    plain = run(["pgd:steps=3"], model, split, "linf:0.05", width=8)
    fast = run(
        ["pgd:steps=3"],
        model,
        split,
        "linf:0.05",
        width=8,
        fast=search.model,
        recheck=search.recheck,
    )
    assert not search.recheck
    assert [v.adversarial for v in plain.verdicts] == [v.adversarial for v in fast.verdicts]
    assert sum(v.adversarial for v in fast.verdicts) > 0
    for a, b in zip(plain.verdicts, fast.verdicts, strict=True):
        assert math.isclose(a.adv_margin, b.adv_margin, abs_tol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_a_compiled_model_sees_one_type_and_shape(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each other one would be compiled again, which takes half a minute."""
    seen = set()

    def compiled(model: nn.Module, **_: Any) -> Callable[[Tensor], Tensor]:
        def call(x: Tensor) -> Tensor:
            seen.add((x.dtype, tuple(x.shape)))
            return model(x)

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), torch.rand(8, 1, 8, 8)
    fast = fast_model(model, x, precision=precision, compiled=True, tile=8)
    for rows in (x, x[:3], x.double()[:5].float(), x.to(fast.dtype)):
        expected = model.double()(rows.double()) if precision == "fp64" else model.float()(rows)
        assert torch.allclose(fast.model(rows), expected, atol=1e-6 if precision != "bf16" else 0.1)
    assert seen == {(fast.dtype, (8, 1, 8, 8))}
