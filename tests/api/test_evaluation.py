"""What an Evaluation says, and that saving it gives the command's files."""

import dataclasses
import json
import os
import signal

import pyarrow.parquet as pq
import pytest
import torch

import robbench
from robbench.store.schema import SAMPLES

PLAIN = {"threat": "linf:0.1", "attack": "apgd:steps=10"}


@pytest.fixture(scope="module")
def result(trained_net, digits):
    """An evaluation in memory."""
    return robbench.evaluate(trained_net, *digits, name="net", **PLAIN)


def test_its_numbers_are_those_of_its_rows(result, digits):
    """Rates, interval, margins and points."""
    samples = result.samples
    assert list(samples) == SAMPLES.names
    assert len(result) == len(samples) == 200
    assert result.clean_accuracy == samples["clean_correct"].mean()
    assert result.robust_accuracy == samples["robust"].mean()
    assert result.robust_accuracy == pytest.approx(1 - result.adversarial_ratio)
    low, high = result.robust_accuracy_interval
    assert low < result.robust_accuracy < high
    assert list(result.margins) == ["label", "clean_margin", "adv_margin"]
    assert (result.margins["adv_margin"][samples["robust"]] > 0).all()
    moved = (result.points - digits[0]).abs()
    assert 0.09 < float(moved.max()) <= 0.1 + 1e-6
    assert all(isinstance(text, str) for text in result.flags.values())


def test_flags_of_one_name_are_all_said(result):
    """As the two doubts about what the inputs of a file of weights are."""
    flags = [{"name": "a", "text": "b"}, {"name": "c", "text": "d"}, {"name": "a", "text": "e"}]
    run = dataclasses.replace(result.run, info={**result.run.info, "flags": json.dumps(flags)})
    assert robbench.Evaluation(run, result.plan).flags == {"a": "b; e", "c": "d"}


def test_the_points_are_misclassified_where_a_sample_fell(result, trained_net, digits):
    """As the rows say."""
    trained_net.eval()
    with torch.no_grad():
        right = trained_net(result.points).argmax(1) == digits[1]
    trained_net.train()
    assert right.tolist() == result.samples["robust"].tolist()


def test_it_reads_well(result):
    """The accuracies with their intervals, in text and in a notebook; names are escaped there."""
    text = repr(result)
    assert text.startswith("net on memory, 200 samples, under linf:0.1 by apgd:steps=10\n")
    assert f"{100 * result.robust_accuracy:.1f}%" in text
    assert "<table>" in result._repr_html_()
    result.run.info["model"], before = "<b>", result.run.info["model"]
    assert "<b>" not in result._repr_html_()
    result.run.info["model"] = before


def test_saving_gives_the_files_of_the_command(result, trained_net, digits, tmp_path, cli):
    """The rows are those of out=, found by show, compare and load_runs; saving again is a no-op."""
    path = result.save(tmp_path / "saved")
    written = robbench.evaluate(trained_net, *digits, name="net", out=tmp_path / "written", **PLAIN)
    assert written.path.name == path.name
    for table in ("samples", "points", "checks"):
        ours, theirs = (
            pq.read_table(p.parent.parent / table / p.name).to_pylist()
            for p in (path, written.path)
        )
        for row in (*ours, *theirs):
            row.pop("checked_at", None)
        assert sorted(map(str, ours)) == sorted(map(str, theirs)), table
    before = path.stat().st_mtime_ns
    assert result.save(tmp_path / "saved") == path
    assert path.stat().st_mtime_ns == before
    shown = cli("show net --json --out", tmp_path / "saved")
    assert shown.json["run"]["robust_accuracy"] == result.robust_accuracy
    (row,) = robbench.compare(out=tmp_path / "saved").to_dict("records")
    assert row["robust_accuracy"] == result.robust_accuracy
    assert torch.equal(written.points, result.points)


