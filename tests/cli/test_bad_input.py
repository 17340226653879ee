"""Bad input of every kind: exit 2, one `error:` line, no traceback, nothing written."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from unittest import mock

import pytest

T, A = "train --epochs 1 --limit 60 --model mlp", "attack ce --attack fgsm --limit 9"
BAD = [  # (command line, what the message must hold)
    ("train --loss cross-entropi", "cross-entropy"),
    ("train --loss tradess", "trades"),
    ("train --loss ''", "loss|spec"),
    ("train --loss trades:", "NAME:key=value"),
    ("train --loss trades:beta", "key=value"),
    ("train --loss trades:beta=1,beta=2", "twice"),
    ("train --loss trades:betta=1", "beta"),
    ("train --loss trades:beta=much", "beta"),
    ("train --loss trades:beta=-1", "beta"),
    ("train --loss trades --inner none", "needs an inner attack"),
    ("train --loss differential", "2 classes, the data has 10; .*multiclass=true"),
    ("train --loss differential --data digits[3,8] --batch-size 1", "--batch-size 2"),
    ("train --inner autoattack", "cascade"),
    ("train --loss trades --name ce --dry-run", "another run"),
    ("train --loss mma --set mixup=1", "mixup"),
    ("train --loss center-loss --set mixup=0.2", "mixup"),
    ("train --inner pgd --threat linf:0", "no budget; --inner none"),
    ("train --data digits[first=1]", "one class|too few"),
    ("train --data digits[0,1][first=1] --set validation=0", "one class"),
    ("train --model preact-resnet18 --batch-size 1 --limit 20", "batch-norm"),
    ("train --loss i-sce:s=1e300", "1e"),
    ("train --loss mma:rounds=4", "rounds"),
    ("train --loss clp --inner pgd", "without an inner attack; .*--inner none"),
    ("train --loss pgd", "loss"),
    ("train --loss nowhere:Loss", "nowhere"),
    ("train --loss json:Nothing", "Nothing"),
    ("train --loss json:JSONDecoder", "derived"),
    ("train --model smal-cnn", "small-cnn"),
    ("train --model mlp:width=0", "width"),
    ("train --model mlp:width=1,wdth=2", "width"),
    ("train --model wide-resnet:depth=29", "depth"),
    ("train --data digit", "digits"),
    ("train --data digits[3,x]", "x"),
    ("train --data digits[3", "brackets"),
    ("train --data digits[3]", "two"),
    ("train --data digits[3,3]", "twice"),
    ("train --data digits[first=0]", "first"),
    ("train --data digits[first=ten]", "first"),
    ("train --data parquet:/nowhere", "nowhere"),
    ("train --data folder:/nowhere", "nowhere"),
    ("train --data parquet", "dir"),
    ("train --data cifar10 --data-dir /nowhere", "--download"),
    ("train --data digits:size=3", "size"),
    ("train --inner pdg", "pgd"),
    ("train --inner pgd:steps=0", "steps"),
    ("train --inner pyautoattack", "backend"),
    ("train --threat linf", "NORM:EPS"),
    ("train --threat linf:", "NORM:EPS"),
    ("train --threat linf:-0.1", "eps"),
    ("train --threat linf:much", "number"),
    ("train --threat linf:1/0", "number"),
    ("train --threat linf:nan", "eps"),
    ("train --threat linf:inf", "budget"),
    ("train --threat l3:0.1", "linf|l2"),
    ("train --threat linf:0.1,0.2", "budgets"),
    ("train --epochs 0", "epochs"),
    ("train --epochs -3", "epochs"),
    ("train --batch-size 0", "batch_size"),
    ("train --lr 0", "lr"),
    ("train --lr fast", "lr"),
    ("train --lr nan", "lr"),
    ("train --lr inf", "lr"),
    ("train --optimizer sdg", "sgd"),
    ("train --limit 0", "limit"),
    ("train --limit 1", "few|samples"),
    ("train --name ../x", "name"),
    ("train --set epochs", "KEY=VALUE"),
    ("train --set =3", "KEY=VALUE"),
    ("train --set epoch=3", "epochs"),
    ("train --set schedule=triangle", "cosine"),
    ("train --set augment=flop", "flip"),
    ("train --set validation=1", "validation"),
    ("train --config /nowhere.toml", "nowhere"),
    ("attack cee", "ce"),
    ("attack ce --attack apdg", "apgd"),
    ("attack ce --attack apgd:step=3", "steps"),
    ("attack ce --attack pgd:init=corner", "uniform"),
    ("attack ce --attack pgd:steps=5 --attack pgd:steps=5", "twice"),
    ("attack ce --attack pgd --attack pgd:steps=40", "twice"),
    ("attack ce --threat linf:8/255,0.0313725", "twice, once as linf:8/255: leave"),
    ("attack ce --attack cross-entropy", "attack"),
    ("attack ce --attack n-fgsm", "points leave the budget.*--inner n-fgsm.*pgd or apgd"),
    ("attack ce --attack eot:attack=(n-fgsm)", "leaves the budget"),
    ("attack ce --threat linf:-1/255", "eps"),
    ("attack ce --threat linf:0.1,", "number"),
    ("attack ce --threat L7:1", "l2"),
    ("attack ce --target ten", "target 'ten' is no class"),
    ("attack ce --target 10", "out of range: the data has 10 classes, 0 to 9"),
    ("attack ce --target ''", "give a class, least-likely, random or column:NAME"),
    ("attack ce --target column:goal", "has no further columns"),
    ("attack ce --data digits[3,8] --target 0 --attack fgsm", "there are 3, 8|classes"),
    ("attack ce --target 3 --threat 'linf:0.1 -> 4'", "has a target already: leave out --target"),
    ("attack ce --target 3 --attack hopskipjump", "cannot seek a target class; these can: apgd"),
    ("attack ce --target 3 --attack deepfool --threat l2:inf", "these can: fab, fmn, ddn, cw"),
    ("check ce --threat 'linf:0.1 -> 3'", "a model is checked without one"),
    ("attack ce --split training", "train"),
    ("attack ce --batch-size 0", "batch"),
    ("attack ce --batch-size some", "auto"),
    ("attack ce --limit -1", "limit"),
    ("attack ce --data mnist --data-dir /nowhere", "--download"),
    ("attack ce@other", "@best"),
    ("attack mlp --data parquet:/nowhere", "nowhere"),
    ("attack ce --set atack=fgsm", "attack"),
    ("attack ce --shard 0/4", "write i/n, part i of n"),
    ("attack ce --shard 9/8", "from 1/n to n/n"),
    ("attack ce --shard slurm", "job array"),
    ("attack ce --shard 2/10 --limit 9", "part 2/10 of 9 samples: make at most 9 parts"),
    ("attack ce --shard 2/4 --max-time 5s", "--max-queries"),
    ("attack ce --shard 2/4 --force", "without --shard"),
    ("attack ce --jobs 0", "--jobs"),
    ("attack ce --jobs 2 --max-time 5s --limit 9 -q", "--max-queries"),
    ("attack ce --address auto -q", "Ray"),
    ("compare nobody", "ce|at"),
    ("compare /nowhere/x.parquet", "nowhere"),
    ("explain apdg", "apgd"),
    ("explain nowhere:Thing", "Thing|nowhere"),
    ("list loss", "losses"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[line for line, _ in BAD])
def test_bad_words(cli, attacked, snapshot, line, message):
    """An invalid word is exit 2 and one helpful line; nothing on disk changes."""
    words = shlex.split(line)
    before = snapshot(attacked)
    done = cli(*words, *([] if words[0] in ("explain", "list") else ["--out", attacked]))
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert re.search(message, done.err[6:]), done.err
    assert snapshot(attacked) == before


def test_an_empty_name(cli, tmp_path):
    """`--name ''`, as from an unset shell variable, is refused: it is not a missing --name."""
    done = cli(*T.split(), "--name", "", "--out", tmp_path / "S")
    assert (done.code, done.err.count("\n"), done.err[:6]) == (2, 1, "error:"), done.err
    assert not (tmp_path / "S").exists()


TOML = {
    "not TOML": ("epochs == 3", "TOML"),
    "not text": (b"\xff\xfe\x00", "TOML"),
    "unknown key": ("[train]\nepoch = 3", "epochs"),
    "unknown plain key": ("epoch = 3", "epochs"),
    "wrong type": ("[train]\nepochs = 'many'", "epochs"),
    "out of range": ("epochs = 0", "epochs"),
    "table for value": ("[train.epochs]\na = 1", "epochs"),
    "value for table": ("train = 3", "table"),
    "bool for number": ("lr = 'x'", "lr"),
}


@pytest.mark.parametrize("case", TOML)
def test_bad_config_file(cli, tmp_path, case):
    """A config file that cannot be meant is exit 2 with one line that names the file or the key."""
    content, message = TOML[case]
    file = tmp_path / "c.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = cli("train", "--config", file, "--out", tmp_path / "S")
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert message in done.err
    assert not (tmp_path / "S").exists()


@pytest.mark.parametrize(
    ("key", "value"), [("EPOCHS", "0"), ("EPOCHS", "ten"), ("LOSS", "tradess"), ("DEVICE", "tpu")]
)
def test_bad_environment(cli, tmp_path, key, value):
    """A ROBBENCH_ variable with a bad value is as bad as a flag."""
    done = cli("train", "--out", tmp_path / "S", env={f"ROBBENCH_{key}": value})
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert not (tmp_path / "S").exists()


DATA = """
from dataclasses import dataclass

