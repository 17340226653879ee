"""The folder of data sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from robbench.core.errors import UserError
from robbench.data.data_folder import data_folder


def test_a_data_folder_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` of a user who does not exist is an error of one line, given or in the environment."""
    monkeypatch.setenv("ROBBENCH_DATA_DIR", "~nobody-of-this-name/data")
    for explicit in (None, Path("~nobody-of-this-name/data")):
        with pytest.raises(UserError, match="no such home folder"):
            data_folder(explicit)


def test_data_folder_precedence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An explicit folder wins over ROBBENCH_DATA_DIR, which wins over the user's cache."""
    monkeypatch.setenv("ROBBENCH_DATA_DIR", str(tmp_path / "named"))
    assert data_folder(tmp_path) == tmp_path
    assert data_folder(None) == tmp_path / "named"
    monkeypatch.delenv("ROBBENCH_DATA_DIR")
    assert data_folder(None).parts[-2:] == ("robbench", "data")
