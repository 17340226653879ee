"""Patterns of trained models, and words for none."""

from __future__ import annotations

from pathlib import Path

import pytest

from robbench.core.errors import UserError
from robbench.store.store import Store
from robbench.tasks.model_names import known_models, matching_models


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three models, one with a name that looks like a pattern, and a folder that is no model."""
    for name in ("at", "at-2", "ce", "x[1]"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").write_text("{}")
    (tmp_path / "models" / "atoll").mkdir()
    return Store(tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("at*", ["at", "at-2"]),
        ("at*@last", ["at@last", "at-2@last"]),
        ("[ac]?", ["at", "ce"]),
        ("x[1]", ["x[1]"]),
        ("at", ["at"]),
        ("module:factory:width=[1,2]", ["module:factory:width=[1,2]"]),
    ],
)
def test_what_a_pattern_means(store: Store, text: str, found: list[str]) -> None:
    """The trained models it matches, by name; a name or spec is itself."""
    assert matching_models(text, store) == found


def test_a_pattern_of_paths(store: Store, tmp_path: Path) -> None:
    """Folders of saved models elsewhere."""
    found = matching_models(f"{tmp_path}/models/a*", Store(tmp_path / "other"))
    assert found == [str(tmp_path / "models" / name) for name in ("at", "at-2")]


def test_nothing_matches(store: Store) -> None:
    """The message names what there is."""
    with pytest.raises(UserError, match=r"matches 'b\*'; there is at, at-2, ce, x\[1\]"):
        matching_models("b*", store)


def test_each_model_once_and_only_known_ones(store: Store) -> None:
    """A pattern and a name may mean the same; a spec is known by its registered name."""
    assert known_models(["at", "a*", "mlp", "module:factory"], store) == [
        *("at", "at-2", "mlp", "module:factory")
    ]
    with pytest.raises(UserError, match=r"unknown model 'att'.*did you mean at"):
        known_models(["at", "att"], store)
