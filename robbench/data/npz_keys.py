"""Which arrays of an .npz file are the images and labels of a split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from robbench.core.errors import UserError, nearest
from robbench.data.image_files import USUAL_SPLITS, listed
from robbench.data.split_files import SPLIT

PAIRS = (
    ("x", "y"),
    ("images", "labels"),
    ("image", "label"),
    ("data", "target"),
    ("data", "targets"),
    ("data", "labels"),
    ("inputs", "labels"),
    ("inputs", "targets"),
    ("features", "labels"),
    ("features", "target"),
    ("arr_0", "arr_1"),
)
"""The usual names of images and labels."""

_SAME = ({"train", "training"}, {"test", "testing"}, {"val", "valid", "validation", "dev"})


class Keys(NamedTuple):
    """The keys of a split's images and labels, and of the labels of other splits in the file.

    `divided`: whether the keys name the split.
    """

    images: str
    labels: str
    others: list[str]
    divided: bool


def find_keys(keys: Sequence[str], split: str, x: str, y: str, path: Path) -> Keys:
    """The keys as they were given, else by their usual names: `x_test`, `test_images`, `X`.

    UserError where they are missing, or several pairs are possible.
    """
    if x or y:
        return _given(keys, split, x, y, path)
    pairs = {name: _pairs(keys, name) for name in (split, *USUAL_SPLITS)}
    mine = [pair for name in _alike(split) for pair in pairs.get(name) or _pairs(keys, name)]
    if divided := {name for name, found in pairs.items() if found}:
        if not mine:
            raise UserError(
                f"{path} has no arrays of the split '{split}'; it has: {listed(sorted(divided))}"
            )
        images, labels = _only(list(dict.fromkeys(mine)), keys, path)
        every = {pair[1] for found in pairs.values() for pair in found}
        return Keys(images, labels, sorted(every - {labels}), True)
    images, labels = _only(_pairs(keys, ""), keys, path)
    return Keys(images, labels, [], False)


def _given(keys: Sequence[str], split: str, x: str, y: str, path: Path) -> Keys:
    if not (x and y):
        raise UserError(f"give both keys, x=... and y=...; {path} has: {listed(keys)}")
    images, labels = (text.replace(SPLIT, split) for text in (x, y))
    for key in (images, labels):
        if key not in keys:
            raise UserError(f"{path} has no array '{key}'{nearest(key, keys)}")
    others = {y.replace(SPLIT, name) for name in USUAL_SPLITS} & set(keys)
    return Keys(images, labels, sorted(others - {labels}), SPLIT in x)


def _alike(split: str) -> list[str]:
    return [split, *sorted(next((names for names in _SAME if split in names), set()) - {split})]


def _pairs(keys: Sequence[str], split: str) -> list[tuple[str, str]]:
    """The pairs of usual names for a split, whatever their capitals; for none if it is empty."""
    known = {key.lower(): key for key in keys}
    found = []
    for images, labels in PAIRS:
        for form in ("{name}_{split}", "{split}_{name}", "{name}{split}") if split else ("{name}",):
            pair = [known.get(form.format(name=name, split=split)) for name in (images, labels)]
            if pair[0] is not None and pair[1] is not None:
                found.append((pair[0], pair[1]))
    return found


def _only(pairs: Sequence[tuple[str, str]], keys: Sequence[str], path: Path) -> tuple[str, str]:
    if len(pairs) == 1:
        return pairs[0]
    what = "several pairs of images and labels" if pairs else "no images and labels by their names"
    raise UserError(f"{path} has {what}; choose with x=KEY,y=KEY of: {listed(keys, 20)}")
