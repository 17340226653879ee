"""The verdict on each number, from evidence made by hand."""

import math

import pytest
import torch

from robbench.tasks.verify.answers import Answers
from robbench.tasks.verify.claims import Claim, exit_code, of_hash, of_numbers, of_table
from robbench.tasks.verify.points import Evidence
from robbench.threat.model import parse_threat

LINF = parse_threat("linf:0.15")[0]


def _claim(verdict):
    return Claim("r", "x", 1, 1, verdict)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["confirmed"], 0),
        (["confirmed", "unconfirmed"], 4),
        (["rounding"], 4),
        (["unconfirmed", "refuted", "confirmed"], 1),
        ([], 0),
    ],
)
def test_the_exit_code(verdicts, code):
    """What is refuted outweighs what nobody can tell."""
    assert exit_code([_claim(verdict) for verdict in verdicts]) == code


@pytest.fixture
def run(stored, make_samples):
    """A run of 40 samples, whose rows are counted."""
    return stored("0123456789ab", make_samples(40, seed=3))


def _seen(run, **changes):
    """Evidence that holds: every sample that an attack broke has its point."""
    rows = run.samples.to_pylist()
    correct, broken, by_attack = (
        torch.tensor(column)
        for column in (
            [row["clean_correct"] for row in rows],
            [row["adversarial"] for row in rows],
            [row["broken_by"] is not None for row in rows],
        )
    )
    nothing = torch.zeros_like(correct)
    size = torch.where(broken, 0.125, math.inf).double()
    margins = torch.tensor([row["clean_margin"] for row in rows])
    answers = Answers(margins, ~nothing, nothing, nothing)
    seen = Evidence(
        correct, nothing, broken, by_attack, nothing, nothing, size, None, answers, answers
    )
    return seen._replace(**changes)


def _numbers(run, seen, threat=LINF):
    ids = run.samples["sample_id"].to_pylist()
    return {claim.claim: claim for claim in of_numbers(run, threat, ids, seen, "why")}


def _first(run, which):
    """One sample in front that an attack broke, or that withstood, as a mask [N]."""
    rows = run.samples.to_pylist()
    places = [i for i, row in enumerate(rows) if (row["broken_by"] if which else row["robust"])]
    mask = torch.zeros(len(rows), dtype=torch.bool)
    mask[places[0]] = True
    return mask


def test_all_is_confirmed_where_all_points_hold(run):
    """The rates are those of a plain count."""
    found = _numbers(run, _seen(run))
    rows = run.samples.to_pylist()
    assert {claim.verdict for claim in found.values()} == {"confirmed"}
    robust = sum(row["robust"] for row in rows) / 40
    assert found["robust accuracy"].confirmed == pytest.approx(robust)
    assert found["stored points"].confirmed == sum(row["broken_by"] is not None for row in rows)


def test_a_missing_point_leaves_the_number_open(run):
    """The bound rises by the sample: it is not refuted."""
    one, seen = _first(run, True), _seen(run)
    found = _numbers(run, seen._replace(stored=seen.stored & ~one, broken=seen.broken & ~one))
    claim = found["robust accuracy"]
    assert (claim.verdict, len(claim.samples)) == ("unconfirmed", 1)
    assert claim.confirmed == pytest.approx(claim.published + 1 / 40)
    assert found["clean accuracy"].verdict == "confirmed"


def test_a_run_without_points(run):
    """Only clean accuracy is known."""
    seen = _seen(run)
    bare = seen._replace(stored=torch.zeros_like(seen.stored), broken=~seen.correct)
    found = _numbers(run, bare)
    assert found["stored points"].verdict == found["robust accuracy"].verdict == "unconfirmed"
    assert found["robust accuracy"].confirmed == found["clean accuracy"].confirmed
    assert "--store-points" in found["stored points"].why


def test_a_point_that_fails_refutes(run):
    """And is named."""
    one, seen = _first(run, True), _seen(run)
    found = _numbers(run, seen._replace(bad=one, broken=seen.broken & ~one))
    for name in ("stored points", "robust accuracy"):
        assert (found[name].verdict, len(found[name].samples)) == ("refuted", 1)


def test_a_point_that_fails_by_rounding_is_told_apart(run):
    """It does not count, but refutes nothing."""
    one, seen = _first(run, True), _seen(run)
    found = _numbers(run, seen._replace(unsure=one, broken=seen.broken & ~one))
    claim = found["robust accuracy"]
    assert claim.verdict == found["stored points"].verdict == "rounding"
    assert claim.confirmed == pytest.approx(claim.published + 1 / 40)


