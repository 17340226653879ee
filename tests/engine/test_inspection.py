"""What a model shows before an attack: bad models are flagged, ordinary ones are not."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.catalogue.builtins import ATTACKS
from robbench.core.freeze import frozen
from robbench.core.tiles import Tiles
from robbench.engine.flags import Flag
from robbench.engine.inspection import SAMPLES, inspect

pytestmark = pytest.mark.usefixtures("one_thread")
N = 40  # more than one tile of 32


def _mlp(seed: int = 0, classes: int = 4) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, classes))


def _cnn() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(144, 4),
    )


def _data(n: int = N, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, 1, 6, 6, generator=generator), torch.randint(
        0, classes, (n,), generator=generator
    )


def _flags(model: Any, x: Tensor | None = None, training: bool = False) -> dict[str, Flag]:
    """The flags of a model by name; it is frozen as the caller of `inspect` does it."""
    pixels, labels = _data()
    pixels = pixels if x is None else x
    module = model if isinstance(model, nn.Module) else nn.Module()
    with frozen(module, training=training):
        flags = inspect(model, pixels, labels[: len(pixels)], tiles=Tiles(32, 8)).flags
    assert all("\n" not in flag.text and "{" not in flag.text for flag in flags)
    return {flag.name: flag for flag in flags}


def _after(body: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function of the logits of an ordinary network, with frozen weights."""
    network = _mlp().requires_grad_(False)
    return lambda x: body(network(x))


# -- ordinary models


def _scripted(model: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scripting is deprecated, but such models are around
        return torch.jit.script(model)


def _compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="aot_eager")


@pytest.mark.parametrize(
    "wrap", [lambda model: model, _scripted, pytest.param(_compiled, marks=pytest.mark.slow)]
)
def test_an_ordinary_model_raises_no_flag(wrap: Callable[[nn.Module], Any]) -> None:
    """A network in eval mode, with batch-norm and dropout, as it is, scripted and compiled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not _flags(wrap(_cnn()))


def test_a_plain_network_raises_no_flag() -> None:
    """Fully connected, of several seeds and class counts."""
    for seed, classes in ((0, 4), (1, 4), (2, 10), (3, 100)):
        assert not _flags(_mlp(seed, classes))


@pytest.mark.parametrize("wrap", [lambda model: model, _scripted])
def test_a_model_in_training_mode_is_random_and_not_dynamic(
    wrap: Callable[[nn.Module], Any],
) -> None:
    """Dropout answers differently each time; batch statistics mix the samples of a batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert _flags(wrap(_cnn()), training=True).keys() == {"random"}


def test_checkpointing_and_grad_modes_in_the_forward_are_not_dynamic() -> None:
    """A frozen model may enable gradients or recompute activations without a graph."""
    network = _mlp()

    class Checkpointed(nn.Module):
        def __init__(self, reentrant: bool) -> None:
            super().__init__()
            self.network, self.reentrant = network, reentrant

        def forward(self, x: Tensor) -> Tensor:
            return torch.utils.checkpoint.checkpoint(self.network, x, use_reentrant=self.reentrant)

    class Switches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        @torch.enable_grad()
        def forward(self, x: Tensor) -> Tensor:
            return self.network(x)

    assert not _flags(Checkpointed(False))
    assert not _flags(Switches())


def test_a_real_network_raises_no_flag() -> None:
    """The CIFAR-10 ResNet-18 in the pyautoattack package, on four images."""
    if not os.environ.get("ROBBENCH_DATA_DIR"):
        pytest.skip("needs CIFAR-10: set ROBBENCH_DATA_DIR to a folder that holds cifar10")
    from robbench.data.load import load
    from robbench.models.create import create

    split = load("cifar10", "test", limit=4)
    model = create("pyautoattack-resnet18", split.info()).eval()
    with frozen(model):
        found = inspect(model, split.pixels(slice(None)), split.labels, tiles=Tiles(32, 8))
    assert found == ([], 4, 2)


# -- random


def test_a_model_that_is_random_for_its_last_samples_only_is_random() -> None:
    """All samples are looked at, not the first batch; each that differs is counted."""
    x, _ = _data()
    x[:, 0, 0, 0] = 0.0
    x[-3:, 0, 0, 0] = 1.0
    noisy = _after(lambda z: z)
    flags = _flags(lambda x: noisy(x) + (x[:, 0, 0, :1] > 0.5) * torch.randn(len(x), 4), x)
    assert flags.keys() == {"random"}
    assert flags["random"].count == 3


