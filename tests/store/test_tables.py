"""Files are whole or absent, and what is not ours is one clear line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robbench.core.errors import UserError
from robbench.core.files import atomic_write
from robbench.store.from_rows import samples_table
from robbench.store.schema import SAMPLES, SCHEMA_VERSION
from robbench.store.tables import read_table, table_kind, write_table


@pytest.fixture
def file(tmp_path: Path, make_samples: Callable[..., Any]) -> Path:
    """A samples file."""
    path = tmp_path / "samples" / "abc.parquet"
    write_table(path, samples_table("abc", make_samples(50)), "abc")
    return path


def test_atomic_write_makes_folders_and_leaves_no_temporary(tmp_path: Path) -> None:
    """The file appears with its content, in a new folder, alone."""
    atomic_write(tmp_path / "a" / "b.txt", lambda path: path.write_text("new"))
    assert [(path.name, path.read_text()) for path in (tmp_path / "a").iterdir()] == [
        ("b.txt", "new")
    ]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_write_keeps_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    """Whatever happens while writing, the old content stays and no temporary file is left."""

    def fail(path: Path) -> None:
        path.write_text("half")
        raise error

    (tmp_path / "b.txt").write_text("old")
    with pytest.raises(error):
        atomic_write(tmp_path / "b.txt", fail)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("b.txt", "old")]


def test_temporary_is_in_the_same_folder_and_no_parquet_file(tmp_path: Path) -> None:
    """The rename stays on one file system, and nobody's *.parquet pattern meets half a file."""
    seen = []
    atomic_write(tmp_path / "b.parquet", lambda path: (seen.append(path), path.touch()))
    assert seen[0].parent == tmp_path
    assert seen[0].suffix != ".parquet"


def test_a_file_in_the_way_of_a_folder_is_bad_input(tmp_path: Path) -> None:
    """A folder that cannot be made is reported in one line, with exit code 2."""
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        atomic_write(tmp_path / "file" / "b.txt", lambda path: path.write_text("x"))


def test_metadata_says_what_a_file_is(file: Path) -> None:
    """Table, schema version and run are in the file's key-value metadata, for any reader."""
    metadata = pq.read_metadata(file).metadata
    assert {key: metadata[key] for key in metadata if key.startswith(b"robbench")} == {
        b"robbench.table": b"samples",
        b"robbench.schema_version": str(SCHEMA_VERSION).encode(),
        b"robbench.run": b"abc",
    }
    assert table_kind(file) == ("samples", "abc")


def test_read_gives_back_types_and_only_the_columns_asked_for(file: Path) -> None:
    """Types survive the file, dictionaries too, and columns can be picked."""
    assert read_table(file, "samples").schema.equals(SAMPLES)
    assert read_table(file, "samples", ["robust", "sample_id"]).column_names == [
        "sample_id",
        "robust",
    ]


def _one_line_about(path: Path, error: pytest.ExceptionInfo[UserError]) -> None:
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_every_truncation_is_a_user_error(file: Path) -> None:
    """A file cut anywhere is refused, naming the file."""
    whole = file.read_bytes()
    for size in [0, 1, 4, 11, *range(12, len(whole), 97), len(whole) - 1]:
        file.write_bytes(whole[:size])
        with pytest.raises(UserError) as error:
            read_table(file, "samples")
        _one_line_about(file, error)


def test_a_flipped_bit_in_a_column_is_a_user_error(
    tmp_path: Path, make_samples: Callable[..., Any]
) -> None:
    """A flipped bit in a column's values would be a wrong number: the checksum finds it."""
    path = tmp_path / "samples" / "abc.parquet"
    write_table(path, samples_table("abc", make_samples(1000)), "abc")
    whole = path.read_bytes()
    for column in ("sample_id", "adv_margin", "n_forward"):
        chunk = pq.read_metadata(path).row_group(0).column(SAMPLES.get_field_index(column))
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        for position in (
            start + chunk.total_compressed_size // 2,
            start + chunk.total_compressed_size - 1,
        ):
            damaged = bytearray(whole)
            damaged[position] ^= 1
            path.write_bytes(damaged)
            with pytest.raises(UserError) as error:
                read_table(path, "samples")
            _one_line_about(path, error)
        path.write_bytes(whole)


@pytest.mark.parametrize("content", [b"", b"hello", b"PAR1" + b"\0" * 100 + b"PAR1", b"PAR1PAR1"])
def test_other_content_is_a_user_error(tmp_path: Path, content: bytes) -> None:
    """What is not Parquet is refused, naming the file."""
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        table_kind(path)
    _one_line_about(path, error)


def test_missing_files_and_folders_are_user_errors(tmp_path: Path) -> None:
    """No file, or a folder in its place."""
    for path in (tmp_path / "nothing.parquet", tmp_path):
        with pytest.raises(UserError) as error:
            table_kind(path)
        _one_line_about(path, error)


def test_foreign_table_is_a_user_error(tmp_path: Path) -> None:
    """A good Parquet file of somebody else is not ours."""
    path = tmp_path / "theirs.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(UserError, match=r"theirs\.parquet was not written by robbench"):
        read_table(path, "samples")


def test_newer_schema_asks_for_an_upgrade(file: Path) -> None:
    """A file of a later schema version is refused rather than misread."""
    table = pq.read_table(file)
    pq.write_table(
        table.replace_schema_metadata(
            {**table.schema.metadata, b"robbench.schema_version": str(SCHEMA_VERSION + 1).encode()}
        ),
        file,
    )
    with pytest.raises(UserError, match="upgrade robbench") as error:
        read_table(file, "samples")
    _one_line_about(file, error)


def test_wrong_table_and_missing_columns(file: Path) -> None:
    """Another of our tables, or one without a column it must have, is refused."""
    with pytest.raises(UserError, match="holds samples, not runs"):
        read_table(file, "runs")
    pq.write_table(pq.read_table(file).drop_columns(["robust"]), file)
    with pytest.raises(UserError, match="lacks the columns robust"):
        read_table(file, "samples")


def test_files_of_the_same_version_may_differ_in_nullable_columns(file: Path) -> None:
    """A column added later is null when an older file lacks it, and ignored by an older reader."""
    table = pq.read_table(file).drop_columns(["dist_l2", "broken_by"])
    pq.write_table(table.append_column("later", pa.nulls(len(table), pa.string())), file)
    read = read_table(file, "samples")
    assert read.schema.equals(SAMPLES)
    assert read["broken_by"].null_count == len(read)