import numpy as np

from robbench.data.base import Data, Table


def images(n=40, value=0.5):
    return np.full((n, 1, 4, 4), value, np.float32)


@dataclass(frozen=True, kw_only=True)
class Base(Data):
    threat = "linf:0.1"

    def pixels(self):
        return images()

    def labels(self):
        return np.arange(40) % 4

    def open(self, split, data_dir, download):
        x = self.pixels()
        return Table(self.labels(), tuple("abcd"), lambda rows: x[rows] if len(x) else x)


class LabelTooLarge(Base):
    def labels(self):
        return np.arange(40) % 5


class LabelNegative(Base):
    def labels(self):
        return np.arange(40) % 4 - 1


class NanImage(Base):
    def pixels(self):
        x = images()
        x[7, 0, 0, 0] = np.nan
        return x


class InfImage(Base):
    def pixels(self):
        x = images()
        x[7, 0, 0, 0] = np.inf
        return x


class TooBright(Base):
    def pixels(self):
        return images(value=1.5)


class TooDark(Base):
    def pixels(self):
        return images(value=-0.1)


class Bytes(Base):
    def pixels(self):
        return images(value=200.0)


class Empty(Base):
    def labels(self):
        return np.arange(0)


class Integers(Base):
    def pixels(self):
        return images().astype(np.int32)


