"""Small command lines, and processes that die at a chosen moment."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

TINY = (
    "train --data digits --model mlp:width=16,depth=1 --limit 150 --epochs 3 "
    "--inner pgd:steps=2 --name m"
)


KILLER = """
import os, signal, sys
from robbench.tasks.attack import shard_writer
shard_writer.FLUSH_SECONDS = 0
from robbench.store.partial import Partial
name, number = sys.argv.pop(1), int(sys.argv.pop(1))
original, calls = getattr(Partial, name), []
def deadly(self, rows):
    original(self, rows)
    calls.append(1)
    if len(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
setattr(Partial, name, deadly)
sys.argv = ["robbench", *sys.argv[1:]]
from robbench.cli.app import main
main()
"""


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Small models only."""


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """The words of a training command that takes a tenth of a second."""
    return TINY.split()


@pytest.fixture(scope="session")
def killer() -> str:
    """Code that kills an attack at a write: `spawn("append", "4", *words, code=killer)`."""
    return KILLER


@pytest.fixture(scope="session")
def change() -> Callable[..., None]:
    """Give columns of a table other values; it stays one of ours."""

    def change(path: Path, **columns: Any) -> None:
        table = pq.read_table(path)
        for name, values in columns.items():
            field = table.schema.field(name)
            plain = pa.string() if pa.types.is_dictionary(field.type) else field.type
            column = pa.array(values, plain).cast(field.type)
            table = table.set_column(table.schema.get_field_index(name), field, column)
        pq.write_table(table, path, write_page_checksum=True)

    return change


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., list[dict[str, Any]]]:
    """The rows of a Parquet file as Arrow reads them, without some columns."""

    def read(path: Path, *without: str) -> list[dict[str, Any]]:
        rows = pq.read_table(path).to_pylist()
        return [{key: value for key, value in row.items() if key not in without} for row in rows]

    return read


@pytest.fixture
def hold_code(
    environment: Callable[..., dict[str, str]], tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a command that touches `held` in tmp_path and waits for a file `go`.

    `hold_code(CODE, *words)` returns the process once it holds.
    """
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str, *words: str | Path) -> subprocess.Popen[bytes]:
        line = [str(word) for word in (sys.executable, "-c", code, tmp_path, *words)]
        process = subprocess.Popen(
            line, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        started.append(process)
        while not (tmp_path / "held").exists():
            assert process.poll() is None
            time.sleep(0.01)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
