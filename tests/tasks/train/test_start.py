"""Fine-tuning: training that starts from the weights of a trained model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

TUNE = "train --from at --data digits --limit 150 --name tuned --lr 1e-12 --epochs 1 --out"


def _weights(store: Path, name: str, which: str = "model") -> dict[str, torch.Tensor]:
    return load_file(store / "models" / name / f"{which}.safetensors")


def _apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[key] - other[key]).abs().max()) for key in one)


def test_training_starts_from_the_weights_and_says_so(cli: Callable[..., Any], store: Path) -> None:
    before = _weights(store, "at")
    dry = cli(TUNE, store, "--dry-run").json
    assert dry["start"]["name"] == "at"
    assert not (store / "models" / "tuned").exists()
    done = cli(TUNE, store, "--json")
    assert done.code == 0, done.err
    assert _apart(_weights(store, "tuned"), before) < 1e-6
    config = json.loads((store / "models" / "tuned" / "config.json").read_text())
    assert config["start"] == dry["start"]
    assert config["config"]["from_model"] == "at"
    assert _apart(_weights(store, "at"), before) == 0
    assert _apart(_weights(store, "ce"), before) > 0.01


def test_the_checkpoint_and_the_folder_can_be_named(cli: Callable[..., Any], store: Path) -> None:
    last = "last" if (store / "models" / "at" / "last.safetensors").exists() else "best"
    assert cli(TUNE.replace("--from at", f"--from at@{last}"), store).code == 0
    assert _apart(_weights(store, "tuned"), _weights(store, "at", last)) < 1e-6
    elsewhere = shutil.copytree(store / "models" / "at", store / "elsewhere")
    assert cli(TUNE.replace("--from at", f"--from {elsewhere} --force"), store).code == 0
    assert _apart(_weights(store, "tuned"), _weights(store, "at")) < 1e-6


def test_the_architecture_is_that_of_the_model_unless_another_is_named(
    cli: Callable[..., Any], store: Path, tmp_path: Path
) -> None:
    small = "train --data digits --limit 150 --epochs 1 --out"
    assert cli(small, store, "--model", "mlp:width=16", "--name", "mine").code == 0
    assert cli(small, store, "--from", "mine", "--name", "more", "--lr", "1e-12").code == 0
    assert _apart(_weights(store, "more"), _weights(store, "mine")) < 1e-6
    done = cli(small, store, "--from", "mine", "--name", "other", "--model", "small-cnn")
    assert done.code == 2
    assert "it is a mlp:width=16, not a small-cnn" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--from nothing --name tuned", "nothing: not in"),
        ("--model at --name tuned", "to start from its weights: --from at"),
        ("--from aat --name tuned", "did you mean at?"),
        ("--from at --name at", "would replace what it starts from"),
        ("--from at --loss mmc --name tuned", "it has the head linear"),
        ("--from at --data digits[0,1] --name tuned", "it has 10 classes, the data have 2"),
        ("--from at@middle --name tuned", "@middle"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_touched(
    cli: Callable[..., Any], store: Path, snapshot: Callable[..., Any], words: str, said: str
) -> None:
    before = snapshot(store / "models")
    done = cli(f"train --epochs 1 {words} --out", store)
    assert done.code == 2
    assert said in done.err
    assert snapshot(store / "models") == before


def test_a_half_trained_model_is_listed_as_such_and_goes_on_from_the_same_weights(
    cli: Callable[..., Any], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robbench.core.errors import Stopped
    from robbench.tasks.train.folder import TrainingFolder

    words = TUNE.replace("--epochs 1", "--epochs 2").replace("1e-12", "1e-3")
    assert cli(words.replace("tuned", "straight"), store).code == 0
    save = TrainingFolder.write_state

    def stop(self: Any, *state: Any) -> None:
        save(self, *state)
        raise Stopped(130)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingFolder, "write_state", stop)
        assert cli(words, store).code == 130
    listed = {row["model"]: row for row in cli("runs --json --out", store).json["models"]}
    assert (listed["tuned"]["finished"], listed["straight"]["finished"]) == (False, True)
    assert "--from at" in listed["tuned"]["command"]
    shown = " ".join(cli("runs --out", store, env={"COLUMNS": "400"}).out.split())
    assert "model tuned: training not finished; to go on: robbench train --from at" in shown
    assert "tuned" not in shown.partition("trained, not attacked yet")[2]
    assert cli(words, store).code == 0
    assert _apart(_weights(store, "tuned"), _weights(store, "straight")) == 0


def test_other_weights_to_start_from_are_another_training(
    cli: Callable[..., Any], store: Path
) -> None:
    assert cli(TUNE, store).code == 0
    again = cli(TUNE, store)
    assert "there already" in again.err
    path = store / "models" / "at" / "model.safetensors"
    weights = load_file(path)
    save_file(
        {
            key: value * 1.5 if value.is_floating_point() else value
            for key, value in weights.items()
        },
        path,
    )
    done = cli(TUNE, store)
    assert done.code == 2
    assert "different: the weights it starts from" in done.err
