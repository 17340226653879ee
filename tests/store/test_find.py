"""A name typed by a person becomes the runs it means, or an error that helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from robbench.core.errors import UserError
from robbench.store.run import Run, read_run
from robbench.store.store import Store

Stored = Callable[..., Run]


@pytest.fixture
def store(tmp_path: Path, stored: Stored) -> Store:
    """Two runs of ce, stored youngest first, one of sovr, and one of a hub's model."""
    stored("aaaa22222222", age=20)
    stored("aaaa11111111", age=10)
    stored("bbbb33333333", age=15, model="sovr")
    stored("cccc44444444", age=30, model="timm:hf-hub:some/one")
    return Store(tmp_path)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], ["aaaa1", "bbbb3", "aaaa2", "cccc4"]),
        (["ce"], ["aaaa1", "aaaa2"]),
        (["sovr", "ce"], ["bbbb3", "aaaa1", "aaaa2"]),
        (["ce", "ce", "aaaa22222222"], ["aaaa1", "aaaa2"]),
        (["aaaa2", "ce"], ["aaaa2", "aaaa1"]),
        (["bbbb"], ["bbbb3"]),
        (["timm:hf-hub:some/one"], ["cccc4"]),
        (["ce@latest"], ["aaaa2"]),
        (["sovr@latest", "ce@latest"], ["bbbb3", "aaaa2"]),
        (["[cs]*e@latest"], ["aaaa2"]),
        (["aaaa1@latest"], ["aaaa1"]),
    ],
)
def test_names(store: Store, names: list[str], found: list[str]) -> None:
    """Models give their runs oldest first, ids and prefixes one; the caller's order, once each."""
    assert [path.stem[:5] for path in store.find(names)] == found


def test_paths(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and folders at every level mean their runs, and a file named twice comes once."""
    results = tmp_path / "results"
    for folder in (tmp_path, results, results / "runs", results / "samples"):
        assert [path.stem[:5] for path in store.find([str(folder)])] == [
            "aaaa1",
            "bbbb3",
            "aaaa2",
            "cccc4",
        ]
        assert [path.stem[:5] for path in store.find([f"{folder}@latest"])] == ["cccc4"]
    runs, samples = (str(results / kind / "bbbb33333333.parquet") for kind in ("runs", "samples"))
    assert store.find([runs, samples, "sovr"]) == [Path(runs)]
    monkeypatch.chdir(tmp_path)
    assert [path.stem for path in store.find(["results"])] == [path.stem for path in store.find()]
    assert read_run("results/samples/bbbb33333333.parquet").info["model"] == "sovr"


def test_paths_into_another_store(store: Store, tmp_path: Path) -> None:
    """A path needs nothing from this store."""
    assert len(Store(tmp_path / "empty").find([str(store.root)])) == 4


def test_a_model_comes_before_a_folder_of_its_name(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder `ce` in the working folder does not hide the model ce."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ce").mkdir()
    assert len(store.find(["ce"])) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sover", "unknown model, run or path 'sover'; did you mean sovr"),
        ("aaaa", "'aaaa' may be any of the runs aaaa11111111, aaaa22222222"),
        ("aaa", "unknown model, run or path 'aaa'"),
        ("aaaa11111112", "did you mean aaaa11111111"),
        ("trained", "model 'trained' has no results yet: run robbench attack trained"),
        ("no/where", "unknown model, run or path 'no/where'"),
        ("x.parquet", r"x\.parquet does not exist"),
    ],
)
def test_names_that_mean_nothing(store: Store, name: str, message: str) -> None:
    """A typo gets the nearest names, an ambiguous prefix its runs, no results the command."""
    (store.root / "models" / "trained").mkdir(parents=True)
    with pytest.raises(UserError, match=message):
        store.find([name])


def test_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    """The commands to run first; with a trained model only the second."""
    for names in ([], ["ce"]):
        with pytest.raises(UserError, match=r"run first robbench train .* robbench attack"):
            Store(tmp_path / "none").find(names)
    (tmp_path / "models" / "ce").mkdir(parents=True)
    with pytest.raises(UserError, match=r"run first robbench attack ce --out \S+$"):
        Store(tmp_path).find()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="no results in"):
        Store(tmp_path).find([str(tmp_path / "folder")])


def test_the_latest_run(store: Store, stored: Stored, tmp_path: Path) -> None:
    """Of one security curve the largest budget; a run's own name counts before its end."""
    stored("dddd11111111", age=40, eps=0.3, threat="linf:0.3")
    stored("eeee11111111", age=40, eps=0.2, threat="linf:0.2")
    assert [path.stem for path in store.find(["ce@latest"])] == ["dddd11111111"]
    stored("ffff11111111", age=5, model="ce@latest")
    assert [path.stem for path in store.find(["ce@latest"])] == ["ffff11111111"]
    for name, why in (
        ("cee@latest", "did you mean ce"),
        ("@latest", "unknown"),
        ("x*@latest", "x"),
    ):
        with pytest.raises(UserError, match=why):
            store.find([name])
    assert [path.stem for path in Store(tmp_path / "new").find([f"{tmp_path}@latest"])] == [
        "dddd11111111"
    ]


def test_a_damaged_run_is_named(store: Store) -> None:
    """One bad file is never skipped silently."""
    path = store.root / "results" / "runs" / "bbbb33333333.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    for names in ([], ["ce"], [str(store.root)]):
        with pytest.raises(UserError, match=r"runs/bbbb33333333\.parquet is damaged"):
            store.find(names)


def test_a_damaged_run_is_no_matter_to_whole_run_ids(store: Store) -> None:
    """They mean one file each; other names may mean the damaged one, too."""
    runs = store.root / "results" / "runs"
    (runs / "bbbb33333333.parquet").write_bytes(b"PAR1")
    names = ["cccc44444444", "aaaa11111111"]
    assert store.find(names) == [runs / f"{name}.parquet" for name in names]
    with pytest.raises(UserError, match=r"bbbb33333333\.parquet is damaged"):
        store.find(["cccc44444444", "aaaa1111"])
    unreadable: list[UserError] = []
    assert [path.stem for path in store.find(["ce"], unreadable)] == [
        "aaaa11111111",
        "aaaa22222222",
    ]
    (error,) = unreadable
    assert f"{runs / 'bbbb33333333.parquet'} is damaged" in str(error)


def test_a_run_that_is_named_twice_is_one(store: Store, tmp_path: Path) -> None:
    """By a link to its file, a link to its folder, or a way through the parent folder."""
    path = store.run_path("bbbb33333333")
    (tmp_path / "link.parquet").symlink_to(path)
    (tmp_path / "other").symlink_to(path.parent)
    ways = [tmp_path / "link.parquet", tmp_path / "other" / path.name, path.parent / ".." / "runs"]
    assert store.find(["sovr", *map(str, ways[:2])]) == [ways[1]]
    assert len(store.find([str(ways[2]), "ce"])) == 4
