"""What makes a run another run: everything its numbers rest on, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ATTACK = (
    "attack factory:make --data digits --limit 12 --threat linf:0.1 --attack fgsm --json --out o"
)
FACTORY = "from nets import Net\ndef make(): return Net()\n"
NETS = """
import pathlib
import torch
from torch import nn
from numbers_of import SCALE
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.register_buffer("table", torch.tensor([0.0]), persistent=False)
        self.temperature = 1.0
        self.members = [nn.Linear(64, 10)]
        with torch.no_grad():
            self.members[0].weight.fill_(0.0)
    def forward(self, x):
        z = self.layer((x * SCALE).flatten(1)) + self.members[0](x.flatten(1)) + self.table
        return z / self.temperature
"""
SCALE = "SCALE = 1.0\n"
DATA = """
import dataclasses
from robbench.data.digits import Digits
from extra import SKIP
@dataclasses.dataclass(frozen=True)
class Mine(Digits):
    pass
"""
Attack = Callable[..., tuple[str, str]]


@pytest.fixture
def attack(cli: Callable[..., Any], private: Callable[..., Path]) -> Attack:
    """Writes the three modules, some edited, and attacks; returns the run id and stderr."""

    def run(
        words: str = ATTACK, *, env: dict[str, str] | None = None, **edited: str
    ) -> tuple[str, str]:
        sources = {
            "factory": FACTORY,
            "nets": NETS,
            "numbers_of": SCALE,
            "data_of": DATA,
            "extra": "SKIP = 0\n",
        } | edited
        for name, source in sources.items():
            folder = private(name, source)
        done = cli(words, cwd=folder, env=env)
        assert done.code == 0, done.err
        return json.loads(done.out)["rows"][0]["run_id"], done.err

    return run


EDITS = {
    "the factory": {"factory": FACTORY + "# edited\n"},
    "what it imports": {"nets": NETS.replace("flatten(1)) +", "flatten(1)) * 2 +")},
    "what that imports": {"numbers_of": "SCALE = 0.25\n"},
    "a non-persistent buffer": {"nets": NETS.replace("tensor([0.0])", "tensor([0.125])")},
    "a member in a list": {"nets": NETS.replace("fill_(0.0)", "fill_(0.125)")},
    "an attribute": {"nets": NETS.replace("temperature = 1.0", "temperature = 2.0")},
}


def test_an_unchanged_model_is_found_and_a_changed_one_is_not(
    attack: Attack, cli: Callable[..., Any], tmp_path: Path
) -> None:
    first, _ = attack()
    again, said = attack()
    assert again == first
    assert "nothing to do" in said
    ids = [first]
    for name, edited in EDITS.items():
        found, said = attack(**edited)
        assert "nothing to do" not in said, name
        ids.append(found)
    assert len(set(ids)) == len(ids)
    for command, said in (
        ("measure", "other weights, settings or code"),
        ("check", "it has changed"),
    ):
        done = cli(f"{command} {first} --trust-code --out o", cwd=tmp_path / "cwd")
        assert done.code == 2
        assert said in done.err


@pytest.mark.parametrize(
    "use",
    [
        "self.register_buffer('t', torch.tensor([value]), persistent=False)",
        "self.t = value",
        "self.t = [nn.LayerNorm(4)]; nn.init.constant_(self.t[0].bias, value)",
    ],
    ids=["non-persistent buffer", "float", "ensemble in a list"],
)
def test_state_that_comes_from_a_file_is_part_of_the_identity(
    attack: Attack, private: Any, use: str
) -> None:
    """The code is the same: only what the model holds has changed."""
    lines = ["value = float(pathlib.Path('value').read_text())", use, "self.temperature"]
    source = NETS.replace("self.temperature", "\n        ".join(lines), 1)
    folder = private("value_of", "")
    ids = []
    for value in ("0.5", "0.5", "0.75"):
        (folder / "value").write_text(value)
        ids.append(attack(nets=source)[0])
    assert ids[0] == ids[1] != ids[2]


def test_code_of_the_data_is_part_of_the_identity(attack: Attack) -> None:
    words = ATTACK.replace("--data digits", "--data data_of:Mine")
    first, _ = attack(words)
    assert "nothing to do" in attack(words)[1]
    assert attack(words, extra="SKIP = 1\n")[0] != first


def test_a_new_process_with_other_threads_finds_its_run(
    attack: Attack, spawn: Callable[..., Any], tmp_path: Path
) -> None:
    first, _ = attack()
    done = spawn(*ATTACK.split(), cwd=tmp_path / "cwd", env={"OMP_NUM_THREADS": "2"})
    assert done.code == 0, done.err
    assert json.loads(done.out)["rows"][0]["run_id"] == first
    assert "nothing to do" in done.err


def test_a_gate_never_answers_for_other_code(
    cli: Callable[..., Any], private: Callable[..., Path], store: Path
) -> None:
    net = (
        "from ends import end\nfrom robbench.models.weights import load_model\n"
        "from pathlib import Path\n"
    )
    net += (
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n"
    )
    net += f"        self.net = load_model(Path({str(store / 'models' / 'at')!r}))[0]\n"
    net += "    def forward(self, x): return self.net(end(x))\n"
    gate = "gate --model defended:Net --max-drop 5 --out o"
    for name, source in (("ends", "def end(x): return x\n"), ("defended", net)):
        folder = private(name, source)
    run = "attack defended:Net --data digits --limit 200 --threat linf:0.05 --attack fgsm --out o"
    assert cli(run, cwd=folder).code == 0
    assert cli("baseline set defended:Net --out o", cwd=folder).code == 0
    assert [cli(gate, cwd=folder).code for _ in range(2)] == [0, 0]
    for name, source in (("ends", "def end(x): return 1.0 - x\n"), ("defended", net)):
        private(name, source)
    assert [cli(gate, cwd=folder).code for _ in range(2)] == [1, 1]


READS = """
import pathlib
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)
    def forward(self, x):
        value = float(pathlib.Path("value").read_text())
        return self.layer(x.flatten(1)) * 1.0 + x.flatten(1)[:, :10] * value
