"""How foreign modules are called: logits and gradients are those of the plain network."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robbench.core.errors import UserError
from robbench.models.create import check_logits
from robbench.models.external import External
from robbench.models.outputs.options import OutputOptions, Reading


class _Body(nn.Module):
    """A plain network, with something done before and after it."""

    def __init__(
        self, before: Callable[[Tensor], Tensor], after: Callable[[Tensor], Any], classes: int = 3
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, classes))
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Any:
        return self.after(self.net(self.before(x)))


class _Answer(NamedTuple):
    logits: Tensor
    aux_logits: Tensor


class _Object:
    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


def _same(x: Any) -> Any:
    return x


def _in_place(x: Tensor) -> Tensor:
    return x.sub_(0.5).div_(0.5)


def _one_only(x: Tensor) -> Tensor:
    assert len(x) == 1
    return x


def _wrapped(
    body: nn.Module, classes: int = 3, of: dict[int, list[int]] | None = None, **more: Any
) -> External:
    model = External(body, classes, Reading(OutputOptions(**more))).eval()
    model.fit_interface(torch.full((2, 1, 4, 4), 0.5), of)
    return model.requires_grad_(False)


def _asked(model: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of a mixture of them."""
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    weights = torch.arange(1.0, 1 + logits.numel()).reshape(logits.shape).sin()
    return logits.detach(), torch.autograd.grad((logits * weights).sum(), leaf)[0]


@pytest.mark.parametrize(
    ("before", "after", "plain"),
    [
        (_in_place, _same, lambda x: x * 2 - 1),
        (lambda x: x.clamp_(0.2, 0.8), lambda z: z.mul_(2), lambda x: x.clamp(0.2, 0.8)),
        (_one_only, _same, _same),
        (_same, lambda z: {"logits": z, "hidden": 0}, _same),
        (_same, lambda z: OrderedDict(loss=None, logits=z), _same),
        (_same, lambda z: _Answer(z, 0 * z), _same),
        (_same, _Object, _same),
    ],
    ids=[
        "in place",
        "in place twice",
        "batch of one",
        "dictionary",
        "ordered dictionary",
        "named tuple",
        "object",
    ],
)
def test_logits_gradients_and_features_are_those_of_the_plain_network(
    before: Any, after: Any, plain: Any
) -> None:
    """In-place steps, batches of one and output objects change nothing, nor the input."""
    x = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    kept = x.clone()
    model = _wrapped(_Body(before, after))
    scale = 2 if after.__name__ == "<lambda>" and isinstance(after(torch.ones(1)), Tensor) else 1
    reference = _Body(plain, lambda z: scale * z).eval().requires_grad_(False)
    for found, expected in zip(_asked(model, x), _asked(reference, x), strict=True):
        assert torch.allclose(found, expected, rtol=0, atol=1e-6)
    assert torch.equal(x, kept)
    logits, features = model.output(x)
    assert torch.equal(x, kept)
    assert torch.allclose(logits, reference(x), rtol=0, atol=1e-6)
    assert torch.allclose(features, reference.net[:3](plain(x)), rtol=0, atol=1e-6)
    check_logits(model, x, 3)


def test_a_model_that_spoils_its_input_elsewhere_is_refused() -> None:
    """What is no foreign module and has no copy either must not pass."""
    with pytest.raises(UserError, match="changes its input in place"):
        check_logits(_Body(_in_place, _same), torch.rand(2, 1, 4, 4), 3)


def test_auxiliary_outputs_are_left_out_in_training_only() -> None:
    """The first of several outputs in training mode; in evaluation mode it is ambiguous."""
    body = _Body(_same, _same)
    body.after = lambda z: (z, z + 1) if body.training else z
    model, x = _wrapped(body), torch.rand(4, 1, 4, 4)
    assert torch.equal(model.train()(x), body.net(x))
    assert torch.equal(model.eval()(x), body.net(x))
    with pytest.raises(UserError, match="returns tuple"):
        check_logits(_wrapped(_Body(_same, lambda z: (z, z))), x, 3)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_output_for_two_classes(shape: tuple[int, ...]) -> None:
    """An output z becomes (-z/2, z/2): class 1 has margin z, predicted where z > 0."""
    body = _Body(_same, lambda z: z.reshape(shape), classes=1)
    model, x = _wrapped(body, 2), torch.rand(6, 1, 4, 4)
    logits, z = model(x), body.net(x)[:, 0]
    assert torch.equal(logits[:, 1] - logits[:, 0], z)
    assert torch.equal(logits.argmax(1) == 1, z > 0)
    assert "one output z" in model.notes[0]
    check_logits(model, x, 2)
    with pytest.raises(UserError, match=r"should be \(6, 3\)|1 outputs"):
        check_logits(_wrapped(body, 3), x, 3)


def test_a_single_sigmoid_is_refused() -> None:
    """Behind a sigmoid the gradient of a confident model vanishes, also of a single one."""
    model = _wrapped(_Body(_same, torch.sigmoid, classes=1), 2)
    with pytest.raises(UserError, match="made by a sigmoid"):
        check_logits(model, torch.rand(8, 1, 4, 4), 2)


