"""`robbench.export`: the command as a function."""

from __future__ import annotations

import pytest

import robbench


def test_places_and_content(stored, tmp_path):
    """Names are texts or lists; errors speak of Python."""
    stored("aaaa11111111")
    done = robbench.export(["ce"], to=f"bencher:{tmp_path / 'b.json'}", out=str(tmp_path))
    assert done.tool == "bencher"
    assert done.runs[0]["place"] == str(tmp_path / "b.json")
    assert [*done.content] == [done.runs[0]["title"]]
    with pytest.raises(robbench.UserError, match="unknown tool for to 'x'"):
        robbench.export("ce", to="x", out=tmp_path)
