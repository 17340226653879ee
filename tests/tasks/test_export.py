"""`robbench export`: the runs found, their training beside them, and what is refused."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import robbench
from robbench.core.errors import UserError
from robbench.store.epochs import read_epochs
from robbench.tasks.export import export


@pytest.fixture
def one_attack(cli, store):
    """An output folder with `ce` trained and attacked."""
    words = "attack ce --attack fgsm --threat linf:0.15 --limit 20 --out"
    assert cli(words, store).code == 0
    return store


def test_curves_are_those_of_the_training(one_attack, tmp_path):
    """By epoch, as the table of epochs has them; not of a training that took the name later."""
    tensorboard = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def losses():
        (row,) = export(["ce"], f"tensorboard:{tmp_path / 'tb'}", one_attack).runs
        found = tensorboard.EventAccumulator(row["place"])
        found.Reload()
        scalars = found.Tags()["scalars"]
        assert "attack/robust_accuracy" in scalars
        name = "training/train_loss"
        return [(e.step, e.value) for e in found.Scalars(name)] if name in scalars else []

    epochs = read_epochs(one_attack / "models/ce/epochs.parquet")
    assert [step for step, _ in losses()] == [1, 2]
    assert [value for _, value in losses()] == pytest.approx([row["train_loss"] for row in epochs])
    config = one_attack / "models/ce/config.json"
    changed = json.loads(config.read_text())
    changed["config"]["seed"] = 5
    config.write_text(json.dumps(changed))
    assert losses() == []


def test_certificates_are_exported(cli, one_attack):
    """As compare shows them."""
    words = "certify ce --method ibp --threat linf:0.15 --limit 20 --out"
    assert cli(words, one_attack).code == 0
    (measures,) = robbench.export("ce", to="bencher", out=one_attack).content.values()
    (row,) = robbench.compare("ce", out=one_attack).to_dict("records")
    assert measures["certified-accuracy"]["value"] == row["certified_accuracy"]


def test_names_and_conditions(stored, tmp_path):
    """As of other commands."""
    stored("aaaa11111111")
    stored("bbbb11111111", model="at", age=1)
    for names, where, found in (
        ([], [], ["aaaa11111111", "bbbb11111111"]),
        (["at"], [], ["bbbb11111111"]),
        ([], ["model=ce"], ["aaaa11111111"]),
    ):
        done = export(names, "bencher", tmp_path, where=where)
        assert [row["run_id"] for row in done.runs] == found


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("mlfow", "did you mean mlflow"),
        ("", "known: bencher, mlflow, tensorboard"),
        ("tensorboard", "tensorboard:DIR"),
        ("tensorboard:", "tensorboard:DIR"),
        ("mlflow:", "mlflow:URI"),
        ("bencher:", "bencher:FILE"),
    ],
)
def test_what_is_no_tool(to, said, stored, tmp_path):
    """One line that says how to write it."""
    stored("aaaa11111111")
    with pytest.raises(UserError, match=said):
        export([], to, tmp_path)


def test_two_exports_at_once_make_a_run_once(stored, tmp_path, monkeypatch):
    """The second waits, and says for whom; both looks would find nothing otherwise."""
    client = pytest.importorskip("mlflow").MlflowClient
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    stored("aaaa11111111")
    uri, said, search = (tmp_path / "mlruns").as_uri(), [], client.search_runs
    client(uri).create_experiment("robbench")

    def slowly(*args, **given):
        found = search(*args, **given)
        time.sleep(0.5)
        return found

    monkeypatch.setattr(client, "search_runs", slowly)
    with ThreadPoolExecutor() as pool:
        calls = [
            pool.submit(export, [], f"mlflow:{uri}", tmp_path, say=said.append) for _ in range(2)
        ]
        rows = [row for call in calls for row in call.result().runs]
    assert sorted(row["fresh"] for row in rows) == [False, True]
    assert len({row["place"] for row in rows}) == 1
    assert [text.partition(":")[0] for text in said] == ["export to MLflow"]


def test_a_folder_to_be_read_only_is_exported_without_a_lock(stored, tmp_path, monkeypatch):
    """Nothing is written there."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    stored("aaaa11111111")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    (row,) = export([], f"mlflow:{(tmp_path / 'mlruns').as_uri()}", tmp_path).runs
    assert row["fresh"]
    assert not (tmp_path / "results" / "locks").exists()


@pytest.mark.parametrize("tool", ["mlflow", "tensorboard"])
def test_a_missing_extra(tool, stored, tmp_path, monkeypatch):
    """Said before anything is read, with what installs it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"pip install 'robbench\[{tool}\]'"):
        export([], f"{tool}:x", tmp_path)
