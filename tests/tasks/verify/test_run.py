"""Whole verifications: runs, folders and bundles, as they are and as they were tampered with."""

import json
import shutil
import sys
import zipfile

import numpy as np
import pyarrow.parquet as pq
import pytest

from robbench.analysis.summary import summarise
from robbench.core.errors import UserError
from robbench.core.files import sha256
from robbench.tasks.bundle import bundle
from robbench.tasks.model_folder import read_model
from robbench.tasks.verify.run import plain_rows, verify


def _verdicts(names, out, **options):
    found, code = verify([str(name) for name in names], out=out, **options)
    return {c.claim: c for one in found for c in one.claims}, code


def test_a_run_with_points_is_confirmed(attacked_at, table_of):
    """By its id, its file, and its folder; nothing is written."""
    claims, code = _verdicts(["at"], attacked_at)
    assert code == 0
    assert {claim.verdict for claim in claims.values()} == {"confirmed"}
    info = pq.read_table(table_of(attacked_at, "runs")).to_pylist()[0]
    assert claims["robust accuracy"].confirmed == pytest.approx(info["robust_accuracy"])
    assert claims["model"].confirmed == info["model_hash"]
    assert _verdicts([table_of(attacked_at, "runs")], attacked_at)[1] == 0


def test_a_folder_with_a_run_without_points_is_not_enough(attacked_at, tmp_path):
    """The models are found beside the runs, not in another output folder."""
    found, code = verify([str(attacked_at)], out=tmp_path)
    assert (len(found), code) == (2, 4)
    open_ = [c.claim for one in found for c in one.claims if c.verdict != "confirmed"]
    assert open_ == ["stored points", "robust accuracy", "median worst margin"]


def _scaled(rows):
    for row in rows:
        row["clean_margin"] *= 10
        row["adv_margin"] *= 10


def _renamed(rows):
    for row in rows:
        row["adv_pred"] = (row["adv_pred"] + 1) % 10


@pytest.mark.parametrize(
    ("forge", "refuted"),
    [
        (_scaled, {"median clean margin", "median worst margin"}),
        (_renamed, {"median worst margin"}),
    ],
)
def test_margins_and_classes_that_were_made_up_are_refuted(out, table_of, change, forge, refuted):
    """Also where the row of the run follows from them."""
    samples = table_of(out, "samples")
    rows = pq.read_table(samples).to_pylist()
    forge(rows)
    columns = ("clean_margin", "adv_margin", "adv_pred")
    change(samples, **{name: [row[name] for row in rows] for name in columns})
    told = summarise(pq.read_table(samples))
    margins = [name for name in told if "margin" in name]
    change(table_of(out, "runs"), **{name: [told[name]] for name in margins})
    claims, code = _verdicts([table_of(out, "runs")], out)
    assert (code, {name for name in claims if claims[name].verdict == "refuted"}) == (1, refuted)


def test_a_robust_accuracy_that_was_raised_is_refuted(out, table_of, change):
    """In the row, and with its samples: the points tell."""
    row, samples = table_of(out, "runs"), table_of(out, "samples")
    known = pq.read_table(samples).to_pylist()
    change(row, robust_accuracy=[0.99])
    claims, code = _verdicts([row], out)
    assert (code, claims["table from rows"].verdict) == (1, "refuted")
    assert claims["robust accuracy"].verdict == "refuted"
    n = len(known)
    broken = [row["broken_by"] == "clean" for row in known]
    by = ["clean" if wrong else None for wrong in broken]
    change(samples, adversarial=broken, robust=[not b for b in broken], broken_by=by)
    rate = 1 - sum(broken) / n
    change(row, robust_accuracy=[rate], n_robust=[n - sum(broken)], n_adversarial=[sum(broken)])
    claims, code = _verdicts([row], out)
    assert (code, claims["robust accuracy"].verdict) == (1, "refuted")
    assert claims["robust accuracy"].confirmed < rate
    assert claims["stored points"].verdict == "refuted"


def test_a_robust_accuracy_that_was_lowered_is_refuted(out, table_of, change):
    """Points of survivors, said to be adversarial: the model says otherwise."""
    change(
        table_of(out, "points"), adversarial=[True] * len(pq.read_table(table_of(out, "points")))
    )
    n = 30
    change(
        table_of(out, "samples"), adversarial=[True] * n, robust=[False] * n, broken_by=["fgsm"] * n
    )
    claims, code = _verdicts([table_of(out, "runs")], out)
    assert (code, claims["stored points"].verdict) == (1, "refuted")
    assert claims["robust accuracy"].verdict == "refuted"