class Cube(Base):
    def pixels(self):
        return images()[:, 0]


class Short(Base):
    def open(self, split, data_dir, download):
        return Table(self.labels(), tuple("abcd"), lambda rows: images(3))


class Raising(Base):
    def open(self, split, data_dir, download):
        raise KeyError("no such\\nserver")


class Fine(Base):
    def pixels(self):
        return np.random.default_rng(0).random((40, 1, 4, 4), np.float32)
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LabelTooLarge", "label 4.*out of range"),
        ("LabelNegative", "label -1.*out of range"),
        ("NanImage", "image 7.*NaN"),
        ("InfImage", "image 7.*infinity"),
        ("TooBright", r"\[0,1\]"),
        ("TooDark", r"\[0,1\]"),
        ("Bytes", r"\[0,1\]"),
        ("Empty", "no samples"),
        ("Integers", "int32"),
        ("Cube", "shape"),
        ("Short", "shape"),
    ],
)
@pytest.mark.parametrize("command", ["train", "attack"])
def test_bad_data(cli, private, tmp_path, name, message, command):
    """A plug-in's labels out of range, NaN, pixels outside [0,1], odd shapes: exit 2, reason."""
    folder = private("bad_data", DATA)
    words = (
        ["train", "--model", "mlp", "--epochs", "1"]
        if command == "train"
        else ["attack", "mlp", "--attack", "fgsm"]
    )
    done = cli(*words, "--data", f"bad_data:{name}", "--out", tmp_path / "S", cwd=folder)
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert re.search(message, done.err), done.err
    assert not (tmp_path / "S").exists()


HEADLESS = """
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
"""


@pytest.mark.parametrize("loss", ["mmc", "aalp", "l-gm", "differential:multiclass=true"])
def test_a_head_that_cannot_be_replaced(cli, private, tmp_path, loss):
    """A loss that needs features or a head, on a model without a linear layer: said first."""
    folder = private("headless", HEADLESS)
    done = cli(
        "train --limit 50 --epochs 1 --model headless:net --loss",
        loss,
        "--out",
        tmp_path / "S",
        cwd=folder,
    )
    assert (done.code, done.err.count("\n"), done.err[:6]) == (2, 1, "error:"), done.err
    assert "no nn.Linear" in done.err
    assert not (tmp_path / "S").exists()


