"""One training step against a plain transcription of Madry et al. 2018 and Zhang et al. 2019, and
what it costs.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robbench.attacks.apgd import APGD
from robbench.attacks.pgd import PGD
from robbench.catalogue.builtins import ATTACKS
from robbench.core import keyed
from robbench.core.errors import UserError
from robbench.engine.lockstep import lockstep
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.trades import TRADES
from robbench.objectives import SoftCrossEntropy
from robbench.testing import toy_split
from robbench.training import step as step_module
from robbench.training.forward import Forward
from robbench.training.inner import Inner
from robbench.training.step import TrainStep
from robbench.training.trainer import Trainer

EPS, STEPS, RATE = 0.1, 3, 0.4


def ignore(progress: Any) -> None:
    """Watch nothing."""


def transcription(model, split, loss_name, *, lr, seed, epoch, mode, beta=6.0):
    """Write the papers' inner loop and one SGD step out by hand.

    No code of ours but the keyed random numbers.
    """
    x, y = split.images.float() / 255, split.labels
    key = keyed.fold(keyed.fold(split.ids, seed), epoch)
    model.train(mode == "train")
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    if loss_name == "cross-entropy":
        start = EPS * (2 * keyed.uniform(key, x.shape[1:]) - 1)  # uniform in the ball
        adversarial = (x + start).clamp(0, 1)
    else:
        adversarial = (x + (0.001 * keyed.normal(key, x.shape[1:])).clamp(-EPS, EPS)).clamp(0, 1)
        with torch.no_grad():
            natural = F.softmax(model(x), 1)
    for _ in range(STEPS):
        adversarial = adversarial.detach().requires_grad_()
        logits = model(adversarial)
        if loss_name == "cross-entropy":
            value = F.cross_entropy(logits, y, reduction="sum")
        else:
            value = (natural * (natural.log() - F.log_softmax(logits, 1))).sum()
        (grad,) = torch.autograd.grad(value, adversarial)
        moved = adversarial.detach() + RATE * EPS * grad.sign()
        adversarial = torch.min(torch.max(moved, x - EPS), x + EPS).clamp(0, 1)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    model.train()
    if loss_name == "cross-entropy":
        value = F.cross_entropy(model(adversarial), y)
    else:
        z = model(adversarial)
        clean = model(x)
        p = F.softmax(clean, 1)
        value = (
            F.cross_entropy(clean, y) + beta * (p * (p.log() - F.log_softmax(z, 1))).sum(1).mean()
        )
    grads = torch.autograd.grad(value, list(model.parameters()))
    with torch.no_grad():
        for weight, grad in zip(model.parameters(), grads, strict=True):
            weight -= lr * grad
    return float(value.detach())


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(
    ("name", "loss", "init"),
    [("cross-entropy", CrossEntropy(), "uniform"), ("trades", TRADES(), "gaussian")],
)
def test_one_step_is_the_transcription(
    split, validation, threat, recipe, norm_model, name, loss, init, mode
):
    """After one epoch of one batch, loss, weights and batch-norm buffers are those of the plain
    code, to 1e-6.
    """
    ours, theirs = norm_model(), norm_model()
    for model in (ours, theirs):
        model.body[-1] = (
            nn.Identity()
        )  # dropout draws from the global generator, whose use may differ
    inner = Inner(PGD(steps=STEPS, rate=RATE, init=init), threat, mode)
    trainer = Trainer(ours, loss, split, validation, recipe(lr=0.2), inner=inner, threat=threat)
    row = trainer.run_epoch(ignore)
    value = transcription(theirs, split, name, lr=0.2, seed=3, epoch=0, mode=mode)
    assert row["train_loss"] == pytest.approx(value, abs=1e-6)
    before = norm_model().state_dict()
    for key, tensor in ours.state_dict().items():
        assert torch.allclose(
            tensor.float(), theirs.state_dict()[key].float(), rtol=0, atol=1e-6
        ), key
    assert not torch.allclose(
        ours.state_dict()["head.weight"], before["head.weight"], atol=1e-4
    )  # it did move


def test_second_epoch_draws_other_random_starts(split, threat, plain_model):
    """The inner attack's start is a function of the epoch, so no two epochs attack from the same
    point.
    """
    inner = Inner(PGD(steps=1, rate=0.001), threat)
    x, index = split.pixels(slice(None)), torch.arange(24)
    points = []
    for epoch in (0, 1, 0):
        key = keyed.fold(keyed.fold(split.ids, 3), epoch)
        step = TrainStep(
            plain_model(), x, split.labels, index, key=key, inner=inner, epoch=epoch, progress=0.0
        )
        points.append(step.adversary().x)
    assert torch.equal(points[0], points[2])
    assert not torch.allclose(points[0], points[1], atol=0.01)


def count_passes(model):
    """Append (grad enabled, training mode, input needs grad, rows) of every pass through the
    body.
    """
    seen = []

    def look(module, inputs):
        seen.append(
            (torch.is_grad_enabled(), module.training, inputs[0].requires_grad, len(inputs[0]))
        )

    model.body.register_forward_pre_hook(look)
    return seen


def make_step(model, split, inner, teacher=None):
    index = torch.arange(len(split))
    return TrainStep(
        model,
        split.pixels(index),
        split.labels,
        index,
        key=split.ids,
        inner=inner,
        epoch=0,
        progress=0.5,
        teacher=teacher,
    )


def test_trades_costs_what_the_paper_says(split, threat, norm_model):
    """TRADES: one natural pass without gradient, N inner ones in eval mode, one natural and one
    adversarial in training mode.
    """
    model = norm_model().train()
    seen = count_passes(model)
    step = make_step(model, split, Inner(PGD(steps=5, init="gaussian"), threat))
    TRADES()(step).mean().backward()
    n = len(split)
    assert seen[0] == (False, False, False, n)
    assert seen[1:6] == [(True, False, True, n)] * 5
    assert seen[6:] == [(True, True, False, n)] * 2
    assert (step.n_forward, step.n_backward) == (8 * n, 7 * n)


@pytest.mark.parametrize(("steps", "passes"), [(1, 2), (7, 8)])
def test_adversarial_training_costs_steps_plus_one(split, threat, norm_model, steps, passes):
    """Cross-entropy with an N-step PGD makes N + 1 passes and never one at the clean point."""
    model = norm_model().train()
    seen = count_passes(model)
    step = make_step(model, split, Inner(PGD(steps=steps), threat))
    CrossEntropy()(step).mean().backward()
    assert len(seen) == passes
    assert step.n_forward == step.n_backward == passes * len(split)


def test_clean_training_costs_one_pass(split, norm_model):
    """Without an inner attack cross-entropy is one pass, and asking twice costs nothing."""
    model = norm_model().train()
    seen = count_passes(model)
    step = make_step(model, split, None)
    CrossEntropy()(step)
    assert step.out is step.clean
    assert step.at(step.x) is step.clean
    assert len(seen) == 1


def test_adversaries_and_outputs_are_made_once(split, threat, norm_model):
    """The same adversary and the same point asked for again are the ones made before."""
    model = norm_model().train()
    seen = count_passes(model)
    step = make_step(model, split, Inner(PGD(steps=2), threat))
    first = step.adversary()
    assert step.adversary() is first
    out = step.out
    assert step.at(first.x) is out
    assert len(seen) == 3
    assert not torch.equal(step.adversary("kl-from-clean").x, first.x)


@pytest.mark.parametrize("loss", [CrossEntropy(), TRADES()])
def test_the_accuracy_at_the_adversary_is_logged(split, threat, norm_model, loss):
    """That of the outputs which the loss has seen there, without a pass more."""
    model = norm_model().train()
    seen = count_passes(model)
    step = make_step(model, split, Inner(PGD(steps=1), threat))
    step.log_adversarial_accuracy()
    assert step.notes.take_means() == {}  # nothing has been seen yet
    loss(step)
    passes = len(seen)
    step.log_adversarial_accuracy()
    right = step.at(step.adversary(loss.climbs).x).logits.argmax(1) == split.labels
    assert len(seen) == passes
    assert step.notes.take_means() == {"adversarial_accuracy": int(right.sum()) / len(right)}


def test_a_loss_that_attacks_without_an_inner_attack(split, norm_model):
    """Whoever wrote the loss reads what it lacks."""
    with pytest.raises(UserError, match="no inner attack: give --inner, or the class"):
        make_step(norm_model(), split, None).adversary()


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_inner_attack_leaves_no_trace(split, threat, norm_model, mode):
    """Modes, gradient flags, buffers and gradients of the model are after the inner attack what
    they were before.
    """
    model = norm_model().train()
    model.body[2].eval()  # a layer frozen on purpose
    model.body[1].bias.requires_grad_(False)
    model.head.weight.grad = torch.full_like(model.head.weight, 7.0)
    modes = [module.training for module in model.modules()]
    flags = [weight.requires_grad for weight in model.parameters()]
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    seen = count_passes(model)
    make_step(model, split, Inner(PGD(steps=4), threat, mode)).adversary()
    assert {training for _, training, _, _ in seen} == {mode == "train"}
    assert [module.training for module in model.modules()] == modes
    assert [weight.requires_grad for weight in model.parameters()] == flags
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    assert torch.equal(model.head.weight.grad, torch.full_like(model.head.weight, 7.0))
    assert all(weight.grad is None for weight in model.body.parameters())


def test_the_model_is_put_back_after_a_failure(split, threat, norm_model):
    """An inner attack that raises leaves modes, flags and buffers as they were, too."""
    model = norm_model().train()
    calls = []

    def fail_third(module, inputs):
        calls.append(1)
        if len(calls) == 3:
            raise ValueError("third")

    model.body.register_forward_pre_hook(fail_third)
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match="third"):
        make_step(model, split, Inner(PGD(steps=4), threat, "train")).adversary()
    assert all(module.training for module in model.modules())
    assert all(weight.requires_grad for weight in model.parameters())
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


def test_adversaries_stay_inside_box_and_budget(split, threat, norm_model):
    """Every inner point lies in [0,1] and within eps of the clean image, carries no graph, and
    differs from it.
    """
    step = make_step(norm_model().train(), split, Inner(PGD(steps=3), threat))
    found = step.adversary()
    assert float((found.x - step.x).abs().max()) <= EPS + 1e-6
    assert float((found.x - step.x).abs().mean()) > EPS / 10
    assert 0 <= float(found.x.min()) <= float(found.x.max()) <= 1
    assert not found.x.requires_grad


def test_survived_counts_steps_before_the_label_falls(split, threat, plain_model):
    """`survived` is the first inner query at which the label is wrong, or the number of steps.

    Checked query by query.
    """
    model = plain_model().train()
    history = []
    model.register_forward_hook(
        lambda module, inputs, logits: history.append(logits.detach().argmax(1))
    )
    step = make_step(model, split, Inner(PGD(steps=6, rate=1.0), threat))
    found = step.adversary()
    wrong = torch.stack(history) != split.labels  # [6,B]
    expected = [next((t for t in range(6) if wrong[t, i]), 6) for i in range(len(split))]
    assert found.survived.tolist() == expected
    assert found.steps == 6


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("rows", [5, 21])
def test_batches_of_any_size_are_the_transcription(
    validation, threat, recipe, norm_model, rows, mode
):
    """No row is added to a batch of odd size: in training mode it would have a part in the batch's
    statistics.
    """
    ours, theirs, odd = norm_model(), norm_model(), toy_split(rows)
    for model in (ours, theirs):
        model.body[-1] = nn.Identity()
    inner = Inner(PGD(steps=STEPS, rate=RATE), threat, mode)
    trainer = Trainer(
        ours, CrossEntropy(), odd, validation, recipe(lr=0.2), inner=inner, threat=threat
    )
    row = trainer.run_epoch(ignore)
    value = transcription(theirs, odd, "cross-entropy", lr=0.2, seed=3, epoch=0, mode=mode)
    assert row["train_loss"] == pytest.approx(value, abs=1e-6)
    for key, tensor in ours.state_dict().items():
        assert torch.allclose(
            tensor.float(), theirs.state_dict()[key].float(), rtol=0, atol=1e-6
        ), key


def stopping_loop(model, x, y, start, steps, rate, beyond):
    """Sample by sample: walk as PGD does, but only so many moves after the first point that is
    misclassified.
    """
    points, mistakes = [], []
    for row in range(len(x)):
        here, clean, label, mistake, moves_left = (
            start[row : row + 1],
            x[row : row + 1],
            y[row : row + 1],
            steps,
            steps,
        )
        for t in range(steps):
            here = here.detach().requires_grad_()
            logits = model(here)
            if mistake == steps and int(logits.argmax()) != int(label):
                mistake = t
                moves_left = min(moves_left, beyond)
            (grad,) = torch.autograd.grad(F.cross_entropy(logits, label), here)
            if moves_left > 0:
                moved = here.detach() + rate * EPS * grad.sign()
                here = torch.min(torch.max(moved, clean - EPS), clean + EPS).clamp(0, 1)
                moves_left -= 1
        points.append(here.detach())
        mistakes.append(mistake)
    return torch.cat(points), mistakes


@pytest.mark.parametrize("beyond", [0, 1, 3])
def test_early_stopped_rows_stay_where_they_are(split, threat, plain_model, beyond):
    """A row moves exactly `beyond` times after its first mistake, as a loop over single samples
    does; others go on.
    """
    model = plain_model().eval()
    attack = PGD(steps=8, rate=0.3)
    step, free = (
        make_step(model, split, Inner(attack, threat, beyond=moves)) for moves in (beyond, None)
    )
    start = (step.x + EPS * (2 * keyed.uniform(split.ids, step.x.shape[1:]) - 1)).clamp(0, 1)
    points, mistakes = stopping_loop(model, step.x, split.labels, start, 8, 0.3, beyond)
    found, other = step.adversary(), free.adversary()
    assert torch.allclose(found.x, points, atol=1e-6)
    assert found.survived.tolist() == other.survived.tolist() == mistakes
    frozen = torch.tensor(mistakes) + beyond < 8
    assert 0 < int(frozen.sum()) < len(split)
    assert torch.equal(found.x[~frozen], other.x[~frozen])
    assert not torch.allclose(found.x[frozen], other.x[frozen], atol=1e-3)
    assert (step.n_forward, step.n_backward) == (free.n_forward, free.n_backward)
    if beyond == 0:  # where it stays is the very point that was misclassified
        with torch.no_grad():
            assert bool((model(found.x[frozen]).argmax(1) != split.labels[frozen]).all())


@pytest.mark.parametrize(
    "attack",
    [PGD(steps=6), APGD(steps=6), ATTACKS.build("mi-fgsm:steps=6")],
    ids=["pgd", "apgd", "mi-fgsm"],
)
def test_early_stopping_late_is_no_stopping(split, threat, plain_model, attack):
    """As many moves as there are steps is the same as no limit, to the last bit, also for attacks
    with a state of their own.
    """
    model = plain_model()
    found = [
        make_step(model, split, Inner(attack, threat, beyond=moves)).adversary()
        for moves in (6, None)
    ]
    assert torch.equal(found[0].x, found[1].x)
    assert torch.equal(found[0].survived, found[1].survived)
    stopped = make_step(model, split, Inner(attack, threat, beyond=0)).adversary()
    assert not torch.equal(stopped.x, found[0].x)
    assert torch.equal(stopped.survived, found[0].survived)
    assert float((stopped.x - split.pixels(slice(None))).abs().max()) <= EPS + 1e-6


def test_all_draws_of_an_average_are_counted(split, threat, norm_model):
    """An inner attack that asks several draws at each step costs as many passes, and says so."""
    model = norm_model().train()
    seen = count_passes(model)
    step = make_step(
        model, split, Inner(ATTACKS.build("eot:attack=(pgd:steps=3),draws=4"), threat, "train")
    )
    step.adversary()
    assert step.n_forward == step.n_backward == sum(rows for *_, rows in seen) == 12 * len(split)


def test_a_budget_of_its_own_for_each_sample(split, threat, plain_model):
    """With eps [B] every row stays within its own budget.

    The points are made anew each time, and the recipe's are kept.
    """
    step = make_step(plain_model(), split, Inner(PGD(steps=3, rate=1.0), threat))
    usual, eps = step.adversary(), torch.linspace(0, 0.2, 24)
    found = step.adversary(eps=eps)
    sizes = (found.x - step.x).abs().flatten(1).amax(1)
    assert bool((sizes <= eps + 1e-6).all())
    assert float(sizes[-1]) > 0.1
    assert float(sizes[0]) == 0
    assert step.adversary() is usual
    assert step.n_forward == 2 * 3 * 24


def test_an_attack_without_gradients_has_no_backwards(split, threat, plain_model):
    """Square asks for scores only: its queries are forwards, and the one backward is the loss's."""
    x, index = split.pixels(slice(None)), torch.arange(len(split))
    inner = Inner(ATTACKS.build("square:steps=4"), threat)
    step = TrainStep(
        plain_model(), x, split.labels, index, key=split.ids, inner=inner, epoch=0, progress=0.5
    )
    CrossEntropy()(step)
    assert (step.n_forward, step.n_backward) == (5 * len(split), len(split))


