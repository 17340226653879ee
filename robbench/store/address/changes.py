"""What has changed in a working copy since it and its address were alike."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from robbench.store.address.ledger import Ledger, Stamp

_ROWS = "results/runs/"
_NOT_RESULTS = ("results/locks/",)
_PROGRESS = ".progress"  # beside the log of a task that a worker makes


def local_files(folder: Path) -> dict[str, Stamp]:
    """The results and models of an output folder, by name; nothing hidden, no locks."""
    found: dict[str, Stamp] = {}
    for top in ("results", "models"):
        for place, folders, files in os.walk(folder / top):
            folders[:] = [name for name in folders if not name.startswith(".")]
            inside = Path(place).relative_to(folder).as_posix()
            for file in files:
                name = f"{inside}/{file}"
                hidden = file.startswith(".") or file.endswith(_PROGRESS)
                if hidden or name.startswith(_NOT_RESULTS):
                    continue
                try:
                    facts = (Path(place) / file).stat()
                except OSError:  # removed just now
                    continue
                found[name] = Stamp(facts.st_size, facts.st_mtime_ns)
    return found


Files = dict[str, Stamp]


def changed_files(folder: Path, ledger: Ledger) -> tuple[Files, Files]:
    """(files that the address does not have as they are, rows and settings likewise).

    The second speak of the first, and should go after them; they are as they were first: all that
    they speak of was there then. Both are in the order in which they should go.
    """
    before = local_files(folder)
    now = local_files(folder)
    files = {name: stamp for name, stamp in now.items() if not _speaks(name)}
    speaking = {name: stamp for name, stamp in before.items() if _speaks(name) and name in now}
    return _new(files, ledger), _new(speaking, ledger)


def is_of_another_training(name: str, here: Mapping[str, Stamp], ledger: Ledger) -> bool:
    """Whether a file that was here was removed when another training took its model's folder.

    It should go before the settings of that one come: it would be taken for its own.
    """
    folder = "/".join(name.split("/")[:2])
    config = f"{folder}/config.json"
    return (
        name.startswith("models/")
        and config in here
        and ledger[config][0] != here[config]
        and f"{folder}/model.safetensors" not in here
    )


def is_removed(name: str, here: Mapping[str, Stamp], ledger: Ledger) -> bool:
    """Whether a file that was here was removed by a command, as what replaces it says.

    Nobody's cleaning of the working copy removes anything at the address.
    """
    owner = owner_of(name)
    return owner in here and ledger[owner][0] == here[owner]


def owner_of(name: str) -> str:
    """The row or settings whose file says whether this one is still needed; empty for none."""
    kind, _, rest = name.removeprefix("results/").partition("/")
    if name.startswith("models/"):
        config = "/".join([*name.split("/")[:2], "config.json"])
        return "" if name == config else config
    if kind == "partial":
        return f"{_ROWS}{rest.partition('/')[0]}.parquet"
    return f"{_ROWS}{rest}" if kind in ("measures", "sample_measures", "checks") else ""


def is_small_of_model(name: str) -> bool:
    """Whether it is a file of a model other than its weights and states."""
    return PurePosixPath(name).match("models/*/*") and not name.endswith((".safetensors", ".pt"))


def above(name: str) -> list[str]:
    """The folders that a file is in, the outermost first."""
    parts = name.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def is_harmless(name: str) -> bool:
    """Whether a name at the address is one that this machine may take."""
    parts = PurePosixPath(name).parts
    return parts[:1] in (("results",), ("models",)) and not any(p.startswith(".") for p in parts)


def _new(files: Files, ledger: Ledger) -> Files:
    return {
        name: files[name]
        for name in sorted(files, key=lambda name: (_rank(name), name))
        if ledger[name][0] != files[name]
    }


def _speaks(name: str) -> bool:
    return name.startswith(_ROWS) or name.endswith("/config.json")


def _rank(name: str) -> int:
    if name.endswith("/state.pt") or name.startswith(("results/checks/", "results/measures/")):
        return 2
    points = name.startswith("results/partial/") and "/points/" in name
    return 0 if points or name.startswith(("results/points/", "results/code/")) else 1
