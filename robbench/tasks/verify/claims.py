"""What a run claims, what was found of it, and the verdict on each claim."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from robbench.analysis.claims import contradictions
from robbench.core.errors import UserError
from robbench.store.run import Run
from robbench.tasks.verify.answers import Answers
from robbench.tasks.verify.points import Evidence
from robbench.threat.model import ThreatModel, parse_threat

Verdict = Literal["confirmed", "refuted", "rounding", "unconfirmed"]
_MARGINS = {"median clean margin": "clean_margin_p50", "median worst margin": "adv_margin_p50"}
_MOST = 60
"""Characters of a fact that are shown."""


class Claim(NamedTuple):
    """A published number or hash beside what was found here.

    samples: ids of those that speak against it. rounding: what differs is within the rounding of
    another machine, or the model answers at random; unconfirmed: there is no evidence.
    """

    run_id: str | None  # None: of a bundle's own files
    claim: str
    published: Any
    confirmed: Any
    verdict: Verdict
    why: str = ""
    samples: tuple[int, ...] = ()


def exit_code(claims: Sequence[Claim]) -> int:
    """0: all are confirmed, 1: one is refuted, 4: there is not enough evidence for all."""
    verdicts = {claim.verdict for claim in claims}
    return 1 if "refuted" in verdicts else 0 if verdicts <= {"confirmed"} else 4


def of_table(run: Run) -> Claim:
    """The row of the run against its samples, and its threat model against norm and budget."""
    info, found = run.info, contradictions(run)
    try:
        threat = parse_threat(info["threat"])[0]
        same = threat.norm_name == info["norm"] and math.isclose(threat.eps, info["eps"])
        same &= threat.target == info["target"]
    except UserError:
        same = False
    if not same:
        found.append(f"threat model {info['threat']} is not {info['norm']}, eps {info['eps']:g}")
    n = info["n_samples"]
    return _equal(run, "table from rows", f"{n} rows", None if found else f"{n} rows", *found)


def of_numbers(
    run: Run, threat: ThreatModel, ids: Sequence[int], seen: Evidence | None, why: str
) -> list[Claim]:
    """The points, accuracies, distance and margins. seen: in the order of ids; why: there is none.

    A robust accuracy is confirmed where the samples known to fall leave as much, and refuted where
    they leave less: no attack can make it rise.
    """
    info, budget = run.info, math.isfinite(threat.eps)
    names = ["clean accuracy", "robust accuracy" if budget else "median distance", *_MARGINS]
    columns = ["clean_accuracy", "robust_accuracy" if budget else "distance_p50"]
    published = [info[column] for column in (*columns, *_MARGINS.values())]
    if threat.target is not None and budget:
        names[1] = "target not reached"
    if seen is None:
        pairs = zip(names, published, strict=True)
        return [
            Claim(info["run_id"], name, number, None, "unconfirmed", why)
            for name, number in pairs
            if number is not None
        ]
    place = {row["sample_id"]: row for row in run.samples.to_pylist()}
    rows = [place[sample] for sample in ids]
    claimed = torch.tensor([row["adversarial"] for row in rows])
    attacked = not threat.corruption  # what a corruption breaks needs no stored point
    from_attack = torch.tensor(
        [attacked and row["broken_by"] not in (None, "clean") for row in rows]
    )
    correct = torch.tensor([row["clean_correct"] for row in rows])
    differs = claimed != seen.broken
    missing = claimed & ~seen.broken & from_attack & ~seen.stored
    soft = differs & ~missing & (seen.unsure | seen.correct_unsure)
    hard = (differs & ~missing & ~soft) | seen.bad
    clean_hard = (seen.correct != correct) & ~seen.correct_unsure

    def numbers(broken: Tensor) -> float:
        if budget:
            return float((~broken).double().mean())
        return float(median(torch.where(broken, seen.size, math.inf).tolist()))

    bound, rate = numbers(seen.broken), float(seen.correct.double().mean())
    return [
        *_points(run, ids, seen, from_attack),
        *_number(run, names[0], published[0], rate, ids, clean_hard, seen.correct_unsure),
        *_number(run, names[1], published[1], bound, ids, hard, soft, missing, above=not budget),
        *_margin(run, names[2], seen.clean, ids),
        *_margin(run, names[3], seen.worst, ids),
        *_audit(run),
    ]


def _points(run: Run, ids: Sequence[int], seen: Evidence, from_attack: Tensor) -> list[Claim]:
    stored, held = int(seen.stored.sum()) + seen.foreign, int(seen.holds.sum())
    unsure = int(seen.unsure.sum())
    if not stored and not from_attack.any():
        return []
    verdict: Verdict = "confirmed"
    why = []
    if not stored:
        verdict = "unconfirmed"
        why.append("the run kept no points: attack with --store-points")
    if unsure:
        verdict = "rounding"
        why.append(f"{unsure} within rounding of the boundary, or of a model that is random")
    if seen.foreign:
        why.append(f"{seen.foreign} of other runs, samples or data, or a sample's second")
    if bad := int(seen.bad.sum()):
        why.append(f"{bad} outside of the threat model, or not predicted as the rows say")
    if bad or seen.foreign:
        verdict = "refuted"
    samples = _ids(ids, seen.bad | seen.unsure)
    said = "; ".join(why)
    return [Claim(run.info["run_id"], "stored points", stored, held, verdict, said, samples)]


def _number(
    run: Run,
    name: str,
    published: float | None,
    found: float,
    ids: Sequence[int],
    hard: Tensor,
    soft: Tensor,
    missing: Tensor | None = None,
    *,
    above: bool = False,
) -> list[Claim]:
    """The claim of a number; none where none was published, as by an older robbench.

    above: smaller than published is confirmed as well, as of distances stored shorter.
    """
    if published is None:
        return []
    same = math.isclose(published, found, rel_tol=1e-6, abs_tol=1e-9) or (
        above and found <= published
    )
    lacking = 0 if missing is None else int(missing.sum())
    verdict: Verdict = "confirmed" if same else "refuted"
    why, odd = "", hard
    if hard.any():
        verdict, why = "refuted", f"{int(hard.sum())} samples are not as their rows say"
    elif lacking and not same:
        verdict, odd = "unconfirmed", missing if missing is not None else hard
        why = f"{lacking} samples said to be broken have no stored point"
    elif soft.any() and not same:
        verdict, odd = "rounding", soft
        why = f"{int(soft.sum())} samples differ by rounding, or the model answers at random"
    elif not same:
        why = "the number does not follow from the samples"
    return [Claim(run.info["run_id"], name, published, found, verdict, why, _ids(ids, odd))]


def _margin(run: Run, name: str, seen: Answers, ids: Sequence[int]) -> list[Claim]:
    """The claim of a median margin, which follows from the rows: each is as its row says."""
    if (published := run.info[_MARGINS[name]]) is None:
        return []
    kinds: list[tuple[Verdict, Tensor, str]] = [
        ("refuted", seen.off, "are not as their rows say"),
        ("rounding", seen.unsure, "differ: the model answers at random"),
        ("unconfirmed", ~seen.known, "have no stored point"),
    ]
    for verdict, odd, said in kinds:
        if n := int(odd.sum()):
            why = f"{n} samples {said}"
            return [Claim(run.info["run_id"], name, published, None, verdict, why, _ids(ids, odd))]
    return [Claim(run.info["run_id"], name, published, published, "confirmed")]


def _audit(run: Run) -> list[Claim]:
    if (published := run.info["robust_accuracy_audited"]) is None:
        return []
    why = "what withstands an attack leaves no evidence: attack the model again"
    name = "robust accuracy, audited"
    return [Claim(run.info["run_id"], name, published, None, "unconfirmed", why)]


def _equal(run: Run, name: str, published: Any, found: Any, *why: str) -> Claim:
    verdict: Verdict = "confirmed" if published == found else "refuted"
    return Claim(run.info["run_id"], name, published, found, verdict, "; ".join(why))


def of_facts(
    run_id: str, name: str, said: Mapping[str, Any], found: Mapping[str, Any], where: str
) -> Claim:
    """What is said of a run, by its names, beside what was found; where: that was said."""
    names = list(dict.fromkeys([*found, *said]))
    odd = [fact for fact in names if said.get(fact) != found.get(fact)]
    pairs = ((fact, _short(found.get(fact)), _short(said.get(fact))) for fact in odd)
    why = "; ".join(f"{fact} is {real}, {where} {claimed}" for fact, real, claimed in pairs)
    verdict: Verdict = "refuted" if odd else "confirmed"
    n = len(names)
    return Claim(run_id, name, f"{n} facts", f"{n - len(odd)} facts", verdict, why)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MOST else f"{text[:_MOST]}..."


def of_hash(run: Run, name: str, published: str, found: str, why: str) -> Claim:
    """A hash; why: what another one means."""
    return _equal(run, name, published, found, *([] if published == found else [why]))


def _ids(ids: Sequence[int], chosen: Tensor) -> tuple[int, ...]:
    return tuple(ids[i] for i in chosen.nonzero().flatten().tolist())
