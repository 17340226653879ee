"""Losses and attacks of other packages, by entry point, and private ones, by module:name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "plugin_package"

SEVERAL = """
import contextlib, io, json, sys
from robbench.cli.app import main
for line in sys.argv[1:]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = 0
        if line.startswith("check_"):
            import robbench.testing
            name, spec = line.split()
            getattr(robbench.testing, name)(spec)
        else:
            sys.argv = ["robbench", *line.split()]
            try:
                main()
            except SystemExit as end:
                code = end.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
"""Runs command lines, or checks of robbench.testing, in one process: a JSON list of results."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder for PYTHONPATH with the example package, installed by pip from its source."""
    target = tmp_path_factory.mktemp("installed")
    words = [
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--target",
    ]
    source = tmp_path_factory.mktemp("source")
    for file in PACKAGE.rglob("*"):  # a copy: building must leave nothing in the repository
        if file.is_file() and "__pycache__" not in file.parts:
            copy = source / file.relative_to(PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, target, source],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target


def entry_point(folder, package, group, name, target):
    """What pip would leave of a package with one entry point."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")


def test_an_installed_package(installed, spawn, tmp_path):
    """Its loss and attack are listed, explained, conform, and train and attack like ours."""
    out = tmp_path / "S"
    lines = [
        "list --json",
        "explain example-smoothing --json",
        "explain random-points",
        "check_loss example-smoothing:share=0.2",
        "check_attack random-points:steps=4",
        "train --loss example-smoothing --model mlp:width=8 --limit 100 --epochs 1 --name p "
        f"--quiet --out {out}",
        f"attack p --attack random-points:steps=3 --limit 20 --json --quiet --out {out}",
        f"train --loss example-smoothing:shar=0.1 --out {out}",
        "doctor --json",
    ]
    done = spawn(*lines, env={"PYTHONPATH": str(installed)}, code=SEVERAL)
    assert done.code == 0, done.err
    results = [json.loads(line) for line in done.out.splitlines()]
    assert [code for code, _, _ in results] == [0, 0, 0, 0, 0, 0, 0, 2, 0], results
    listed = json.loads(results[0][1])
    (loss,) = [item for item in listed["losses"] if item["name"] == "example-smoothing"]
    (attack,) = [item for item in listed["attacks"] if item["name"] == "random-points"]
    assert loss["package"] == attack["package"] == "robbench-example"
    (entry,) = json.loads(results[1][1])["entries"]
    assert entry["package"] == "robbench-example"
    assert [option["name"] for option in entry["options"]] == ["share"]
    assert "robbench_example.random_points" in results[2][1]
    (row,) = json.loads(results[6][1])["rows"]
    assert (row["loss"], row["attack"]) == ("example-smoothing:share=0.1", "random-points:steps=3")
    assert row["n_backward"] == 0
    assert row["n_forward"] > 20
    assert "share" in results[7][2]
    assert results[7][2].count("\n") == 1
    doctor = json.loads(results[8][1])
    assert doctor["plugins"]["losses"] == ["example-smoothing (robbench-example)"]
    assert doctor["problems"] == []


BROKEN = {
    "raising": "raise OSError('libfoo.so')",
    "lacking": "import not_installed_anywhere",
    "empty": "",
}
REASONS = {"raising": "libfoo.so", "lacking": "not_installed_anywhere", "empty": "Loss"}


@pytest.mark.slow
def test_packages_that_cannot_be_loaded(spawn, tmp_path):
    """Doctor names every broken package and exits 1; using one is one line; the rest works."""
    for name, source in BROKEN.items():
        entry_point(
            tmp_path, f"robbench-{name}", "robbench.losses", f"{name}-loss", f"robbench_{name}:Loss"
        )
        (tmp_path / f"robbench_{name}.py").write_text(source + "\n")
    uses = [f"train --loss {name}-loss --dry-run" for name in BROKEN]
    done = spawn(
        "doctor",
        "list losses",
        "train --loss trades --dry-run",
        *uses,
        env={"PYTHONPATH": str(tmp_path)},
        code=SEVERAL,
    )
    assert done.code == 0, done.err
    doctor, listed, fine, *used = (json.loads(line) for line in done.out.splitlines())
    assert doctor[0] == 1
    assert (listed[0], fine[0]) == (0, 0)
    for name, (code, out, err) in zip(BROKEN, used, strict=True):
        problem = next(
            line
            for line in doctor[1].splitlines()
            if line.startswith("PROBLEM") and f"{name}-loss" in line
        )
        assert REASONS[name] in problem
        assert f"{name}-loss" in listed[1]
        assert (code in (2, 3), out, err.count("\n")) == (True, "", 1), err
        assert f"robbench-{name}" in err
        assert REASONS[name] in err


@pytest.mark.slow
def test_two_owners_of_one_name(spawn, tmp_path):
    """A name claimed by two packages, or one and us, is an error with both; doctor reports it."""
    entry_point(tmp_path, "robbench-one", "robbench.losses", "trades", "robbench_one:Loss")
    for owner in ("robbench-two", "robbench-three"):
        entry_point(
            tmp_path, owner, "robbench.attacks", "twice", f"{owner.replace('-', '_')}:Attack"
        )
    lines = [
        "train --dry-run",
        "list losses",
        "attack mlp --attack fgsm --dry-run",
        "list attacks",
        "doctor",
    ]
    done = spawn(*lines, env={"PYTHONPATH": str(tmp_path)}, code=SEVERAL)
    *refused, doctor = (json.loads(line) for line in done.out.splitlines())
    expected = [("'trades'", "robbench-one")] * 2 + [
        ("'twice'", "robbench-two", "robbench-three")
    ] * 2
    for (code, out, err), names in zip(refused, expected, strict=True):
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert all(name in err for name in names)
    assert doctor[0] == 1
    assert "'trades'" in doctor[1]
    assert "'twice'" in doctor[1]


PRIVATE = """
import dataclasses
import torch
from torch.nn import functional as F
from robbench.losses.base import Loss
from robbench.attacks.pgd import PGD


