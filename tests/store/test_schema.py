"""The tables' columns."""

from __future__ import annotations

from robbench.store.schema import EPOCHS, MEASURES, RUNS, SAMPLE_MEASURES, SAMPLES, TASKS


def test_unique_columns_and_metadata() -> None:
    """Each table names itself and its version and has no column twice."""
    more = (("measures", MEASURES), ("sample_measures", SAMPLE_MEASURES), ("tasks", TASKS))
    for name, schema in (("runs", RUNS), ("samples", SAMPLES), ("epochs", EPOCHS), *more):
        assert schema.metadata == {
            b"robbench.table": name.encode(),
            b"robbench.schema_version": b"3",
        }
        assert len(set(schema.names)) == len(schema.names)
