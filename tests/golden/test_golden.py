"""A fixed small run against stored numbers, and the tables' columns against stored ones.

The counts may differ by 3 of 60 samples: processors and versions of torch round differently, and a
sample at the boundary falls on the other side (other instruction sets of one processor moved one
sample). `make.py` beside this file writes the numbers anew.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOLERANCE = 3


@pytest.fixture(scope="module")
def make():
    """The module `make.py`."""
    spec = importlib.util.spec_from_file_location("golden_make", HERE / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def out(cli, make, tmp_path_factory):
    """The output folder of the fixed run."""
    folder = tmp_path_factory.mktemp("golden")
    for command in make.COMMANDS:
        done = cli(*command.split(), "--device", "cpu", "--out", folder)
        assert done.code == 0, done.err
    return folder


def test_the_counts(make, out):
    """Clean-correct and robust samples of both models are the stored ones, up to 3 of 60."""
    stored, found = json.loads((HERE / "numbers.json").read_text()), make.numbers(out)
    assert found.keys() == stored.keys() == {"ce", "at"}
    for model, counts in stored.items():
        assert found[model]["n_samples"] == counts["n_samples"] == 60
        for name in ("n_clean_correct", "n_robust"):
            assert abs(found[model][name] - counts[name]) <= TOLERANCE, (model, name, found, stored)
        assert found[model]["n_robust"] + found[model]["n_adversarial"] == 60


def test_the_stored_counts_can_tell_models_apart():
    """The stored numbers are far enough apart for the tolerance to mean something."""
    stored = json.loads((HERE / "numbers.json").read_text())
    for counts in stored.values():
        assert counts["n_clean_correct"] - counts["n_robust"] > 2 * TOLERANCE
        assert counts["n_robust"] > TOLERANCE
    assert stored["at"]["n_robust"] - stored["ce"]["n_robust"] > 2 * TOLERANCE


@pytest.mark.parametrize(
    "table",
    ["runs", "samples", "measures", "sample_measures", "checks", "certificates", "epochs"],
)
def test_the_schema(make, out, table):
    """The columns' names, order, types and nullability are stored: changes need a new version."""
    stored, found = json.loads((HERE / "schema.json").read_text())[table], make.schemas(out)[table]
    assert list(found.items()) == list(stored.items())


def test_both_models_have_the_same_columns(out):
    """Every file of a table has the full schema, whatever it holds."""
    import pyarrow.parquet as pq

    tables = ("runs", "samples", "measures", "sample_measures", "checks", "certificates")
    for pattern in (*(f"results/{table}/*.parquet" for table in tables), "models/*/epochs.parquet"):
        one, two = (pq.read_schema(path) for path in out.glob(pattern))
        assert one.equals(two)