"""


def test_a_model_that_answers_otherwise_is_another_run(
    attack: Attack,
    private: Callable[..., Path],
    rows_of: Callable[..., Any],
    cli: Callable[..., Any],
) -> None:
    """Neither its code nor what it holds shows it: the file is read in the forward pass."""
    folder = private("nets", READS)
    found = []
    for value in ("0.0", "5.0", "0.0", "5.0"):
        (folder / "value").write_text(value)
        found.append(attack(nets=READS))
    ids = [run_id for run_id, _ in found]
    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]
    assert ["nothing to do" in said for _, said in found] == [False, False, True, True]
    changed = f"answers have changed since run {ids[0]}"
    assert [changed in said for _, said in found] == [False, True, False, True]
    for command in ("measure", "check"):
        done = cli(f"{command} {ids[0]} --trust-code --out o", cwd=folder)
        assert done.code == 2, command
        assert "answers otherwise" in done.err
    kept = {
        row["run_id"]: row["answers"]
        for i in ids
        for row in rows_of(folder / "o" / "results" / "runs" / f"{i}.parquet")
    }
    assert kept[ids[0]] != kept[ids[1]]


@pytest.mark.slow
def test_a_stopped_run_does_not_go_on_with_other_answers(
    attack: Attack, private: Callable[..., Path], spawn: Callable[..., Any], killer: str
) -> None:
    folder = private("nets", READS)
    private("factory", FACTORY)
    (folder / "value").write_text("0.0")
    words = [*ATTACK.replace("fgsm", "pgd:steps=3").split(), "--batch-size", "8"]
    spawn("append", "1", *words, cwd=folder, code=killer)
    assert list((folder / "o" / "results" / "partial").glob("*/000000.parquet"))
    (folder / "value").write_text("5.0")
    _, said = attack(" ".join(words), nets=READS)
    assert "going on" not in said
    assert "answers have changed" in said
    (folder / "value").write_text("0.0")
    assert "going on" in attack(" ".join(words), nets=READS)[1]


RANDOM = """
import numpy
import torch
from torch import nn
draw = numpy.random.default_rng()
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)
    def forward(self, x):
        noise = torch.from_numpy(draw.normal(size=(len(x), 10))).float()
        return self.layer(x.flatten(1)) + noise + torch.randn(len(x), 10)
