"""Runs at an address of fsspec are found and read as those on disk are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from robbench.core.errors import RunError, UserError
from robbench.store.address.place import Place
from robbench.store.locations import Remote, locate, matches
from robbench.store.run import Run, read_points, read_run
from robbench.store.store import Store

Stored = Callable[..., Run]


@pytest.fixture
def remote(tmp_path: Path, stored: Stored) -> Iterator[str]:
    """Three runs copied to memory://bench/S; the address."""
    stored("aaaa11111111")
    stored("aaaa22222222", age=10)
    stored("bbbb33333333", age=20, model="sovr")
    system = fsspec.filesystem("memory")
    system.put(str(tmp_path / "results"), "/bench/S/results", recursive=True)
    yield "memory://bench/S"
    system.rm("/bench", recursive=True)


@pytest.mark.parametrize(
    "inside", ["", "/results", "/results/runs", "/results/samples", "/results/runs/*.parquet", "*"]
)
def test_folders_and_patterns_of_addresses(remote: str, inside: str, tmp_path: Path) -> None:
    """An output folder, its parts and a pattern mean the same runs, oldest first."""
    found = Store(tmp_path / "none").find([remote + inside])
    assert [path.stem for path in found] == ["aaaa11111111", "aaaa22222222", "bbbb33333333"]
    assert all(isinstance(path, Remote) and str(path).startswith("memory://") for path in found)


def test_a_run_read_from_an_address_is_the_same(remote: str, tmp_path: Path) -> None:
    """Row and samples are those of the local file, whichever of its two files is named."""
    local = read_run(Store(tmp_path).find(["sovr"])[0])
    for kind in ("runs", "samples"):
        (path,) = Store(tmp_path / "none").find([f"{remote}/results/{kind}/bbbb33333333.parquet"])
        far = read_run(path)
        assert far.info == local.info
        assert far.samples.equals(local.samples)


def test_local_and_remote_runs_in_one_call(remote: str, tmp_path: Path) -> None:
    """Both kinds may be mixed, and each run of each place counts once."""
    names = [
        "aaaa1",
        f"{remote}/results/runs/bbbb33333333.parquet",
        f"{remote}/results/samples/bbbb33333333.parquet",
    ]
    assert [path.stem for path in Store(tmp_path).find(names)] == ["aaaa11111111", "bbbb33333333"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("memory://bench/nowhere", "memory:///?bench/nowhere does not exist; check the path"),
        ("memory://bench/S/results/runs/x.parquet", "does not exist"),
        ("memory://bench/nowhere/*", "fits 'memory://bench/nowhere/\\*'"),
        ("nonsense://bucket/x", "cannot read nonsense://bucket/x: .*nonsense"),
    ],
)
def test_addresses_that_mean_nothing(remote: str, name: str, message: str, tmp_path: Path) -> None:
    """A missing folder, file or protocol is one line that names it."""
    with pytest.raises(UserError, match=message) as error:
        Store(tmp_path / "none").find([name])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("inside", ["", "/results/runs/x.parquet", "/*"])
@pytest.mark.parametrize("start", ["http://h:1/fr", "HTTPS://h/fr", "simplecache::http://h/fr"])
def test_web_addresses_are_refused(start: str, inside: str, tmp_path: Path) -> None:
    """Before anything is asked of the network, and with what to do."""
    for ask in (lambda: Store(tmp_path).find([start + inside]), lambda: Place(start + inside)):
        with pytest.raises(UserError, match="no folders that can be listed; download") as error:
            ask()
        assert "\n" not in str(error.value)


class _Objects(fsspec.AbstractFileSystem):  # type: ignore[misc]
    protocol = "objects"


def test_no_password_of_a_location_is_shown() -> None:
    """Of an object store, whose paths begin with what is before the first slash."""
    fsspec.register_implementation("objects", _Objects, clobber=True)
    there = locate("objects://me:secret@host/x")
    assert isinstance(there, Remote)
    assert str(there / "y") == "objects://***@host/x/y"
    assert there.inside == "me:secret@host/x"
    assert there == locate("objects://me:secret@host/x") != locate("objects://me:other@host/x")
    assert hash(there) == hash(locate("objects://me:secret@host/x"))


