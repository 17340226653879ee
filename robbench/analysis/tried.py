"""What finished runs know of each attack on each sample: whether, where and when it broke it.

A sample leaves a cascade at the first attack that breaks it: those before have failed, those after
are unknown. An attack's random numbers depend on the run's seed, the sample and the attack's spec
alone, so it does the same to a sample in any cascade. The attacks of an audit come after the run's
own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robbench.analysis.budgets import settings_beside_budgets, smaller_budgets, way
from robbench.core.corruptions import is_corruption
from robbench.core.errors import UserError
from robbench.core.status import UNFINISHED
from robbench.store.run import Run

COLUMNS = (
    *("sample_id", "label", "clean_pred", "clean_correct", "adversarial", "status", "broken_by"),
    *("broken_variant", "first_success_step", "n_forward", "n_backward", "audited"),
)
"""The sample columns that `tried` needs."""

UNKNOWN, FAILED, BROKE = -1, 0, 1
AT_THE_END = 2**31 - 1
"""The step of a success that was only seen when the attack was over."""

_OF_CURVE = ("norm", "target", "model_hash", "model_arch", "attack_params", "seed", "data_hash")
"""Columns in which the runs of a security curve agree."""

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Facts = Mapping[str, Any]


class Whole(NamedTuple):
    """What the runs of one list of attacks found. All [N] over the pairs of `Tried`.

    state: of the list as a whole. forward, backward: what a sample cost; `dear` where it also
    includes the queries at smaller budgets.
    """

    name: str
    state: Ints
    forward: Ints
    backward: Ints
    dear: bool


class Tried(NamedTuple):
    """N pairs of a model under a budget and a sample, and S attacks.

    classes [N]: how many the model has. wrong [N]: misclassified without an attack. state [N,S]:
    UNKNOWN, FAILED or BROKE; variant and step [N,S] of a success. left_out: samples that runs say
    nothing of.
    """

    sample_id: Ints
    classes: Ints
    wrong: Bools
    attacks: tuple[str, ...]  # full specs
    state: Ints
    variant: Ints
    step: Ints
    wholes: tuple[Whole, ...]
    left_out: int

    @property
    def broken(self) -> Bools:
        """[N]: broken by any run, or wrong anyway."""
        found: Bools = self.wrong | np.any([whole.state == BROKE for whole in self.wholes], axis=0)
        return found


def fitting(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs that say something of each other's attacks, and why others are left out.

    Raises UserError where none is left, and for several norms.
    """
    kinds: dict[str, list[Run]] = {}
    for run in runs:
        kinds.setdefault(_why_not(run.info), []).append(run)
    kept = kinds.pop("", [])
    notes = [
        f"left out: {each[0].info['run_id']}{f' and {len(each) - 1} more' if each[1:] else ''}, "
        f"{why}"
        for why, each in kinds.items()
    ]
    if not kept:
        raise UserError(
            f"no run to suggest a cascade from ({'; '.join(notes)}): attack with a budget, such as "
            "--threat linf:8/255"
        )
    norms = sorted({str(run.info["norm"]) for run in kept})
    if len(norms) > 1:
        raise UserError(
            f"these runs are of several norms ({', '.join(norms)}), which need a cascade each: "
            f"choose one, such as --where norm={norms[0]}"
        )
    return kept, notes


def _why_not(info: Facts) -> str:
    """Why a run says nothing of the attacks of others; empty where it does."""
    if is_corruption(info["norm"]):
        return "a corruption, which is no attack"
    if np.isinf(info["eps"]):
        return "of minimum norm, where every attack is made on every sample"
    return "" if info["target"] is None else "with a target"


def lists_of(info: Facts) -> tuple[list[str], list[str]]:
    """The attacks of a run and those of its audit, each in full."""
    audit = json.loads(info["provenance"] or "{}").get("audit_params") or []
    return list(json.loads(info["attack_params"])), list(audit)


