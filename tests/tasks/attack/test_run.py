"""Attack runs on disk: resumed by sample, never computed twice, named by their causes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robbench.store.tables import write_table
from robbench.tasks.attack import session, shard_writer
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.plan import plan_attacks
from robbench.tasks.attack.session import AttackSession

WORDS = shlex.split(
    "attack at --attack pgd:steps=4 --attack apgd:steps=12 --threat linf:0.15 --limit 120 "
    "--batch-size 16"
)


@pytest.fixture
def plans(trained):
    """Plans one or more runs against the trained models."""

    def make(*models, out=trained, **settings):
        config = AttackConfig(
            **{"attack": ("pgd:steps=5",), "threat": ("linf:0.15",), "limit": 30, **settings}
        )
        return list(
            plan_attacks(
                models or ("ce",), config, out=out, device="cpu", data_dir=None, download=False
            )
        )

    return make


@pytest.fixture(scope="module")
def reference(cli, trained, tmp_path_factory):
    """The results folder and the run id of `WORDS`, uninterrupted."""
    out = shutil.copytree(trained, tmp_path_factory.mktemp("attacked") / "S")
    done = cli(*WORDS, "--json", "--out", out)
    assert done.code == 0, done.err
    return out / "results", done.json["rows"][0]["run_id"]


@pytest.fixture
def same(reference, rows_of):
    """A results folder holds the reference run: equal sample rows and numbers."""

    def check(results: Path) -> None:
        theirs, run = reference
        mine = rows_of(results / "samples" / f"{run}.parquet")
        (row,) = rows_of(theirs / "runs" / f"{run}.parquet")
        if not row["deterministic"]:
            pytest.skip(
                "no numbers of rows give equal answers on this processor, and the run says so"
            )
        assert mine == rows_of(theirs / "samples" / f"{run}.parquet")
        assert len(mine) == 120
        depends = (
            "started_at",
            "finished_at",
            "wall_s",
            "n_disagreements",
            "provenance",
            "git_sha",
            "git_dirty",
        )
        assert rows_of(results / "runs" / f"{run}.parquet", *depends) == rows_of(
            theirs / "runs" / f"{run}.parquet", *depends
        )
        assert not list((results / "partial").glob("*"))

    return check


def partial_rows(rows_of, results, run):
    return [
        row
        for shard in sorted((results / "partial" / run).glob("*.parquet"))
        for row in rows_of(shard)
    ]


# -- interrupted


def test_killed_and_continued_is_bit_equal(
    spawn, killer, cli, store, reference, same, rows_of, monkeypatch
):
    """SIGKILL with some samples done, then the same command: none again, the same rows."""
    _, run = reference
    killed = spawn("append", "2", *WORDS, "--out", store, code=killer)
    assert killed.code == -signal.SIGKILL
    results = store / "results"
    kept = partial_rows(rows_of, results, run)
    assert 0 < len(kept) < 120
    attacked = spy_on_samples(monkeypatch)
    assert cli(*WORDS, "--out", store).code == 0
    assert sorted(attacked + [row["sample_index"] for row in kept]) == list(
        range(120)
    )  # each once, none twice
    same(results)


def spy_on_samples(monkeypatch):
    """Notes the samples that a run is asked to decide."""
    attacked, decide = [], AttackSession.decide

    def spied(self, indices, stop):
        attacked.extend(indices)
        return decide(self, indices, stop)

    monkeypatch.setattr(AttackSession, "decide", spied)
    return attacked


@pytest.mark.parametrize(
    ("number", "progress"),
    [
        (signal.SIGINT, 0),
        (signal.SIGTERM, 20),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in itertools.product((signal.SIGINT, signal.SIGTERM), (3, 40))
        ),
    ],
)
def test_a_signal_keeps_finished_samples(
    cli, store, reference, same, rows_of, monkeypatch, number, progress
):
    """SIGINT gives 130, SIGTERM 143, with the resume command; decided samples are kept."""
    _, run = reference
    ticks, cascade_run = itertools.count(), session.Cascade.run

    def signalled(self, **ends):
        for tick in cascade_run(self, **ends):
            if next(ticks) == progress:
                os.kill(os.getpid(), number)
            yield tick

    monkeypatch.setattr(session.Cascade, "run", signalled)
    stopped = cli(*WORDS, "--out", store)
    monkeypatch.undo()
    assert stopped.code == 128 + number, stopped.err
    assert stopped.out == ""
    assert f"robbench {' '.join(WORDS)} --out {store}" in stopped.err
    results = store / "results"
    assert not (results / "runs").exists()
    kept = partial_rows(rows_of, results, run)
    attacked = spy_on_samples(monkeypatch)
    assert cli(*WORDS, "--out", store).code == 0
    assert sorted(attacked + [row["sample_index"] for row in kept]) == list(range(120))
    same(results)


class Crash(BaseException):
    """Stands for the power that goes."""


def test_a_crash_at_any_write_loses_nothing(cli, store, tmp_path, same, monkeypatch):
    """Whichever file is not renamed any more, the same command ends with the same rows."""
    monkeypatch.setattr(shard_writer, "FLUSH_SECONDS", 0)
    replace = Path.replace
    for number in itertools.count():
        out, calls = shutil.copytree(store, tmp_path / str(number)), []

        def guarded(self, target, calls=calls, number=number):
            calls.append(target)
            if len(calls) - 1 == number:
                raise Crash
            return replace(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", guarded)
            try:
                code = cli(*WORDS, "--out", out, env={"ROBBENCH_DEBUG": "1"}).code
            except Crash:
                code = None
        assert cli(*WORDS, "--out", out).code == 0
        same(out / "results")
        if code == 0:
            break
    assert number >= 4  # shards, samples, run


def test_a_damaged_shard_is_done_again(cli, store, reference, same, rows_of, monkeypatch):
    """A truncated, foreign or other run's shard costs its samples, never a wrong number."""
    _, run = reference
    ticks, cascade_run = itertools.count(), session.Cascade.run

    def signalled(self, **ends):
        for tick in cascade_run(self, **ends):
            if next(ticks) == 25:
                os.kill(os.getpid(), signal.SIGINT)
            yield tick

    monkeypatch.setattr(session.Cascade, "run", signalled)
    monkeypatch.setattr(shard_writer, "FLUSH_SECONDS", 0)
    assert cli(*WORDS, "--out", store).code == 130
    monkeypatch.undo()
    shards = sorted((store / "results" / "partial" / run).glob("*.parquet"))
    assert len(shards) > 1
    shards[0].write_bytes(shards[0].read_bytes()[:100])
    shutil.copy(reference[0] / "runs" / f"{run}.parquet", shards[0].with_name("000099.parquet"))
    assert cli(*WORDS, "--out", store).code == 0
    same(store / "results")