def test_a_damaged_remote_file_is_named(remote: str, tmp_path: Path) -> None:
    """Truncated is refused there as here."""
    system = fsspec.filesystem("memory")
    content = system.cat("/bench/S/results/samples/bbbb33333333.parquet")
    system.pipe("/bench/S/results/samples/bbbb33333333.parquet", content[:-50])
    (path,) = Store(tmp_path / "none").find([f"{remote}/results/runs/bbbb33333333.parquet"])
    with pytest.raises(UserError, match=r"memory://.*samples/bbbb33333333\.parquet is damaged"):
        read_run(path)


def test_a_run_without_points_at_an_address(remote: str, tmp_path: Path) -> None:
    """The other tables are looked for at the address, too."""
    with pytest.raises(UserError, match="kept no points"):
        read_points(locate(f"{remote}/results/runs/aaaa11111111.parquet"))


def test_a_file_system_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network is a failure of the run, not of the input, and says which address."""
    far = locate("memory://bench/S")
    assert isinstance(far, Remote)

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto host")

    for name in ("exists", "isfile", "isdir", "glob"):
        monkeypatch.setattr(type(far.system), name, refuse)
    for ask in (far.exists, far.is_file, far.is_dir, lambda: far.glob("*")):
        with pytest.raises(
            RunError, match=r"cannot read memory:///?bench/S: no route to host; check"
        ):
            ask()


def test_an_address_is_no_output_folder() -> None:
    """Nothing is ever written into a local folder called `s3:`."""
    for address in ("s3://bucket/runs", Path("s3://bucket/runs"), "memory://x"):
        with pytest.raises(UserError, match="write an address in full"):
            Store(address)


def test_local_patterns(tmp_path: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patterns match models and run ids, then files and folders; else an error with advice."""
    for run_id, model in (
        ("aaaa11111111", "at-0"),
        ("aaaa22222222", "at-1"),
        ("bbbb33333333", "sovr"),
    ):
        stored(run_id, model=model)
    monkeypatch.chdir(tmp_path)
    find = Store(tmp_path).find
    assert [path.stem for path in find(["at-*"])] == ["aaaa11111111", "aaaa22222222"]
    assert [path.stem for path in find(["bb*", "at-[0]"])] == ["bbbb33333333", "aaaa11111111"]
    assert [path.stem for path in find(["results/runs/a*.parquet"])] == [
        "aaaa11111111",
        "aaaa22222222",
    ]
    assert len(find([f"{tmp_path}/*"])) == 3
    assert len(matches("**/bbbb*.parquet")) == 2
    with pytest.raises(UserError, match="fits 'x\\*'; robbench runs --out"):
        find(["x*"])


def test_a_path_that_looks_like_a_pattern(
    tmp_path: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What exists is meant as it is written: `a[1]` is that folder, not `a1`."""
    stored("aaaa11111111")
    (tmp_path / "a[1]").mkdir()
    (tmp_path / "results").rename(tmp_path / "a[1]" / "results")
    monkeypatch.chdir(tmp_path)
    assert [path.stem for path in Store(tmp_path).find(["a[1]"])] == ["aaaa11111111"]
    assert [path.stem for path in Store(tmp_path).find([f"{tmp_path}/a[[]1]"])] == ["aaaa11111111"]


def test_patterns_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`**` follows no links and stops at a bound on folders; hidden files are skipped."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    for name in ("a/one.parquet", "a/b/two.parquet", "a/.hidden.parquet"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in matches("**/*.parquet")] == ["a/b/two.parquet", "a/one.parquet"]
    assert [str(path) for path in matches("**/.h*")] == ["a/.hidden.parquet"]
    assert [str(path) for path in matches(f"{tmp_path}/?/b/tw[o].parquet")] == [
        f"{tmp_path}/a/b/two.parquet"
    ]
    monkeypatch.setattr("robbench.store.locations.MOST_FOLDERS", 2)
    with pytest.raises(UserError, match="more than 2 folders"):
        matches("**/x")


def test_names_that_no_file_system_takes(cli: Callable[..., Any], tmp_path: Path) -> None:
    """A name of 300 letters, or folders without end, is a name that means nothing."""
    for name in ("x" * 300, "x/" * 3000, "x" * 300 + "*", f"{'x' * 300}/y.parquet"):
        done = cli("compare", name, "--out", tmp_path)
        assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
            done.err
        )