"""


def test_a_random_model_is_not_attacked_for_ever(attack: Attack) -> None:
    first, _ = attack(nets=RANDOM)
    for _ in range(3):
        again, said = attack(nets=RANDOM)
        assert again == first
        assert "nothing to do" in said
        assert "answers have changed" not in said


def test_the_baseline_stays_when_the_model_answers_otherwise(
    cli: Callable[..., Any], private: Callable[..., Path], store: Path
) -> None:
    """The same attack command again must not put other numbers where the baseline was."""
    net = "import pathlib\nfrom torch import nn\nfrom robbench.models.weights import load_model\n"
    net += "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    net += f"        self.net = load_model(pathlib.Path({str(store / 'models' / 'at')!r}))[0]\n"
    net += "    def forward(self, x):\n        v = float(pathlib.Path('value').read_text())\n"
    net += "        return self.net((1 - v) * x + v * (1 - x))\n"
    folder = private("reading", net)
    run = "attack reading:Net --data digits --limit 200 --threat linf:0.05 --attack fgsm --out o"
    gate = "gate --model reading:Net --max-drop 5 --out o"
    (folder / "value").write_text("0")
    assert cli(run, cwd=folder).code == 0
    assert cli("baseline set reading:Net --out o", cwd=folder).code == 0
    assert cli(gate, cwd=folder).code == 0
    (folder / "value").write_text("1")
    assert cli(run, cwd=folder).code == 0
    done = cli(gate, cwd=folder)
    assert done.code == 1
    assert "answers have changed" in done.err


TRAIN = (
    "train --data data_of:Mine --model factory:make --loss loss_of:Mine --limit 100 --epochs 1 "
    "--name m --out o"
)
LOSS = """
import dataclasses
from factor import FACTOR
from robbench.losses.base import Loss
@dataclasses.dataclass(frozen=True)
class Mine(Loss):
    def __call__(self, step):
        from torch.nn.functional import cross_entropy
        return FACTOR * cross_entropy(step.clean.logits, step.y, reduction="none")
"""
FACTOR = "FACTOR = 1.0\n"


@pytest.fixture
def training(cli: Callable[..., Any], private: Callable[..., Path]) -> Callable[..., Any]:
    """Writes all private modules, some of them edited, and trains."""

    def run(words: str = TRAIN, **edited: str) -> Any:
        sources = {
            "factory": FACTORY,
            "nets": NETS,
            "numbers_of": SCALE,
            "data_of": DATA,
            "extra": "SKIP = 0\n",
        }
        for name, source in (sources | {"loss_of": LOSS, "factor": FACTOR} | edited).items():
            folder = private(name, source)
        return cli(words, cwd=folder)

    return run


def test_training_tells_which_code_has_changed(
    training: Callable[..., Any], private: Callable[..., Path]
) -> None:
    source = NETS.replace(
        "self.temperature = 1.0", "self.temperature = float(pathlib.Path('value').read_text())"
    )
    folder = private("value_of", "")
    (folder / "value").write_text("1.0")
    assert training(nets=source).code == 0
    assert "there already" in training(nets=source).err
    for edited, part in (
        ({"factor": "FACTOR = 2.0\n"}, "the code of the loss"),
        ({"numbers_of": "SCALE = 2.0\n"}, "the code of the model"),
        ({"extra": "SKIP = 1\n"}, "the code of the data"),
    ):
        done = training(**{"nets": source} | edited)
        assert done.code == 2
        assert f"different: {part})" in done.err
        assert "--force" in done.err
    (folder / "value").write_text("2.0")
    assert "different: what the model's factory loads or sets" in training(nets=source).err


def test_a_trained_model_whose_code_has_changed_is_told(
    training: Callable[..., Any], rows_of: Callable[..., Any], tmp_path: Path
) -> None:
    assert training().code == 0
    attack = (
        "attack m --data data_of:Mine --limit 12 --threat linf:0.1 --attack fgsm --trust-code "
        "--out o --json"
    )
    first = training(attack)
    assert first.code == 0, first.err
    assert "code-changed" not in first.err
    done = training(attack, numbers_of="SCALE = 0.5\n")
    assert (
        "code-changed: the code of factory:make has changed since the model was trained" in done.err
    )
    runs = [json.loads(done.out)["rows"][0]["run_id"] for done in (first, done)]
    assert runs[0] != runs[1]
    (row,) = rows_of(tmp_path / "cwd" / "o" / "results" / "runs" / f"{runs[1]}.parquet")
    assert "code-changed" in [flag["name"] for flag in json.loads(row["flags"])]


@pytest.mark.slow
def test_another_processor_finds_the_run_of_a_trained_model(
    cli: Callable[..., Any], spawn: Callable[..., Any], store: Path
) -> None:
    """Its answers differ in their last bits there, and its weights are the same bytes."""
    words = [
        "attack",
        "at",
        "--limit",
        "20",
        "--threat",
        "linf:0.1",
        "--attack",
        "pgd:steps=3",
        "--json",
        "--out",
    ]
    first = cli(*words, store)
    other = spawn(*words, store, env={"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "2"})
    assert other.json["rows"][0]["run_id"] == first.json["rows"][0]["run_id"]
    assert "nothing to do" in other.err
