"""The target of an attack: its classes for the samples, and the attacks that can seek it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch

from robbench.attacks.base import AnyAttack
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.data.targets import aim
from robbench.engine.flags import make_flag
from robbench.store.run import Run
from robbench.tasks.subject import Subject
from robbench.threat.model import ThreatModel

_CAN = ("apgd", "pgd", "fgsm", "mi-fgsm", "square", "fab", "fmn", "ddn", "cw", "minimal")


def aimed(
    subject: Subject, threats: Sequence[ThreatModel], seed: int
) -> tuple[Subject, Sequence[ThreatModel]]:
    """The subject with the classes to reach, and the threat models with their target's own name.

    As they are without a target. Samples of their target class are left out, which a flag says.
    """
    if (target := threats[0].target) is None:
        return subject, threats
    found = aim(subject.split, target, seed)
    out, n = found.n_left_out, len(subject.split)
    flags = [make_flag("of-target-class", out, n)] if out else []
    subject = subject._replace(split=found.split, remarks=(*subject.remarks, *flags))
    return subject, [threat.towards(found.target) for threat in threats]


def aimed_as(subject: Subject, run: Run) -> Subject:
    """The subject with the classes that the samples of a run had to reach, if it had a target."""
    if run.info["target"] is None:
        return subject
    targets = dict(
        zip(*(run.samples[name].to_pylist() for name in ("sample_id", "target")), strict=True)
    )
    split = subject.split
    known = torch.tensor([targets[i] for i in split.ids.tolist()], device=split.ids.device)
    return subject._replace(split=dataclasses.replace(split, targets=known))


def require_target(attack: AnyAttack, spec: str, threat: ThreatModel) -> None:
    """Raise UserError, naming attacks that can, for one that cannot seek the threat's target."""
    if threat.target is None or attack.can_target:
        return
    endless = math.isinf(threat.eps)
    others = {name: ATTACKS.build(name) for name in _CAN}
    able = [
        name
        for name, other in others.items()
        if threat.norm_name in other.norms and not (endless and other.goal == "fixed-eps")
    ]
    raise UserError(f"attack {spec} cannot seek a target class; these can: {', '.join(able)}")
