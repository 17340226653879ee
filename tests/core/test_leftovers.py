"""Files that are being made: whole or absent, and nothing of a dead process stays for long."""

import errno
import os
import subprocess
import sys

import pytest

from robbench.core import leftovers
from robbench.core.errors import RunError, UserError
from robbench.core.files import atomic_write
from robbench.core.leftovers import is_temporary, temporary_in

LEAVE = "import sys; from pathlib import Path; from robbench.core.leftovers import temporary_in; "
FOLDER = LEAVE + "path = temporary_in(Path(sys.argv[1])); path.mkdir(); (path / 'x').touch()"
FILE = LEAVE + "temporary_in(Path(sys.argv[1])).touch()"


def temporaries(folder):
    return sorted(path.name for path in folder.iterdir() if is_temporary(path.name))


@pytest.mark.parametrize("code", [FILE, FOLDER])
def test_what_a_dead_process_left_goes_with_the_next_write(tmp_path, code):
    """Files, and folders that were being removed."""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    assert len(temporaries(tmp_path)) == 1
    atomic_write(tmp_path / "a", lambda path: path.write_text("x"))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_a_live_process_makes_stays(tmp_path, monkeypatch):
    """Also another machine's, until a day old; and whatever is not ours."""
    mine, other = (
        temporary_in(tmp_path),
        tmp_path / f".robbench-00000000-{os.getpid()}-00000000.tmp",
    )
    parents = tmp_path / mine.name.replace(f"-{os.getpid()}-", f"-{os.getppid()}-")
    foreign = [tmp_path / ".a.parquet.1234.tmp", tmp_path / "robbench.tmp"]
    for path in (mine, other, parents, *foreign):
        path.touch()
    atomic_write(tmp_path / "a", lambda path: path.write_text("x"))
    assert all(path.exists() for path in (mine, other, parents, *foreign))
    monkeypatch.setattr(leftovers, "_DAY", -1.0)
    atomic_write(tmp_path / "a", lambda path: path.write_text("x"))
    assert temporaries(tmp_path) == []
    assert all(path.exists() for path in foreign)


def test_a_writer_that_hides_what_the_system_said(tmp_path, monkeypatch):
    """Is told as the system says it, when asked again; the old file stays."""
    atomic_write(tmp_path / "a", lambda path: path.write_text("old"))

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(path):
        path.write_text("half")
        raise RuntimeError("unexpected pos 128 vs 22")

    with pytest.raises(RuntimeError, match="unexpected pos"):  # and the system has no objection
        atomic_write(tmp_path / "a", write)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        RunError,
        match=(
            r"cannot write .*/a: No space left on device; make room and give the same command "
            r"again"
        ),
    ):
        atomic_write(tmp_path / "a", write)
    monkeypatch.undo()
    assert (tmp_path / "a").read_text() == "old"
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_what_may_not_be_written_is_the_users_turn(tmp_path, number):
    """Exit code 2 wherever something is written."""

    def refuse(path):
        raise OSError(number, os.strerror(number))

    with pytest.raises(UserError, match="choose a place that may be written to"):
        atomic_write(tmp_path / "a", refuse)
