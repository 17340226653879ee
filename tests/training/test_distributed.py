"""Several processes: a batch is shared exactly, and what comes out is what one process gives.

Run by `torch.distributed.run` this file is a process of the tests below: it trains every case and
saves what it has.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from robbench.attacks.pgd import PGD
from robbench.losses.adr import ADR
from robbench.losses.base import Loss
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.gkl import GKL
from robbench.losses.trades import TRADES
from robbench.models.base import Classifier
from robbench.testing import toy_split
from robbench.threat.model import parse_threat
from robbench.training.distributed import World, joined, local_device
from robbench.training.inner import Inner
from robbench.training.notes import Notes
from robbench.training.recipe import Recipe
from robbench.training.trainer import Trainer

THREAT = parse_threat("linf:0.1")[0]
TOLERANCE = 1e-6  # of weights, after two epochs: only the order of additions differs


@dataclasses.dataclass(frozen=True, kw_only=True)
class History(Loss):
    """Cross-entropy weighted by what was remembered of a sample, which goes to the log.

    Another name in odd epochs.
    """

    def __call__(self, step):
        values = CrossEntropy()(step)
        before = step.memory("mean", 2.0)
        step.remember("mean", 0.5 * before + 0.5 * values)
        if step.epoch % 2:
            step.remember("odd", values)
            step.log(odd=values)
        step.log(before=before)
        return values * before


CASES: dict[str, tuple[Loss, Inner | None, dict[str, Any]]] = {
    "adversarial": (
        CrossEntropy(),
        Inner(PGD(steps=3), THREAT),
        {"momentum": 0.9, "schedule": "one-cycle"},
    ),
    "trades": (
        TRADES(),
        Inner(PGD(steps=2, init="gaussian"), THREAT),
        {"awp": 0.01, "average": "ema", "ema_decay": 0.8},
    ),
    "clean": (
        CrossEntropy(),
        None,
        {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1, "augment": "crop-flip"},
    ),
    "mixup": (
        CrossEntropy(),
        Inner(PGD(steps=2), THREAT),
        {"mixup": 1.0, "clip": 0.2, "awp": 0.01},
    ),
    "memory": (History(), None, {"lr": 0.1}),
    "classes": (
        GKL(beta=2.0, temperature=0.5),
        Inner(PGD(steps=2, init="gaussian"), THREAT),
        {"lr": 0.1, "epochs": 3, "awp": 0.01},
    ),
    "taught": (
        ADR(),
        Inner(PGD(steps=2), THREAT),
        {"lr": 0.1, "average": "ema", "ema_decay": 0.8},
    ),
    "pairs": (
        CrossEntropy(),
        Inner(PGD(steps=2), THREAT),
        {"batch_size": 2, "lr": 0.05, "awp": 0.01, "clip": 1.0},
    ),
    "alone": (History(), None, {"batch_size": 1, "lr": 0.05}),
    "norm": (
        CrossEntropy(),
        Inner(PGD(steps=2), THREAT, "train"),
        {"lr": 0.1, "average": "ema", "ema_decay": 0.8},
    ),
}


def model_of(case: str) -> Classifier:
    torch.manual_seed(0)
    norm = [nn.BatchNorm1d(16)] if case == "norm" else []
    body = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), *norm, nn.ReLU())
    return Classifier(nn.Identity(), body, nn.Linear(16, 4), features=16, classes=4)


def train(case: str) -> dict[str, Any]:
    """Two epochs, alone or as one of several."""
    loss, inner, changes = CASES[case]
    usual = {
        "epochs": 2,
        "batch_size": 10,
        "optimizer": "sgd",
        "lr": 0.3,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "schedule": "constant",
        "augment": "none",
        "seed": 3,
    }
    split, validation = toy_split(25), toy_split(8, seed=1)  # batches of 10, 10 and 5
    trainer = Trainer(
        model_of(case),
        loss,
        split,
        validation,
        Recipe(**{**usual, **changes}),
        inner=inner,
        threat=THREAT,
        teacher=loss.teacher,
    )
    rows = [
        {**trainer.run_epoch(lambda _: None), "seconds": 0} for _ in range(trainer.recipe.epochs)
    ]
    memories = {name: trainer.notes.memory(name, -1.0) for name in sorted(trainer.notes.memories)}
    memories |= trainer.notes.last_means
    return {
        "rows": rows,
        "model": trainer.model.state_dict(),
        "best": trainer.averaged_model.state_dict(),
        "memories": memories,
    }


def tools() -> dict[str, Any]:
    """What the World does with values that differ between the processes.

    Float16 could not hold them.
    """
    world = World()
    own = torch.arange(6.0).reshape(1, 2, 1, 3) + 10 * world.rank
    kernel = own.reshape(1, 3, 2, 1)
    if world.rank == 1:  # a gradient may lie in memory otherwise than its neighbour's
        kernel = kernel.contiguous(memory_format=torch.channels_last)
    layer = nn.Linear(2, 1)
    frozen = nn.Parameter(torch.zeros(1), requires_grad=False)
    if world.rank == 0:
        layer.weight.grad = torch.tensor([[1.0, 2.0]])
    layer.bias.grad = torch.tensor([1.0 + world.rank])
    world.add_gradients([*layer.parameters(), frozen])
    norm = nn.BatchNorm1d(2)
    norm.running_mean.fill_(world.rank + 5)
    norm.num_batches_tracked.fill_(world.rank + 7)
    world.same_buffers(norm)
    notes = Notes(4, torch.device("cpu"))
    notes.remember(
        "both", torch.tensor([world.rank]), torch.tensor([torch.inf if world.rank else 3.0])
    )
    if world.rank == 1:
        notes.remember("second", torch.tensor([2, 3]), torch.tensor([20.0, 30.0]))
        notes.log("second", torch.tensor([1.0, 3.0]))
        notes.class_means("second", torch.tensor([1]), torch.tensor([[3.0]]), 2, 0.0)
    y, values = torch.tensor([0, 0]), torch.tensor([[1.0 + world.rank], [4.0]])
    notes.class_means("both", y[world.rank :], values[world.rank :], 2, 0.0)
    notes.log("both", torch.full((world.rank + 1,), 3.0 * world.rank))
    notes.share(world)
    notes.remember("both", torch.tensor([3 * world.rank]), torch.tensor([1.0 + world.rank]))
    notes.share(world)
    return {
        "sums": [tensor.flatten().tolist() for tensor in world.add([own, kernel])],
        "shapes": [list(tensor.shape) for tensor in world.add([own, kernel])],
        "gradients": [layer.weight.grad.tolist(), layer.bias.grad.tolist(), frozen.grad],
        "most": [world.most(5 - world.rank), world.most(world.rank)],
        "names": world.names(["b", "a"] if world.rank else ["c", "b"]),
        "buffers": [norm.running_mean.tolist(), int(norm.num_batches_tracked)],
        "both": notes.memory("both", -1.0).tolist(),
        "second": notes.memory("second", -1.0).tolist(),
        "logs": notes.take_means(),
        "classes": {
            name: means.nan_to_num(-1).tolist() for name, means in sorted(notes.last_means.items())
        },
        "first": world.first,
    }


def take_part(out: Path) -> None:
    """Be one of the processes."""
    before = threads()
    with joined(torch.device("cpu")):
        rank = World().rank
        torch.save({case: train(case) for case in CASES}, out / f"trained{rank}.pt")
        found = tools()
    (out / f"tools{rank}.json").write_text(
        json.dumps({**found, "threads left": threads() - before})
    )


def threads() -> int:
    """How many threads this process has, where the system tells."""
    place = Path("/proc/self/task")
    return len(list(place.iterdir())) if place.is_dir() else 0


if __name__ == "__main__":
    take_part(Path(sys.argv[1]))
    sys.exit()


LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def end(process):
    """Whatever happens no process is left: the launcher ends its own when it is asked to."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(45)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="module")
