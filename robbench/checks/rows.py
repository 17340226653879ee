"""What a run's rows say of themselves: free, but for one look at whether the model is still the one they are about."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
from torch import Tensor

from robbench.attacks.base import AnyRowAttack, Attack, Backend
from robbench.attacks.pyautoattack import PyAutoAttack
from robbench.checks.base import Reading, Skip, counted
from robbench.checks.evidence import MINI, Evidence
from robbench.core.builtins import ATTACKS
from robbench.core.status import UNCONFIRMED, UNFINISHED
from robbench.engine.advice import kinds
from robbench.engine.flags import BLACK_BOX_SHARE

END = 0.9  # of an attack's steps: what falls later falls late
FALLS = 30  # of fewer a tenth is luck


def reproduced(e: Evidence) -> Reading:
    """The model predicts at the clean inputs what the rows say."""
    e.steady()
    bad = torch.tensor([int(row["clean_pred"]) for row in e.rows]) != e.logits.argmax(1)
    return counted(e, bad, _everyone(e), 0.0, "clean predictions are not those of the rows: another model, or other data?")


def black_box_only(e: Evidence) -> Reading:
    """Within a cascade, black-box attacks break nothing that gradient attacks before them have left (AutoAttack's check).

    The threshold is AutoAttack's 0.2 points; at least two samples, and after attacks of full length.
    """
    blind = [ATTACKS.build(spec).sees != "gradients" for spec in e.specs]
    specs = [ATTACKS.canonical(spec) for spec in e.specs]
    first = blind.index(False) if False in blind else len(specs)
    late = {spec for spec, dark in list(zip(specs, blind, strict=True))[first:] if dark}
    if not late:
        raise Skip("the run has no black-box attack after one with gradients")
    bad = torch.tensor([row["broken_by"] in late for row in e.rows])
    return counted(
        e, bad, _everyone(e), BLACK_BOX_SHARE, f"samples fell only to {' or '.join(sorted(late))}: the gradients mislead"
    )


def diverse(e: Evidence) -> Reading:
    """An attack without gradients was among those tried; of other packages' attacks only AutoAttack is known to have one."""
    attacks = [ATTACKS.build(spec) for spec in e.specs if e.rows]
    tried = "square" in kinds(attacks) or any(attack.sees != "gradients" for attack in attacks)
    if not tried and any(isinstance(attack, Backend) and not isinstance(attack, PyAutoAttack) for attack in attacks):
        raise Skip("whether another package's attack uses gradients is not known")
    text = "a black-box attack was tried" if tried else "no black-box attack was tried: add square"
    return Reading(not tried, float(not tried), 0.0, text)


def unmoved(e: Evidence) -> Reading:
    """An attack lowers the margin of what it does not break, at however small a budget; where it does not, it saw no way.

    Figures: good models 0, also at linf:0.001; masks 0.05 to 0.46.
    """
    if e.has_run:
        if not any(_climbs(spec) for spec in e.specs):
            raise Skip("the run has no attack of ours that climbs inside the budget: others visit no point there that fails")
        worst, clean = e.column("adv_margin"), e.column("clean_margin")
        fell = e.column("adversarial").bool() | (e.column("status") == UNFINISHED)
    else:
        tried = e.attack(MINI)
        worst, clean, fell = tried.margin, e.clean_margins, tried.found
    return counted(e, worst >= clean, e.right & ~fell, 0.05, "standing samples kept all of their margin: the attack saw no way")


def _climbs(spec: str) -> bool:
    attack = ATTACKS.build(spec)
    return isinstance(attack, Attack) and attack.sees == "gradients" and attack.seeks == "any"


def late_successes(e: Evidence) -> Reading:
    """Few samples fall in the last tenth of an attack's steps; many would go on falling after it.

    Figures: pgd and apgd of 10 to 100 steps up to 0.067 (3 of 45); steps of 0.01 to 0.05 eps, which do not arrive, 0.11 to 0.20.
    """
    steps = _per_row(e, lambda attack: attack.steps if attack.sees == "gradients" and attack.seeks == "any" else 0)
    fell = (steps >= 10) & e.right
    if int(fell.sum()) < FALLS:
        raise Skip(f"fewer than {FALLS} samples fell to an attack with 10 steps or more")
    late = e.column("first_success_step") >= END * steps
    return counted(e, late, fell, 0.06, "falls came in the last tenth of the steps: more steps would break more", sure=True)


def last_restart(e: Evidence) -> Reading:
    """Few samples fall to the last of several restarts only.

    Figures: pgd and apgd with 2 to 5 restarts up to 0.038; on masks 0.09 to 0.83.
    """
    restarts = _per_row(e, lambda attack: getattr(attack, "restarts", 1))
    each = _per_row(e, lambda attack: attack.variants(len(e.split.classes)) // getattr(attack, "restarts", 1))  # targets
    if not bool((restarts > 1).any()):
        raise Skip("no sample was broken by an attack with restarts")
    last = e.column("broken_variant") >= (restarts - 1) * each
    return counted(e, last, (restarts > 1) & e.right, 0.06, "falls came with the last restart: more would break more", sure=True)


def unconfirmed(e: Evidence) -> Reading:
    """No claimed success was refused by the re-check in float32."""
    return counted(
        e, e.column("status") == UNCONFIRMED, _everyone(e), 0.0, "samples had a success that was gone when looked at again"
    )


def unfinished(e: Evidence) -> Reading:
    """The budget of time or queries was enough."""
    return counted(
        e, e.column("status") == UNFINISHED, _everyone(e), 0.0, "samples were not attacked to the end: robust accuracy is a range"
    )


def odd_answers(e: Evidence) -> Reading:
    """On no sample's way were logits or gradients no numbers, or gradients exactly zero."""
    odd = (e.column("n_nonfinite") > 0) | (e.column("n_zero_gradient") > 0)
    return counted(e, odd, _everyone(e), 0.0, "samples met answers that are no numbers, or gradients of exactly zero")


def few_classes(e: Evidence) -> Reading:
    """No attack had to be adapted to the number of classes."""
    texts = [flag["text"] for flag in json.loads(e.info["flags"] or "[]") if flag["name"] == "few-classes"]
    return Reading(bool(texts), float(len(texts)), 0.0, "; ".join(texts) or "every attack ran as it is published")


def _everyone(e: Evidence) -> Tensor:
    return torch.ones(len(e.rows), dtype=torch.bool)


def _per_row(e: Evidence, what: Callable[[AnyRowAttack], int]) -> Tensor:
    """[N] something about the attack that broke each sample; 0 where that was none of ours."""
    specs = {row["broken_by"] for row in e.rows} - {None, "clean", "replay"}
    attacks = {spec: ATTACKS.build(spec) for spec in specs}
    values = {spec: what(attack) for spec, attack in attacks.items() if isinstance(attack, Attack)}
    return torch.tensor([values.get(row["broken_by"], 0) for row in e.rows])