def tried(runs: Sequence[Run], short: Mapping[str, str]) -> Tried:
    """What runs know; where several know the same, the first of them counts.

    short: full spec -> as `broken_by` has it. Samples that a limit left undecided say nothing, nor
    do those that a run of several budgets broke at a smaller one.
    """
    full = tuple(
        dict.fromkeys(spec for run in runs for part in lists_of(run.info) for spec in part)
    )
    place = {spec: n for n, spec in enumerate(full)}
    pairs: dict[tuple[Any, ...], int] = {}
    facts: list[tuple[int, int, bool]] = []
    known: list[list[tuple[int, int, int]]] = []
    wholes: dict[str, dict[int, tuple[int, int, int]]] = {}
    dear: set[str] = set()
    left_out = 0
    for run in runs:
        own, audit = lists_of(run.info)
        name = run.info["attack"] + (", audited" if audit else "")
        whole = wholes.setdefault(name, {})
        dear |= {name} if smaller_budgets(run.info) else set()
        before, classes = _broken_below(run, runs), _classes(run)
        for row in run.samples.select(list(COLUMNS)).to_pylist():
            undecided = row["status"] == UNFINISHED and not row["adversarial"]
            if undecided or (row["clean_correct"] and row["sample_id"] in before):
                left_out += 1
                continue
            key = (*_attacked(run.info), row["sample_id"])
            if key not in pairs:
                pairs[key] = len(pairs)
                facts.append((row["sample_id"], classes, not row["clean_correct"]))
                known.append([(UNKNOWN, 0, 0)] * len(full))
            pair = pairs[key]
            state = BROKE if row["adversarial"] else FAILED
            whole.setdefault(pair, (state, row["n_forward"], row["n_backward"]))
            for spec, what in _path(row, own, audit, short):
                if known[pair][place[spec]][0] == UNKNOWN:
                    known[pair][place[spec]] = what
    table = np.array(known, np.int64).reshape(len(known), len(full), 3)
    ids, classes_of, wrong = zip(*facts, strict=True) if facts else ((), (), ())
    return Tried(
        sample_id=np.array(ids, np.int64),
        classes=np.array(classes_of, np.int64),
        wrong=np.array(wrong, bool),
        attacks=full,
        state=table[:, :, 0],
        variant=table[:, :, 1],
        step=table[:, :, 2],
        wholes=tuple(
            _whole(name, found, len(pairs), name in dear) for name, found in wholes.items()
        ),
        left_out=left_out,
    )


def _whole(name: str, found: Mapping[int, tuple[int, int, int]], n: int, dear: bool) -> Whole:
    columns = np.full((n, 3), (UNKNOWN, 0, 0), np.int64)
    for pair, values in found.items():
        columns[pair] = values
    return Whole(name, columns[:, 0], columns[:, 1], columns[:, 2], dear)


def _path(
    row: Facts, own: Sequence[str], audit: Sequence[str], short: Mapping[str, str]
) -> list[tuple[str, tuple[int, int, int]]]:
    """What became of a sample at each attack it came to, in their order."""
    if not row["clean_correct"] or row["broken_by"] == "replay":
        return []
    drawn = bool(row["audited"])
    way = [*own, *audit] if drawn else list(own)
    failed = (FAILED, 0, 0)
    if not row["adversarial"]:
        return [(spec, failed) for spec in way]
    at = range(len(own), len(way)) if drawn else range(len(way))
    end = next((n for n in at if short.get(way[n]) == row["broken_by"]), None)
    if end is None:  # a plug-in that is not here any more: nothing is known
        return []
    step = row["first_success_step"]
    hit = (BROKE, row["broken_variant"] or 0, AT_THE_END if step is None else step)
    return [*((spec, failed) for spec in way[:end]), (way[end], hit)]


def _broken_below(run: Run, runs: Sequence[Run]) -> set[int]:
    """The samples that a run with several budgets broke at a smaller one, so not at this one.

    Raises UserError where the smaller one is not among the runs.
    """
    if not (smaller := smaller_budgets(run.info)):
        return set()
    own = way(run.info)
    below = [
        other
        for other in runs
        if len(theirs := way(other.info)) < len(own)
        and theirs == own[: len(theirs)]
        and all(other.info[name] == run.info[name] for name in _OF_CURVE)
        and settings_beside_budgets(other.info) == settings_beside_budgets(run.info)
    ]
    if len(below) < len(smaller):
        raise UserError(
            f"run {run.info['run_id']} ({run.info['threat']}) goes on from smaller budgets "
            f"({', '.join(smaller)}): name those runs, too, or leave it out"
        )
    last = max(below, key=lambda other: float(other.info["eps"]))
    rows = last.samples.select(["sample_id", "adversarial"]).to_pylist()
    return {row["sample_id"] for row in rows if row["adversarial"]}


def _attacked(info: Facts) -> tuple[Any, ...]:
    """What tells the attacked models and budgets apart."""
    return (info["model_hash"], info["model_arch"], info["model_outputs"], round(info["eps"], 9))


def _classes(run: Run) -> int:
    """How many outputs the model has: from what it was asked before the attack, else from rows."""
    answers = json.loads(run.info["answers"] or "{}").get("made")
    if answers:
        return len(answers[0])
    columns = [run.samples[name].to_pylist() for name in ("label", "clean_pred")]
    return 1 + max((value for column in columns for value in column), default=1)
