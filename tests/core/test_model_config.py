"""config.json of a model: what is needed is there and of its type, more may be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from robbench.core.errors import UserError
from robbench.core.model_config import SCHEMA, Described, Listed, Rebuilt, Trained, read_config

WHOLE: dict[str, Any] = {
    "schema": SCHEMA,
    "model": "mlp",
    "head": "linear",
    "classes": ["a", "b"],
    "shape": [1, 8, 8],
    "mean": [0.5],
    "std": [0.25],
    "name": "ce",
    "identity": {"any": "thing"},
    "status": "done",
    "selected": {"model": "best", "epoch": 3},
    "config": {"data": "digits", "seed": 0},
}


def _read(folder: Path, needs: Any = Trained, **changes: Any) -> dict[str, Any]:
    found = {k: v for k, v in {**WHOLE, **changes}.items() if v is not ...}
    (folder / "config.json").write_text(json.dumps(found))
    return read_config(folder / "config.json", needs)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Keys that nobody needs included."""
    assert _read(tmp_path, later={"x": 1}) == WHOLE | {"later": {"x": 1}}


@pytest.mark.parametrize(
    ("needs", "least"),
    [
        (Rebuilt, ("model", "classes", "shape", "mean", "std")),
        (Described, ()),
        (Listed, ("status",)),
        (Trained, tuple(key for key in WHOLE if key != "schema")),
    ],
)
def test_each_reader_needs_only_its_own_keys(
    needs: Any, least: tuple[str, ...], tmp_path: Path
) -> None:
    """And names the one that is missing."""
    others: dict[str, Any] = {k: ... for k in WHOLE if k not in (*least, "schema")}
    assert _read(tmp_path, needs, **others).keys() == {*least, "schema"}
    for key in least:
        with pytest.raises(UserError, match=key):
            _read(tmp_path, needs, **{**others, key: ...})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "robbench.model/9"}, r"schema 'robbench.model/9'.*upgrade"),
        ({"schema": ...}, "schema None"),
        ({"std": [0.0]}, "std"),
        ({"std": [0.5, 0.5]}, "same length"),
        ({"mean": [float("inf")]}, "config.json"),
        ({"shape": [1, 2**14, 2**15]}, "more than"),
        ({"shape": [1, 0, 8]}, "shape"),
        ({"shape": [1, 2, 3, 4]}, "shape"),
        ({"shape": ["1", 8, 8]}, "shape"),
        ({"classes": []}, "classes"),
        ({"selected": None}, "selected must not be null"),
        ({"selected": {"model": "first", "epoch": 3}}, "selected"),
        ({"config": {"data": "digits", "seed": -1}}, "seed"),
        ({"status": 1}, "status"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words) as error:
        _read(tmp_path, **changes)
    assert "\n" not in str(error.value)
    assert "config.json" in str(error.value)


def test_nothing_is_chosen_while_it_trains(tmp_path: Path) -> None:
    """Only a model that is done has a checkpoint to use."""
    assert _read(tmp_path, status="training", selected=None)["selected"] is None


@pytest.mark.parametrize("text", ["", "[]", "3", '"x"', "{", "null"])
def test_what_is_no_object_is_no_config(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        read_config(tmp_path / "config.json")