@dataclasses.dataclass(frozen=True, kw_only=True)
class Squared(Loss):
    '''Squared distance of the probabilities from the label.'''

    weight: float = 1.0

    def __call__(self, step):
        p = step.out.logits.softmax(1)
        return self.weight * (p - F.one_hot(step.y, p.shape[1])).square().sum(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Short(PGD):
    '''PGD of two steps.'''

    steps: int = 2


class WrongShape(Squared):
    def __call__(self, step):
        return super().__call__(step).mean()


class Raising(Squared):
    def __call__(self, step):
        raise ZeroDivisionError("of mine")
"""


def test_private_losses_and_attacks(cli, private, tmp_path):
    """module:name from the working folder trains and attacks, with options, and is explained."""
    folder = private("my_private", PRIVATE)
    what = "--loss my_private:Squared:weight=2 --inner my_private:Short --model mlp:width=8"
    trained = cli(f"train {what} --limit 100 --epochs 1 --name p --out", tmp_path / "S", cwd=folder)
    assert trained.code == 0, trained.err
    done = cli(
        "attack p --attack my_private:Short:steps=3 --limit 20 --json --out",
        tmp_path / "S",
        cwd=folder,
    )
    assert done.code == 0, done.err
    (row,) = done.json["rows"]
    assert row["loss"] == "my_private:Squared:weight=2.0"
    assert row["attack"] == "my_private:Short:steps=3"
    explained = cli("explain", "my_private:Squared", cwd=folder)
    assert explained.code == 0
    assert "weight" in explained.out
    bad = cli("train --loss my_private:Squared:wieght=2 --dry-run", cwd=folder)
    assert (bad.code, bad.err.count("\n")) == (2, 1)
    assert "weight" in bad.err


def test_private_things_keep_the_contract(private, monkeypatch):
    """check_loss and check_attack take module:name; a wrong shape is a clear AssertionError."""
    from robbench.testing import check_attack, check_loss

    monkeypatch.chdir(private("my_private", PRIVATE))
    check_loss("my_private:Squared")
    check_attack("my_private:Short")
    with pytest.raises(AssertionError, match="shape"):
        check_loss("my_private:WrongShape")


def test_a_loss_that_raises(cli, private, tmp_path):
    """One line says whose code raised what and where, with exit 2: it is no bug of robbench."""
    folder = private("my_private", PRIVATE)
    done = cli(
        "train --loss my_private:Raising --model mlp --limit 60 --epochs 1 --name p --out",
        tmp_path / "S",
        cwd=folder,
    )
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    line = PRIVATE.splitlines().index('        raise ZeroDivisionError("of mine")') + 1
    assert done.err == (
        "error: my_private:Raising raised ZeroDivisionError: of mine "
        f"(my_private.py, line {line}). Set ROBBENCH_DEBUG=1 for the traceback\n"
    )


@pytest.mark.parametrize("module", ["my_private", "_private", "__private__"])
def test_default_name_of_a_private_loss(cli, private, tmp_path, module):
    """Without --name a private loss gives a model name that is a valid folder name."""
    folder = private(module, PRIVATE)
    done = cli(f"train --loss {module}:Squared --dry-run --out", tmp_path / "S", cwd=folder)
    assert done.code == 0, done.err
    assert done.json["name"].replace("-", "").replace("_", "").isalnum()


GUESTS = """
import dataclasses
from torch import nn
from robbench.attacks.pgd import PGD
from robbench.data.base import Data
from robbench.losses.base import Loss


@dataclasses.dataclass(frozen=True, kw_only=True)
class Climber(PGD):
    def step(self, s, t, p, q):
        return q.nothing  # attack


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caller(Loss):
    def __call__(self, step):
        return step.adversary().x.flatten(1).sum(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaver(Loss):
    def __call__(self, step):
        raise SystemExit(0)  # leaves


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pictures(Data):
    def open(self, split, data_dir, download):
        return {}["test"]  # data


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 10)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 40:
            self.body(x)  # model
        return self.body(x.flatten(1))


def missing():
    return open("nowhere.pt")  # factory


class Unfit(nn.Linear):
    def __init__(self):
        super().__init__(7, 10)

    def forward(self, x):
        return super().forward(x)  # forward
"""
RAISED = [
    ("train --loss my_guests:Caller --inner my_guests:Climber", "attack", "Climber raised Attri"),
    ("train --loss my_guests:Leaver", "leaves", "my_guests:Leaver raised SystemExit: 0"),
    ("attack mlp --attack my_guests:Climber", "attack", "my_guests:Climber raised AttributeError"),
    ("attack mlp --data my_guests:Pictures --attack fgsm", "data", "KeyError: 'test'"),
    ("attack my_guests:Net --attack pgd", "model", "my_guests:Net raised RuntimeError: "),
    ("attack my_guests:missing --attack fgsm", "factory", "No such file or directory"),
    ("attack my_guests:Unfit --attack fgsm", "forward", "cannot process images of shape"),
]


@pytest.mark.parametrize(("line", "mark", "message"), RAISED, ids=[line for line, _, _ in RAISED])
def test_an_error_of_a_user_is_named_with_its_line(cli, private, tmp_path, line, mark, message):
    """Of a loss, an inner attack, an attack, data, a model in use, and one being built or tried."""
    folder = private("my_guests", GUESTS)
    usual = " --model mlp" if line.startswith("train") else ""
    done = cli(f"{line}{usual} --limit 60 --out", tmp_path / "S", cwd=folder)
    number = next(n for n, text in enumerate(GUESTS.splitlines(), 1) if text.endswith(f"# {mark}"))
    errors = [text for text in done.err.splitlines() if text.startswith("error:")]
    assert (done.code, len(errors)) == (2, 1), done.err
    assert f"(my_guests.py, line {number})" in errors[0]
    assert message in errors[0]
    assert "bug" not in errors[0]


UNSAID = """
import dataclasses
from robbench.attacks.base import Attack
from robbench.attacks.pgd import PGD, State
from robbench.losses.base import Loss


class NoDataclass(Loss):
    def __call__(self, step):
        return step.y


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoCall(Loss):
    def value(self, step):
        return step.y


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoSteps(Attack):
    def start(self, p):
        return State(x=p.x0)

    def step(self, s, t, p, q):
        return s

    def point(self, s):
        return s.x


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoNorms(PGD):
    norms = None
"""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train --loss unsaid:NoDataclass", "write @dataclasses.dataclass"),
        ("train --loss unsaid:NoCall", "unsaid:NoCall lacks __call__"),
        ("train --inner unsaid:NoSteps", "steps: int = 10"),
        ("attack mlp --attack unsaid:NoSteps", "steps: int = 10"),
        ("attack mlp --attack unsaid:NoNorms", 'norms = frozenset({"linf"})'),
    ],
)
def test_a_class_that_does_not_say_what_it_is(cli, private, tmp_path, line, words):
    """One line says what to write; nothing is written to disk."""
    done = cli(line, "--limit", "60", "--out", tmp_path / "S", cwd=private("unsaid", UNSAID))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert words in done.err
    assert not (tmp_path / "S").exists()
