"""What losses remember and log: across batches, epochs and a state, whatever the order."""

from __future__ import annotations

import dataclasses
import io
import json
import math

import pytest
import torch

from robbench.losses.base import Loss
from robbench.losses.cross_entropy import CrossEntropy
from robbench.training.distributed import World
from robbench.training.notes import Notes
from robbench.training.state import restore_trainer, trainer_state
from robbench.training.step import TrainStep
from robbench.training.trainer import Trainer

CPU = torch.device("cpu")


def test_memories_are_by_sample():
    """What is remembered is found again at the same samples in any order.

    `initial` stands where nothing was.
    """
    notes = Notes(6, CPU)
    notes.remember("a", torch.tensor([4, 1]), torch.tensor([40.0, 10.0]))
    assert notes.memory("a", -1.0).tolist() == [-1, 10, -1, -1, 40, -1]
    notes.remember("a", torch.tensor([1, 0]), torch.tensor([11.0, 0.0]))
    assert notes.memory("a", -1.0)[torch.tensor([0, 1, 4, 5])].tolist() == [0, 11, 40, -1]
    assert notes.memory("b", 7.0).tolist() == [7.0] * 6
    assert notes.memory("a", 3.0).tolist() == [0, 11, 3, 3, 40, 3]


def test_remembering_first_does_not_set_the_initial_value():
    """A loss that remembers one batch before it asks about another gets its own initial value for
    the other, not 0.
    """
    notes = Notes(3, CPU)
    notes.remember("a", torch.tensor([0]), torch.tensor([5.0]))
    assert notes.memory("a", 0.5).tolist() == [5.0, 0.5, 0.5]


def test_memories_are_apart_from_the_graph():
    """Values are kept as float32 without gradient.

    What memory gives can be written to without harm.
    """
    notes, values = Notes(2, CPU), torch.ones(2, dtype=torch.float64, requires_grad=True)
    notes.remember("a", torch.arange(2), 2 * values)
    found = notes.memory("a", 0.0)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    found += 1
    assert notes.memory("a", 0.0).tolist() == [2.0, 2.0]
    values.data.zero_()
    assert notes.memory("a", 0.0).tolist() == [2.0, 2.0]


def test_a_step_reads_what_was_before_it(split, plain_model):
    """Within a step `memory` is what earlier steps left, also after `remember`: a loss may be asked
    again.
    """
    notes, index = Notes(24, CPU), torch.tensor([5, 2, 9])

    def step(index):
        return TrainStep(
            plain_model(),
            split.pixels(index),
            split.labels[index],
            index,
            key=split.ids[index],
            inner=None,
            epoch=0,
            progress=0.0,
            notes=notes,
        )

    first = step(index)
    assert first.memory("a", 1.0).tolist() == [1.0] * 3
    first.remember("a", torch.tensor([50.0, 20.0, 90.0]))
    assert first.memory("a", 1.0).tolist() == [1.0] * 3
    assert step(torch.tensor([2, 3, 5])).memory("a", 1.0).tolist() == [20.0, 1.0, 50.0]


def test_logged_means_are_over_samples():
    """Batches of different sizes count by their samples.

    A mean is taken once, without gradient, and of nothing it is 0.
    """
    notes = Notes(9, CPU)
    notes.log("a", torch.tensor([1.0, 2.0, 6.0], requires_grad=True))
    notes.log("b", torch.tensor([True, False]))
    notes.log("a", torch.tensor(11.0))
    notes.log("c", torch.zeros(0))
    assert not notes.logged["a"][0].requires_grad
    assert notes.take_means() == {"a": 5.0, "b": 0.5, "c": 0.0}
    assert notes.take_means() == {}


def test_a_copy_is_apart():
    """What a copy remembers and logs does not come back."""
    notes = Notes(2, CPU)
    notes.remember("a", torch.arange(2), torch.ones(2))
    other = notes.copy()
    assert other.memory("a", 0.0).tolist() == [1.0, 1.0]
    other.remember("a", torch.arange(2), torch.zeros(2))
    other.remember("b", torch.arange(2), torch.zeros(2))
    other.log("x", torch.ones(2))
    assert notes.memory("a", 0.0).tolist() == [1.0, 1.0]
    assert (set(notes.memories), set(notes.logged)) == ({"a"}, set())


def test_alone_there_is_nothing_to_share():
    """One process keeps what it has."""
    notes = Notes(2, CPU)
    notes.remember("a", torch.tensor([1]), torch.ones(1))
    notes.share(World())
    assert notes.memory("a", -1.0).tolist() == [-1.0, 1.0]