def test_stopped_force_goes_on(cli, store, reference, same, monkeypatch):
    """A stopped --force run keeps the old result until the new is whole; it can resume."""
    done = cli(*WORDS, "--out", store)
    assert done.code == 0
    _, run = reference
    ticks, cascade_run = itertools.count(), session.Cascade.run

    def signalled(self, **ends):
        for tick in cascade_run(self, **ends):
            if next(ticks) == 20:
                os.kill(os.getpid(), signal.SIGINT)
            yield tick

    monkeypatch.setattr(session.Cascade, "run", signalled)
    stopped = cli(*WORDS, "--force", "--out", store)
    monkeypatch.undo()
    assert stopped.code == 130
    assert "--force" not in stopped.err.splitlines()[-1]
    assert (store / "results" / "runs" / f"{run}.parquet").exists()
    attacked = spy_on_samples(monkeypatch)
    assert cli(*WORDS, "--out", store).code == 0
    assert 0 < len(attacked) < 120
    same(store / "results")


# -- not twice


def test_the_same_command_again_does_nothing(cli, store, snapshot, rows_of):
    """A finished run is found: nothing changes on disk, the same output, a note on stderr."""
    words = [*shlex.split("attack ce --attack pgd:steps=3 --limit 40 --json --out"), store]
    first = cli(*words)
    before = snapshot(store)
    again = cli(*words)
    assert (first.code, again.code) == (0, 0)
    assert again.out == first.out
    assert "nothing to do" in again.err
    assert "--force" in again.err
    assert snapshot(store) == before
    forced = cli(*words, "--force")
    assert forced.code == 0
    assert "nothing to do" not in forced.err
    run = first.json["rows"][0]["run_id"]
    samples = f"results/samples/{run}.parquet"
    after = snapshot(store)
    assert after[samples][0] > before[samples][0]
    assert after[samples][1] == before[samples][1]
    assert after.keys() == before.keys()


