"""A training over two processes, as a task."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from robbench.core.errors import Stopped, UserError
from robbench.tasks import signals
from robbench.tasks.sweep import torchrun
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


@pytest.mark.slow
def test_two_processes_train_one_model(payload, tmp_path):
    found = train(payload)
    assert found["fresh"]
    config = json.loads((tmp_path / "models" / "m" / "config.json").read_text())
    assert config["status"] == "done"
    assert not train(payload)["fresh"]


def test_an_error_of_theirs_is_the_tasks(payload, monkeypatch):
    """Of one process, as torchrun starts it."""
    payload["settings"]["loss"] = "nowhere"
    command = [sys.executable, "-m", torchrun.__name__, json.dumps(payload)]
    monkeypatch.setattr(torchrun, "_command", lambda payload, processes: command)
    with pytest.raises(UserError, match="unknown loss 'nowhere'"):
        train_together(payload, 2, print)


SLOW_TO_END = """
import pathlib, signal, sys, time
came, ready = [], pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: came.append(1))
ready.touch()
while not came:
    time.sleep(0.01)
time.sleep(1)
ready.write_text(str(len(came)))
"""


def test_a_signal_is_passed_on_once_and_waited_for(monkeypatch, tmp_path):
    """Torchrun lets go of its processes at a second one, though they are keeping an epoch."""
    ready = tmp_path / "ready"
    command = [sys.executable, "-c", SLOW_TO_END, str(ready)]
    monkeypatch.setattr(torchrun, "_command", lambda payload, processes: command)
    monkeypatch.setattr(signals, "PATIENCE", 0.1)

    def stop():
        while not ready.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    with pytest.raises(Stopped):
        train_together({}, 2, lambda text: None)
    assert ready.read_text() == "1"