def test_class_means_are_of_the_last_epoch():
    """Batches count by their samples, and only after the epoch; a class that had no sample keeps
    its means, one that never had any is `initial`.
    """
    notes = Notes(9, CPU)

    def ask(y, values):
        return notes.class_means("a", torch.tensor(y), torch.tensor(values), 3, -1.0).tolist()

    assert ask([0, 2], [[1.0, 2.0], [5.0, 6.0]]) == [[-1, -1], [-1, -1]]
    assert ask([0], [[4.0, 8.0]]) == [[-1, -1]]
    notes.share(World())
    assert ask([2, 1, 0], [[7.0, 7.0]] * 3) == [[5, 6], [-1, -1], [2.5, 5]]
    notes.share(World())
    assert ask([1, 1], [[9.0, 9.0]] * 2) == [[7, 7], [7, 7]]
    notes.share(World())
    assert ask([0, 1], [[0.0, 0.0]] * 2) == [[7, 7], [9, 9]]


def test_class_means_of_a_copy_are_apart():
    """It has those of the last epoch, and what goes into it does not come back."""
    notes, y = Notes(2, CPU), torch.tensor([1])
    notes.class_means("a", y, torch.ones(1, 2, dtype=torch.float64, requires_grad=True), 2, 0.0)
    notes.share(World())
    notes.class_means("a", y, torch.full((1, 2), 3.0), 2, 0.0)
    other = notes.copy()
    found = other.class_means("a", y, torch.full((1, 2), 5.0), 2, 0.0)
    assert (found.tolist(), found.dtype, found.requires_grad) == ([[1, 1]], torch.float32, False)
    other.share(World())
    notes.share(World())
    assert notes.class_means("a", y, torch.zeros(1, 2), 2, 0.0).tolist() == [[3, 3]]
    assert other.class_means("a", y, torch.zeros(1, 2), 2, 0.0).tolist() == [[5, 5]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class History(Loss):
    """Cross-entropy of samples weighted by a running mean of their own losses, which goes to the
    log.
    """

    def __call__(self, step):
        values = CrossEntropy()(step)
        before = step.memory("mean", 2.0)
        step.remember("mean", 0.5 * before + 0.5 * values)
        step.remember("epoch", torch.full_like(values, step.epoch))
        step.log(before=before)
        return values * before


@pytest.fixture
def make(split, validation, threat, recipe, plain_model):
    """A trainer of that loss."""

    def make(**changes):
        settings = recipe(**{"epochs": 3, "batch_size": 7, "lr": 0.1, **changes})
        return Trainer(
            plain_model(), History(), split, validation, settings, inner=None, threat=threat
        )

    return make


def test_across_epochs_and_batches_in_any_order(make, split):
    """Three shuffled epochs give each sample the running mean of its own losses, as a dictionary by
    hand does.
    """
    trainer = make()
    known, means = {}, []
    original = trainer.loss.__call__

    def by_hand(step):
        with torch.no_grad():
            losses = torch.nn.functional.cross_entropy(
                trainer.model(step.x), step.y, reduction="none"
            ).tolist()
        values = original(step)
        for i, loss in zip(step.index.tolist(), losses, strict=True):
            before = known.get(i, 2.0)
            means.append(before)
            known[i] = 0.5 * before + 0.5 * loss
        return values

    class Watched(History):
        def __call__(self, step):
            return by_hand(step)

    trainer.loss = Watched()
    for epoch in range(3):
        means.clear()
        row = trainer.run_epoch(lambda _: None)
        assert json.loads(row["logs"])["before"] == pytest.approx(sum(means) / 24, abs=1e-5)
        assert trainer.notes.memory("mean", 0.0).tolist() == pytest.approx(
            [known[i] for i in range(24)], abs=1e-5
        )
        assert trainer.notes.memory("epoch", -1.0).tolist() == [epoch] * 24


def test_a_state_carries_the_memories(make):
    """A fresh trainer that loads a state goes on to the same bits; one that forgot would not."""
    straight, second, forgetful = make(), make(), make()
    straight.run_epoch(lambda _: None)
    file = io.BytesIO()
    torch.save(trainer_state(straight), file)
    for trainer in (second, forgetful):
        file.seek(0)
        restore_trainer(trainer, torch.load(file, weights_only=True))
    forgetful.notes.memories.clear()
    rows = [
        {**trainer.run_epoch(lambda _: None), "seconds": 0}
        for trainer in (straight, second, forgetful)
    ]
    assert rows[0] == rows[1]
    assert rows[0]["logs"] != rows[2]["logs"]
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])
    assert not torch.equal(straight.model.head.weight, forgetful.model.head.weight)


def test_logs_are_json_also_when_they_are_not_numbers(
    split, validation, threat, recipe, plain_model
):
    """A logged NaN or infinity becomes null: the column is JSON for every reader."""

    class Ill(CrossEntropy):
        def __call__(self, step):
            values = super().__call__(step)
            step.log(nan=values * math.nan, inf=values + math.inf, fine=torch.ones_like(values))
            return values

    row = Trainer(
        plain_model(), Ill(), split, validation, recipe(), inner=None, threat=threat
    ).run_epoch(lambda _: None)

    def refuse(word):
        raise AssertionError(word)

    assert json.loads(row["logs"], parse_constant=refuse) == {"nan": None, "inf": None, "fine": 1.0}
