"""Arrays in files: the same samples as in memory, what was concluded, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from robbench.core.errors import UserError
from robbench.data.base import Split
from robbench.data.load import load
from robbench.data.memory import read_samples

X = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 9), dtype=np.uint8)
Y = np.array([0, 1, 2, 0, 1, 2])
SAME = {
    "nchw": X,
    "nhwc": X.transpose(0, 2, 3, 1),
    "int64": X.astype(np.int64),
    "uint16": X.astype(np.uint16),
    "whole floats": X.astype(np.float64),
}


class Tell:
    """What must never be called: it writes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("unpickled"),))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _plain() -> Split:
    return read_samples(X, Y).split(["0", "1", "2"])


@pytest.mark.parametrize("name", SAME)
def test_npz_and_npy_are_what_is_in_memory(name: str, here: Path) -> None:
    """Ids, bytes and labels, whatever the layout and type of the array."""
    np.savez("a.npz", x=SAME[name], y=Y)
    np.save("x.npy", SAME[name])
    np.save("y.npy", Y)
    for spec in ("npz:a.npz", "npz:a.npz,x=x,y=y", "npy:x.npy,labels=y.npy"):
        found = load(spec, "test")
        assert torch.equal(found.ids, _plain().ids)
        assert torch.equal(found.images, _plain().images)
        assert torch.equal(found.labels, _plain().labels)
        assert found.classes == ("0", "1", "2")
        assert any("not divided into splits" in note for note in found.notes)
        assert any("channels" in note for note in found.notes)
        assert any("divided by 255" in note for note in found.notes)


def test_scale_and_layout_can_be_told(here: Path) -> None:
    """Where they are uncertain, they must be."""
    x = np.random.default_rng(1).integers(0, 17, (6, 3, 4, 3))
    np.savez("a.npz", x=x, y=Y)
    with pytest.raises(UserError, match="layout=nchw or layout=nhwc"):
        load("npz:a.npz", "test")
    with pytest.raises(UserError, match=r"int64 from 0 to 16: say which is white .* scale=255"):
        load("npz:a.npz,layout=nchw", "test")
    for layout, images in (("nchw", x), ("nhwc", x.transpose(0, 3, 1, 2))):
        found = load(f"npz:a.npz,layout={layout},scale=16", "test")
        assert torch.equal(found.pixels(slice(None)), torch.tensor(images / 16).float())
        assert any("as layout says" in note for note in found.notes)
    wide = np.random.default_rng(1).integers(0, 65536, (6, 3, 8, 8), dtype=np.uint16)
    np.savez("b.npz", x=wide, y=Y)
    found = load("npz:b.npz,scale=65535", "test")
    assert torch.allclose(found.pixels(slice(None)), torch.tensor(wide / 65535).float(), atol=1e-7)


def test_splits_of_keys_and_of_files(here: Path) -> None:
    """A class that the test split lacks is counted; every split has its own samples."""
    np.savez("a.npz", x_train=X, y_train=Y, x_test=255 - X[:2], y_test=Y[:2])
    test = load("npz:a.npz", "test")
    assert (len(test), test.classes) == (2, ("0", "1", "2"))
    assert torch.equal(load("npz:a.npz", "train").images, torch.tensor(X))
    Path("d").mkdir()
    np.savez("d/train.npz", images=X, labels=np.array(list("abcabc")))
    np.savez("d/test.npz", images=X[:2], labels=np.array(list("ab")))
    for spec in ("npz:d", "npz:d/{split}.npz"):
        assert load(spec, "test").classes == ("a", "b", "c")
        assert not any("not divided" in note for note in load(spec, "test").notes)
    for name, part in (("train", X), ("test", X[:2])):
        np.save(f"x-{name}.npy", part)
        np.save(f"y-{name}.npy", Y[: len(part)])
    found = load("npy:x-{split}.npy,labels=y-{split}.npy", "test")
    assert (len(found), found.classes) == (2, ("0", "1", "2"))


def test_fixed_entries(here: Path) -> None:
    """Features by number; entries of images by a mask."""
    table = np.random.default_rng(0).random((6, 5))
    mask = np.zeros((3, 8, 9), bool)
    mask[:, :2] = True
    np.savez("a.npz", x=table, y=Y)
    np.savez("b.npz", x=SAME["nhwc"], y=Y, still=mask)
    np.save("x.npy", X)
    np.save("y.npy", Y)
    np.save("mask.npy", mask)
    found = load("npz:a.npz,fixed=(0,3)", "test")
    assert found.free is not None
    assert found.free.tolist() == [False, True, True, False, True]
    assert "2 of 5 features are fixed" in found.notes
    for spec in (
        "npz:b.npz,fixed=still",
        "npz:b.npz,fixed=mask.npy",
        "npy:x.npy,labels=y.npy,fixed=mask.npy",
    ):
        found = load(spec, "test")
        assert torch.equal(found.free, torch.tensor(~mask))
        assert "54 of 216 entries are fixed" in found.notes