def test_a_private_data_set_works(cli, private, tmp_path):
    """The same plug-in with nothing wrong trains and is attacked, under its own usual threat."""
    folder = private("bad_data", DATA)
    words = shlex.split("train --model mlp:width=8 --epochs 1 --data bad_data:Fine --name p --out")
    assert cli(*words, tmp_path / "S", cwd=folder).code == 0
    done = cli("attack p --attack fgsm --trust-code --json --out", tmp_path / "S", cwd=folder)
    assert done.code == 0, done.err
    assert (done.json["rows"][0]["threat"], done.json["rows"][0]["n_samples"]) == ("linf:0.1", 40)


def test_a_data_set_that_raises(cli, private, tmp_path):
    """A plug-in's own exception is one line that names the data set and the line of code."""
    folder = private("bad_data", DATA)
    done = cli("train", "--data", "bad_data:Raising", "--out", tmp_path / "S", cwd=folder)
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert "bad_data:Raising" in done.err
    assert "(bad_data.py, line " in done.err


@pytest.mark.parametrize("kind", ["runs", "samples"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "missing", "other"])
def test_damaged_results(cli, attacked, tmp_path, kind, damage):
    """A stored Parquet file truncated, empty, foreign or gone: exit 2, one line that names it."""
    store = shutil.copytree(attacked, tmp_path / "S")
    file, other = sorted((store / "results" / kind).glob("*.parquet"))
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-200])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "text":
        file.write_text("clean_accuracy,robust_accuracy\n1,1\n")
    elif damage == "missing":
        file.unlink()
    else:
        shutil.copy(other, file)
    names = [other.stem, file.stem] if damage == "missing" and kind == "runs" else []
    done = cli("compare", *names, "--json", "--out", store)
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert file.stem in done.err


def test_an_empty_store(cli, tmp_path):
    """Comparing in a folder without results is exit 2 with the command to run first."""
    done = cli("compare", "--out", tmp_path / "S")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert not (tmp_path / "S").exists()
    advice = re.search(r"run first robbench (train .*?),", done.err)
    assert advice, done.err
    assert cli(*advice[1].split(), "--dry-run").code == 0


@pytest.mark.parametrize("command", [T, A, "compare"])
def test_an_output_folder_that_is_a_file(cli, tmp_path, command):
    """--out that is a file is exit 2, and the file stays what it was."""
    (tmp_path / "S").write_text("mine")
    done = cli(*command.split(), "--out", tmp_path / "S")
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert (tmp_path / "S").read_text() == "mine"