def test_points_outside_of_the_budget_are_refuted(out, table_of, change):
    """Twice as far, they break more, and count for nothing."""
    points = table_of(out, "points")
    rows = pq.read_table(points).to_pylist()
    types = {"f2": "<f2", "f4": "<f4"}
    far = [np.frombuffer(r["delta"], types[r["encoding"]]).astype("<f4") * 2 for r in rows]
    change(points, delta=[d.tobytes() for d in far], encoding=["f4"] * len(rows))
    claims, code = _verdicts([table_of(out, "runs")], out)
    assert (code, claims["stored points"].verdict) == (1, "refuted")
    assert claims["stored points"].confirmed < len(rows)


def test_other_weights_are_refuted(out, table_of):
    """Then the model is not asked: its answers would be of another."""
    shutil.copy(out / "models" / "ce" / "model.safetensors", out / "models" / "at")
    claims, code = _verdicts([table_of(out, "runs")], out)
    assert (code, claims["model"].verdict, claims["its answers"].verdict) == (1, *["refuted"] * 2)
    assert claims["clean accuracy"].verdict == "unconfirmed"
    assert claims["table from rows"].verdict == "confirmed"


def test_other_data_are_refuted(attacked_at):
    """The digits of another split have other samples; the model may say where it is."""
    claims, code = _verdicts(["at"], attacked_at, data="digits[3,8]", model="at")
    assert (code, claims["samples"].verdict) == (1, "refuted")
    assert (
        _verdicts(["at"], attacked_at, data="digits", model=str(attacked_at / "models/at"))[1] == 0
    )


def test_rows_left_out_are_refuted(out, table_of, change):
    """A run of fewer samples than its settings name: the data tell."""
    samples = pq.read_table(table_of(out, "samples")).slice(0, 20)
    pq.write_table(samples, table_of(out, "samples"))
    change(table_of(out, "runs"), n_samples=[20])
    claims, code = _verdicts([table_of(out, "runs")], out)
    assert (code, claims["samples"].verdict) == (1, "refuted")


def test_a_model_that_is_gone_leaves_all_open(out, table_of):
    """What the rows say of themselves is verified; a model that was named and is not there, not."""
    shutil.rmtree(out / "models" / "at")
    claims, code = _verdicts([table_of(out, "runs")], out)
    assert (code, claims["table from rows"].verdict) == (4, "confirmed")
    assert claims["robust accuracy"].verdict == "unconfirmed"
    assert "--model" in claims["robust accuracy"].why
    with pytest.raises(UserError, match="nowhere"):
        _verdicts([table_of(out, "runs")], out, model="nowhere")


@pytest.mark.parametrize("target", ["3", "least-likely", "random"])
def test_a_target(store, cli, how, target, table_of, change):
    """Each sample's class is computed again; rows with another are refuted."""
    done = cli(f"attack ce --target {target} --store-points {how}", store)
    assert done.code == 0, done.err
    claims, code = _verdicts(["ce"], store)
    assert (code, "target not reached" in claims) == (0, True)
    rows = pq.read_table(table_of(store, "samples")).to_pylist()
    other = [(row["target"] + 1) % 10 for row in rows[:2]]
    change(table_of(store, "samples"), target=other + [row["target"] for row in rows[2:]])
    claims, code = _verdicts(["ce"], store)
    assert (code, claims["targets"].verdict, len(claims["targets"].samples)) == (1, "refuted", 2)


def test_an_audit_leaves_no_evidence_of_what_withstood(store, cli, how):
    """Its bound is named, not confirmed."""
    words = "--audit 5 --audit-attack apgd:steps=10 --store-points"
    assert cli(f"attack at {words} {how}", store).code == 0
    claims, code = _verdicts(["at"], store)
    assert (code, claims["robust accuracy, audited"].verdict) == (4, "unconfirmed")
    assert claims["robust accuracy"].verdict == "confirmed"


