"""SQL over the tables of an output folder, by DuckDB. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from robbench.core.errors import UserError
from robbench.results.files import check_readable
from robbench.results.find import parquet_files
from robbench.results.places import Place, Remote, place
from robbench.results.schema import EPOCHS, POINTS, RUNS, SAMPLES
from robbench.results.store import Store

_ALWAYS = {"runs": RUNS, "samples": SAMPLES, "points": POINTS, "epochs": EPOCHS}
_NO_TABLES = ("partial",)


def query(sql: str, where: str | None, out: Path) -> pa.Table:
    """The answer to `sql` over the views runs, samples, points, epochs and every other table in results/.

    `where` is an output folder or its address; None means `out`. A view has all rows of all files, in the file's own columns;
    a column that an older file lacks is null, a view without any file is empty. Nothing is written to the folder by the
    views. Raises UserError without DuckDB, for a folder without tables, a file that cannot be read, and SQL that fails.
    """
    try:
        import duckdb
    except ModuleNotFoundError:
        raise UserError("robbench query needs DuckDB: pip install 'robbench[sql]'") from None
    root = place(where) if where else Store(out).root
    files = _files(root)
    if not files:
        raise UserError(f"no tables in {root}: give the folder that --out named, or run robbench train or attack first")
    with duckdb.connect(":memory:") as connection:
        if isinstance(root, Remote):
            connection.register_filesystem(root.system)
        for name, paths in files.items():
            _view(connection, name, paths)
        for name, schema in _ALWAYS.items():
            if name not in files:
                connection.register(name, schema.empty_table())
        try:
            answer = connection.sql(sql)
            return pa.table({}) if answer is None else answer.to_arrow_table()
        except duckdb.Error as error:
            first = next(line for line in str(error).splitlines() if line.strip())
            views = ", ".join(sorted({*files, *_ALWAYS}))
            raise UserError(f'{first}; the views are {views}, and robbench query "DESCRIBE runs" shows columns') from None


def _files(root: Place) -> dict[str, list[Place]]:
    folders: list[Place] = [*(root / "results").glob("*")]
    files = {folder.name: parquet_files(folder) for folder in folders if folder.name not in _NO_TABLES and folder.is_dir()}
    models: list[Place] = [*(root / "models").glob("*")]
    files["epochs"] = [found for folder in models if (found := folder / "epochs.parquet").is_file()]
    return {name: paths for name, paths in sorted(files.items()) if paths}


def _view(connection: Any, name: str, paths: list[Place]) -> None:
    for path in paths:
        check_readable(path)  # one clear line, and not somewhere in the middle of a query
    listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    quoted = '"' + name.replace('"', '""') + '"'
    connection.execute(f"CREATE VIEW {quoted} AS SELECT * FROM read_parquet([{listed}], union_by_name=true)")