def test_a_stopped_evaluation_goes_on(trained_net, digits, tmp_path):
    """Ctrl-C keeps finished samples where there is an output folder, and is a KeyboardInterrupt."""

    def stop(share, text):
        if 0 < share < 1:
            os.kill(os.getpid(), signal.SIGINT)

    settings = {"name": "net", "threat": "linf:0.03", "attack": "apgd:steps=20"}
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        robbench.evaluate(
            trained_net, *digits, progress=stop, batch_size=16, out=tmp_path, **settings
        )
    assert signal.getsignal(signal.SIGINT) is handler
    assert list((tmp_path / "results" / "partial").glob("*/*.parquet"))
    found = robbench.evaluate(trained_net, *digits, out=tmp_path, **settings)
    assert '"resumed_samples": 0' not in found.info["provenance"]
    plain = robbench.evaluate(trained_net, *digits, **settings)
    assert found.samples.equals(plain.samples)


def test_checks_of_what_lies_in_memory(result, tmp_path):
    """Those of the saved run; in memory nothing is written."""
    found = result.check(limit=30)
    assert {"check", "verdict", "figure", "text"} <= {*found}
    assert set(found["verdict"]) <= {"pass", "fail", "unclear", "skipped"}
    result.save(tmp_path)
    written = robbench.Evaluation(robbench_run(tmp_path), result.plan, path=path_of(tmp_path))
    assert written.check(limit=30)["verdict"].tolist() == found["verdict"].tolist()


def test_saved_checks_count_as_made(trained_net, digits, tmp_path, cli):
    """The rows of `check` are in the folder, before or after the run; without it, what to call."""
    found = robbench.evaluate(trained_net, *digits, limit=20, name="plain", **PLAIN)
    run_id = found.info["run_id"]
    found.save(tmp_path)
    said = cli("compare plain --out", tmp_path).out
    assert f"result.check(),thenresult.save({str(tmp_path)!r})" in "".join(said.split())
    refused = cli("check", run_id, "--out", tmp_path)
    assert refused.code == 2
    assert "result.check()" in refused.err
    assert "was in memory" in cli("measure", run_id, "--out", tmp_path).err
    rows = found.check(limit=10)
    found.save(tmp_path)
    fresh = robbench.evaluate(trained_net, *digits, limit=20, name="plain", **PLAIN)
    fresh.check(limit=10)
    fresh.save(tmp_path / "other")
    for out in (tmp_path, tmp_path / "other"):
        saved = robbench.load_runs(out=out, table="checks")
        assert saved["run_id"].tolist() == [run_id] * len(rows)
        assert not saved["automatic"].any()
        for column in ("check", "verdict", "text"):
            assert saved[column].tolist() == rows[column].tolist()
        assert robbench.compare(out=out)["checks"][0] in ("pass", "fail")


def path_of(out):
    """The only runs file."""
    (path,) = (out / "results" / "runs").glob("*.parquet")
    return path


def robbench_run(out):
    """The only run, read back."""
    from robbench.store.run import read_run

    return read_run(path_of(out))


def test_models_of_one_name_are_told_apart(trained_net, digits):
    """By the first digits of the weights' hash, only where several models share the name."""
    other = type(trained_net)()
    found = [
        robbench.evaluate(model, *digits, attack=attack, limit=20)
        for model, attack in ((trained_net, "fgsm"), (other, "fgsm"), (trained_net, "pgd:steps=2"))
    ]
    names = list(robbench.compare(found, allow="attack")["model"])
    hashes = [one.info["model_hash"][:6] for one in found]
    assert names == [f"Net-{start}" for start in hashes]
    assert names[0] != names[1]
    assert [one.info["model"] for one in found] == ["Net"] * 3
    alike = robbench.compare([found[0], found[2]], allow="attack")
    assert list(alike["model"]) == ["Net", "Net"]


def test_evaluations_are_compared_without_a_folder(result, trained_net, digits):
    """Paired, as runs of a store are; a mixture with names is refused."""
    weaker = robbench.evaluate(trained_net, *digits, name="weak", threat="linf:0.1", attack="fgsm")
    rows = robbench.compare([result, weaker], allow="attack")
    assert rows["model"].tolist() == ["net", "weak"]
    assert rows["robust_difference"][1] == pytest.approx(
        weaker.robust_accuracy - result.robust_accuracy
    )
    with pytest.raises(robbench.UserError, match="save the Evaluations"):
        robbench.compare([result, "net"])
