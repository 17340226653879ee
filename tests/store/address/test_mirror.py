"""Two machines, each with a working copy of one address."""

from __future__ import annotations

import shutil

import pytest

from robbench.core.errors import RunError, UserError
from robbench.store.address.place import Place

ROW, SAMPLES = "results/runs/r1.parquet", "results/samples/r1.parquet"
SHARD = "results/partial/r1/000000.parquet"


def write(mirror, name, content):
    path = mirror.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def read(mirror, name):
    path = mirror.folder / name
    return path.read_bytes() if path.exists() else None


def test_what_one_writes_the_other_reads(address, at):
    """Rows at once, the rest when it is asked for; hidden files and locks stay."""
    a = at("A", Place(address))
    for name in (ROW, SAMPLES, "models/m/config.json", "models/m/model.safetensors"):
        write(a, name, name.encode())
    write(a, "results/locks/r1.lock.x", b"me")
    write(a, "results/runs/.robbench-1.tmp", b"half")
    a.push()
    assert len(Place(address).versions()) == 4
    b = at("B", Place(address))
    assert read(b, ROW) == ROW.encode()
    assert read(b, "models/m/config.json") is not None
    assert read(b, SAMPLES) is read(b, "models/m/model.safetensors") is None
    b.bring(SAMPLES, "models/m")
    assert read(b, SAMPLES) == SAMPLES.encode()
    assert read(b, "models/m/model.safetensors") is not None
    b.push()
    assert Place(address).versions() == a.place.versions()


def test_a_look_finds_what_others_have_put_and_removed(address, at):
    """What every command needs comes at once, the rest may be brought then."""
    a, b = at("A", Place(address)), at("B", Place(address))
    write(a, ROW, b"1")
    write(a, SAMPLES, b"1")
    a.push()
    b.bring(ROW, SAMPLES)
    assert read(b, ROW) is None
    b.look()
    assert (read(b, ROW), read(b, SAMPLES)) == (b"1", None)
    b.bring(SAMPLES)
    assert read(b, SAMPLES) == b"1"
    Place(address).remove(ROW)
    b.look()
    assert read(b, ROW) is None


def test_rows_go_last(at, monkeypatch):
    """Whatever the order they were written in: a reader at the address finds what rows name."""
    a, put = at("A", Place("memory://order")), []
    points = "results/partial/r1/points/000000.parquet"
    names = (ROW, SAMPLES, SHARD, points, "models/m/config.json", "models/m/model.safetensors")
    for name in (*names, "results/points/r1.parquet"):
        write(a, name, b"x")
    monkeypatch.setattr(a.place, "put", lambda file, name: put.append(name))
    monkeypatch.setattr(a.place, "version", lambda name: "v" if name in put else None)
    a.push()
    assert put[-2:] == ["models/m/config.json", ROW]
    assert put.index(points) < put.index(SHARD)
    assert put.index("results/points/r1.parquet") < put.index(SAMPLES)


def test_a_newer_file_there_is_not_replaced(address, at):
    """Also where the older one was changed here; a file is replaced by who knows it."""
    a = at("A", Place(address))
    write(a, "results/baseline.json", b"first")
    a.push()
    b = at("B", Place(address))
    write(b, "results/baseline.json", b"second")
    b.push()
    write(a, "results/baseline.json", b"of A, later but unaware")
    a.push()
    assert a.place.read("results/baseline.json") == b"second"
    assert read(a, "results/baseline.json") == b"second"


def test_shards_of_both_are_kept(address, at):
    """Under one number: the one here gets another name; then both have both."""
    a, b = at("A", Place(address)), at("B", Place(address))
    write(a, SHARD, b"of a")
    a.push()
    write(b, SHARD, b"of b")
    b.push()
    b.push()
    a.refresh("results/partial/r1")
    for mirror in (a, b):
        folder = (mirror.folder / SHARD).parent
        assert sorted(path.read_bytes() for path in folder.iterdir()) == [b"of a", b"of b"]


def test_shards_go_once_their_run_is_there(address, at):
    """And what was measured on the run that a new one replaces; no sooner."""
    a = at("A", Place(address))
    write(a, SHARD, b"x")
    write(a, "results/measures/r1.parquet", b"x")
    a.push()
    shutil.rmtree(a.folder / "results/partial")
    (a.folder / "results/measures/r1.parquet").unlink()
    a.push()
    assert set(a.place.versions()) == {SHARD, "results/measures/r1.parquet"}
    write(a, SAMPLES, b"x")
    write(a, ROW, b"x")
    a.push()
    assert set(a.place.versions()) == {SAMPLES, ROW}


def test_a_run_that_another_has_finished(address, at):
    """Its shards here are of no use, whether the address had them or not; nor is its older check.

    Shards that belong to a run made again stay.
    """
    a, other = at("A", Place(address)), "results/partial/r1/000001.parquet"
    write(a, SHARD, b"x")
    write(a, "results/checks/r2.parquet", b"x")
    write(a, "results/runs/r2.parquet", b"x")
    a.push()
    write(a, other, b"y")
    write(a, "results/partial/r2/000000.parquet", b"again")
    b = at("B", Place(address))
    b.bring("results")
    shutil.rmtree(b.folder / "results/partial/r1")
    (b.folder / "results/checks/r2.parquet").unlink()
    for name in (SAMPLES, ROW):
        write(b, name, b"x")
    b.push()
    again = at("A", Place(address))
    again.push()
    assert read(again, ROW) == b"x"
    assert read(again, SHARD) is read(again, other) is None
    assert read(again, "results/checks/r2.parquet") is None
    assert set(again.place.versions()) == {
        *(ROW, SAMPLES, "results/runs/r2.parquet", "results/partial/r2/000000.parquet")
    }


