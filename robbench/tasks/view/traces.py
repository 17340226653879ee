"""The margin along the steps of an attack, for a few samples of each run. Needs the models."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from robbench.attacks.base import Attack
from robbench.catalogue.builtins import ATTACKS
from robbench.checks.probes import PROBE, follow
from robbench.core.access import access_of, shows
from robbench.core.device import default_batch_size, deterministic
from robbench.core.errors import RobbenchError, UserError
from robbench.core.freeze import frozen
from robbench.engine.pool import Pool, stream_of
from robbench.engine.shapes import shapes_of
from robbench.reports.html.view import MarginTrace
from robbench.store.run import Run
from robbench.store.store import Store
from robbench.tasks.attack.target import aimed_as
from robbench.tasks.attack.threats import parse_threats
from robbench.tasks.measure.rows import require_same
from robbench.tasks.rebuild import folder_of, rebuild
from robbench.tasks.subject import Subject, of_run
from robbench.threat.model import ThreatModel

Traces = dict[str, dict[int, MarginTrace]]


def drawn(samples: Sequence[int], n: int, seed: int) -> list[int]:
    """N samples at random, the same for the same seed in whatever order they are given."""
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed)).tolist()
    known = sorted(samples)
    return [known[i] for i in order[:n]]


def traces_of(
    runs: Sequence[tuple[Path, Run]],
    samples: Sequence[int],
    out: Path,
    *,
    device: torch.device,
    data_dir: Path | None,
    download: bool,
) -> tuple[Traces, list[str]]:
    """Traces of samples by run id, and why a run has none, a line each.

    Of each run its first attack that climbs to a fixed budget is followed, in its first variant and
    past its first success; of a run without such an attack PGD with 20 steps.
    """
    found, notes = Traces(), list[str]()
    for path, run in runs:
        try:
            found[run.info["run_id"]] = _trace(path, run, samples, out, device, data_dir, download)
        except RobbenchError as error:
            # Its cause, as the error itself advises an option that this command does not have.
            why = error.__cause__ if isinstance(error.__cause__, UserError) else error
            notes.append(f"No trace of {run.info['model']}, {run.info['threat']}: {why}.")
    return found, notes


def _trace(
    path: Path,
    run: Run,
    samples: Sequence[int],
    out: Path,
    device: torch.device,
    data_dir: Path | None,
    download: bool,
) -> dict[int, MarginTrace]:
    info = run.info
    threat = parse_threats([info["threat"]])[0][0]
    if threat.corruption or not math.isfinite(threat.eps):
        raise UserError("it has no budget that an attack could climb in")
    store = folder_of(path, run, Store(out))
    subject = rebuild(path, run, store, device=device, data_dir=data_dir, download=download)
    ids = run.samples["sample_id"].to_pylist()
    subject = of_run(subject, info, ids)
    require_same(info, ids, subject)
    if not shows(access_of(subject.model), "white-box"):
        raise UserError("its model shows no gradients")
    spec, attack = _followed(info, threat)
    subject = aimed_as(subject, run)
    return _follow(subject, threat, spec, attack, set(samples), info["seed"])


def _follow(
    subject: Subject,
    threat: ThreatModel,
    spec: str,
    attack: Attack[Any],
    wanted: set[int],
    seed: int,
) -> dict[int, MarginTrace]:
    split = subject.split
    held = torch.tensor([one in wanted for one in split.ids.tolist()], device=split.ids.device)
    split = split.take(held.nonzero().flatten())
    if not len(split):
        return {}
    model = subject.model
    with frozen(model), deterministic():
        torch.manual_seed(seed)  # for models that draw from it
        width = default_batch_size(split.labels.device)
        tiles = shapes_of([model], split, width)[0]
        pool = Pool.of(split, [threat], model, seed=seed, tiles=tiles)
        everyone = torch.arange(len(split), device=split.labels.device)
        margins = follow(attack, model, pool.problem(everyone, stream_of(spec)), tiles).margins
    ids = split.ids.tolist()
    return {ids[i]: MarginTrace(spec, margins[:, i].tolist()) for i in range(len(ids))}


def _followed(info: dict[str, Any], threat: ThreatModel) -> tuple[str, Attack[Any]]:
    """The spec and the attack to follow. Raises UserError where none works in this threat."""
    for spec in [*json.loads(info["attack_params"]), PROBE]:
        attack = ATTACKS.build(spec)
        if (
            isinstance(attack, Attack)
            and (attack.goal, attack.access, attack.draws) == ("fixed-eps", "white-box", 1)
            and attack.objective is not None
            and type(attack).prepare is Attack.prepare
            and threat.norm_name in attack.norms
            and (threat.target is None or attack.can_target)
        ):
            return ATTACKS.canonical(spec), attack
    raise UserError(f"no attack that climbs works in {threat.text}")