@pytest.mark.parametrize(
    "changes",
    [
        {"attack": ("pgd:steps=6",)},
        {"attack": ("pgd:steps=5,rate=0.3",)},
        {"attack": ("pgd:steps=5,objective=margin",)},
        {"attack": ("pgd:steps=5", "fgsm")},
        {"attack": ("fgsm", "pgd:steps=5")},
        {"threat": ("linf:0.1500001",)},
        {"threat": ("l2:0.15",)},
        {"seed": 1},
        {"limit": 31},
        {"split": "train"},
        {"data": "digits[stratified=30]"},
    ],
    ids=str,
)
def test_what_decides_the_verdict_decides_the_run(plans, changes):
    """Another attack, option, order, budget, norm, seed or set of samples is another run."""
    (one,), (other,) = plans(), plans(**changes)
    assert one.run_ids[0] != other.run_ids[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 7},
        {"attack": ("pgd:steps=5,restarts=1",)},
        {"attack": ("pgd:init=uniform,steps=5",)},
        {"threat": ("LINF:0.15",)},
        {"threat": ("linf:3/20",)},
        {"threat": (" linf: 0.150 ",)},
        {"data": "digits"},
        {"data": "digits[first=30]", "limit": None},
    ],
    ids=str,
)
def test_spelling_decides_nothing(plans, changes):
    """Batch size, order, defaults, fractions, case and spelling are not part of a run."""
    (one,), (other,) = plans(), plans(**changes)
    assert one.run_ids[0] == other.run_ids[0]


def test_a_fraction_is_its_number(plans):
    """An option written as a fraction is the same as the number."""
    assert (
        plans(attack=("pgd:rate=1/4",))[0].run_ids[0]
        == plans(attack=("pgd:rate=0.25",))[0].run_ids[0]
    )


def test_aliases_are_what_they_stand_for(plans):
    """`apgd-ce` is `apgd`, and `apgd-dlr` is `apgd:objective=dlr`."""
    ids = [
        plans(attack=(spec,))[0].run_ids[0]
        for spec in ("apgd-ce", "apgd", "apgd-dlr", "apgd:objective=dlr", "apgd-dlr:steps=5")
    ]
    assert ids[0] == ids[1]
    assert ids[2] == ids[3]
    assert len(set(ids)) == 3


def test_verdicts_do_not_depend_on_the_batch_size(cli, store, reference, rows_of):
    """Width 1 and 97 give the sample rows of width 16, under the same run id."""
    theirs, run = reference
    expected = rows_of(theirs / "samples" / f"{run}.parquet")
    for width in ("1", "97"):
        done = cli(*WORDS[:-1], width, "--force", "--json", "--out", store)
        assert done.json["rows"][0]["run_id"] == run
        assert rows_of(store / "results" / "samples" / f"{run}.parquet") == expected


def test_the_weights_decide_the_run(plans, store):
    """Name and weights decide, not the folder: a path finds the named run, a twin its own."""
    shutil.copytree(store / "models" / "ce", store / "models" / "twin")
    ce, at, twin, path = (
        plans(model, out=store)[0] for model in ("ce", "at", "twin", str(store / "models" / "ce"))
    )
    assert ce.run_ids[0] == path.run_ids[0]
    assert len({ce.run_ids[0], at.run_ids[0], twin.run_ids[0]}) == 3


def test_the_forward_pass_decides_the_run(plans, private, monkeypatch):
    """Two private models with the same weights but another computation are two runs."""
    folder = private(
        "scaled_models",
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self, power):\n"
        "        super().__init__()\n"
        "        torch.manual_seed(0)\n"
        "        self.linear, self.power = torch.nn.Linear(64, 10), power\n"
        "    def forward(self, x):\n"
        "        return self.linear(x.flatten(1) ** self.power)\n"
        "def make(power=1):\n"
        "    return Net(power)\n",
    )
    monkeypatch.chdir(folder)
    one, two = (plans(f"scaled_models:make:power={power}", data="digits")[0] for power in (1, 3))
    assert one.subject.hash != two.subject.hash
    assert one.run_ids[0] != two.run_ids[0]


