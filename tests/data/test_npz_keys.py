"""The arrays of a split in an .npz file: by usual names where there is one pair, or as told."""

from __future__ import annotations

from pathlib import Path

import pytest

from robbench.core.errors import UserError
from robbench.data.npz_keys import Keys, find_keys

PATH = Path("a.npz")


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (["x", "y"], Keys("x", "y", [], False)),
        (["X", "y", "other"], Keys("X", "y", [], False)),
        (["arr_0", "arr_1"], Keys("arr_0", "arr_1", [], False)),
        (["data", "target", "names"], Keys("data", "target", [], False)),
        (
            ["x_train", "y_train", "x_test", "y_test"],
            Keys("x_test", "y_test", ["y_train"], True),
        ),
        (
            ["train_images", "train_labels", "test_images", "test_labels"],
            Keys("test_images", "test_labels", ["train_labels"], True),
        ),
    ],
)
def test_usual_names(keys: list[str], found: Keys) -> None:
    """Those of keras, scikit-learn, medmnist, numpy itself."""
    assert find_keys(keys, "test", "", "", PATH) == found


def test_other_names_of_the_validation_split() -> None:
    """`val` serves as `validation`."""
    keys = ["val_images", "val_labels", "test_images", "test_labels"]
    assert find_keys(keys, "validation", "", "", PATH).images == "val_images"


def test_keys_can_be_given() -> None:
    """With {split} in them, or without."""
    keys = ["f_test", "c_test", "f_train", "c_train"]
    assert find_keys(keys, "test", "f_{split}", "c_{split}", PATH) == Keys(
        "f_test", "c_test", ["c_train"], True
    )
    assert find_keys(keys, "train", "f_test", "c_test", PATH) == Keys("f_test", "c_test", [], False)


@pytest.mark.parametrize(
    ("keys", "x", "y", "text"),
    [
        (["a", "b"], "", "", "no images and labels by their names; choose with x=KEY,y=KEY of: a"),
        (["x", "y", "data", "target"], "", "", "several pairs"),
        (["x_train", "y_train"], "", "", "no arrays of the split 'test'; it has: train"),
        (["a", "b"], "a", "", "give both keys"),
        (["abc", "b"], "abd", "b", "no array 'abd'; did you mean abc"),
    ],
)
def test_what_is_ambiguous_or_missing(keys: list[str], x: str, y: str, text: str) -> None:
    """The keys that are there are named."""
    with pytest.raises(UserError) as caught:
        find_keys(keys, "test", x, y, PATH)
    assert text in str(caught.value)