def test_more_outputs_than_classes() -> None:
    """The named outputs, or a subset's classes, are the logits; others are refused with advice."""
    x, body = torch.rand(4, 1, 4, 4), _Body(_same, _same, classes=10)
    for model in (_wrapped(body, 2, outputs="3,8"), _wrapped(body, 2, {10: [3, 8]})):
        assert torch.equal(model(x), body.net(x)[:, [3, 8]])
        assert "3, 8" in model.notes[0]
    with pytest.raises(UserError, match="outputs=0-1"):
        check_logits(_wrapped(body, 2), x, 2)
    with pytest.raises(UserError, match="no output 10"):
        _wrapped(body, 2, outputs="3,10")
    assert not _wrapped(body, 10, outputs="0-9").notes
    wrong = _wrapped(body, 8, outputs="0-7", outside="wrong")
    assert wrong.interface.text == "outputs 0-7 of 10, outside=wrong"


def test_a_rejection_is_no_answer() -> None:
    """A rejected input's row is NaN: neither right nor adversarial; others keep their logits."""
    body = _Body(_same, _same, classes=4)
    x = torch.rand(64, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    z = body.net(x)
    rejected = z.argmax(1) == 3
    body.after = lambda z: (
        z - torch.tensor([0.0, 0, 0, float(z[:, 3].median() - z[:, :3].amax(1).median())])
    )
    model = _wrapped(body, 3, {3: [0, 1, 2]})
    z = body(x)
    rejected = z.argmax(1) == 3
    assert 0 < rejected.sum() < 64
    assert torch.equal(model(x).isnan().all(1), rejected)
    assert torch.equal(model(x)[~rejected], z[~rejected, :3])
    assert "rejection" in model.notes[0]
    check_logits(model, x, 3)
    leaf, twin, third = (x.clone().requires_grad_() for _ in range(3))
    found = torch.autograd.grad(
        nn.functional.cross_entropy(
            model(leaf), torch.zeros(64, dtype=torch.long), reduction="sum"
        ),
        leaf,
    )[0]
    answers = nn.functional.cross_entropy(
        body(twin)[:, :3], torch.zeros(64, dtype=torch.long), reduction="sum"
    )
    outputs = body(third)
    way_out = (outputs[:, :3].topk(2, 1).values.sum(1) - 2 * outputs[:, 3]).sum()
    expected = [
        torch.autograd.grad(value, point)[0] for value, point in ((answers, twin), (way_out, third))
    ]
    assert torch.allclose(found[~rejected], expected[0][~rejected], atol=1e-6)
    assert torch.allclose(found[rejected], expected[1][rejected], atol=1e-6)
    with pytest.raises(UserError, match="4 outputs"):  # in training nothing is guessed
        check_logits(_wrapped(body, 3), x, 3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_are_cast_to_and_from(dtype: torch.dtype) -> None:
    """Inputs are cast to the weights' type, logits to float32, gradients to the input's type."""
    body = _Body(_same, _same).to(dtype)
    model, x = _wrapped(body), torch.rand(3, 1, 4, 4)
    logits, gradient = _asked(model, x)
    assert torch.equal(logits, body.net(x.to(dtype)).float())
    assert logits.dtype == gradient.dtype == torch.float32
    assert bool((gradient != 0).any())
    assert str(dtype).removeprefix("torch.") in model.notes[0]


def test_a_copy_is_asked_in_the_same_way() -> None:
    """Deep copies, as averages of weights make, keep what was found out."""
    model, x = _wrapped(_Body(_one_only, lambda z: {"logits": z})), torch.rand(3, 1, 4, 4)
    assert torch.equal(copy.deepcopy(model)(x), model(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_modes_of_modules_that_have_none_or_set_them_otherwise() -> None:
    """A frozen script, an exported module, an odd `train`: wrapped, with the same answers."""
    x = torch.rand(4, 1, 4, 4)

    class Loops(nn.Sequential):
        def train(self, loader: Any = None) -> None:  # type: ignore[override]
            raise RuntimeError("give me a loader")

    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3)).eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    bodies = [
        torch.jit.freeze(torch.jit.script(plain)),
        torch.export.export(plain, (x,), dynamic_shapes=({0: batch},)).module(),
        Loops(*plain),
    ]
    for body in bodies:
        model = External(body, 3).eval()
        model.fit_interface(x[:2])
        assert torch.allclose(model(x), plain(x), atol=1e-6)
        model.train()
        model.eval()
        assert torch.allclose(model(x), plain(x), atol=1e-6)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpoints_have_the_gradient_of_the_plain_network() -> None:
    """Also a Jacobian's, and the weights' in training; its own graph refuses `autograd.grad`."""

    class Checkpointed(_Body):
        def forward(self, x: Tensor) -> Any:
            return checkpoint(super().forward, x, use_reentrant=True)

    x, plain = torch.rand(4, 1, 4, 4), _Body(_same, _same).requires_grad_(False)
    model = _wrapped(Checkpointed(_same, _same))
    leaf, twin = x.clone().requires_grad_(), x.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="use_reentrant"):
        torch.autograd.grad(model.body(leaf).sum(), leaf)
    logits, expected = model(leaf), plain(twin)
    assert torch.equal(logits, expected)
    for k in range(3):
        found = torch.autograd.grad(logits[:, k].logsumexp(0), leaf, retain_graph=k < 2)[0]
        assert torch.equal(
            found, torch.autograd.grad(expected[:, k].logsumexp(0), twin, retain_graph=k < 2)[0]
        )
    for network in (model, plain):
        network.requires_grad_(True)
        network(x.clone().requires_grad_()).square().sum().backward()
    weights = zip(model.parameters(), plain.parameters(), strict=True)
    assert all(torch.equal(weight.grad, other.grad) for weight, other in weights)