@pytest.mark.slow
def test_the_same_samples_in_another_order_resume_safely(cli, store, monkeypatch, rows_of):
    """A run stopped on `digits` resumes under a reordered spec without mixing samples."""
    words = shlex.split("attack ce --attack pgd:steps=4 --threat linf:0.15 --batch-size 16 --out")
    straight = cli(*words, store, "--json", "--data", "digits")
    run = straight.json["rows"][0]["run_id"]
    expected = {
        row["sample_id"]: row
        for row in rows_of(store / "results" / "samples" / f"{run}.parquet", "sample_index")
    }
    shutil.rmtree(store / "results")
    ticks, cascade_run = itertools.count(), session.Cascade.run

    def signalled(self, **ends):
        for tick in cascade_run(self, **ends):
            if next(ticks) == 40:
                os.kill(os.getpid(), signal.SIGINT)
            yield tick

    monkeypatch.setattr(session.Cascade, "run", signalled)
    assert cli(*words, store, "--data", "digits").code == 130
    monkeypatch.undo()
    done = cli(*words, store, "--json", "--data", "digits[stratified=597]")
    assert done.code == 0, done.err
    again = done.json["rows"][0]["run_id"]
    found = {
        row["sample_id"]: row
        for row in rows_of(store / "results" / "samples" / f"{again}.parquet", "sample_index")
    }
    assert {key: {**row, "run_id": ""} for key, row in found.items()} == {
        key: {**row, "run_id": ""} for key, row in expected.items()
    }


# -- several


def test_two_threats_are_two_runs(cli, store):
    """Each --threat, and each budget of one, gives a run of its own, per model."""
    words = shlex.split(
        "attack ce at --attack fgsm --threat linf:0.05,0.1 --threat l2:0.5 --limit 20 --json --out"
    )
    done = cli(*words, store)
    assert done.code == 0, done.err
    rows = done.json["rows"]
    assert [(row["model"], row["threat"]) for row in rows] == [
        (model, threat) for model in ("ce", "at") for threat in ("linf:0.05", "linf:0.1", "l2:0.5")
    ]
    assert len({row["run_id"] for row in rows}) == 6
    assert len(list((store / "results" / "runs").iterdir())) == 6


def test_a_cascade_is_the_worst_case_of_its_attacks(cli, store, rows_of):
    """Robust under several attacks iff robust under each; `broken_by` is the first success."""
    specs = ["fgsm", "pgd:steps=5", "apgd:steps=10"]

    def samples(*attacks):
        words = [word for spec in attacks for word in ("--attack", spec)]
        done = cli(
            "attack",
            "at",
            *words,
            "--threat",
            "linf:0.15",
            "--limit",
            150,
            "--json",
            "--out",
            store,
        )
        return rows_of(store / "results" / "samples" / f"{done.json['rows'][0]['run_id']}.parquet")

    alone, together = [samples(spec) for spec in specs], samples(*specs)
    broken = 0
    for i, row in enumerate(together):
        assert row["robust"] == all(other[i]["robust"] for other in alone)
        if row["adversarial"] and row["clean_correct"]:
            first = next(n for n, other in enumerate(alone) if other[i]["adversarial"])
            assert row["broken_by"] == specs[first]
            broken += 1
    assert broken > 10


# -- models that cannot be attacked

ILL = """
import torch
from torch import nn


class Probabilities(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        return self.linear(x.flatten(1)).softmax(1)


class LogProbabilities(Probabilities):
    def forward(self, x):
        return super().forward(x).log()


class Nan(Probabilities):
    def forward(self, x):
        return self.linear(x.flatten(1)) * float("nan")


class Few(Probabilities):
    def forward(self, x):
        return self.linear(x.flatten(1))[:, :7]


class Flat(Probabilities):
    def forward(self, x):
        return self.linear(x.flatten(1)).sum(1)


class Pair(Probabilities):
    def forward(self, x):
        return self.linear(x.flatten(1)), x


class Colour(Probabilities):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x)


def nothing():
    return None
"""


@pytest.mark.parametrize(
    ("factory", "hint"),
    [
        ("Probabilities", "probabilities"),
        ("LogProbabilities", "log-probabilities"),
        ("Nan", "finite"),
        ("Few", "7 outputs"),
        ("Flat", "shape"),
        ("Pair", "tuple"),
        ("Colour", "shape"),
        ("nothing", "nn.Module"),
        ("Absent", "Absent"),
        ("Probabilities:depth=3", "depth"),
    ],
)
@pytest.mark.parametrize("command", ["attack", "train"])
def test_models_that_cannot_be_used(cli, private, tmp_path, factory, hint, command):
    """Probabilities, wrong shapes, NaN and non-models are exit 2, one line, nothing written."""
    folder = private("ill_models", ILL)
    spec = f"ill_models:{factory}"
    words = (
        ["attack", spec, "--attack", "fgsm", "--limit", "9"]
        if command == "attack"
        else ["train", "--model", spec, "--epochs", "1"]
    )
    done = cli(*words, "--out", tmp_path / "S", cwd=folder)
    assert (done.code, done.err.count("\n"), done.err[:6]) == (2, 1, "error:"), done.err
    assert hint in done.err
    assert not (tmp_path / "S").exists()


