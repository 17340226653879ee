"""Look at a model before it is attacked: what it is, what it costs, and what does not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robbench.analysis.inspected import Finding, Inspected
from robbench.core.access import access_of
from robbench.core.device import find_device
from robbench.core.errors import UserError
from robbench.core.spec import validate
from robbench.engine.flags import at_chance, of_rows
from robbench.store.store import Store
from robbench.tasks.attack.access import WITHOUT_GRADIENTS
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.plan import AttackPlan, plan_subject
from robbench.tasks.attack.session import AttackSession
from robbench.tasks.attack.threats import parse_threats, usual_threat
from robbench.tasks.inspect import findings
from robbench.tasks.inspect.answers import Answers, answers_of, looked_at, outputs_of, taken_shapes
from robbench.tasks.inspect.record import cost_of, record
from robbench.tasks.inspect.target import Target, named_target
from robbench.tasks.listener import Bar, Listener
from robbench.tasks.subject import Subject, find_subject

LARGEST = 10_000  # pixels of a side
DEFAULT_THREAT = "linf:8/255"  # where model and data have none of their own
_OF_SAMPLES = ("zero-gradient", "vanishing", "tiny-logits", "one-class")


def inspect_named(
    text: str,
    settings: Mapping[str, Any],
    *,
    shape: str | None = None,
    out: Path = Path("runs"),
    device: str = "auto",
    data_dir: Path | None = None,
    download: bool = False,
    listener: Listener | None = None,
) -> Inspected:
    """As `inspect_model`, of the model that a text means for `robbench attack`.

    settings: what was given of data, split, limit, seed, batch_size, and of the attack and threat
    model whose cost is forecast, as `AttackConfig` has them. shape: of images without data, as
    `3x224x224`. Raises UserError also for what is no model, and for data that are not there.
    """
    config, store = validate(AttackConfig, settings, "inspect"), Store(out)
    if shape is not None and config.data is not None:
        raise UserError("--shape is for a model without data: leave out --shape or --data")
    size = None if shape is None else parse_shape(shape)
    listener = listener or Listener()
    with listener.progress(f"inspect {text}") as bar:
        target = named_target(
            text,
            config,
            size,
            store=store,
            device=find_device(device),
            data_dir=data_dir,
            download=download,
        )
        for note in target.subject.split.notes:
            listener.say(note)
        return inspect_model(target, config, out=out, data_dir=data_dir, download=download, bar=bar)


def parse_shape(text: str) -> tuple[int, ...]:
    """`3x224x224` -> (3,224,224); one number is a vector. Raises UserError for anything else."""
    sides = text.lower().replace(",", "x").split("x")
    fits = len(sides) in (1, 3) and all(
        side.strip().isdecimal() and 0 < int(side) <= LARGEST for side in sides
    )
    if not fits:
        raise UserError(f"shape '{text}' should be CxHxW, such as 3x224x224, or one number")
    return tuple(map(int, sides))


def inspect_model(
    target: Target,
    config: AttackConfig,
    *,
    out: Path = Path("runs"),
    data_dir: Path | None = None,
    download: bool = False,
    bar: Bar | None = None,
) -> Inspected:
    """Everything about a target; `config`: the attack whose cost is forecast.

    The model is left as it was, and nothing is written. Raises UserError where the attack or threat
    model is wrong; what is wrong about the model is a finding.
    """
    bar, store, subject = bar or Bar(), Store(out), target.subject
    device = subject.split.labels.device

    def find(name: str) -> Subject:
        other = dataclasses.replace(config, data=config.data or target.data)
        return find_subject(name, other, store, device, data_dir, download)[0]

    access = access_of(subject.model)
    if access in WITHOUT_GRADIENTS and not config.attack:
        config = dataclasses.replace(config, attack=(WITHOUT_GRADIENTS[access],))
    text = config.threat or (usual_threat(target.data or "", subject) or DEFAULT_THREAT,)
    threats, *others = parse_threats(text)
    if others:
        raise UserError(f"threat {', '.join(text)}: inspect forecasts one attack, name one of them")
    plan = plan_subject(
        subject, threats, config, data=target.data or "noise", store=None, device=device, find=find
    )
    looked = looked_at(subject.split)
    bar.update(0.0, "the samples as they are")
    logits = outputs_of(subject.model, looked)
    found = []
    if target.refusal:
        shape = tuple(subject.split.images.shape[1:])
        found.append(findings.refused(target.refusal, shape, taken_shapes(target, logits)))
    seen = Answers([], None, [])
    if logits is not None:
        bar.update(0.2, "other forms of the inputs")
        seen = answers_of(target, looked, logits)
    found += seen.found
    cost = None
    if logits is not None and logits.shape[1] == subject.width:
        bar.update(0.6, "time and memory")
        cost = cost_of(plan, store, config, noise=target.data is None)
        bar.update(0.8, "gradients")
        flags = _flags(plan, target, misfit=bool(seen.found))
        found += flags
        known = bool(seen.found) or any(flag.name == "untrained" for flag in flags)
        if seen.right is not None and not known:
            found += findings.from_flags(at_chance(seen.right.tolist(), looked.labels.tolist()))
    return record(target, plan, looked, seen, cost, found)


def _flags(plan: AttackPlan, target: Target, *, misfit: bool) -> list[Finding]:
    """What a run would warn of.

    Of noise, and where inputs or classes do not fit, only what is no matter of samples.
    """
    session = AttackSession(plan, {})
    session.inspect()
    flags = [*session.inspection.flags]
    flags += [*of_rows(session.equality, flags), *target.subject.remarks]
    skipped = {*_OF_SAMPLES} if misfit or target.data is None else set()
    skipped |= {"probabilities"} if target.refusal else set()
    return findings.from_flags(flag for flag in flags if flag.name not in skipped)