def test_debug_shows_the_traceback(cli, tmp_path):
    """ROBBENCH_DEBUG lets the exception through, for whoever mends it."""
    from robbench.core.errors import UserError

    with pytest.raises(UserError):
        cli("train", "--loss", "tradess", "--out", tmp_path / "S", env={"ROBBENCH_DEBUG": "1"})


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("--inner pgd:steps=2,restarts=3", "restarts"),
        ("--inner apgd-t:steps=3", "targeted"),
        ("--loss trades --inner fgsm", "kl-from-clean"),
        ("--loss trades --inner pgd:init=clean", "no gradient"),
        ("--threat linf:8", "8/255"),
    ],
)
def test_inner_attacks_that_cannot_do_what_they_say(cli, tmp_path, words, hint):
    """A recipe whose inner attack would silently do something else is refused in one line."""
    done = cli("train --limit 50 --epochs 1", *words.split(), "--out", tmp_path / "S")
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert hint in done.err
    assert not (tmp_path / "S").exists()


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (
            "--threat linf:0.1",
            "no inner attack: training sees clean inputs, linf:0.1 is for validation only",
        ),
        ("--set eps_warmup=0.5", "no inner attack: eps_warmup has no effect"),
        (
            "--set eps_warmup=0.5 --set inner_beyond=1",
            "no inner attack: eps_warmup, inner_beyond have no effect",
        ),
        ("--data digits[3,8] --inner pgd:objective=dlr", "adapted to 2 classes"),
        ("--set ema_decay=0.9", "no EMA: ema_decay has no effect"),
        ("--set awp_warmup=0.1", "no AWP: awp_warmup has no effect"),
        (
            "--set awp=0.1 --set awp_warmup=1",
            "awp_warmup is all of training: awp has no effect",
        ),
        ("--set momentum=0.5", "adam has none: momentum has no effect"),
        ("--set validation=0 --set select=best", "no validation samples: select has no effect"),
        ("--inner pgd", ""),
        ("--inner pgd --set eps_warmup=0.5 --optimizer sgd --set momentum=0.5", ""),
    ],
)
def test_settings_that_do_less_than_they_say(cli, tmp_path, words, note):
    """What a run will not use, or will use otherwise, is said before it begins."""
    done = cli("train --limit 50 --dry-run", *words.split(), "--out", tmp_path / "S")
    assert done.code == 0, done.err
    assert note in done.err
    assert bool(note) == bool(done.err)


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("train --loss trades --loss mart", "--loss"),
        ("train --epochs 1 --epochs=2", "--epochs"),
        ("attack mlp -b 4 --batch-size 8", "--batch-size"),
        ("compare --out a -o b", "--out"),
        ("gate --alpha 0.1 --candidate ce --alpha 0.1", "--alpha"),
        ("train --set lr=1 --set lr=2", "lr"),
        ("report --title a --title b", "--title"),
        ("train --loss trades --loss mart --dry-run", "--loss"),
    ],
)
def test_an_option_of_one_value_given_twice(cli, tmp_path, line, option):
    """Which of the two is meant nobody can know: exit 2, and the option is named."""
    done = cli(line, cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert option in done.err
    assert not list(tmp_path.iterdir())


def test_flags_and_lists_may_be_repeated(cli, tmp_path):
    """`--dry-run --dry-run` says nothing new, and lists grow by repeating."""
    done = cli(
        "attack mlp --attack fgsm --attack noise --limit 5 --dry-run --dry-run --json --json",
        cwd=tmp_path,
    )
    assert (done.code, done.json["runs"][0]["attack"]) == (0, "fgsm + noise"), done.err


@pytest.mark.parametrize(
    "line",
    [
        "gate --candidate ce --alpha nan",
        "gate --candidate ce --max-drop nan",
        "gate --candidate ce --max-clean-drop nan",
        "gate --candidate ce --alpha 0",
        "gate --model ce --batch-size 0",
        "gate --model ce --seed -1",
        "gate --model ce --seed 99999999999",
        "gate --candidate ce --max-drop -1",
        "measure ce --train-samples -1",
        "measure ce --train-samples 99999999999999999999",
        "check ce --limit 0",
        "check ce --seed -1",
        "train --seed 4294967296",
        "train --epochs 4294967296",
        "attack ce --limit 99999999999999999999",
        "attack ce --batch-size 9999999999",
        "attack ce --attack pgd:steps=4294967296",
        "train --model mlp:depth=100000",
        "train --model wide-resnet:depth=100000",
        "train --model mlp:width=1000000,depth=100",
        "train --model small-cnn:width=10000",
        "train --inner minimal:attack=((((((((((((((((((((((pgd))))))))))))))))))))))",
        "attack ce --data digits[first=99999999999999999999999]",
        "train --loss trades:beta=" + "9" * 5000,
    ],
)
def test_numbers_beyond_reason(cli, attacked, snapshot, line):
    """Not a number, or far outside the sensible range: refused before any computation."""
    before = snapshot(attacked)
    done = cli(line, "--out", attacked)
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert snapshot(attacked) == before


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE"])
@pytest.mark.parametrize("value", ["one", "-1", "", "9" * 5000])
def test_variables_of_torchrun_that_are_no_numbers(cli, tmp_path, name, value):
    """What torchrun sets is a number; anything else is said in one line, and nothing is trained."""
    done = cli(T, "--out", tmp_path / "S", env={name: value})
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert name in done.err
    assert not (tmp_path / "S").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("TERMINAL_WIDTH", "wide"), ("COLUMNS", "9999999"), ("LINES", "-3")]
)
def test_screens_of_no_width(spawn, name, value):
    """A width that is none is passed over, in help and tables alike, without a word."""
    done = spawn("list", "losses", "--help", env={name: value})
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 120


