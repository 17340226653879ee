"""What is packed, and what is not."""

import json
import shutil
import zipfile

import pyarrow.parquet as pq
import pytest

from robbench.core.errors import UserError
from robbench.core.files import sha256
from robbench.store.bundle import MANIFEST
from robbench.tasks.bundle import bundle

HOW = "--threat linf:0.1 --limit 12 --attack fgsm --store-points --quiet --out"


@pytest.fixture
def out(store, cli):
    """A folder with a run of `ce`."""
    assert cli(f"attack ce {HOW}", store).code == 0
    return store


def _manifest(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist()[0] == MANIFEST
        return json.loads(archive.read(MANIFEST))


def test_the_parts_are_those_of_the_output_folder(out, tmp_path):
    """Byte for byte, with the hashes that are printed; none of the other model."""
    made = bundle(["ce"], tmp_path / "b.zip", out=out)
    (run,) = (out / "results" / "runs").glob("*.parquet")
    tables = [f"results/{kind}/{run.name}" for kind in ("checks", "points", "runs", "samples")]
    assert made.members == ["models/ce/config.json", "models/ce/model.safetensors", *tables]
    with zipfile.ZipFile(made.path) as archive:
        assert all(archive.read(name) == (out / name).read_bytes() for name in made.members)
    manifest = _manifest(made.path)
    assert {n: m["sha256"] for n, m in manifest["members"].items()} == {
        name: sha256(out / name) for name in made.members
    }
    assert made.sha256 == sha256(made.path)
    info = pq.read_table(run).to_pylist()[0]
    (facts,) = manifest["runs"]
    assert all(facts[name] == info[name] for name in ("model_hash", "threat", "robust_accuracy"))
    assert made.needs == [f"data digits test, first=12 (samples {info['data_hash']})"]


def test_equal_runs_make_equal_bytes(out, tmp_path):
    """Wherever the folder is by now."""
    first = bundle(["ce"], tmp_path / "1.zip", out=out).path.read_bytes()
    moved = out.rename(tmp_path / "moved")
    assert bundle(["ce"], tmp_path / "2.zip", out=moved).path.read_bytes() == first


def test_without_the_model(out, tmp_path):
    """Its hash is needed by name; so is what the spec of an untrained one means."""
    made = bundle(["ce"], tmp_path / "b.zip", with_model=False, out=out)
    assert not any(name.startswith("models/") for name in made.members)
    assert any(need.startswith("model ce (hash ") for need in made.needs)
    assert _manifest(made.path)["runs"][0]["packed"] == []


def test_a_model_that_is_no_saved_folder(cli, tmp_path):
    """Its spec leads to it."""
    assert cli(f"attack mlp:depth=0 --data digits {HOW}", tmp_path / "S").code == 0
    made = bundle(["mlp:depth=0"], tmp_path / "b.zip", out=tmp_path / "S")
    assert not any(name.startswith("models/") for name in made.members)
    assert any(need.startswith("model mlp:depth=0 (hash ") for need in made.needs)


def test_a_checkpoint_is_packed_as_the_run_names_it(store, cli, tmp_path):
    """`at@last` is of the same folder, with its own weights or those that were selected."""
    assert cli(f"attack at@last at@best {HOW}", store).code == 0
    made = bundle(["at@last", "at@best"], tmp_path / "b.zip", out=store)
    there = sorted(path.name for path in (store / "models" / "at").glob("*.safetensors"))
    weights = [name for name in made.members if name.endswith(".safetensors")]
    assert weights == [f"models/at/{name}" for name in there]
    assert cli("verify", made.path, "--quiet", "--out", tmp_path / "none").code == 0


def test_a_model_that_has_changed_is_not_packed(out, tmp_path):
    """The bundle would refute itself. What was there before stays."""
    (tmp_path / "b.zip").write_text("before")
    shutil.copy(out / "models" / "at" / "model.safetensors", out / "models" / "ce")
    with pytest.raises(UserError, match="not what was attacked"):
        bundle(["ce"], tmp_path / "b.zip", out=out)
    assert (tmp_path / "b.zip").read_text() == "before"


def test_a_model_that_was_moved(out, tmp_path):
    """It is packed under the name that the run has for it."""
    moved = (out / "models" / "ce").rename(tmp_path / "moved")
    made = bundle(["ce"], tmp_path / "b.zip", model=str(moved), out=out)
    assert "models/ce/model.safetensors" in made.members


def test_two_models_of_one_name(out, cli, tmp_path):
    """Each is beside its run; one bundle cannot hold both."""
    other = shutil.copytree(out, tmp_path / "other")
    shutil.rmtree(other / "results")
    config = other / "models" / "ce" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert cli(f"attack ce --seed 1 {HOW}", other).code == 0
    made = bundle([str(other)], tmp_path / "b.zip", out=out)
    with zipfile.ZipFile(made.path) as archive:
        assert archive.read("models/ce/config.json") == config.read_bytes()
    with pytest.raises(UserError, match="put these runs in two bundles"):
        bundle([str(out), str(other)], tmp_path / "b.zip", out=out)
    assert sha256(tmp_path / "b.zip") == made.sha256


def test_a_run_without_points_says_so(store, cli, tmp_path):
    """Before anybody is sent it."""
    assert cli("attack ce", *HOW.replace("--store-points ", "").split(), store).code == 0
    made = bundle(["ce"], tmp_path / "b.zip", out=store)
    assert any("which kept none" in need for need in made.needs)


def test_a_run_under_a_corruption_needs_no_points(store, cli, tmp_path):
    """Nobody is told that its number cannot be confirmed; verify agrees, and it is no bound."""
    assert cli("attack ce --threat corruption:fog@5 --limit 12 --out", store).code == 0
    made = bundle(["ce"], tmp_path / "b.zip", out=store)
    assert [need.split()[0] for need in made.needs] == ["data"]
    done = cli("verify --verbose", made.path, "--out", tmp_path)
    assert done.code == 0, done.out
    assert "robust accuracy" in done.out
    assert "<=" not in done.out


def test_a_folder_is_no_place_for_a_bundle(out, tmp_path):
    """Refused before the work."""
    with pytest.raises(UserError, match="no place for a file"):
        bundle(["ce"], tmp_path, out=out)
