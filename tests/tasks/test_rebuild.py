"""The model and the data of a finished run, found again."""

import shutil

import pytest
import torch

from robbench.core.errors import UserError
from robbench.store.run import read_run
from robbench.store.store import Store
from robbench.tasks.rebuild import folder_of, rebuild

CPU = torch.device("cpu")


@pytest.fixture
def run(store, cli):
    """The path of a run of `ce`, and the run."""
    words = "--threat linf:0.1 --limit 12 --attack fgsm --quiet --out"
    assert cli(f"attack ce {words}", store).code == 0
    (path,) = (store / "results" / "runs").glob("*.parquet")
    return path, read_run(path)


def test_model_and_samples_are_those_of_the_run(run, store):
    """By their hashes; also of a model and data that are named."""
    path, known = run
    for more in ({}, {"model": str(store / "models" / "ce"), "data": "digits"}):
        found = rebuild(path, known, Store(store), device=CPU, **more)
        assert found.hash == known.info["model_hash"]
        assert found.split.fingerprint() == known.info["data_hash"]
        assert found.split.ids.tolist() == known.samples["sample_id"].to_pylist()


def test_what_is_not_there(run, store):
    """The message says which option leads to it."""
    path, known = run
    with pytest.raises(UserError, match="nowhere"):
        rebuild(path, known, Store(store), device=CPU, model="nowhere")
    shutil.rmtree(store / "models" / "ce")
    with pytest.raises(UserError, match="give its place with --model"):
        rebuild(path, known, Store(store), device=CPU)


def test_the_folder_beside_the_run_comes_first(run, store, tmp_path):
    """Where it has the model; else the one that was given."""
    path, known = run
    out = Store(tmp_path / "out")
    assert folder_of(path, known, out).root == store
    shutil.rmtree(store / "models" / "ce")
    assert folder_of(path, known, out) is out