def test_a_robust_accuracy_that_points_refute(run):
    """A sample said to be robust has a point that breaks it: the number is too high."""
    seen = _seen(run)
    found = _numbers(run, seen._replace(broken=seen.broken | _first(run, False)))
    claim = found["robust accuracy"]
    assert (claim.verdict, claim.confirmed < claim.published) == ("refuted", True)


def test_a_number_other_than_its_rows(run):
    """Either direction: lower has no evidence, higher is against it."""
    for change in (-0.1, 0.1):
        run.info["robust_accuracy"] += change
        assert _numbers(run, _seen(run))["robust accuracy"].verdict == "refuted"
        assert of_table(run).verdict == "refuted"
        run.info["robust_accuracy"] -= change


def test_clean_accuracy_counted_again(run):
    """A sample said to be wrong that is right, or the other way round by rounding."""
    seen = _seen(run)
    one = torch.zeros_like(seen.correct)
    one[0] = True
    other = seen.correct ^ one
    assert _numbers(run, seen._replace(correct=other))["clean accuracy"].verdict == "refuted"
    near = seen._replace(correct=other, correct_unsure=one)
    assert _numbers(run, near)["clean accuracy"].verdict == "rounding"


def test_points_of_others_refute(run):
    """They were put there."""
    found = _numbers(run, _seen(run, foreign=2))["stored points"]
    assert (found.verdict, found.published - found.confirmed) == ("refuted", 2)


def test_without_evidence_nothing_is_confirmed(run):
    """The model or the data are not here."""
    found = _numbers(run, None)
    assert [(c.verdict, c.why, c.confirmed) for c in found.values()] == [
        ("unconfirmed", "why", None)
    ] * 4


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, "confirmed"), (0.9, "confirmed"), (1.1, "refuted")]
)
def test_the_median_distance_without_a_budget(stored, make_samples, factor, verdict):
    """At most as published: points in float16 are shorter than they were."""
    rows = make_samples(41, breakable=1.0)
    middle = sorted(row["dist_linf"] for row in rows)[20]
    run = stored("0123456789ab", rows, eps=math.inf, threat="linf:inf", distance_p50=middle)
    size = torch.tensor([row["dist_linf"] * factor for row in rows]).double()
    found = _numbers(run, _seen(run, size=size), parse_threat("linf:inf")[0])
    claim = found["median distance"]
    assert (claim.verdict, claim.confirmed) == (verdict, pytest.approx(0.125 * factor))


def test_a_number_that_was_not_published(run):
    """Nothing is said of it, as of the distance in files of an older robbench."""
    run.info["robust_accuracy"] = None
    run.info["adv_margin_p50"] = None
    margin = "median clean margin"
    assert list(_numbers(run, _seen(run))) == ["stored points", "clean accuracy", margin]
    assert list(_numbers(run, None)) == ["clean accuracy", margin]


@pytest.mark.parametrize(
    ("field", "verdict"), [("off", "refuted"), ("unsure", "rounding"), ("known", "unconfirmed")]
)
@pytest.mark.parametrize("which", ["clean", "worst"])
def test_a_median_margin(run, which, field, verdict):
    """It is confirmed where every sample has its margin; one that has not is named."""
    one, seen = _first(run, True), _seen(run)
    answers = getattr(seen, which)
    odd = answers._replace(**{field: ~one if field == "known" else one})
    found = _numbers(run, seen._replace(**{which: odd}))
    other = {"clean": "worst", "worst": "clean"}[which]
    assert found[f"median {other} margin"].verdict == "confirmed"
    claim = found[f"median {which} margin"]
    assert (claim.verdict, len(claim.samples), claim.confirmed) == (verdict, 1, None)


def test_the_threat_model_of_the_row(stored):
    """The text is what is verified, so norm and eps must be its."""
    assert of_table(stored("0123456789ab")).verdict == "confirmed"
    for changes in ({"eps": 0.2}, {"norm": "l2"}, {"threat": "linf:0.15 -> 3"}, {"threat": "x"}):
        claim = of_table(stored("0123456789ab", **changes))
        assert (claim.verdict, "threat model" in claim.why) == ("refuted", True)


def test_a_hash(run):
    """Why is said of another one only."""
    assert of_hash(run, "model", "a", "a", "changed")[4:6] == ("confirmed", "")
    assert of_hash(run, "model", "a", "b", "changed")[4:6] == ("refuted", "changed")