def test_a_factory_that_raises(cli, private, tmp_path):
    """A private factory that raises is exit 2, one line with its message and place."""
    folder = private("raising_models", "def make():\n    raise KeyError('weights.pth')\n")
    done = cli(
        "attack",
        "raising_models:make",
        "--attack",
        "fgsm",
        "--limit",
        "9",
        "--out",
        tmp_path / "S",
        cwd=folder,
    )
    assert (done.code, done.err.count("\n"), done.err[:6]) == (2, 1, "error:"), done.err
    assert "KeyError: 'weights.pth' (raising_models.py, line 2)" in done.err


def test_a_private_model_is_attacked(cli, private, tmp_path):
    """A module:factory of the working folder is a model like any other, with its options."""
    source = """
from torch import nn

def make(width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, 10))
"""
    folder = private("fine_models", source)
    done = cli(
        "attack fine_models:make:width=5 --attack fgsm --limit 20 --json --out",
        tmp_path / "S",
        cwd=folder,
    )
    assert done.code == 0, done.err
    assert done.json["rows"][0]["model"] == "fine_models:make:width=5"


def test_another_data_set_than_it_was_trained_on(cli, store, snapshot, tmp_path):
    """Data with other classes than the model's are exit 2 and name both; nothing is written."""
    before = snapshot(store)
    np.savez(tmp_path / "few.npz", x=np.full((6, 1, 8, 8), 255, np.uint8), y=np.arange(6) % 3)
    data = f"npz:{tmp_path / 'few.npz'}"
    done = cli("attack", "ce", "--attack", "fgsm", "--data", data, "--out", store)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert "classes" in done.err
    assert snapshot(store) == before


@pytest.mark.parametrize(
    ("name", "near"),
    [("c", "ce"), ("smal-cnn", "small-cnn"), ("CE", "ce"), ("preact-resnet", "preact-resnet18")],
)
def test_unknown_models_have_nearest_names(cli, store, name, near):
    """An unknown model is exit 2 with the nearest stored and registered names."""
    done = cli("attack", name, "--attack", "fgsm", "--out", store)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert name in done.err
    assert near in done.err.partition("did you mean")[2]


def test_a_mistake_in_the_last_model_costs_nothing(cli, store, snapshot):
    """All models are resolved before the first is attacked."""
    before = snapshot(store)
    done = cli("attack", "ce", "att", "--attack", "fgsm", "--out", store)
    assert done.code == 2
    assert snapshot(store) == before


def test_a_foreign_folder_does_not_run_code(cli, store, private, tmp_path):
    """A foreign saved model with private code is refused before that code is imported."""
    victim = tmp_path / "imported"
    folder = private(
        "trojan", f"open({str(victim)!r}, 'w')\nfrom torch import nn\nmake = nn.Identity\n"
    )
    foreign = shutil.copytree(store / "models" / "ce", tmp_path / "elsewhere" / "ce")
    config = json.loads((foreign / "config.json").read_text())
    (foreign / "config.json").write_text(json.dumps({**config, "model": "trojan:make"}))
    done = cli("attack", str(foreign), "--attack", "fgsm", "--out", store, cwd=folder)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert not victim.exists()


def test_a_folder_with_an_at_sign(cli, store, tmp_path):
    """The folder of a saved model may have an @ in its path."""
    folder = shutil.copytree(store / "models" / "ce", tmp_path / "me@home" / "ce")
    done = cli("attack", str(folder), "--attack", "fgsm", "--limit", 5, "--out", store, "--json")
    assert done.code == 0, done.err
    assert [row["n_samples"] for row in done.json["rows"]] == [5]


