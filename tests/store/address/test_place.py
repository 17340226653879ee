"""Files at an address: whole or absent, and errors that say what to do."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from robbench.core.errors import RunError, UserError
from robbench.store.address.place import Place


def test_files_come_back_as_they_went(address, tmp_path):
    """Put, listed, read, replaced and removed; a version changes with the content only."""
    place, file = Place(address), tmp_path / "x"
    assert place.versions() == {}
    assert place.version("a/b.parquet") is None
    file.write_bytes(b"one")
    place.put(file, "a/b.parquet")
    first = place.version("a/b.parquet")
    assert place.versions() == {"a/b.parquet": first} == place.versions("a")
    place.get(["a/b.parquet"], [tmp_path / "deep" / "y"])
    assert (tmp_path / "deep" / "y").read_bytes() == b"one"
    file.write_bytes(b"three")
    place.put(file, "a/b.parquet")
    assert place.version("a/b.parquet") not in (None, first)
    assert place.read("a/b.parquet") == b"three"
    assert place.version("a") is None
    place.remove("a/b.parquet")
    place.remove("a/b.parquet")
    assert place.version("a") is None
    assert place.read("a/b.parquet") is None
    assert place.versions() == {}


def test_a_put_that_fails_halfway_leaves_what_was_there(tmp_path, monkeypatch):
    """On file systems that show a file while it is written, too; nothing is left beside it."""
    place, file = Place(f"memory://half{tmp_path.name}"), tmp_path / "x"
    file.write_bytes(b"old")
    place.put(file, "r/a")
    system = place._system

    def put_half(local: str, target: str) -> None:
        system.pipe_file(target, Path(local).read_bytes()[:2])
        raise ConnectionError("the line went dead")

    monkeypatch.setattr(system, "put_file", put_half)
    file.write_bytes(b"newer")
    with pytest.raises(RunError, match=r"cannot write to memory://half.*: the line went dead; che"):
        place.put(file, "r/a")
    assert place.read("r/a") == b"old"
    assert list(place.versions()) == ["r/a"]


def test_an_s3_upload_that_fails_halfway_leaves_what_was_there(s3, tmp_path, monkeypatch):
    """Of a file in several parts, of which the second never arrives."""
    import s3fs

    place, file = Place(f"{s3['BUCKET']}/runs"), tmp_path / "x"
    file.write_bytes(b"old")
    place.put(file, "m/model.safetensors")
    called = s3fs.S3FileSystem._call_s3

    async def failing(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "upload_part" and kwargs.get("PartNumber") == 2:
            raise ConnectionError("gone")
        return await called(self, method, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", failing)
    monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda *args, **kwargs: 5 << 20)
    with file.open("wb") as sink:
        sink.truncate(11 << 20)
    with pytest.raises(RunError, match="gone"):
        place.put(file, "m/model.safetensors")
    assert place.read("m/model.safetensors") == b"old"


@pytest.mark.parametrize(
    ("error", "kind", "advice"),
    [
        (PermissionError("Access Denied"), UserError, "may list, read, write and delete"),
        (FileNotFoundError("The bucket does not exist"), UserError, "make the bucket first"),
        (RuntimeError("Unable to locate credentials"), UserError, "AWS_ACCESS_KEY_ID"),
        (TimeoutError(), RunError, "TimeoutError; check the network"),
        (OSError(errno.ENOSPC, "No space left", "/disk/x"), RunError, "/disk/x: No space left;"),
    ],
)
def test_errors_say_what_to_do(error, kind, advice, monkeypatch, tmp_path):
    """In one line, of a file system's exceptions whatever they are."""
    place = Place("memory://errors")

    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(place._system, "pipe_file", fail)
    with pytest.raises(kind) as raised:
        place.check_writable()
    assert advice in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_bucket(s3):
    """Found by what is written before the work; as a place to read it is empty."""
    place = Place(s3["BUCKET"] + "-not/runs")
    assert place.versions() == {}
    with pytest.raises(UserError, match=r"cannot write to s3://.*-not/runs: .*make the bucket"):
        place.check_writable()


def test_what_is_no_address():
    """A path, and a protocol that nobody knows."""
    with pytest.raises(UserError, match="no address"):
        Place("runs")
    with pytest.raises(UserError, match="nowhere"):
        Place("nowhere://x")
