"""Ctrl-C and SIGTERM at any place: it ends, says how to resume, keeps finished work."""

import os
import signal

import pytest

from robbench.core.errors import Stopped
from robbench.engine import cascade
from robbench.engine.pool import clean_tiles
from robbench.tasks import signals
from robbench.tasks.attack import session, shard_writer

ENDLESS = """
import os, signal, time
import torch
from torch import nn

NUMBER, CALL, HOW = {number}, {call}, "{how}"
calls = []

class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)
    def forward(self, x):
        calls.append(len(x))
        y = self.linear(x.flatten(1))
        if len(calls) == CALL:
            os.kill(os.getpid(), NUMBER)
            if HOW == "sleep":
                time.sleep(600)
            while HOW == "chain":
                y = y * 1.0
        return y

def make():
    torch.manual_seed(0)
    return Slow()
"""
ATTACK = (
    "attack endless:make --data digits --threat linf:0.1 --attack pgd:steps=5 --batch-size 8 "
    "--limit 200 --quiet"
)
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture
def endless(cli, private, tmp_path, monkeypatch):
    """Attacks a model that signals itself at a call, and then never comes back: how that ended."""
    monkeypatch.setattr(signals, "PATIENCE", 0.05)
    monkeypatch.setattr(shard_writer, "FLUSH_SECONDS", 600)

    def run(number, call, how):
        folder = private("endless", ENDLESS.format(number=int(number), call=call, how=how))
        return cli(ATTACK, "--out", tmp_path / "S", cwd=folder)

    return run


@BOTH
@pytest.mark.parametrize("how", ["sleep", "chain"])
def test_a_signal_ends_a_step_that_does_not_end(endless, tmp_path, number, how):
    """A call that sleeps, or runs many operations, ends; decided samples are kept."""
    done = endless(number, 80, how)
    assert done.code == 128 + number, done.err
    assert "To go on: robbench attack endless:make" in done.err
    assert list((tmp_path / "S" / "results" / "partial").glob("*/*.parquet"))


@BOTH
def test_a_signal_ends_the_clean_pass(cli, store, monkeypatch, number):
    """After the tile it comes in, not after all of them."""
    tiles = []

    def signalled(*args):
        for part in clean_tiles(*args):
            tiles.append(len(part[0]))
            if len(tiles) == 2:
                os.kill(os.getpid(), number)
            yield part

    monkeypatch.setattr(cascade, "clean_tiles", signalled)
    done = cli("attack at --attack pgd:steps=2 --threat linf:0.1 --limit 200 --out", store)
    assert done.code == 128 + number, done.err
    assert len(tiles) == 2
    assert not list((store / "results").rglob("*.parquet"))


def test_a_time_limit_that_ends_within_the_clean_pass(cli, store, monkeypatch):
    """Without every clean answer there is nothing to write."""
    monkeypatch.setattr(session, "CLEAN_GRACE", 0.0)
    done = cli(
        "attack at --attack pgd:steps=2 --threat linf:0.1 --limit 200 --max-time 0.000001s --out",
        store,
    )
    assert done.code == 2
    assert "the model has seen the 200 clean inputs" in done.err
    assert not list((store / "results").rglob("*.parquet"))


@BOTH
@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("attack ce", "robbench.tasks.attack.plan.plan_attacks"),
        ("train --epochs 1", "robbench.tasks.train.plan.plan_training"),
        ("measure ce", "robbench.store.store.Store.find_local"),
        ("check ce", "robbench.tasks.check.run.plan_check"),
        ("gate --baseline ce --model ce", "robbench.tasks.gate.candidate.find_reference"),
        ("compare", "robbench.analysis.comparison.compare_runs"),
    ],
)
def test_a_signal_outside_of_the_main_loop(cli, store, monkeypatch, number, line, place):
    """The same line and exit code wherever a command is."""

    def signalled(*args, **kwargs):
        os.kill(os.getpid(), number)
        raise AssertionError("the signal was not heard")

    monkeypatch.setattr(place, signalled)
    before = signal.getsignal(number)
    done = cli(line, "--out", store)
    assert done.code == 128 + number, done.err
    assert (
        f"stopped; finished epochs and decided samples are kept. To go on: robbench {line} "
        f"--out {store}" in done.err
    )
    assert signal.getsignal(number) == before


def test_a_stop_that_was_swallowed_comes_again(monkeypatch):
    """As by code that catches everything; and not while finished work is put on disk."""
    monkeypatch.setattr(signals, "PATIENCE", 0.02)
    monkeypatch.setattr(signals, "AGAIN", 0.02)
    swallowed = []

    def stubborn(stop):
        while True:
            try:
                while True:
                    signal.pause()
            except Stopped:
                swallowed.append(1)
                if len(swallowed) == 3:
                    with stop.unhurried():
                        for _ in range(3):
                            signal.pause()
                    raise

    with pytest.raises(Stopped), signals.stop_flag(lambda text: None) as stop:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        stubborn(stop)
    assert len(swallowed) == 3
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