def test_edited_private_code_is_another_run(cli, private, monkeypatch, tmp_path):
    """A private model's results are not those of its edited source, with equal weights."""
    source = (
        "import torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    ids = []
    for text in (source, source + "# edited\n"):
        folder = private("edited_models", text)
        done = cli(
            "attack edited_models:make --attack fgsm --limit 5 --json --out",
            tmp_path / "S",
            cwd=folder,
        )
        assert done.code == 0, done.err
        ids.append(done.json["rows"][0]["run_id"])
    assert ids[0] != ids[1]


def test_a_foreign_folder_does_not_name_data_code(cli, store, private, tmp_path):
    """A foreign model folder with private data is refused before anything is imported."""
    folder = private("evil_data", "raise SystemExit('imported')\n")
    foreign = shutil.copytree(store / "models" / "ce", tmp_path / "foreign")
    config = json.loads((foreign / "config.json").read_text())
    config["config"]["data"] = "evil_data:Thing"
    (foreign / "config.json").write_text(json.dumps(config))
    done = cli("attack", foreign, "--attack", "fgsm", "--limit", 5, "--out", store, cwd=folder)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "private code" in done.err


def test_a_single_class_is_refused(cli, tmp_path):
    """Data of one class can neither train nor judge a classifier: exit 2, one line."""
    from PIL import Image

    for split in ("train", "test"):
        (tmp_path / "one" / split / "a").mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "one" / split / "a" / f"{i}.png")
    for command in (
        "train --epochs 1 --threat linf:0.1",
        "attack mlp --attack pgd --threat linf:0.1",
    ):
        done = cli(
            *command.split(), "--data", f"folder:{tmp_path / 'one'}", "--out", tmp_path / "S"
        )
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert "only the class 'a'" in done.err


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sample_index", [0, 99]),
        ("sample_index", [1, 0]),
        ("sample_index", [0, 0]),
        ("sample_id", [1, 2]),
        ("label", [77, 77]),
    ],
)
def test_a_shard_of_other_samples_is_redone(cli, tmp_path, name, values):
    """A shard's rows of other samples, places or labels count as absent."""
    line = "attack mlp:width=4 --attack fgsm --limit 9 --quiet --out"
    assert cli(line, tmp_path / "S").code == 0
    (run,) = (tmp_path / "S" / "results" / "samples").glob("*.parquet")
    table = pq.read_table(run)
    first = table.slice(0, 2)
    at = first.schema.get_field_index(name)
    first = first.set_column(
        at, first.schema.field(at), pa.array(values, first.schema.field(at).type)
    )
    write_table(
        tmp_path / "T" / "results" / "partial" / run.stem / "000000.parquet", first, run.stem
    )
    assert cli(line, tmp_path / "T").code == 0
    again = pq.read_table(tmp_path / "T" / "results" / "samples" / run.name)
    assert again.to_pylist() == table.to_pylist()


# -- parts


@pytest.mark.slow
def test_a_killed_part_and_another_split_is_bit_equal(
    spawn, killer, cli, store, reference, same, rows_of, monkeypatch
):
    """SIGKILL of a part: parts of another split go on, the last one joins, none does work twice."""
    _, run = reference
    killed = spawn("append", "2", *WORDS, "--shard", "2/2", "--out", store, code=killer)
    assert killed.code == -signal.SIGKILL
    kept = [row["sample_index"] for row in partial_rows(rows_of, store / "results", run)]
    assert kept
    assert all(i % 2 for i in kept)
    attacked = spy_on_samples(monkeypatch)
    for number in (3, 1, 2):
        done = cli(*WORDS, "--shard", f"{number}/3", "--json", "--out", store)
        assert done.code == 0, done.err
        assert [row["run_id"] for row in done.json["rows"]] == ([run] if number == 2 else [])
        left = len(set(range(120)) - set(kept) - set(attacked))
        assert (f"{left} of 120 samples are left to other parts" in done.err) == (number != 2)
    assert sorted(attacked + kept) == list(range(120))
    same(store / "results")
    (row,) = rows_of(store / "results" / "runs" / f"{run}.parquet")
    assert np.isnan(row["wall_s"])


@pytest.mark.parametrize(
    "parts", [["1/2", "1/1"], pytest.param(["1/2", "1/2", "2/2", "1/1"], marks=pytest.mark.slow)]
)
def test_processes_at_once_never_hurt_each_other(environment, store, same, parts):
    """Some on one part, some on another, and a whole run: all end well, with one run."""
    words = [sys.executable, "-m", "robbench", *WORDS, "--out", str(store)]
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [*words, "--shard", part], env=environment(), stderr=subprocess.PIPE
                )
            )
            for part in parts
        ]
        errors = [process.communicate(timeout=120)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(parts), errors
    same(store / "results")
    assert not list((store / "results" / "locks").iterdir())