@pytest.mark.parametrize(("change", "raised"), [(3e-4, True), (1e-5, False)])
def test_rounding_is_not_randomness(change: float, raised: bool) -> None:
    """Differences count relative to the logits' size, also when only the scale is random."""
    calls = [0]

    def model(x: Tensor) -> Tensor:
        calls[0] += len(x) == 32
        return 10 * logits(x) * (1 + change * (calls[0] % 2))

    logits = _after(lambda z: z)
    assert _flags(model).keys() == ({"random"} if raised else set())


def test_a_changed_prediction_is_random_however_small_the_change() -> None:
    """Two nearly tied logits that swap places give two verdicts."""
    calls = [0]

    def model(x: Tensor) -> Tensor:
        calls[0] += len(x) == 32
        sign = 1e-6 if calls[0] % 2 else -1e-6
        return (
            x.flatten(1)[:, :1] * torch.tensor([[1.0, 0.0]])
            + torch.tensor([[9.0, 9.0]])
            + sign * torch.tensor([[1.0, 0.0]])
        )

    x, _ = _data()
    x[:, 0, 0, 0] = 0
    x[5:] = 0.5
    found = inspect(model, x, torch.zeros(N, dtype=torch.int64), tiles=Tiles(32, 8)).flags
    assert [(flag.name, flag.count) for flag in found] == [("random", 5)]


def test_nan_answers_are_not_random() -> None:
    """The same NaN twice is the same answer; one that comes and goes is not."""
    assert "random" not in _flags(_after(lambda z: z * torch.nan))
    for ill in (torch.nan, -torch.inf):
        calls = [0]

        def model(x: Tensor, calls: list[int] = calls, ill: float = ill) -> Tensor:
            calls[0] += 1
            return x.flatten(1)[:, :1] * 1e-6 + torch.tensor(
                [[5.0, ill if calls[0] == 2 else 1e-6]]
            )

        assert (
            _flags(model)["random"].count == 8
        )  # the second call of the first pass: the rows after the first 32


# -- probabilities


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (lambda z: z.softmax(1), " probabilities"),
        (lambda z: (30 * z).softmax(1), " probabilities"),
        (lambda z: z.log_softmax(1), "log-probabilities"),
        (lambda z: (z.softmax(1) + 1e-12).log(), "log-probabilities"),
        (lambda z: z.sigmoid(), "made by a sigmoid"),
        (lambda z: 100 * z.softmax(1), "made by a softmax"),
        (lambda z: z.softmax(1).sqrt()[:, :4] - 0.5, "made by a softmax"),
        (lambda z: z.sigmoid() + 0 * z, "all between 0 and 1"),
    ],
)
def test_probabilities_instead_of_logits_are_noticed(
    body: Callable[[Tensor], Tensor], word: str
) -> None:
    """Softmax and log-softmax outputs, of confident models and others."""
    flags = _flags(_after(body))
    assert flags.keys() == {"probabilities"}
    assert flags["probabilities"].count == N
    assert word in flags["probabilities"].text


@pytest.mark.parametrize(
    "body",
    [
        lambda z: torch.cat([z.softmax(1)[:-1], z[-1:]]),  # one row of logits among probabilities
        lambda z: 30 * (z / 30).tanh(),  # capped, and far from where that saturates
        lambda z: z * z.detach().softmax(1),  # a mixture: logits have a part in it
        lambda z: z.sigmoid() - z,
        lambda z: (
            0 * z + torch.tensor([0.9, 0.2, 0.1, 0.3])
        ),  # the same for all: no sigmoid does that
        lambda z: z - z.logsumexp(1, keepdim=True) + 0.01,
        lambda z: 0 * z + torch.tensor([0.9, 0.9, -0.8, 0.0]),  # sums to one, below zero
        lambda z: 0 * z + torch.tensor([1.5, 0.0, -0.5, 0.0]),  # sums to one, above one
    ],
)
def test_logits_that_look_a_little_like_probabilities_are_logits(
    body: Callable[[Tensor], Tensor],
) -> None:
    """Every row has to be inside [0,1], or the last layer a softmax or sigmoid."""
    assert "probabilities" not in _flags(_after(body))


# -- state that moves


