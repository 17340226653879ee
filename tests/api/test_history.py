"""`robbench.history`: a row for each run, as the command has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import robbench


def test_a_row_for_each_run(
    cli: Callable[..., Any],
    tmp_path: Path,
    stored: Callable[..., Any],
    make_samples: Callable[..., Any],
) -> None:
    """The same values as in JSON, and where the rate changed."""
    for i, chance in enumerate((0.1, 0.1, 0.8)):
        stored(f"aaaa1111000{i}", make_samples(100, 1, chance), age=i, model_hash=f"w{i}")
    found = robbench.history("ce", out=tmp_path)
    (only,) = cli("history ce --json --out", tmp_path).json["histories"]
    assert found["value"].tolist() == [run["value"] for run in only["runs"]]
    assert found["changed"].tolist() == [False, False, True]
    assert found.attrs["histories"][0]["changes"] == only["changes"]
    assert len(robbench.history(["ce"], out=tmp_path, last=1)) == 1
    assert len(robbench.history("ce", out=str(tmp_path), last=None)) == 3
    for last in (0, "2"):
        with pytest.raises(robbench.UserError, match="last should be a whole number"):
            robbench.history("ce", out=tmp_path, last=last)
