"""CSV files: separators, headers, and what is no table."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from robbench.core.errors import UserError
from robbench.data.csv_file import read_csv


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,x\n2,y\n",
        "a;b\r\n1;x\r\n2;y\r\n",
        "a\tb\n1\tx\n2\ty\n",
        "\ufeffa, b\n1, x\n2, y\n",
        ",a,b\n0,1,x\n1,2,y\n",
        '"a","b"\n1,"x"\n2,"y"',
    ],
)
def test_the_same_table(text: str, tmp_path: Path) -> None:
    """Commas, semicolons, tabs, spaces, quotes, a mark at the start, numbered rows."""
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8", newline="")
    expected = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    assert read_csv(path).reset_index(drop=True).equals(expected)


def test_only_an_empty_cell_is_empty(tmp_path: Path) -> None:
    """None and NA are names of classes."""
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,None\n,NA\n")
    assert read_csv(path)["b"].tolist() == ["None", "NA"]
    assert read_csv(path)["a"].isna().tolist() == [False, True]


def test_a_compressed_file(tmp_path: Path) -> None:
    """By its ending."""
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    assert read_csv(path).to_numpy().tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "begins with an empty line"),
        (b"a,b\n", "a header but no rows"),
        (b"a,,c\n1,2,3\n", "column 2 has no name"),
        (b"a,b,a\n1,2,3\n", "two columns 'a'"),
        (b"a,b\n1,2,3\n4,5,6\n", "more fields than its first line"),
        (b"a,b\n1,2\n4,5,6\n", "cannot be read as CSV"),
        (b"a,b\r1,2\r", "lines end with a line feed"),
        (b"\x80\x04\x95\n", "is no text in UTF-8"),
        (b"a,b\n1,\xff\xfe\n", "cannot be read as CSV"),
    ],
)
def test_what_is_no_table(content: bytes, text: str, tmp_path: Path) -> None:
    """One line each."""
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_csv(tmp_path / "a.csv")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
