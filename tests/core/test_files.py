"""Outputs go where a path leads: devices, pipes and links stay, the rest is refused."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from robbench.core.errors import RunError, UserError
from robbench.core.files import atomic_write, require_output, sha256, write_output


def text(path):
    path.write_text("new")


def test_a_file_and_what_a_link_points_to(tmp_path):
    """A file is replaced; a link stays one and its target is replaced, be it there or not yet."""
    (tmp_path / "folder").mkdir()
    for name, target in (("a", "folder/file"), ("b", "folder/absent")):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "folder" / "file").write_text("old")
    for name in ("a", "b", "plain"):
        write_output(tmp_path / name, text)
        assert (tmp_path / name).read_text() == "new"
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "b").is_symlink()
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["absent", "file"]


def read(descriptor):
    with os.fdopen(descriptor) as file:
        return file.read()


def test_devices_and_pipes_are_written_into(tmp_path):
    """A named pipe carries the content and stays one; without a reader it does not hang."""
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    with pytest.raises(RunError, match="no process reads this pipe"):
        write_output(pipe, text)
    opened = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(opened, True)
    reader = threading.Thread(target=lambda: got.append(read(opened)))
    write_output(pipe, text)
    reader.start()
    reader.join()
    assert got == ["new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    (tmp_path / "null").symlink_to("/dev/null")
    write_output(tmp_path / "null", text)
    assert stat.S_ISCHR((tmp_path / "null").stat().st_mode)
    with pytest.raises(RunError, match="No space left"):
        write_output(Path("/dev/full"), text)


def test_what_is_no_place_for_a_file(tmp_path, monkeypatch):
    """Folders, sockets, loops of links and paths below a file are refused, before any work."""
    (tmp_path / "file").write_text("old")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)
        listening.bind("socket")
        for name, why in (
            ("", "a folder"),
            ("socket", "a socket"),
            ("loop", "symbolic links"),
            ("file/below", "not a folder"),
        ):
            for refuse in (require_output, lambda path: write_output(path, text)):
                with pytest.raises(UserError, match=why):
                    refuse(tmp_path / name)
    assert (tmp_path / "file").read_text() == "old"


def test_what_is_in_the_way_is_bad_input(tmp_path):
    """A folder where the file should be, and a file where its folder should be; both stay."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    for name in ("folder", "file/below"):
        with pytest.raises(UserError, match="move away what is there"):
            atomic_write(tmp_path / name, text)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"


def test_two_results_need_two_files(tmp_path):
    """Also where a link leads to the other; a device takes both."""
    (tmp_path / "link").symlink_to("a")
    for other in ("a", "x/../a", "link"):
        with pytest.raises(UserError, match="cannot hold two results"):
            require_output(tmp_path / "a", tmp_path / other)
    require_output(tmp_path / "a", tmp_path / "b")
    require_output(Path("/dev/null"), Path("/dev/null"))
    require_output(Path("/dev/stdout"), Path("/dev/stdout"))


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_standard_output(spawn, tmp_path, name):
    """It is the process' own pipe or file: nothing there is replaced or overwritten."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    code = (
        "import pathlib, robbench.core.files as f; print('before'); "
        f"f.write_output(pathlib.Path({name!r}), lambda p: p.write_text('new\\n')); print('after')"
    )
    assert spawn(code=code, cwd=tmp_path).out == "before\nnew\nafter\n"
    spawn(
        code=(
            f"import os,subprocess,sys; subprocess.run([sys.executable, '-c', {code!r}], "
            "stdout=open('out','w'))"
        ),
        cwd=tmp_path,
    )
    assert (tmp_path / "out").read_text() == "before\nnew\nafter\n"


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path):
    """Also of one that is read in several pieces."""
    for content in (b"", b"abc", bytes(range(256)) * 5_000):
        (tmp_path / "f").write_bytes(content)
        assert sha256(tmp_path / "f") == hashlib.sha256(content).hexdigest()
