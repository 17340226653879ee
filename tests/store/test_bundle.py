"""Bundles: what is in them, and what is none."""

import json
import zipfile

import pytest

from robbench.core.errors import UserError
from robbench.core.files import sha256
from robbench.store.archive import write_archive
from robbench.store.bundle import (
    MANIFEST,
    SCHEMA,
    Changed,
    is_bundle,
    is_member,
    unpack,
    write_bundle,
)

NAME = "models/m/config.json"


@pytest.fixture
def made(tmp_path):
    """A bundle of one member."""
    (tmp_path / "part").write_text("content")
    write_bundle(tmp_path / "b.zip", {NAME: tmp_path / "part"}, {"runs": [], "needs": []})
    return tmp_path / "b.zip"


@pytest.fixture
def folder(tmp_path):
    """An empty folder to unpack to."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def _with(path, manifest=None, **members):
    """The same bundle with another manifest, or other members (None: without it)."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if manifest is not None:
        parts[MANIFEST] = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    parts |= members.pop("parts", {})
    write_archive(path, {name: part for name, part in parts.items() if part is not None})


def _manifest(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(MANIFEST))


def test_a_bundle_comes_back_as_it_was_packed(made, folder):
    """With the hashes that `sha256sum` gives."""
    manifest, changed = unpack(made, folder)
    assert changed == []
    assert (folder / NAME).read_text() == "content"
    content = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"  # sha256sum
    assert manifest["members"] == {NAME: {"bytes": 7, "sha256": content}}
    assert sha256(folder / NAME) == content


def test_members_that_are_others_than_the_manifest_says(made, folder):
    """Replaced in a file that is packed well: its hash tells."""
    _with(made, parts={NAME: b"other"})
    ((name, expected, found, why),) = unpack(made, folder).changed
    assert (name, why) == (NAME, "was changed")
    assert expected.startswith("ed7002b4")
    assert found == sha256(folder / NAME) != expected


@pytest.mark.parametrize("size", [0, 6, 8, 10**30])
def test_members_of_another_size_than_the_manifest_says(made, folder, size):
    """With the right hash: the 7 bytes of `content` are counted."""
    manifest = _manifest(made)
    manifest["members"][NAME]["bytes"] = size
    _with(made, manifest)
    ((name, expected, found, why),) = unpack(made, folder).changed
    assert (name, expected, found) == (NAME, f"{size} bytes", "7 bytes")
    assert "size" in why


@pytest.mark.parametrize("label", ["\u00e9" * 200, "\U0001f600" * 70])
def test_a_name_that_no_folder_can_have(made, folder, label):
    """Few enough letters, but more than 255 bytes: one line."""
    _with(made, parts={f"models/{label}/config.json": b"{}"})
    with pytest.raises(UserError, match="cannot be unpacked here") as error:
        unpack(made, folder)
    assert "\n" not in str(error.value)


def test_members_that_are_missing_or_too_many(made, folder):
    """Either way the manifest does not fit."""
    more = "models/m/model.safetensors"
    _with(made, parts={NAME: None, more: b"x"})
    why = {change.name: change.why for change in unpack(made, folder).changed}
    assert why == {NAME: "is missing", more: "is not in the manifest"}


def test_a_changed_byte_of_a_member_is_told_with_its_name(made, folder):
    """The zip file's own checksum tells."""
    content = made.read_bytes()
    place = content.index(b"content", content.index(NAME.encode()))
    made.write_bytes(content[:place] + b"C" + content[place + 1 :])
    (change,) = unpack(made, folder).changed
    assert (change.name, change.expected[:8]) == (NAME, "ed7002b4")
    assert "Bad CRC-32" in change.why


def test_a_changed_byte_of_the_manifest(made, folder):
    """Nothing that it says counts then."""
    content = made.read_bytes()
    place = content.index(b'"needs"')
    made.write_bytes(content[:place] + b"'" + content[place + 1 :])
    manifest, (change,) = unpack(made, folder)
    assert (manifest, change.name) == ({}, MANIFEST)
    assert isinstance(change, Changed)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../x",
        "models/../config.json",
        "models/../../config.json",
        "models/./config.json",
        "models/m/../config.json",
        "models\\m\\config.json",
        "models/a:b/config.json",
        "models/m/config.json/",
        "models/m/code.py",
        "models/m/model.pt",
        "models//config.json",
        "results/runs/x",
        "results/runs/../x.parquet",
        "results/code/x.parquet",
        "README",
    ],
)
def test_nothing_else_is_in_a_bundle(made, folder, name):
    """No path that leads out of the folder, no code: nothing is written then."""
    assert not is_member(name)
    _with(made, parts={name: b"x"})
    with pytest.raises(UserError, match="no part of a bundle"):
        unpack(made, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"schema": "robbench.bundle/2"}, "upgrade robbench"),
        ({"schema": SCHEMA}, "lacks runs"),
        ({"schema": SCHEMA, "runs": [], "members": {NAME: {"bytes": 1}}}, "sha256"),
        ({"schema": SCHEMA, "runs": [], "members": {NAME: {"bytes": 1, "sha256": "x"}}}, "sha256"),
        ([], "has schema None"),
        (b"{", "not valid JSON"),
        (b'{"schema": "robbench.bundle/1", "runs": [], "runs": []}', "'runs' is there twice"),
        (b"\xff", "no UTF-8"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_a_manifest_that_is_none(made, folder, manifest, words):
    """One line, and nothing is written."""
    _with(made, manifest)
    with pytest.raises(UserError, match=words):
        unpack(made, folder)
    assert list(folder.iterdir()) == []


def test_a_huge_manifest_is_not_read(made, folder, monkeypatch):
    """It may have a few megabytes."""
    monkeypatch.setattr("robbench.store.bundle.MOST_BYTES", 10)
    with pytest.raises(UserError, match="more than"):
        unpack(made, folder)


def test_a_zip_file_of_others(tmp_path, folder):
    """It has no manifest."""
    write_archive(tmp_path / "b.zip", {"a": b"x"})
    with pytest.raises(UserError, match=r"no manifest\.json"):
        unpack(tmp_path / "b.zip", folder)


def test_what_is_a_bundle_by_its_looks(made, tmp_path):
    """Whatever its ending; what ends so is meant as one."""
    other = made.rename(tmp_path / "bundle")
    assert is_bundle(str(other))
    assert is_bundle("nowhere.zip")
    for name in (str(tmp_path / "part"), str(tmp_path), "", "at", "x" * 5000, "a\0b"):
        assert not is_bundle(name)


def test_equal_parts_make_equal_bytes(made, tmp_path):
    """Whenever they were written."""
    write_bundle(tmp_path / "c.zip", {NAME: tmp_path / "part"}, {"runs": [], "needs": []})
    assert made.read_bytes() == (tmp_path / "c.zip").read_bytes()
    assert _manifest(made)["schema"] == SCHEMA
