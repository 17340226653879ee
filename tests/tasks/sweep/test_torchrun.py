"""A training over two processes, as a task."""

import json

import pytest

from robbench.core.errors import UserError
from robbench.tasks.sweep.steps import train
from robbench.tasks.sweep.torchrun import train_together


@pytest.fixture
def payload(tmp_path):
    place = {"out": str(tmp_path), "device": "cpu", "data_dir": None, "download": False}
    return {
        "name": "m",
        "settings": {"model": "mlp:width=4,depth=1", "epochs": 1, "limit": 60},
        "place": place | {"processes": 2, "force": False, "log": False},
    }


def test_two_processes_train_one_model(payload, tmp_path):
    found = train(payload)
    assert found["fresh"]
    config = json.loads((tmp_path / "models" / "m" / "config.json").read_text())
    assert config["status"] == "done"
    assert not train(payload)["fresh"]


def test_an_error_of_theirs_is_the_tasks(payload):
    payload["settings"]["loss"] = "nowhere"
    with pytest.raises(UserError, match="unknown loss 'nowhere'"):
        train_together(payload, 2, print)