class _Observed(nn.Module):
    """Scales by the largest value seen so far, as the observers of quantisation do."""

    def __init__(self, moving: bool) -> None:
        super().__init__()
        self.network, self.moving = _mlp(), moving
        self.register_buffer("largest", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.moving:
            self.largest.mul_(1.01)
        return self.network(x / self.largest)


def test_buffers_that_move_in_evaluation_mode_are_named() -> None:
    """With the advice that helps: eot would not."""
    flags = _flags(_Observed(moving=True))
    assert flags.keys() == {"moving-state"}
    assert "largest" in flags["moving-state"].text
    assert "observers" in flags["moving-state"].text
    assert not _flags(_Observed(moving=False))


# -- dynamic


def _purified(x: Tensor) -> Tensor:
    """Two steps of gradient descent on a smoothness of the input, before it is classified."""
    for _ in range(2):
        with torch.enable_grad():
            here = x.detach().requires_grad_()
            rough = (here[..., 1:] - here[..., :-1]).square().sum()
            x = x - 0.1 * torch.autograd.grad(rough, here)[0]
    return x


def _purified_by_func(x: Tensor) -> Tensor:
    return x - 0.1 * torch.func.grad(lambda z: (z[..., 1:] - z[..., :-1]).square().sum())(x)


@pytest.mark.parametrize("purify", [_purified, _purified_by_func])
def test_an_optimisation_inside_the_forward_is_noticed(purify: Callable[[Tensor], Tensor]) -> None:
    """Also by torch.func; and an ordinary model looked at afterwards is not blamed for it."""
    network = _mlp().requires_grad_(False)
    flags = _flags(lambda x: network(purify(x)))
    assert flags.keys() == {"dynamic"}
    assert not _flags(network)


def test_looking_for_it_leaves_tracers_and_saved_tensor_hooks_alone() -> None:
    """No process-wide trace function is touched, for coverage and debuggers; no hook stays."""
    traced = []

    def tracer(frame: Any, event: str, arg: Any) -> Any:
        traced.append(frame.f_code.co_name)

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        _flags(_mlp())
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert "inspect" in traced
    assert "pack" not in traced
    x = torch.rand(3, requires_grad=True)
    (x * x).sum().backward()
    assert torch.equal(x.grad, 2 * x.detach())


def test_other_errors_of_a_model_are_not_swallowed() -> None:
    """A forward pass that fails without gradients fails."""

    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("the model is broken")

    with pytest.raises(RuntimeError, match="the model is broken"):
        _flags(broken)


# -- gradients


class _Staircase(torch.autograd.Function):
    """Rounds to 1/8 and says so in its gradient: zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (8 * x).round() / 8

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return torch.zeros_like(grad)


def test_rounding_away_the_gradient_is_noticed() -> None:
    """Every sample of a quantised model has a zero gradient."""
    network = _mlp().requires_grad_(False)
    flags = _flags(lambda x: network(_Staircase.apply(x)))
    assert flags.keys() == {"zero-gradient"}
    assert flags["zero-gradient"].count == N
    assert (
        _flags(lambda x: network(_Staircase.apply(x)), _data(33)[0])["zero-gradient"].count == 33
    )  # and no padding


def test_a_gradient_that_is_zero_only_beside_the_input_is_noticed() -> None:
    """One of two points is enough: all images are black, only brighter ones lack a gradient."""
    network = _mlp().requires_grad_(False)
    x = torch.zeros(N, 1, 6, 6)
    flags = _flags(
        lambda x: network(
            torch.where(x.flatten(1).amax(1)[:, None, None, None] > 0, x.detach(), x)
        ),
        x,
    )
    assert flags.keys() == {"zero-gradient"}
    assert flags["zero-gradient"].count == N


@pytest.mark.parametrize(
    ("scale", "name"), [(1, None), (60, None), (80, "vanishing"), (200, "zero-gradient")]
)
def test_saturated_logits_are_noticed_where_they_hurt(scale: float, name: str | None) -> None:
    """Cross-entropy's gradient is exp(-margin) here: fine at 60, below 1e-30 at 80, zero at 200."""

    def model(x: Tensor) -> Tensor:
        return (x.flatten(1)[:, :1] * 1e-3 + 1) * torch.tensor([[scale, 0.0]])

    found = inspect(model, _data()[0], torch.zeros(N, dtype=torch.int64), tiles=Tiles(32, 8)).flags
    assert [(flag.name, flag.count) for flag in found] == ([(name, N)] if name else [])


@pytest.mark.parametrize(
    ("scale", "attacks", "named"),
    [
        (1.0, [], False),
        (0.01, [], True),
        (0.01, ["apgd"], False),
        (0.01, ["apgd", "pyautoattack"], True),
    ],
)
def test_tiny_logits_of_a_model_that_is_right_are_told(
    scale: float, attacks: list[str], named: bool
) -> None:
    """Others' attacks may fail on them; an untrained network's small ones are not flagged."""
    built = [ATTACKS.build(spec) for spec in attacks]
    network = _mlp().requires_grad_(False)
    x, _ = _data()
    y = network(x).argmax(1)
    spread = network(x).amax(1) - network(x).median(1).values
    grown = 2 / float(spread.min())
    with frozen(nn.Module()):
        found = inspect(
            lambda x: scale * grown * network(x), x, y, tiles=Tiles(32, 8), attacks=built
        ).flags
    assert [(flag.name, flag.count) for flag in found] == ([("tiny-logits", N)] if named else [])


def test_gradients_that_are_not_numbers_are_noticed() -> None:
    """The square root of an exact zero: a fine answer with an infinite gradient."""
    network = _mlp().requires_grad_(False)
    x = _data()[0].clamp(min=0.1)  # so that the random point has no zeros either
    x[7, 0, 2] = 0.0
    flags = _flags(lambda x: network(x.sqrt()), x)
    assert flags.keys() == {"non-finite-gradient"}
    assert flags["non-finite-gradient"].count == 1


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda x: _mlp()(x.detach()).detach(), "cuts"),
        (torch.no_grad()(lambda x: _mlp()(x)), "cuts"),
        (torch.inference_mode()(lambda x: _mlp()(x)), "cuts"),
        (lambda x: _mlp()(x.detach()), "cuts"),  # the graph reaches the weights, but not the input
        (lambda x: torch.from_numpy(x.numpy()).flatten(1)[:, :4] * 8 - 4, "numpy"),
    ],
)
def test_a_model_without_gradients_is_noticed(
    model: Callable[[Tensor], Tensor], reason: str
) -> None:
    """Cut graphs of all kinds, and models that refuse to run with gradients; the reason is told."""
    x, y = _data()
    found = inspect(model, x, y, tiles=Tiles(32, 8))
    (flag,) = found.flags
    assert (flag.name, flag.count) == ("no-gradient", N)
    assert reason in flag.text
    assert (found.n_forward, found.n_backward) == (3, 0)


