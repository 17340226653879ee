"""Event files as TensorBoard itself reads them."""

from __future__ import annotations

import pytest

pytest.importorskip("tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from robbench.reports.exports.tensorboard import write_events


def read(path):
    found = EventAccumulator(str(path.parent))
    found.Reload()
    return found


def test_scalars_and_hyperparameters(a_record, tmp_path):
    """Curves by epoch, results at the epoch of the weights, each with its step and value."""
    (path,) = write_events([a_record()], tmp_path)
    found = read(path)
    scalars = {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }
    assert scalars == {
        "training/train_loss": [(1, 2.0), (2, 1.5)],
        "training/robust_accuracy": [(2, 0.25)],
        "attack/robust_accuracy": [(2, 0.5)],
        "attack/robust_accuracy_low": [(2, 0.25)],
        "attack/robust_accuracy_high": [(2, 0.75)],
        "attack/certified_accuracy": [(2, 0.125)],
    }
    content = found.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    start = metadata.parse_session_start_info_plugin_data(content)
    assert start.hparams["eps"].number_value == 0.15
    assert start.hparams["train.compile"].bool_value is True
    assert start.hparams["model"].string_value == "timm:../x"


def test_again_replaces(a_record, tmp_path):
    """One folder for a run, inside the one named, and one file in it with equal bytes."""
    (path,) = write_events([a_record()], tmp_path / "new")
    before = path.read_bytes()
    assert write_events([a_record()], tmp_path / "new") == [path]
    assert path.read_bytes() == before
    assert [*(tmp_path / "new").rglob("*")] == [path.parent, path]
    assert path.parent.parent == tmp_path / "new"


def test_a_long_name_in_any_script(a_record, tmp_path):
    """A file system counts bytes, at most 255 of a name; runs stay apart."""
    settings = {"model": "名" * 200}
    ids = ("a" * 64, "b" * 64)
    paths = write_events([a_record(run_id=id_, settings=settings) for id_ in ids], tmp_path)
    assert [path.parent.name for path in paths] == [f"{'名' * 33}-{id_}" for id_ in ids]
    assert read(paths[0]).Tags()["scalars"]