def test_what_is_removed_there_goes_here(address, at):
    """A run that somebody deletes; not what changed here meanwhile, nor what another process of
    this machine has put there since one looked.
    """
    a, checks = at("A", Place(address)), "results/checks/r1.parquet"
    for name in (ROW, SAMPLES, "results/baseline.json", "models/m/config.json"):
        write(a, name, b"x")
    a.push()
    second = at("A", Place(address))
    write(a, checks, b"x")
    a.push()
    second.refresh("results/partial/r1")
    assert read(second, checks) == b"x"
    for name in (ROW, SAMPLES, checks, "results/baseline.json"):
        a.place.remove(name)
    write(a, "results/baseline.json", b"newer")
    third = at("A", Place(address))
    third.push()
    assert third.place.versions().keys() == {"results/baseline.json", "models/m/config.json"}
    assert read(third, ROW) is read(third, checks) is None


def test_an_address_that_has_gone(address, at):
    """A bucket that somebody deletes, a disk that is not mounted: the copy here stays, whole."""
    a = at("A", Place(address))
    for name in (SAMPLES, ROW):
        write(a, name, b"x")
    a.push()
    for name in (SAMPLES, ROW):
        a.place.remove(name)
    with pytest.raises(UserError, match=r"nothing is left at .*/A still has a copy.* remove it"):
        at("A", Place(address))
    assert read(a, ROW) == read(a, SAMPLES) == b"x"
    shutil.rmtree(a.folder)
    at("A", Place(address)).push()
    assert Place(address).versions() == {}


def test_a_listing_that_is_late(at, monkeypatch):
    """What is put and not yet listed stays here, and there."""
    a = at("A", Place("memory://late"))
    write(a, SAMPLES, b"x")
    a.push()
    before = a.place.versions()
    write(a, ROW, b"x")
    a.push()
    for listed in (before, {}):
        with monkeypatch.context() as patch:
            patch.setattr(Place, "versions", lambda self, folder="", found=listed: dict(found))
            again = at("A", Place("memory://late"))
            again.refresh_run("r1")
            again.push()
        assert read(again, ROW) == read(again, SAMPLES) == b"x"
        assert again.place.versions().keys() == {ROW, SAMPLES}


def test_what_is_removed_while_one_looks(address, at, monkeypatch):
    """Shards go as their run is finished: the rest comes."""
    a, other = at("A", Place(address)), SHARD.replace("0.parquet", "1.parquet")
    for name in (SHARD, other):
        write(a, name, b"x")
    a.push()
    b = at("B", Place(address))
    a.place.remove(SHARD)
    b.bring("results/partial/r1")
    assert read(b, SHARD) is None
    assert read(b, other) == b"x"
    a.place.remove(other)
    b.refresh("results/partial/r1")
    assert read(b, other) is None


def test_cleaning_a_working_copy_removes_nothing_there(address, at, tmp_path):
    """It is fetched again."""
    a = at("A", Place(address))
    for name in (ROW, SAMPLES, "models/m/config.json", "models/m/model.safetensors"):
        write(a, name, b"x")
    a.push()
    before = a.place.versions()
    shutil.rmtree(a.folder / "models")
    (a.folder / ROW).unlink()
    a.push()
    assert a.place.versions() == before
    shutil.rmtree(a.folder)
    assert read(at("A", Place(address)), ROW) == b"x"


def test_another_training_takes_the_folder(address, at):
    """Its settings come after the files of the earlier one have gone: no mixture is ever there."""
    a, model = at("A", Place(address)), "models/m/"
    for name in ("config.json", "model.safetensors", "epochs.parquet"):
        write(a, model + name, b"old")
    a.push()
    seen = []
    put = a.place.put

    def noted(file, name):
        seen.append((name, sorted(a.place.versions())))
        put(file, name)

    a.place.put = noted
    for name in ("model.safetensors", "epochs.parquet"):
        (a.folder / model / name).unlink()
    write(a, model + "config.json", b"newer")
    a.push()
    assert seen == [(model + "config.json", [model + "config.json"])]


def test_without_network_all_is_kept_and_goes_later(at, monkeypatch):
    """One line that says so; the next push puts it."""
    a = at("A", Place("memory://gone"))
    write(a, ROW, b"x")

    def fail(*args):
        raise OSError("no route")

    with monkeypatch.context() as patch:
        patch.setattr(a.place._system, "put_file", fail)
        with pytest.raises(RunError, match=r"no route; check .* is kept in .*/A, and goes to"):
            a.push()
    a.push()
    assert a.place.read(ROW) == b"x"


def test_names_that_lead_elsewhere_are_left_alone(at, tmp_path):
    """What others have put at an address never gets out of the working copy."""
    place = Place("memory://evil")
    file = tmp_path / "x"
    file.write_bytes(b"x")
    for name in ("results/runs/../../../out", "elsewhere/x", "results/runs/.hidden"):
        place.put(file, name)
    b = at("B", place)
    b.bring("results", "elsewhere")
    assert [path.name for path in b.folder.rglob("*") if path.is_file()] == []