def soft_objective(rows):
    """Random distributions for each row."""
    targets = torch.randn(rows, 4, generator=torch.Generator().manual_seed(0)).mul(2).softmax(1)
    return SoftCrossEntropy(targets=targets, temperature=2.0)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_an_objective_of_the_rows_is_the_plain_loop(split, threat, norm_model, mode):
    """The attack climbs cross-entropy to given distributions, whatever it names and whatever the
    labels; N passes, none to anchor it.
    """
    model = norm_model().train()
    model.body[-1] = nn.Identity()
    seen, objective, n = count_passes(model), soft_objective(24), len(split)
    attack = PGD(steps=STEPS, rate=RATE, objective="kl-from-clean")
    step = make_step(model, split, Inner(attack, threat, mode))
    found = step.adversary(objective)
    assert len(seen) == STEPS
    assert (step.n_forward, step.n_backward) == (STEPS * n, STEPS * n)
    start = EPS * (2 * keyed.uniform(step.key, step.x.shape[1:]) - 1)
    plain = (step.x + start).clamp(0, 1)
    model.train(mode == "train")
    for _ in range(STEPS):
        plain = plain.detach().requires_grad_()
        value = F.cross_entropy(model(plain) / 2, objective.targets, reduction="sum")
        (grad,) = torch.autograd.grad(value, plain)
        moved = plain.detach() + RATE * EPS * grad.sign()
        plain = torch.min(torch.max(moved, step.x - EPS), step.x + EPS).clamp(0, 1)
    assert torch.allclose(found.x, plain, atol=1e-6)


