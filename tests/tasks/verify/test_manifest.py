"""What the manifest of a bundle says of its runs, beside what is in it."""

import pytest

from robbench.core.errors import UserError
from robbench.tasks.bundle import bundle
from robbench.tasks.verify.run import verify


def _manifest_claim(path, out):
    found, code = verify([str(path)], out=out)
    (claim,) = (c for one in found for c in one.claims if c.claim == "manifest")
    return claim, code


def test_a_manifest_that_names_other_runs(packed, repack, tmp_path):
    """What it says of itself would be of others."""
    repack(packed, lambda manifest, parts: manifest["runs"].append({"run_id": "0123456789ab"}))
    with pytest.raises(UserError, match="does not name the runs"):
        verify([str(packed)], out=tmp_path)
    repack(packed, lambda manifest, parts: manifest.update(runs=[]))
    with pytest.raises(UserError, match="does not name the runs"):
        verify([str(packed)], out=tmp_path)
    repack(packed, lambda manifest, parts: manifest.update(runs=[{}]))
    with pytest.raises(UserError, match="run_id"):
        verify([str(packed)], out=tmp_path)


LIES = {
    "robust_accuracy": 0.9,
    "clean_accuracy": 1.0,
    "model": "Best",
    "data": "cifar10",
    "split": "train",
    "subset": None,
    "threat": "linf:0.3",
    "attack": "autoattack",
    "n_samples": 10_000,
    "model_hash": "0" * 16,
    "certified_accuracy": 0.9,  # the row says nothing of it
}


def test_a_manifest_that_says_what_is_not_so_is_refuted(packed, repack, tmp_path):
    """All hashes are right; what differs from the run's row is named, and no other fact."""
    truth, code = _manifest_claim(packed, tmp_path)
    assert (truth.verdict, truth.why, code) == ("confirmed", "", 0)
    assert truth.published == truth.confirmed == "28 facts"
    repack(packed, lambda manifest, parts: manifest["runs"][0].update(LIES))
    claim, code = _manifest_claim(packed, tmp_path)
    assert (claim.verdict, claim.published, claim.confirmed) == (
        "refuted",
        "29 facts",
        "18 facts",
    )
    assert code == 1
    assert {part.split(" is ")[0] for part in claim.why.split("; ")} == {*LIES}
    assert 'model is "at", the manifest says "Best"' in claim.why


def test_a_fact_that_the_manifest_leaves_out_is_refuted(packed, repack, tmp_path):
    """Who reads it would not see that the samples are of the training data."""
    repack(packed, lambda manifest, parts: manifest["runs"][0].pop("split"))
    claim, code = _manifest_claim(packed, tmp_path)
    assert (claim.verdict, code) == ("refuted", 1)
    assert claim.why == 'split is "test", the manifest says null'


@pytest.mark.parametrize(
    ("change", "claim", "said"),
    [
        (
            lambda manifest: manifest["runs"][0].update(packed=[]),
            "manifest",
            'packed is ["models/at/config.json", "models/at/model.safetensors"], the manifest says',
        ),
        (lambda manifest: manifest["needs"].append("luck"), "needs", "it does not take luck"),
        (lambda manifest: manifest.pop("needs"), "needs", "it takes data digits test"),
        (lambda manifest: manifest.update(needs=3), "needs", "it takes data digits test"),
    ],
)
def test_what_it_says_of_itself_is_compared(packed, repack, tmp_path, change, claim, said):
    """Which files of the model are in it, and what else it takes."""
    _, code = _manifest_claim(packed, tmp_path)
    assert code == 0
    repack(packed, lambda manifest, parts: change(manifest))
    found, code = verify([str(packed)], out=tmp_path)
    odd = [c for one in found for c in one.claims if c.verdict != "confirmed"]
    assert ([c.claim for c in odd], code) == ([claim], 1)
    assert said in odd[0].why


def test_a_bundle_without_its_model_says_so(attacked_at, tmp_path):
    """Then the model of that hash is needed."""
    file = tmp_path / "b.zip"
    needs = bundle(["at"], file, with_model=False, out=attacked_at).needs
    assert any(need.startswith("model at (hash ") for need in needs)
    found, _ = verify([str(file)], out=attacked_at)
    claims = {c.claim: c.verdict for one in found for c in one.claims}
    assert (claims["manifest"], claims["needs"]) == ("confirmed", "confirmed")


def test_what_it_takes_is_compared_by_facts_not_by_words(attacked_at, tmp_path, repack):
    """A bundle of another version says the same otherwise; a name or hash that differs is a lie."""
    file = tmp_path / "b.zip"
    bundle(["at", "ce"], file, with_model=False, out=attacked_at)

    def verdict():
        found, _ = verify([str(file)], out=attacked_at)
        (claim,) = (c for one in found for c in one.claims if c.claim == "needs")
        return claim.verdict

    words = {"(samples ": "whose samples have the hash (", "model ": "a model named "}
    words |= {"points of run ": "run ", ", which kept none: ": " kept no points, so "}

    def reword(manifest, parts):
        for old, new in words.items():
            manifest["needs"] = [text.replace(old, new) for text in manifest["needs"]]

    repack(file, reword)
    assert verdict() == "confirmed"
    for old, new in (("digits test", "cifar10 test"), ("first=30", "first=3"), ("ce (", "other (")):
        words = {old: new}
        repack(file, reword)
        assert verdict() == "refuted", old
        words = {new: old}
        repack(file, reword)
        assert verdict() == "confirmed"