class _Scores:
    """Scores of a linear function, by no means of torch."""

    access = "score-based"

    def __call__(self, x: Tensor) -> Tensor:
        return x.detach().flatten(1)[:, :4] * 8 - 4


def test_a_model_of_scores_is_not_taken_for_one_that_is_cut() -> None:
    (flag,) = inspect(_Scores(), *_data(), tiles=Tiles(32, 8)).flags
    assert flag.text.startswith("the model has no gradient (it gives scores only): ")


def test_running_out_of_memory_is_no_property_of_a_model() -> None:
    """It is told as it is."""

    def greedy(x: Tensor) -> Tensor:
        if x.requires_grad:
            raise torch.OutOfMemoryError("no memory left")
        return x.flatten(1)[:, :4]

    with pytest.raises(torch.OutOfMemoryError):
        _flags(greedy)


# -- cost


@pytest.mark.parametrize("n", [0, 1, 8, 33, 100])
def test_the_cost_is_what_passes_the_model(n: int, seen: Callable[..., Any]) -> None:
    """Four forwards and two backwards per sample, in whole tiles, of 64 samples at most."""
    model = seen(_mlp())
    x, y = _data(n)
    with frozen(model):
        found = inspect(model, x, y, tiles=Tiles(32, 8))
    rows = -(-min(n, SAMPLES) // 8) * 8
    assert sum(model.forward_rows) == rows * found.n_forward
    assert sum(model.backward_rows) == rows * found.n_backward
    assert (found.n_forward, found.n_backward) == ((4, 2) if n else (0, 0))


def test_a_repeated_pass_is_counted() -> None:
    """Torch.func has to be asked again, without the hooks it refuses to work under."""
    network = _mlp().requires_grad_(False)
    assert inspect(lambda x: network(_purified_by_func(x)), *_data(), tiles=Tiles(32, 8))[1:] == (
        5,
        2,
    )