def launch(environment):
    """`launch(words)`: two processes of a script or module, started; ended with the test."""
    started = []

    def start(*words, **more):
        env = environment(**more)
        process = subprocess.Popen(
            [*LAUNCH, *map(str, words)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        end(process)


@pytest.fixture(scope="module")
def two(launch, tmp_path_factory):
    """What each of two processes had in the end: ([trained by rank 0, by rank 1], [tools of rank 0,
    of rank 1]).
    """
    out = tmp_path_factory.mktemp("two")
    process = launch(__file__, out)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    trained = [torch.load(out / f"trained{rank}.pt", weights_only=True) for rank in (0, 1)]
    return trained, [json.loads((out / f"tools{rank}.json").read_text()) for rank in (0, 1)]


def world_of(rank, size):
    world = World()
    world.rank, world.size = rank, size
    return world


# -- alone


@given(rows=st.integers(1, 300), size=st.integers(1, 9))
def test_shares_cover_a_batch_exactly(rows, size):
    """Parts are adjacent, in order and make up the batch.

    They differ by one row at most and none is a lone row of several.
    """
    parts = [range(rows)[world_of(rank, size).share(rows)] for rank in range(size)]
    assert [row for part in parts for row in part] == list(range(rows))
    sizes = [len(part) for part in parts if len(part)]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(2, rows)
    if rows >= 2 * size:
        assert len(sizes) == size


def test_alone_nothing_is_exchanged(plain_model):
    """Without other processes sums are the values themselves and nothing has to be initialised."""
    world, values = World(), [torch.ones(2), torch.ones(3)]
    assert (world.first, world.share(7), world.most(3), world.names(["b", "a"])) == (
        True,
        slice(0, 7),
        3,
        ["a", "b"],
    )
    assert all(a is b for a, b in zip(world.add(values), values, strict=True))
    model = plain_model()
    world.add_gradients(model.parameters())
    world.same_buffers(model)
    world.wait()
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(
    ("device", "number", "found"),
    [
        ("cuda", "3", "cuda:3"),
        ("cuda", None, "cuda"),
        ("cuda:1", "3", "cuda:1"),
        ("cpu", "3", "cpu"),
    ],
)
def test_each_process_has_its_own_gpu(monkeypatch, device, number, found):
    """`cuda` is the GPU of the process' number on its machine.

    A device that was named exactly stays.
    """
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if number is not None:
        monkeypatch.setenv("LOCAL_RANK", number)
    assert str(local_device(torch.device(device))) == found


# -- two processes


def test_what_two_processes_exchange(two):
    """Sums, gradients that one lacks, tensors laid out differently in memory, names, buffers,
    memories and means.
    """
    first, second = two[1]
    assert (first.pop("first"), second.pop("first")) == (True, False)
    assert first == second
    assert first["sums"] == [[2.0 * i + 10 for i in range(6)]] * 2
    assert first["shapes"] == [[1, 2, 1, 3], [1, 3, 2, 1]]
    assert first["gradients"] == [[[1.0, 2.0]], [3.0], None]
    assert first["most"] == [5, 1]
    assert first["names"] == ["a", "b", "c"]
    assert first["buffers"] == [[5.0, 5.0], 7]
    assert first["both"] == [1.0, float("inf"), -1.0, 2.0]
    assert first["second"] == [-1.0, -1.0, 20.0, 30.0]
    assert first["logs"] == {"both": 2.0, "second": 2.0}
    assert first["classes"] == {"both": [[3.0], [-1.0]], "second": [[-1.0], [3.0]]}
    assert (
        first["threads left"] == 0
    )  # one that outlives the group may abort the process at its end


@pytest.mark.parametrize("case", [case for case in CASES if case != "norm"])
def test_two_processes_are_one(two, case):
    """Weights, averages, memories, losses, counts and validation of two processes are those of one,
    to 1e-6.

    Also where a batch has too few rows for both, so that one of them has none.
    """
    alone, together = train(case), two[0][0][case]
    for what in ("model", "best", "memories"):
        assert alone[what].keys() == together[what].keys()
        for name, value in alone[what].items():
            assert torch.allclose(value, together[what][name], rtol=0, atol=TOLERANCE), (what, name)
    for one, other in zip(alone["rows"], together["rows"], strict=True):
        assert json.loads(one.pop("logs")) == pytest.approx(json.loads(other.pop("logs")), abs=1e-5)
        assert one == pytest.approx(other, abs=1e-5)
    start = model_of(case).state_dict()
    assert not torch.allclose(
        alone["model"]["head.weight"], start["head.weight"], atol=1e-3
    )  # it was trained


@pytest.mark.parametrize("case", CASES)
def test_all_processes_have_the_same_bits(two, case):
    """Weights, running statistics, averages and memories are the same in both processes, to the
    last bit.
    """
    first, second = (trained[case] for trained in two[0])
    for what in ("model", "best", "memories"):
        for name, value in first[what].items():
            assert torch.equal(value, second[what][name]), (what, name)
    assert first["rows"][0]["train_loss"] == second["rows"][0]["train_loss"]


def test_batch_norm_sees_its_share(two):
    """With batch-norm two processes are close to one, but not the same: each normalises by its own
    rows.
    """
    alone, together = train("norm"), two[0][0]["norm"]
    name = "body.1.weight"
    assert not torch.allclose(alone["model"][name], together["model"][name], rtol=0, atol=TOLERANCE)
    assert torch.allclose(alone["model"][name], together["model"][name], rtol=0, atol=0.1)
    assert int(together["model"]["body.2.num_batches_tracked"]) == 2 * 3


# -- the command

WORDS = (
    "train --data digits --model mlp:width=16,depth=1 --limit 150"
    " --epochs 2 --inner pgd:steps=2 --set average=ema --name m"
)

# Run by every Python that finds it: writes down which process opens files for writing, renames or
# removes them in a folder.
SPY = """
import os, sys

def spy(event, arguments):
    if event in ("open", "os.rename", "os.remove", "os.mkdir"):
        path, flags = str(arguments[0]), arguments[2] if event == "open" else os.O_WRONLY
        if path.startswith(os.environ["SPY_ON"]) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            os.write(log, f"{event} {path}\\n".encode())

if "RANK" in os.environ and "SPY_ON" in os.environ:
    path = os.environ["SPY_LOG"] + os.environ["RANK"]
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.addaudithook(spy)
"""


@pytest.fixture(scope="module")
def command(launch, tmp_path_factory):
    """(exit code, stdout, folder, what rank 0 wrote, what rank 1 wrote) of `robbench train` as two
    processes.
    """
    folder = tmp_path_factory.mktemp("command")
    (folder / "spy").mkdir()
    (folder / "spy" / "sitecustomize.py").write_text(SPY)
    path = os.pathsep.join([str(folder / "spy"), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = launch(
        "-m",
        "robbench",
        *WORDS.split(),
        "--json",
        "--out",
        folder / "S",
        PYTHONPATH=path,
        SPY_ON=str(folder / "S"),
        SPY_LOG=str(folder / "log"),
    )
    out, err = process.communicate(timeout=120)
    logs = [(folder / f"log{rank}").read_text().splitlines() for rank in (0, 1)]
    return process.returncode, out, err, folder / "S", logs


def same_weights(ours, theirs, atol):
    files = sorted(file.name for file in theirs.iterdir())
    assert sorted(file.name for file in ours.iterdir()) == files
    for name in files:
        if name.endswith(".safetensors"):
            one, other = load_file(ours / name), load_file(theirs / name)
            assert one.keys() == other.keys()
            assert all(torch.allclose(one[key], other[key], rtol=0, atol=atol) for key in one), name


def test_the_command_gives_what_one_process_gives(command, cli, tmp_path):
    """The model folder of two processes holds the same files, and the same weights to 1e-6, as that
    of one.
    """
    assert cli(*WORDS.split(), "--out", tmp_path).code == 0
    same_weights(command[3] / "models" / "m", tmp_path / "models" / "m", TOLERANCE)


def test_only_the_first_process_writes(command):
    """The second process opens nothing for writing, renames nothing and removes nothing in the
    output folder.
    """
    first, second = command[4]
    assert any("model.safetensors" in line for line in first)
    assert second == []


def test_the_command_ends_well_and_speaks_once(command):
    """Both processes end with 0, and stdout holds one JSON object."""
    code, out, err, folder, _ = command
    assert code == 0, err
    found = json.loads(out)
    assert (found["status"], found["folder"]) == ("done", str(folder / "models" / "m"))
    assert found["selected"]["epoch"] in (1, 2)


@pytest.mark.parametrize(
    ("loss", "told"),
    [("sovr", True), ("ewat:normalise=max", False), ("cross-entropy", False)],
)
def test_a_loss_of_the_whole_batch_is_told(cli, tmp_path, monkeypatch, loss, told):
    """With several processes the first says once that such a loss sees a share of the batch only.

    The others say nothing.
    """
    from robbench.core.errors import UserError
    from robbench.tasks.train import run as runs

    def refuse(*arguments, **more):
        raise UserError("enough")

    monkeypatch.setattr(runs, "joined", refuse)
    for rank, size, lines in ((0, 2, 2 if told else 1), (1, 2, 1), (0, 1, 1)):
        environment = {"WORLD_SIZE": str(size), "RANK": str(rank)}
        done = cli("train --limit 50 --loss", loss, "--out", tmp_path, env=environment)
        assert done.err.count("\n") == lines, done.err
        assert ("its share" in done.err) == (lines == 2)


LONELY = """
import os, signal, sys
from robbench.training.trainer import Trainer
from robbench.cli.app import main
original = Trainer.run_epoch
def run_epoch(self, watch):
    def signalled(progress):
        if progress.epoch == 1 and progress.samples < 100 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        watch(progress)
    return original(self, signalled)
Trainer.run_epoch = run_epoch
sys.argv = ["robbench", *sys.argv[1:]]
main()
"""


@pytest.fixture(scope="module")
def stopped(launch, tmp_path_factory):
    """(what the launcher said, folder) of two processes of which the second was asked to stop in
    its second epoch.
    """
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "lonely.py").write_text(LONELY)
    process = launch(folder / "lonely.py", *WORDS.split(), "--out", folder / "S")
    _, err = process.communicate(timeout=90)
    assert process.returncode != 0
    return err, folder / "S"


def test_a_signal_to_one_stops_all(stopped):
    """Both processes leave after the same batch, with 143 and without an error; none is killed."""
    err, _ = stopped
    assert err.count("stopped; finished epochs") == 2, err
    assert "error:" not in err
    assert "exitcode  : 143" in err


@pytest.mark.slow
def test_a_stopped_run_goes_on(stopped, launch, cli, tmp_path):
    """Given again, by two processes or by one, the command goes on after the first epoch and ends
    as it does uninterrupted.
    """
    _, out = stopped
    assert json.loads((out / "models" / "m" / "config.json").read_text())["status"] == "training"
    assert (out / "models" / "m" / "state.pt").exists()
    shutil.copytree(out, tmp_path / "one")
    process = launch("-m", "robbench", *WORDS.split(), "--out", out)
    _, err = process.communicate(timeout=90)
    assert "going on after epoch 1" in err
    resumed = cli(*WORDS.split(), "--out", tmp_path / "one")
    assert "going on after epoch 1" in resumed.err
    assert cli(*WORDS.split(), "--out", tmp_path / "straight").code == 0
    for folder in (out, tmp_path / "one"):
        same_weights(folder / "models" / "m", tmp_path / "straight" / "models" / "m", TOLERANCE)


def running(word):
    """The processes whose command line has a word in it."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word in place.read_text(errors="replace"):
                found.append(place.parent.name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_does_not_hang(launch, tmp_path, number):
    """SIGTERM to the launcher, or Ctrl-C to all, ends every process within seconds.

    Finished epochs are kept.
    """
    words = ["5000" if word == "2" else word for word in WORDS.split()]
    process = launch("-m", "robbench", *words, "--out", tmp_path / "S")
    state, deadline = tmp_path / "S" / "models" / "m" / "state.pt", time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    assert len(running(str(tmp_path))) in (0, 3)  # none: a system without /proc
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert running(str(tmp_path)) == []
    found = torch.load(state, weights_only=True)
    assert found["epoch"] >= 1
    assert json.loads((state.parent / "config.json").read_text())["status"] == "training"
