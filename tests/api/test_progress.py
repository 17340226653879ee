"""Ctrl-C from Python: finished work is kept, KeyboardInterrupt is raised, the same call goes on."""

import os
import signal
import threading

import pytest

import robbench
from robbench.api.progress import interruptible


def test_a_stopped_training_goes_on(settings, trained_here, tmp_path):
    """Its weights are those of one that was never stopped."""

    def stop(share, text):
        if share > 0.4:
            os.kill(os.getpid(), signal.SIGINT)

    words = {"data": "digits", "name": "m", "out": tmp_path, **settings}
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        robbench.train("cross-entropy", progress=stop, **words)
    assert signal.getsignal(signal.SIGINT) is handler
    shares = []
    robbench.train("cross-entropy", progress=lambda share, text: shares.append(share), **words)
    assert shares[0] > 1 / 3
    ours, theirs = (
        (folder / "models" / "m" / "model.safetensors").read_bytes()
        for folder in (tmp_path, trained_here)
    )
    assert ours == theirs


def test_sigterm_is_a_system_exit():
    """With the exit code of the signal."""
    with pytest.raises(SystemExit) as caught, interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143


def test_other_threads_handle_no_signals():
    """The handlers stay as they were."""
    seen = []

    def work():
        with interruptible() as stop:
            seen.append((signal.getsignal(signal.SIGINT), bool(stop)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
