"""README and manual are true: commands and Python blocks run, files exist, README is short."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from robbench.catalogue.builtins import REGISTRIES

from .documents import DOCUMENTS, ROOT, blocks

COMMANDS = {name for name in DOCUMENTS if any(block.commands for block in blocks(name))}
MADE_UP = {"robbench/a/b.py", "tests/a/test_b.py", "robbench/losses/my_loss.py"} | {
    "tests/losses/test_my_loss.py"
}
PYTHON = {name for name in DOCUMENTS if any(block.language == "python" for block in blocks(name))}


@pytest.fixture(scope="module")
def runs_of_the_readme(cli: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's main example was run, but smaller. To be copied."""
    folder = tmp_path_factory.mktemp("readme")
    example = next(block for block in blocks("README") if block.commands)
    for command, _ in example.commands:
        run(cli, command, folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder; what is imported from it is forgotten afterwards."""
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and name.startswith("my_"):
            del sys.modules[name]


def run(cli: Callable, command: str, folder: Path, comment: str = "", whole: bool = False) -> None:
    """Run a command, smaller; its exit code is the one in its comment, or any verdict."""
    # A regression takes the whole test set to show.
    env = {"ROBBENCH_EPOCHS": "2"} | ({} if whole else {"ROBBENCH_LIMIT": "150"})
    words = command.removeprefix("robbench ")
    small = " --limit 20" if words.startswith("check") else ""
    done = cli(words + small, cwd=folder, env=env)
    said = re.search(r"exit (\d)", comment)
    judges = words.startswith("check") or "--fail-on" in words
    verdicts = {0, 1, 4} if words.startswith("gate") else {0, 1} if judges else {0}
    assert done.code in ({int(said[1])} if said else verdicts), (command, done.err)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_commands(name, cli, folder, request):
    """All robbench commands of a document, in order and in one folder, with the files it shows."""
    if "--name ce" not in DOCUMENTS[name]:
        shutil.copytree(request.getfixturevalue("runs_of_the_readme"), folder, dirs_exist_ok=True)
    for block in blocks(name):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        whole = any(command.startswith("robbench gate") for command, _ in block.commands)
        for command, comment in block.commands:
            if "--self-test" not in command:  # tests/checks has it
                run(cli, command, folder, comment, whole)


@pytest.mark.parametrize("name", sorted(PYTHON))
def test_the_python_blocks(name, folder, request):
    """Files are written, blocks run in order, in the README's folder with a model in memory."""
    shutil.copytree(request.getfixturevalue("runs_of_the_readme"), folder, dirs_exist_ok=True)
    space = in_memory()
    for block in blocks(name):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            with contextlib.chdir(folder):
                exec(compile(block.text, f"{name}.md", "exec"), space)


def in_memory() -> dict[str, Any]:
    """A model, images and labels, as a reader of the README has them."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10)).eval()
    images = torch.rand(16, 3, 8, 8)
    return {"model": model, "images": images, "labels": model(images).argmax(1)}


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_named_files_exist(name):
    """Files of the tree that a document names."""
    text = DOCUMENTS[name]
    for path in re.findall(
        r"(?<![\w/.])((?:robbench|tests|benchmarks)/[\w./-]+\.(?:py|md|toml)\b"
        r"|(?:robbench|tests)/\w+/(?![\w.]))",
        text,
    ):
        assert path in MADE_UP or (ROOT / path).exists(), path


def test_every_registered_name_is_in_the_manual():
    """The tables of its pages name everything that `robbench list` does."""
    for kind, page in {
        "losses": "losses",
        "attacks": "attacks",
        "data": "data",
        "models": "models",
        "certifiers": "certificates",
    }.items():
        for name, entry in REGISTRIES[kind].entries.items():
            assert entry.package != "robbench" or f"| `{name}` |" in DOCUMENTS[page], name


def test_the_readme_is_short():
    """What a newcomer needs in the first ten minutes; everything else is a page of the manual."""
    assert DOCUMENTS["README"].count("\n") <= 142


def test_a_test_command_for_ci():
    """.ci/run takes the README's test command from the line that ends so."""
    (line,) = re.findall(r"^python3 .*-m pytest$", DOCUMENTS["README"], re.MULTILINE)
    assert " && " in line
