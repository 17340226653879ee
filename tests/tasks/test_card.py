"""Cards of real runs: the file that was attacked is the subject, and bad input writes nothing."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
import torch

import robbench
from robbench.core.errors import UserError
from robbench.store.schema import RUNS
from robbench.store.tables import read_table, write_table
from robbench.tasks.card import card


@pytest.fixture
def out(store, cli):
    """A folder with a run of each model, with points."""
    words = "--threat linf:0.15 --limit 20 --attack fgsm --store-points --quiet --out"
    assert cli(f"attack ce at {words}", store).code == 0
    return store


def predicate(made):
    return json.loads(made.text)["predicate"]


def test_the_subject_is_the_file_of_weights(out):
    """Its digest is what sha256sum says; the model's hash is robbench's own."""
    made = card(["at"], form="in-toto", out=out)
    file = out / "models" / "at" / "model.safetensors"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    document = json.loads(made.text)
    assert document["subject"] == [{"name": "model.safetensors", "digest": {"sha256": digest}}]
    (run,) = robbench.load_runs("at", out=out).to_dict("records")
    found = document["predicate"]
    assert found["model"]["hash"] == run["model_hash"]
    robust = found["evaluations"][0]["results"][1]
    assert robust["value"] == run["robust_accuracy"]
    assert robust["interval"]["low"] == run["robust_accuracy_low"]


def test_a_checkpoint_has_a_file_of_its_own(out, cli):
    """The model that is the last checkpoint is that file's, whichever was selected."""
    words = "--threat linf:0.1 --limit 9 --attack fgsm --quiet --out"
    assert cli(f"attack at@last {words}", out).code == 0
    made = card(["at@last"], form="in-toto", out=out)
    config = json.loads((out / "models" / "at" / "config.json").read_text())
    name = "model" if config["selected"]["model"] == "last" else "last"
    file = out / "models" / "at" / f"{name}.safetensors"
    assert made.weights == (file.name, hashlib.sha256(file.read_bytes()).hexdigest())


