"""SQL over the tables of an output folder, by DuckDB. Needs no torch."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import FSSpecHandler, PyFileSystem

from robbench.core.errors import UserError
from robbench.core.imports import require_extra
from robbench.store.address.copies import bring
from robbench.store.find import parquet_files
from robbench.store.locations import Location, Remote, locate
from robbench.store.schema import EPOCHS, POINTS, RUNS, SAMPLES
from robbench.store.store import Store
from robbench.store.tables import check_readable

_ALWAYS = {"runs": RUNS, "samples": SAMPLES, "points": POINTS, "epochs": EPOCHS}
_NO_TABLES = ("partial",)


def query(sql: str, where: str | None, out: Path, *, allow_files: bool = False) -> pa.Table:
    """The answer to `sql` over a view per table: runs, samples, points, epochs and others.

    `where` is an output folder or its address; None means `out`. A view has all rows of all files,
    in the file's own columns; a column that an older file lacks is null, a view without any file is
    empty. Beside the views SQL reads and writes no file, unless `allow_files`. Raises UserError
    without DuckDB, for a folder without tables, SQL that fails, and SQL that names a view with a
    file that cannot be read.
    """
    require_extra("duckdb", "sql", "robbench query needs DuckDB")
    import duckdb

    root = locate(where) if where else Store(out).root
    bring(root / "results")
    files = _files(root)
    if not files:
        raise UserError(
            f"no tables in {root}: give the folder that --out named, or run robbench train or "
            "attack first"
        )
    with tempfile.TemporaryDirectory() as spill, duckdb.connect(":memory:") as connection:
        broken: dict[str, UserError] = {}
        for name, paths in files.items():
            try:
                connection.register(name, _view(root, paths))
            except UserError as error:
                broken[name] = error
        for name, schema in _ALWAYS.items():
            if name not in files:
                connection.register(name, schema.empty_table())
        # A query may come from elsewhere; none can switch these on again.
        connection.execute("SET temp_directory = ?", [spill])
        if not allow_files:
            connection.execute(
                "SET python_enable_replacements = false; SET enable_external_access = false"
            )
        try:
            answer = connection.sql(sql)
            return pa.table({}) if answer is None else answer.to_arrow_table()
        except duckdb.Error as error:
            if named := [why for name, why in broken.items() if name in sql.lower()]:
                raise named[0] from None
            first = next(line for line in str(error).splitlines() if line.strip())
            if "disabled by configuration" in first:
                raise UserError(
                    f"{first}: a query reads the views only; give --allow-files if it is your own"
                ) from None
            views = ", ".join(sorted({*files, *_ALWAYS}))
            raise UserError(
                f'{first}; the views are {views}, and robbench query "DESCRIBE runs" shows columns'
            ) from None


def _files(root: Location) -> dict[str, list[Location]]:
    folders: list[Location] = [*(root / "results").glob("*")]
    files = {
        folder.name: parquet_files(folder)
        for folder in folders
        if folder.name not in _NO_TABLES and folder.is_dir()
    }
    models: list[Location] = [*(root / "models").glob("*")]
    files["epochs"] = [found for folder in models if (found := folder / "epochs.parquet").is_file()]
    return {name: paths for name, paths in sorted(files.items()) if paths}


def _view(root: Location, paths: list[Location]) -> ds.Dataset:
    # One clear line, and not somewhere in the middle of a query.
    schemas = [check_readable(path) for path in paths]
    try:
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        raise UserError(
            f"{paths[0].parent}: its files differ in the type of a column ({error})"
        ) from None
    files = PyFileSystem(FSSpecHandler(root.system)) if isinstance(root, Remote) else None
    return ds.dataset(
        [path.inside if isinstance(path, Remote) else str(path) for path in paths],
        schema,
        "parquet",
        files,
    )