def test_an_argument_that_is_no_text(cli, tmp_path):
    """Bytes that are no UTF-8 are refused, and shown in a way that any terminal can take."""
    done = cli("compare", "caf\udce9", cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert "'caf\\udce9' is not valid UTF-8" in done.err


BUGS = [
    (KeyError("x"), 3, "internal error, KeyError: 'x' .*ROBBENCH_DEBUG=1"),
    (RecursionError(), 3, "internal error"),
    (MemoryError(), 3, "out of memory"),
    (SystemExit(0), 3, "ended the process"),
    (SystemExit(None), 3, "ended the process"),
    (OSError(28, "No space left on device", "f"), 3, "No space left on device: f"),
    (KeyboardInterrupt(), 130, "stopped"),
    (OSError(36, "File name too long", "f" * 999), 2, "shorter"),
]


@pytest.mark.parametrize(
    ("error", "code", "message"), BUGS, ids=[repr(error)[:30] for error, _, _ in BUGS]
)
def test_whatever_is_raised_inside_is_one_line(cli, monkeypatch, error, code, message):
    """Internal errors and the machine's: exit 3 and what to do; never 0 or 1, the answers."""
    monkeypatch.setattr("robbench.analysis.show.list_runs", mock.Mock(side_effect=error))
    done = cli("runs")
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1), done.err
    assert re.search(message, done.err), done.err


@pytest.mark.parametrize(
    "words", [["--name", "n" * 300], ["--loss", "trades:beta=" + "0" * 300 + "1"]]
)
def test_names_longer_than_file_systems_take(cli, tmp_path, words):
    """A model's name, given or made from its loss, is checked for length before training."""
    done = cli(*T.split(), *words, "--out", tmp_path / "S")
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert "--name of 200" in done.err
    assert not (tmp_path / "S").exists()


def test_a_model_spec_longer_than_file_systems_take(cli, tmp_path):
    """A model spec is also looked up among saved models, where none has such a length."""
    width = "8".zfill(300)
    done = cli(
        f"attack mlp:width={width} --data digits --limit 8 --attack fgsm --threat linf:0.1 --json "
        "--out",
        tmp_path / "S",
    )
    assert done.code == 0, done.err
    assert cli("show", done.json["rows"][0]["run_id"], "--out", tmp_path / "S").code == 0


def test_a_run_is_shown_without_its_models_folder(cli, attacked, tmp_path):
    """Only class names come from there: a damaged config.json does not hide the numbers."""
    attacked = shutil.copytree(attacked, tmp_path / "S")
    known = cli("show ce --json --out", attacked).json
    assert known["class_names"] == [str(n) for n in range(10)]
    (attacked / "models" / "ce" / "config.json").write_text("{}")
    done = cli("show ce --json --out", attacked)
    assert done.code == 0, done.err
    assert done.json == known | {"class_names": []}


@pytest.mark.parametrize(
    "line",
    [
        "train -c pipe",
        "attack ce --attack pipe.toml",
        "compare pipe.parquet",
        "train --data parquet:folder",
        "attack folder/model",
        "train -c /dev/zero",
        "show pipe.parquet",
    ],
)
def test_pipes_and_devices_as_files(cli, attacked, tmp_path, line):
    """What never ends is refused, not waited for."""
    for name in (
        "pipe",
        "pipe.toml",
        "pipe.parquet",
        "folder/train.parquet",
        "folder/model/config.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / name)
    done = cli(
        line,
        *(["--dry-run"] if line[:5] in ("train", "attac") else []),
        "--out",
        attacked,
        cwd=tmp_path,
    )
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )


CONFIGS = {
    "classes": [[1, 2], None, "ab", []],
    "shape": [None, [0, 8, 8], [1, 8, "8"], [2**20, 2**20, 8], []],
    "mean": [["x"], [None], []],
    "std": [[0], [0.1, 0.2]],
    "model": [None, 3, ""],
    "head": [None, {}],
    "name": [3],
    "status": [None],
    "selected": [None, {}, {"model": 3}],
    "config": [
        None,
        [],
        {},
        {"data": 3},
        {"data": "digits", "threat": 3},
        {"data": "digits", "loss": []},
        {"data": "digits", "seed": "x"},
    ],
    "provenance": [3, {"argv": 3}, {"env": {"A": 1}}],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in CONFIGS.items() for value in values]
)
def test_a_config_json_of_wrong_types(cli, store, snapshot, key, value):
    """Every key has its type, and a wrong one is named: exit 2, one line, nothing touched."""
    file = store / "models" / "ce" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    before = snapshot(store)
    train = key in ("status", "selected")
    done = cli(
        "train --epochs 2 --name ce --dry-run" if train else "attack ce --dry-run --limit 9",
        "--out",
        store,
    )
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert re.search(
        rf"config\.json(: | lacks ){'mean|std' if key == 'std' else key}|{key} must not", done.err
    ), done.err
    assert snapshot(store) == before
