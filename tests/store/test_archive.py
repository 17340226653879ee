"""Zip files that are written in one way only."""

import errno
import hashlib
import io
import os
import stat
import zipfile

import pytest

from robbench.core.errors import UserError
from robbench.store.archive import extract, opened, write_archive

MEMBERS = {"manifest.json": b"{}", "models/\u00e9/config.json": b"abc" * 100}


def _changes(path, folder):
    with opened(path) as archive:
        return list(extract(archive, folder, lambda names: sorted(names)))


def test_equal_members_make_these_bytes(tmp_path):
    """On every release of Python: the hash is of what four of them wrote."""
    write_archive(tmp_path / "a.zip", MEMBERS)
    content = (tmp_path / "a.zip").read_bytes()
    assert hashlib.sha256(content).hexdigest().startswith("d4b327685ef82c65")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == MEMBERS


def test_what_was_written_comes_back_and_nothing_was_changed(tmp_path):
    """From files as from bytes."""
    (tmp_path / "part").write_bytes(bytes(range(256)) * 9)
    write_archive(tmp_path / "a.zip", {"a": tmp_path / "part", "b/c": b"x"})
    out = tmp_path / "out"
    out.mkdir()
    assert _changes(tmp_path / "a.zip", out) == []
    assert (out / "a").read_bytes() == (tmp_path / "part").read_bytes()
    assert (out / "b" / "c").read_bytes() == b"x"


def test_every_changed_byte_is_found(tmp_path):
    """Of members, headers, the directory and the end: two bits of each byte, one at a time."""
    path, out = tmp_path / "a.zip", tmp_path / "out"
    write_archive(path, {"a": b"first", "b": b"second member"})
    whole = path.read_bytes()
    out.mkdir()
    for place in range(len(whole)):
        for bit in (1, 0x40):
            changed = bytearray(whole)
            changed[place] ^= bit
            path.write_bytes(changed)
            try:
                # A changed name is for the caller to see: here it stays inside by luck.
                with opened(path) as archive:
                    if not {*archive.namelist()} <= {"a", "b"}:
                        continue
                assert _changes(path, out), place
            except UserError:
                continue


@pytest.mark.parametrize("more", [b"PK", b"\0", b"x" * 99])
def test_bytes_before_and_behind_are_found(tmp_path, more):
    """As of a file that is a zip file and something else besides."""
    path, out = tmp_path / "a.zip", tmp_path / "out"
    write_archive(path, MEMBERS)
    whole = path.read_bytes()
    out.mkdir()
    for content in (more + whole, whole + more):
        path.write_bytes(content)
        try:
            assert _changes(path, out)
        except UserError:
            continue


def test_a_full_disk_is_no_change_of_the_file(tmp_path, monkeypatch):
    """Nothing is said of the members then."""

    def full(source, sink, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    write_archive(tmp_path / "a.zip", MEMBERS)
    monkeypatch.setattr("robbench.store.archive.shutil.copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        _changes(tmp_path / "a.zip", tmp_path / "out")


def _zip(path, *entries, how=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content, mode in entries:
            entry = zipfile.ZipInfo(name)
            entry.compress_type, entry.external_attr = how, mode << 16
            archive.writestr(entry, content)


def test_compressed_members_are_refused(tmp_path):
    """A bomb: a megabyte of zeros in a kilobyte."""
    _zip(tmp_path / "a.zip", ("a", bytes(1 << 20), 0), how=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="compressed"), opened(tmp_path / "a.zip"):
        pass


def test_links_are_refused(tmp_path):
    """They would lead elsewhere."""
    _zip(tmp_path / "a.zip", ("a", b"/etc/passwd", stat.S_IFLNK | 0o777))
    with pytest.raises(UserError, match="is a link"), opened(tmp_path / "a.zip"):
        pass


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice_is_refused(tmp_path):
    """One reader would take the first, another the second."""
    _zip(tmp_path / "a.zip", ("a", b"1", 0), ("a", b"2", 0))
    with pytest.raises(UserError, match="twice"), opened(tmp_path / "a.zip"):
        pass


def test_sizes_that_cannot_be_are_refused(tmp_path):
    """Members that overlap: each claims the bytes of the whole file."""
    path = tmp_path / "a.zip"
    _zip(path, *((f"{n}", b"x" * 50, 0) for n in range(3)))
    content = path.read_bytes()
    assert content.count((50).to_bytes(4, "little") * 2) == 6
    path.write_bytes(content.replace((50).to_bytes(4, "little") * 2, b"\x90\1\0\0" * 2))
    with pytest.raises(UserError, match="larger than its"), opened(path):
        pass


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    """Before any is looked at."""
    monkeypatch.setattr("robbench.store.archive.MOST_MEMBERS", 2)
    write_archive(tmp_path / "a.zip", {"a": b"", "b": b"", "c": b""})
    with pytest.raises(UserError, match="3 members, more than 2"), opened(tmp_path / "a.zip"):
        pass


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.99])
def test_a_truncated_file_is_refused(tmp_path, share):
    """As a download that was stopped."""
    path = tmp_path / "a.zip"
    write_archive(path, MEMBERS)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match="truncated"), opened(path):
        pass


def test_what_is_no_file_is_refused(tmp_path):
    """A pipe would be waited for."""
    os.mkfifo(tmp_path / "a.zip")
    for name, words in (("a.zip", "pipe"), ("b.zip", "does not exist")):
        with pytest.raises(UserError, match=words), opened(tmp_path / name):
            pass


def test_a_long_member_is_written_in_pieces(tmp_path):
    """And compared in pieces: a byte far behind is found at its place."""
    path, out = tmp_path / "a.zip", tmp_path / "out"
    size = 3 << 20
    write_archive(path, {"a": bytes(size), "b": b"x"})
    content = io.BytesIO(path.read_bytes())
    content.seek(size + 31 + 10)  # in the second header: its time
    content.write(b"\x21")
    path.write_bytes(content.getvalue())
    out.mkdir()
    ((where, _),) = _changes(path, out)
    assert where == f"byte {size + 31 + 10}"