def test_points_are_made_once_per_objective_object(split, threat, plain_model):
    """The same object costs nothing again, also at other weights, another one is attacked anew."""
    step = make_step(plain_model(), split, Inner(PGD(steps=2), threat))
    objective = soft_objective(24)
    found = step.adversary(objective)
    assert step.adversary(objective) is found
    assert step.again(step.notes).adversary(objective) is found
    assert step.n_forward == 2 * 24
    other = step.adversary(soft_objective(24))
    assert other is not found
    assert torch.equal(other.x, found.x)
    assert not torch.equal(step.adversary().x, found.x)
    relabelled = step.relabelled((split.labels + 1) % 4)
    assert relabelled.adversary(objective) is not found  # survived is of the labels
    assert step.n_forward == 3 * 2 * 24


def test_an_objective_for_an_attack_that_has_none(split, threat, plain_model):
    """Square climbs something of its own, so a loss cannot say what."""
    step = make_step(plain_model(), split, Inner(ATTACKS.build("square:steps=4"), threat))
    for objective in ("margin", soft_objective(24)):
        with pytest.raises(UserError, match="Square has no option objective"):
            step.adversary(objective)


def test_a_teacher_answers_in_evaluation_mode(split, threat, norm_model):
    """Without gradient, once per tensor, also for other labels and at other weights.

    It is left in the mode it was in, and its forwards are counted.
    """
    model, teacher = norm_model().train(), norm_model().train()
    with torch.no_grad():
        teacher.head.weight.mul_(2)
    expected = copy.deepcopy(teacher).eval()
    step = make_step(model, split, None, Forward(teacher))
    seen = count_passes(teacher)
    answer = step.teacher(step.x)
    with torch.no_grad():
        assert torch.equal(answer, expected(step.x))
    assert not answer.requires_grad
    for other in (step, step.relabelled((step.y + 1) % 4), step.again(step.notes)):
        assert other.teacher(step.x) is answer
    assert seen == [(False, False, False, 24)]
    assert step.teacher(step.x.clone()) is not answer
    assert (step.n_forward, step.n_backward) == (2 * 24, 0)
    assert all(module.training for module in (*teacher.modules(), *model.modules()))


