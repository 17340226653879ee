"""Which epoch is the model, and its checkpoints by name."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors.torch import load_file

from robbench.store.run import read_run
from robbench.tasks.signals import StopFlag
from robbench.tasks.train.folder import TrainingFolder
from robbench.tasks.train.run import train
from robbench.training.trainer import Trainer
from robbench.training.validation import Validation

SCORES = [
    (0.9, 0.5),
    (0.8, 0.6),
    (0.9, 0.6),
    (0.9, 0.6),
    (0.99, 0.55),
    (0.7, 0.6),
]  # (clean, robust): the 4th is best


@pytest.mark.parametrize(
    ("inner", "select", "epoch"),
    [("pgd:steps=1", "auto", 4), (None, "auto", 6), (None, "best", 4), ("pgd:steps=1", "last", 6)],
)
def test_the_selected_checkpoint(
    plan, silent, tmp_path, monkeypatch, rows_of, inner, select, epoch
):
    """Best = highest robust validation accuracy, then clean, then the latest.

    Auto: the last where there is no inner attack.
    """
    weights = []

    def validate(trainer):
        weights.append({key: tensor.clone() for key, tensor in trainer.model.state_dict().items()})
        clean, robust = SCORES[len(weights) - 1]
        return Validation(clean, robust, 1.0, 0.5)

    monkeypatch.setattr(Trainer, "validate", validate)
    done = train(
        plan(tmp_path, epochs=6, inner=inner, select=select),
        force=False,
        watcher=silent,
        stop=StopFlag(),
    )
    assert done.config["selected"]["epoch"] == epoch
    assert done.config["selected"]["best_epoch"] == 4
    stored = load_file(done.folder / "model.safetensors")
    assert all(torch.equal(tensor, weights[epoch - 1][key]) for key, tensor in stored.items())
    other = load_file(done.folder / ("best.safetensors" if epoch == 6 else "last.safetensors"))
    assert all(
        torch.equal(tensor, weights[(4 if epoch == 6 else 6) - 1][key])
        for key, tensor in other.items()
    )
    rows = rows_of(done.folder / "epochs.parquet")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["epoch"] for row in rows if row["selected"]] == [epoch]
    assert [(row["clean_accuracy"], row["robust_accuracy"]) for row in rows] == SCORES


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_the_saved_model_is_the_average(plan, silent, tmp_path, monkeypatch, kind):
    """model.safetensors holds the average of the weights as it was when validated, not the weights
    of the last step.
    """
    seen, validate = [], Trainer.validate

    def watched(trainer):
        weights, average = (
            {key: tensor.clone() for key, tensor in model.state_dict().items()}
            for model in (trainer.model, trainer.averaged_model)
        )
        seen.append((weights, average))
        return validate(trainer)

    monkeypatch.setattr(Trainer, "validate", watched)
    made = plan(tmp_path, epochs=8, average=kind, ema_decay=0.9, select="last")
    done = train(made, force=False, watcher=silent, stop=StopFlag())
    stored = load_file(done.folder / "model.safetensors")
    weights, average = seen[-1]
    assert stored.keys() == average.keys() == weights.keys()
    assert all(torch.equal(tensor, average[key]) for key, tensor in stored.items())
    assert not torch.equal(stored["head.weight"], weights["head.weight"])
    best = load_file(done.folder / "best.safetensors")
    assert all(
        torch.equal(tensor, seen[done.config["selected"]["best_epoch"] - 1][1][key])
        for key, tensor in best.items()
    )


@pytest.mark.parametrize("kind", ["none", "ema", "swa"])
@pytest.mark.parametrize("written", ["state", "weights"])
def test_a_kill_while_the_best_epoch_is_written(plan, silent, tmp_path, monkeypatch, kind, written):
    """The best weights are those of the epoch that the rows call best, also where a repeated epoch
    is another one, as on a GPU.
    """

    class Killed(BaseException):
        """Nothing in the program catches it."""

    write, scores = getattr(TrainingFolder, f"write_{written}"), iter([0.1, 0.2, 0.3, 0.15, 0.1])
    seen, kill = {}, 3

    def validate(trainer):
        seen[trainer.epoch + 1] = copy.deepcopy(trainer.averaged_model.state_dict())
        return Validation(0.9, next(scores), 1.0, 0.5)

    def killed(folder, *given):
        if len(seen) == kill:
            raise Killed
        write(folder, *given)

    monkeypatch.setattr(Trainer, "validate", validate)
    monkeypatch.setattr(TrainingFolder, f"write_{written}", killed)
    made = plan(tmp_path, epochs=4, average=kind, select="best")
    with pytest.raises(Killed):
        train(made, force=False, watcher=silent, stop=StopFlag())
    kill = 0
    done = train(made, force=False, watcher=silent, stop=StopFlag())
    best = load_file(done.folder / "model.safetensors")
    epoch = done.config["selected"]["best_epoch"]
    assert epoch == (2 if written == "state" else 3)
    assert all(torch.equal(tensor, seen[epoch][key]) for key, tensor in best.items())


def test_checkpoints_by_name(cli, store, rows_of):
    """NAME@last and NAME@best are the two checkpoints, each with a run of its own.

    NAME is the selected one.
    """
    done = cli("attack ce ce@last ce@best --attack fgsm --limit 20 --json --out", store)
    assert done.code == 0, done.err
    ids = [row["run_id"] for row in done.json["rows"]]
    assert [row["model"] for row in done.json["rows"]] == ["ce", "ce@last", "ce@best"]
    hashes = [
        read_run(store / "results" / "runs" / f"{id_}.parquet").info["model_hash"] for id_ in ids
    ]
    assert hashes[0] == hashes[1]  # `ce` keeps the end of its recipe
    best = json.loads((store / "models" / "ce" / "config.json").read_text())["selected"][
        "best_epoch"
    ]
    assert (hashes[2] == hashes[0]) == (best == 2)
    config = store / "models" / "ce" / "model.safetensors"
    config.write_bytes(
        (store / "models" / "at" / "model.safetensors").read_bytes()
    )  # other weights: another run
    assert (
        cli("attack ce --attack fgsm --limit 20 --json --out", store).json["rows"][0]["run_id"]
        not in ids
    )


@pytest.mark.parametrize("which", ["first", "3", "Best"])
def test_no_other_checkpoint(cli, store, which):
    """NAME@anything else is exit 2 and says what there is."""
    done = cli("attack", f"ce@{which}", "--attack", "fgsm", "--limit", 5, "--out", store)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "@best" in done.err
    assert "@last" in done.err
