"""Whether runs are of the model, the samples and the settings that they say."""

import json
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from robbench.analysis.summary import summarise
from robbench.data.load import load
from robbench.tasks.verify.identity import of_description
from robbench.tasks.verify.run import verify


def _verdicts(names, out, **options):
    found, code = verify([str(name) for name in names], out=out, **options)
    return {c.claim: c for one in found for c in one.claims}, code


def _keep(out, places, table_of, change):
    """A run that says it was stopped early, of some of its samples, with all its numbers right."""
    row, samples, points = (table_of(out, kind) for kind in ("runs", "samples", "points"))
    table = pq.read_table(samples).take(places)
    pq.write_table(table, samples)
    kept = table["sample_id"].to_pylist()
    rows = pq.read_table(points)
    pq.write_table(rows.filter(pc.is_in(rows["sample_id"], pa.array(kept))), points)
    split = load("digits", "test", limit=30)
    held = torch.isin(split.ids, torch.tensor(kept)).nonzero().flatten()
    numbers = {name: [value] for name, value in summarise(table).items()}
    hashed = [split.take(held).fingerprint()]
    change(row, **numbers, status=["stopped early"], data_hash=hashed)


def test_samples_that_were_chosen_leave_them_open(out, table_of, change):
    """Without what broke, a run said to be stopped early is right in all it says: not enough."""
    robust = pq.read_table(table_of(out, "samples"))["robust"].to_pylist()
    _keep(out, [i for i, withstood in enumerate(robust) if withstood], table_of, change)
    claims, code = _verdicts([table_of(out, "runs")], out)
    assert (claims["robust accuracy"].published, claims["robust accuracy"].confirmed) == (1, 1)
    assert {c.claim for c in claims.values() if c.verdict != "confirmed"} == {"samples"}
    assert (code, claims["samples"].verdict) == (4, "unconfirmed")
    assert f"{sum(robust)} of 30 samples" in claims["samples"].why


def test_a_run_stopped_early_that_has_all_samples(out, table_of, change):
    """None can have been chosen."""
    _keep(out, list(range(30)), table_of, change)
    claims, code = _verdicts([table_of(out, "runs")], out)
    assert (code, claims["samples"].verdict) == (0, "confirmed")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model_arch", "wide-resnet:depth=70"),
        ("model_outputs", "probabilities"),
        ("subset", "first=10000"),
        ("subset", None),
        ("loss", "trades"),
        ("train_seed", 99),
        ("classes", '["cat", "dog"]'),
    ],
)
def test_a_row_that_describes_another_model_or_other_data(out, table_of, change, name, said):
    """All numbers and hashes are right: what was edited is named, and nothing else."""
    row = table_of(out, "runs")
    before = _verdicts([row], out)[0]["description"]
    assert (before.verdict, before.why) == ("confirmed", "")
    change(row, **{name: [said]})
    claims, code = _verdicts([row], out)
    assert {c.claim for c in claims.values() if c.verdict != "confirmed"} == {"description"}
    assert (code, claims["description"].verdict) == (1, "refuted")
    assert claims["description"].why.startswith(f"{name} is ")
    assert claims["description"].why.endswith(f", the row says {json.dumps(said)}")


INFO = {
    "run_id": "0123456789ab",
    "model_arch": "mlp",
    "model_outputs": None,
    "loss": None,
    "train_seed": None,
    "classes": None,
    "subset": "first=5",
    "config": '{"limit": 5}',
}
OTHER = SimpleNamespace(
    outputs="", trained={}, arch="x:make", split=SimpleNamespace(classes=("a", "b"))
)


@pytest.mark.parametrize(
    ("options", "verdict"), [({}, "refuted"), ({"other_model": True}, "confirmed")]
)
def test_another_way_to_the_same_weights(options, verdict):
    """They have the hash of the run, and another name."""
    assert of_description(INFO, OTHER, whole=True, **options).verdict == verdict


def test_what_a_row_leaves_out_is_no_claim():
    """But for the subset: without one, the samples would be all of the data."""
    same = SimpleNamespace(**{**vars(OTHER), "arch": "mlp"})
    assert of_description(INFO, same, whole=True).published == "2 facts"
    assert of_description({**INFO, "subset": None}, same, whole=True).verdict == "refuted"
    part = {**INFO, "subset": "random=3,seed=0 of first=5"}
    assert of_description(part, same, whole=False).verdict == "confirmed"