def test_a_bundle_is_verified_without_the_folder_it_is_of(packed, tmp_path, monkeypatch):
    """With its own model, in a folder where there is none."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    claims, code = _verdicts([packed], tmp_path / "elsewhere" / "runs")
    assert (code, {claim.verdict for claim in claims.values()}) == (0, {"confirmed"})
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_flipped_byte_of_a_bundle_is_found_wherever_it_is(packed, tmp_path):
    """In every member, and it is named; between them, by its place."""
    whole = packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        entries = archive.infolist()
    for entry in entries:
        start = entry.header_offset + 30 + len(entry.filename)
        for place in (start, start + entry.file_size // 2, start + entry.file_size - 1):
            changed = bytearray(whole)
            changed[place] ^= 0x10
            packed.write_bytes(changed)
            claims, code = _verdicts([packed], tmp_path)
            assert (code, claims[entry.filename].verdict) == (1, "refuted")
    changed = bytearray(whole)
    changed[entries[1].header_offset + 10] ^= 1  # its time
    packed.write_bytes(changed)
    claims, code = _verdicts([packed], tmp_path)
    assert (code, list(claims)) == (1, [f"byte {entries[1].header_offset + 10}"])


@pytest.mark.parametrize("kind", ["runs", "samples"])
def test_a_bundle_with_tables_of_two_runs_is_refuted(attacked_at, repack, tmp_path, kind):
    """It names the run and the part, and no folder of its own making."""
    path = bundle(["at", "ce"], tmp_path / "both.zip", out=attacked_at).path

    def swap(manifest, parts):
        one, other = (f"results/{kind}/{run['run_id']}.parquet" for run in manifest["runs"])
        parts[one], parts[other] = parts[other], parts[one]
        members = manifest["members"]
        members[one], members[other] = members[other], members[one]

    repack(path, swap)
    claims, code = _verdicts([path], tmp_path)
    assert (code, claims["tables"].verdict) == (1, "refuted")
    assert claims["tables"].run_id in claims["tables"].why
    assert "robbench-" not in claims["tables"].why


def test_a_bundle_packed_again_with_other_points_is_refuted(packed, repack, change, tmp_path):
    """All hashes are right: the model is asked."""
    scratch = tmp_path / "p.parquet"

    def edit(manifest, parts):
        (name,) = (name for name in parts if "points" in name)
        scratch.write_bytes(parts[name])
        rows = pq.read_table(scratch).to_pylist()
        change(scratch, delta=[bytes(len(row["delta"])) for row in rows])
        parts[name] = scratch.read_bytes()
        manifest["members"][name] = {"bytes": len(parts[name]), "sha256": sha256(scratch)}

    repack(packed, edit)
    claims, code = _verdicts([packed], tmp_path)
    assert (claims["SHA-256 of files"].verdict, code) == ("confirmed", 1)
    assert claims["stored points"].verdict == "refuted"


def test_a_bundle_without_the_model(attacked_at, tmp_path):
    """The hash is there: the model is named, or found in the output folder."""
    made = bundle(["at"], tmp_path / "b.zip", with_model=False, out=attacked_at)
    assert _verdicts([made.path], tmp_path)[1] == 4
    assert _verdicts([made.path], tmp_path, model=str(attacked_at / "models" / "at"))[1] == 0
    assert _verdicts([made.path], attacked_at)[1] == 0
    assert _verdicts([made.path], attacked_at, model="ce")[1] == 1


HOSTILE = """
from pathlib import Path
from torch import nn
Path("ran").touch()

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


def test_nothing_of_a_bundle_is_executed(cli, private, how, tmp_path):
    """It names code of the one who made it, which runs only where that is trusted."""
    here, words = private("hostile", HOSTILE), f"--data digits --store-points {how}"
    assert cli(f"attack hostile:make {words}", tmp_path / "S", cwd=here).code == 0
    sys.modules.pop("hostile")
    (here / "ran").unlink()
    done = cli("bundle hostile:make -o b.zip --out", tmp_path / "S", cwd=here)
    assert done.code == 0, done.err
    done = cli("verify b.zip --verbose", cwd=here)
    assert (done.code, (here / "ran").exists()) == (4, False)
    assert "give --trust-code" in " ".join(done.out.split())
    assert "table from rows" in done.out
    assert cli("verify b.zip --trust-code", cwd=here).code == 0
    assert (here / "ran").exists()


def test_claims_as_plain_values(attacked_at):
    """Ids are text, and each row says what it is about."""
    (one,), _ = verify(["ce"], out=attacked_at)
    assert one.title.endswith(" of ce: digits test, 30 samples, linf:0.15, pgd:steps=3")
    rows = {row["claim"]: row for row in plain_rows(one)}
    robust = rows["robust accuracy"]
    about = ("model", "data", "split", "n_samples", "threat", "attack")
    assert [robust[name] for name in about] == [
        *("ce", "digits", "test", 30),
        *("linf:0.15", "pgd:steps=3"),
    ]
    (of_robust,) = (claim for claim in one.claims if claim.claim == "robust accuracy")
    assert robust["samples"] == [f"{c:016x}" for c in of_robust.samples] != []
    json.dumps(list(rows.values()))


def test_a_model_is_loaded_once(attacked_at, cli, how, tmp_path, monkeypatch):
    """However its runs lie in time; the results are in the order of the runs."""
    out = shutil.copytree(attacked_at, tmp_path / "S")
    for words in ("attack at --attack fgsm", "attack ce --attack fgsm"):
        assert cli(f"{words} {how.replace('--attack pgd:steps=3', '')}", out).code == 0
    loaded = []

    def loading(folder, which, device):
        loaded.append(folder.name)
        return read_model(folder, which, device)

    monkeypatch.setattr("robbench.tasks.subject.read_model", loading)
    found, _ = verify([str(out)], out=tmp_path)
    assert sorted(loaded) == ["at", "ce"]
    assert [one.info["model"] for one in found] == ["at", "ce", "at", "ce"]
    assert {c.verdict for one in found for c in one.claims if c.claim == "model"} == {"confirmed"}