def _write(case: str) -> None:
    if case == "truncated":
        np.savez("a.npz", x=X, y=Y)
        Path("a.npz").write_bytes(Path("a.npz").read_bytes()[:-300])
    elif case == "object array":
        np.savez("a.npz", x=np.array([Tell()] * 6, dtype=object), y=Y)
    elif case == "object labels":
        np.savez("a.npz", x=X, y=np.array([Tell()] * 6, dtype=object))
    elif case == "pickle":
        Path("a.npz").write_bytes(pickle.dumps(Tell()))
    elif case == "text":
        Path("a.npz").write_text("no arrays here")
    elif case == "empty":
        Path("a.npz").write_bytes(b"")
    elif case == "single":
        np.save("a.npy", X)
        Path("a.npy").rename("a.npz")
    else:
        arrays: dict[str, dict[str, Any]] = {
            "count": {"x": X, "y": Y[:3]},
            "scalar": {"x": np.array(3), "y": np.array(3)},
            "raw table": {"x": 10.5 * np.arange(12.0).reshape(6, 2), "y": Y},
            "negative": {"x": X / 255 - 0.5, "y": Y},
            "nan": {"x": X / np.nan, "y": Y},
            "dim 5": {"x": X[None].repeat(6, 0)[:, :, 0, :, :, None], "y": Y},
            "complex": {"x": X.astype(complex), "y": Y},
            "one-hot": {"x": X, "y": np.eye(3)[Y]},
            "bits": {"x": X > 300, "y": Y},
        }
        x = arrays[case]["x"]
        np.savez("a.npz", x=x.astype(np.uint8) if case == "bits" else x, y=arrays[case]["y"])


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("truncated", "cannot be read"),
        ("object array", "is not unpickled"),
        ("object labels", "is not unpickled"),
        ("pickle", "is not unpickled"),
        ("text", "is not unpickled"),
        ("empty", "cannot be read"),
        ("single", "read it as npy:a.npz"),
        ("count", "both should begin with the number of samples"),
        ("scalar", "both should begin with the number of samples"),
        ("raw table", "features of any range need box=train"),
        ("negative", "pixels range from -0.5"),
        ("nan", "NaN"),
        ("dim 5", "should be (6,C,H,W) or (6,D)"),
        ("complex", "should be numbers"),
        ("one-hot", "argmax(1)"),
        ("bits", "uint8 from 0 to 0: say which is white"),
    ],
)
def test_what_is_refused(case: str, text: str, here: Path, cli: Callable[..., Any]) -> None:
    """One line, exit 2, nothing unpickled."""
    _write(case)
    done = cli("attack mlp --data npz:a.npz --threat linf:0.1 --attack fgsm --out o")
    assert done.code == 2
    assert text in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not Path("unpickled").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (",fixed=(0,9)", "9 is no feature; they are 0 to 4"),
        (",fixed=mask", "fixed=mask is neither numbers of features nor a mask"),
        (",fixed=(0,1,2,3,4)", "all entries are fixed"),
        (",classes=2", "label 2 of row 2 is out of range"),
        (",x=z,y=y", "no array 'z'"),
        (",scale=0", "scale"),
        (",scale=0.5", "features range from"),
    ],
)
def test_options_that_do_not_fit(options: str, text: str, here: Path) -> None:
    """One line as well."""
    np.savez("a.npz", x=np.random.default_rng(0).random((6, 5)), y=Y)
    with pytest.raises(UserError) as caught:
        load(f"npz:a.npz{options}", "test")
    assert text in str(caught.value)


@pytest.mark.parametrize("units", ["unit", "raw", "standard"])
def test_features_of_any_range(units: str, here: Path) -> None:
    """In the box of the training data, however it is kept; as a table of the same numbers."""
    draw = np.random.default_rng(3)
    train, test = (draw.normal([5, 100, -3], [1, 30, 2], (n, 3)) for n in (40, 9))
    test[0, 1] = 1000
    labels = {"train": np.arange(40) % 2, "test": np.arange(9) % 2}
    np.savez("a.npz", x_train=train, y_train=labels["train"], x_test=test, y_test=labels["test"])
    for name, values in (("train", train), ("test", test)):
        np.savez(f"b-{name}.npz", data=values, target=labels[name])
        np.save(f"x-{name}.npy", values)
        np.save(f"y-{name}.npy", labels[name])
        frame = pd.DataFrame(values, columns=list("abc")).assign(y=labels[name])
        frame.to_csv(f"c-{name}.csv", index=False)
    table = load(f"csv:c-{{split}}.csv,label=y,units={units}", "test")
    for spec in ("npz:a.npz", "npz:b-{split}.npz", "npy:x-{split}.npy,labels=y-{split}.npy"):
        found = load(f"{spec},box=train,units={units}", "test")
        assert torch.equal(found.images, table.images)
        assert torch.equal(found.ids, table.ids)
        assert (found.units is None) == (units == "unit")
        if found.units is not None:
            assert np.allclose(found.units, table.units, rtol=1e-12)
        assert any("values beyond them" in note for note in found.notes)
    with pytest.raises(UserError, match="values are float64"):
        load("npz:a.npz", "test")
    test[:, 1] = train[:, 1] = 7
    np.savez("c.npz", x_train=train, y_train=labels["train"], x_test=test, y_test=labels["test"])
    for fixed, free in (("", [True, False, True]), (",fixed=0", [False, False, True])):
        found = load(f"npz:c.npz,box=train,units={units}{fixed}", "test")
        assert found.free is not None
        assert found.free.tolist() == free
    if units != "unit":
        with pytest.raises(UserError, match="goes with box=train"):
            load(f"npz:a.npz,units={units}", "test")


def test_a_box_is_for_features(here: Path) -> None:
    """Images have the scale of white."""
    np.savez("a.npz", x=X, y=Y)
    np.savez("b.npz", x=np.full((6, 2), np.nan), y=Y)
    for name, text in (("a", "for features"), ("b", "NaN or infinity")):
        with pytest.raises(UserError, match=text):
            load(f"npz:{name}.npz,box=train", "test")