def test_a_teacher_that_is_the_model_itself_leaves_no_trace(split, threat, norm_model):
    """As before the first step of the average: outputs with gradient are as ever after it."""
    model = norm_model().train()
    model.body[-1] = nn.Identity()
    step, plain = (make_step(model, split, None, Forward(model)) for _ in range(2))
    answer, state = step.teacher(step.x), copy.deepcopy(model.state_dict())
    assert all(torch.equal(value, state[name]) for name, value in norm_model().state_dict().items())
    with torch.no_grad():
        assert torch.equal(answer, copy.deepcopy(model).eval()(step.x))
    assert torch.equal(step.clean.logits, plain.clean.logits)
    step.clean.logits.sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_a_loss_that_asks_a_teacher_without_one(split, norm_model):
    """Whoever wrote the loss reads what it lacks."""
    with pytest.raises(UserError, match="no teacher: let its property teacher return"):
        make_step(norm_model(), split, None).teacher(split.pixels(slice(None)))


@pytest.mark.parametrize(
    ("spec", "reads"),
    [
        ("a3:rounds=1", True),
        ("tsta:iterations=1,probe=1,targets=2", True),
        ("eot:attack=(pgd:steps=1,objective=kl-from-clean),draws=2", True),
        ("pgd:steps=1", False),
        ("eot:attack=(pgd:steps=1),draws=2", False),
    ],
)
def test_attacks_that_read_the_clean_logits_have_them(
    split, threat, norm_model, monkeypatch, spec, reads
):
    """At the price of a forward, in the mode of the attack; others get zeros for nothing."""
    model, seen = norm_model().train(), []
    attack = ATTACKS.build(spec)

    def spy(attack, forward, p, *more):
        seen.append(p.logits0)
        return lockstep(attack, forward, p, *more)

    monkeypatch.setattr(step_module, "lockstep", spy)
    step = make_step(model, split, Inner(attack, threat))
    step.adversary()
    clean = copy.deepcopy(model).eval()(step.x) if reads else torch.zeros(len(split), 4)
    assert torch.allclose(seen[0], clean, atol=1e-6)
    assert step.n_forward == len(split) * (attack.steps * attack.draws + reads)


def test_labels_decide_where_rows_stop_so_their_adversaries_are_their_own(
    split, threat, plain_model
):
    """With `beyond` also those of an objective without labels."""
    inner = Inner(PGD(steps=8, init="gaussian", objective="kl-from-clean"), threat, beyond=0)
    other = split.labels.roll(1)
    shared = make_step(plain_model(), split, inner)
    shared.adversary()
    alone = make_step(plain_model(), dataclasses.replace(split, labels=other), inner)
    assert torch.equal(shared.relabelled(other).adversary().x, alone.adversary().x)
    assert not torch.equal(shared.adversary().x, alone.adversary().x)
