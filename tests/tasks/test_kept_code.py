"""The private code behind a result is kept with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from robbench.core.code import private_code
from robbench.tasks.kept_code import keep_code

Cli = Callable[..., Any]

LOSS = """from dataclasses import dataclass
from kept_helpers import scaled
from robbench.losses.base import Loss
from torch.nn import functional as F


@dataclass(frozen=True)
class Scaled(Loss):
    def __call__(self, step):
        return scaled(F.cross_entropy(step.out.logits, step.y, reduction="none"))
"""
HELPERS = "def scaled(values):\n    return 2 * values\n"
MODEL = """from torch import nn


def tiny():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with private modules, which are forgotten afterwards."""
    for name, text in (("kept_loss", LOSS), ("kept_helpers", HELPERS), ("kept_model", MODEL)):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("kept_")]:
        del sys.modules[name]


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*")}


def test_a_training_keeps_the_code_of_its_loss(cli: Cli, mine: Path) -> None:
    """With all that it imports, as it was then; a changed loss replaces it only with --force."""
    train = "train --data digits --limit 60 --model mlp --epochs 1 --name m --loss kept_loss:Scaled"
    done = cli(f"{train} --out S")
    assert done.code == 0, done.err
    kept = mine / "S" / "models" / "m" / "code"
    assert files(kept) == {"kept_loss.py": LOSS, "kept_helpers.py": HELPERS}
    (mine / "kept_helpers.py").write_text(HELPERS.replace("2", "3"))
    os.utime(mine / "kept_helpers.py", ns=(1, 1))
    assert cli(f"{train} --out S").code == 2
    assert files(kept)["kept_helpers.py"] == HELPERS
    assert cli(f"{train} --force --out S").code == 0
    assert "3" in files(kept)["kept_helpers.py"]


def test_an_attack_keeps_the_code_of_its_model(cli: Cli, mine: Path) -> None:
    """A run of installed code keeps none."""
    attack = "attack kept_model:tiny --data digits --limit 8 --attack fgsm --threat linf:0.1"
    assert cli(f"{attack} --out S").code == 0
    (row,) = (mine / "S" / "results" / "runs").glob("*.parquet")
    assert files(mine / "S" / "results" / "code" / row.stem) == {"kept_model.py": MODEL}
    assert (
        cli("attack mlp --data digits --limit 8 --attack fgsm --threat linf:0.1 --out T").code == 0
    )
    assert not (mine / "T" / "results" / "code").exists()


def test_what_is_kept_has_the_hash_of_what_was_run(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copies alone give the hash that names the code."""
    before = private_code(["kept_loss"])
    keep_code(mine / "copies", ["kept_loss"])
    for name in ("kept_loss", "kept_helpers"):
        sys.modules.pop(name, None)
        (mine / f"{name}.py").unlink()
    assert private_code(["kept_loss"]) == ""
    monkeypatch.chdir(mine / "copies")
    monkeypatch.syspath_prepend(str(mine / "copies"))
    assert private_code(["kept_loss"]) == before


def test_leftovers_go(mine: Path) -> None:
    """Files of another run, also where the new one has no private code; a link is left alone."""
    keep_code(mine / "copies", ["kept_loss"])
    keep_code(mine / "copies", ["kept_model"])
    assert [path.name for path in (mine / "copies").iterdir()] == ["kept_model.py"]
    keep_code(mine / "copies", ["json"])
    assert not (mine / "copies").exists()


EDITED = """from pathlib import Path
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 10)

    def forward(self, x):
        if any(Path("S/results/code").glob("*/*")):  # the attack has begun
            Path(__file__).write_text("edited")
        return self.body(x.flatten(1))
"""


@pytest.mark.parametrize("command", ["attack kept_net:Net", "gate --model kept_net:Net"])
def test_what_ran_is_kept_not_what_was_written_meanwhile(
    cli: Cli, mine: Path, command: str
) -> None:
    """A file that is edited during an attack, or during a gate's."""
    (mine / "kept_net.py").write_text(EDITED)
    attack = "--attack pgd --data digits --limit 20 --threat linf:0.1 --out S"
    if command.startswith("gate"):
        assert cli(f"attack mlp {attack}").code == 0
        assert cli("baseline set mlp --out S").code == 0
        command, attack = f"{command} --undecided pass --max-drop 90 --these-samples", "--out S"
    assert cli(f"{command} {attack}").code == 0
    assert (mine / "kept_net.py").read_text() == "edited"
    (kept,) = (mine / "S" / "results" / "code").iterdir()
    assert files(kept) == {"kept_net.py": EDITED}


def test_two_files_of_one_name_are_both_kept(mine: Path) -> None:
    """Loaded by path, as `kept_model` is by name."""
    for part in ("a", "b"):
        (mine / part).mkdir()
        (mine / part / "kept_model.py").write_text(f"def value():\n    return '{part}'\n")
    places = [str(mine / part / "kept_model.py") for part in ("b", "a")]
    keep_code(mine / "copies", [*places, "kept_model"])
    kept = files(mine / "copies")
    assert sorted(kept) == ["kept_model-2.py", "kept_model-3.py", "kept_model.py"]
    assert sorted(kept.values()) == sorted([MODEL, *(Path(place).read_text() for place in places)])