def test_other_weights_are_refused(out, tmp_path):
    """Of ce in the place of at; the card of a model that moved takes --model."""
    target = out / "models" / "at" / "model.safetensors"
    kept = target.rename(tmp_path / "kept")
    target.write_bytes((out / "models" / "ce" / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="does not hold the model"):
        card(["at"], file=tmp_path / "x.md", out=out)
    assert not (tmp_path / "x.md").exists()
    kept.rename(target)
    folder = (out / "models" / "at").rename(tmp_path / "moved")
    assert card(["at"], form="in-toto", model=str(folder), out=out).weights
    made = card(["at"], out=out)
    assert made.weights is None
    assert "no weights" in made.notes[0]
    with pytest.raises(UserError, match="about a file"):
        card(["at"], form="in-toto", out=out)


def test_a_model_of_another_source_has_no_file(out, cli):
    """Card and bill say its hash; a statement is refused."""
    words = "--data digits --threat linf:0.1 --limit 9 --attack fgsm --quiet --out"
    assert cli(f"attack mlp:width=16,depth=1 {words}", out).code == 0
    (name,) = {*robbench.load_runs(out=out)["model"]} - {"ce", "at"}
    digest = robbench.load_runs(name, out=out)["model_hash"][0]
    for form in ("markdown", "cyclonedx"):
        assert digest in card([name], form=form, out=out).text
    assert "SHA-256" not in card([name], form="cyclonedx", out=out).text
    with pytest.raises(UserError, match="about a file"):
        card([name], form="in-toto", out=out)


def test_runs_at_an_address(out, tmp_path, monkeypatch):
    """Named by their files they come without a model; as --out, with it."""
    monkeypatch.setenv("ROBBENCH_COPIES", str(tmp_path / "copies"))
    (run,) = robbench.load_runs("at", out=out)["run_id"]
    name = f"file://{out}/results/runs/{run}.parquet"
    assert card([name], form="cyclonedx", out=out).weights is None
    with pytest.raises(UserError, match="on another machine"):
        card([name], model="at", out=out)
    made = robbench.card("at", out=f"file://{out}")
    assert made.weights == card(["at"], out=out).weights


def test_a_model_in_memory_is_no_file(out):
    """Also where a saved model has the same name."""
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    images, labels = torch.rand(8, 1, 8, 8), torch.zeros(8, dtype=torch.int64)
    made = robbench.evaluate(net, images, labels, "linf:0.1", "fgsm", name="at", classes=10)
    made.save(out)
    assert card([made.info["run_id"]], out=out).weights is None


def test_a_model_read_for_other_data(out, cli):
    """On some of its classes it is another model of the same file."""
    words = "--data digits[3,8] --threat linf:0.1 --limit 9 --attack fgsm --quiet --out"
    assert cli(f"attack at {words}", out).code == 0
    runs = robbench.load_runs("at", out=out)
    first, last = (card([run], form="in-toto", out=out) for run in runs["run_id"])
    assert first.weights == last.weights
    hashes = [predicate(made)["model"]["hash"] for made in (first, last)]
    assert hashes == runs["model_hash"].tolist()
    assert len({*hashes}) == 2
    with pytest.raises(UserError, match="runs of 2 models"):
        card(["at"], out=out)


def test_several_runs_of_one_model(out, cli):
    """In the order of the names, each with its threat model; --where chooses."""
    words = "--threat linf:0.05,0.1 --limit 20 --attack fgsm --quiet --out"
    assert cli(f"attack at {words}", out).code == 0
    found = predicate(card(["at"], form="in-toto", out=out))["evaluations"]
    assert [one["threat"]["eps"] for one in found] == [0.15, 0.05, 0.1]
    assert [one["pointsKept"] for one in found] == [True, False, False]
    some = card(["at"], form="in-toto", where=["threat=linf:0.1"], out=out)
    assert [one["threat"]["eps"] for one in predicate(some)["evaluations"]] == [0.1]


def test_certificates_are_a_metric(out, cli):
    """Both bounds stand in one card: the certified share is not above the robust one."""
    words = "certify at --method ibp --threat linf:0.15 --limit 20 --quiet --out"
    assert cli(words, out).code == 0
    results = predicate(card(["at"], form="in-toto", out=out))["evaluations"][0]["results"]
    found = {metric["name"]: metric["value"] for metric in results}
    assert 0 <= found["certified accuracy"] <= found["robust accuracy"]


def _edit(out, **changes):
    (path,) = (p for p in (out / "results" / "runs").glob("*.parquet") if _model(p) == "at")
    table = read_table(path, "runs")
    for name, value in changes.items():
        place = table.column_names.index(name)
        table = table.set_column(place, RUNS.field(name), [[value]])
    write_table(path, table, path.stem)


def _model(path):
    return read_table(path, "runs")["model"][0].as_py()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"robust_accuracy": 0.99}, "changed after the attack"),
        ({"status": "stopped early"}, "stopped early, by a gate"),
    ],
)
def test_runs_that_say_too_much_are_refused(out, changes, why):
    """A row that its samples contradict, and one whose samples a gate chose."""
    _edit(out, **changes)
    with pytest.raises(UserError, match=why):
        card(["at"], out=out)


def test_a_readme_is_changed_in_its_own_place(out, tmp_path):
    """Its mode stays, a second time changes nothing, and a broken one is left alone."""
    readme = tmp_path / "README.md"
    readme.write_text("---\nlicense: mit\n---\n# at\n")
    readme.chmod(0o640)
    made = card(["at"], into=readme, out=out)
    assert readme.read_text() == made.text
    assert made.text.startswith("---\nlicense: mit\nmodel-index:\n")
    assert readme.stat().st_mode & 0o777 == 0o640
    assert card(["at"], into=readme, out=out).text == made.text
    readme.write_text("---\nlicense: [\n---\n")
    with pytest.raises(UserError, match="cannot be merged"):
        card(["at"], into=readme, out=out)
    assert readme.read_text() == "---\nlicense: [\n---\n"
    assert card(["at"], into=tmp_path / "new.md", out=out).path == tmp_path / "new.md"


def test_a_readme_without_permission(out, tmp_path, monkeypatch):
    """Renaming over it would replace what may not be written."""
    readme = tmp_path / "README.md"
    readme.write_text("mine")
    monkeypatch.setattr(os, "access", lambda path, mode: path != readme)
    with pytest.raises(UserError, match="Permission denied"):
        card(["at"], into=readme, out=out)
    assert readme.read_text() == "mine"
