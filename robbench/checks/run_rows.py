"""A run's rows: what they say of the attack; free, but for one look at the model itself."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
from torch import Tensor

from robbench.analysis.audited import percent_up
from robbench.attacks.base import AnyRowAttack, Attack, Backend
from robbench.attacks.pyautoattack import PyAutoAttack
from robbench.catalogue.builtins import ATTACKS
from robbench.checks.base import Reading, Severity, counted
from robbench.checks.evidence import Evidence, Skip
from robbench.checks.probes import PROBE
from robbench.core.status import UNCONFIRMED, UNFINISHED
from robbench.engine.advice import kinds
from robbench.engine.flags import BLACK_BOX_SHARE
from robbench.models.base import interface_of
from robbench.threat.model import classes_in_play

END = 0.9  # of an attack's steps: a later success is a late one
MISSED = 0.01  # of the survivors: what an audit may leave open
FALLS = 30  # broken samples: a tenth of fewer is luck


def reproduced(e: Evidence) -> Reading:
    """The model predicts at the clean inputs what the rows say."""
    e.require_deterministic()
    bad = torch.tensor([int(row["clean_pred"]) for row in e.rows]) != e.answers.logits.argmax(1)
    text = "clean predictions are not those of the rows: another model, or other data?"
    return counted(e, bad, _everyone(e), 0.0, text)


def black_box_only(e: Evidence) -> Reading:
    """In a cascade, black-box attacks break nothing that gradient attacks before them left.

    The threshold is AutoAttack's 0.2 points, with at least two samples; it holds for attacks of
    full length.
    """
    specs = [ATTACKS.canonical(spec) for spec in e.specs]
    black_box = [ATTACKS.build(spec).access != "white-box" for spec in e.specs]
    first = black_box.index(False) if False in black_box else len(specs)
    late = {spec for spec, blind in list(zip(specs, black_box, strict=True))[first:] if blind}
    if not late:
        raise Skip("the run has no black-box attack after one with gradients")
    bad = torch.tensor([row["broken_by"] in late for row in e.rows])
    text = f"samples fell only to {' or '.join(sorted(late))}: the gradients mislead"
    return counted(e, bad, _everyone(e), BLACK_BOX_SHARE, text)


def diverse(e: Evidence) -> Reading:
    """An attack without gradients was tried.

    Of other packages only AutoAttack is known to have one.
    """
    attacks = [ATTACKS.build(spec) for spec in e.specs if e.rows]
    tried = "square" in kinds(attacks) or any(attack.access != "white-box" for attack in attacks)
    if not tried and any(
        isinstance(attack, Backend) and not isinstance(attack, PyAutoAttack) for attack in attacks
    ):
        raise Skip("whether another package's attack uses gradients is not known")
    text = "a black-box attack was tried" if tried else "no black-box attack was tried: add square"
    return Reading(not tried, float(not tried), 0.0, text)


def unmoved(e: Evidence) -> Reading:
    """An attack lowers the margin of the samples it does not break, at however small an eps.

    Where it does not, the gradient gave it no direction, or its points were outside of the threat
    model, where they do not count. Skipped at eps 0.

    Figures: good models 0, also at linf:0.001; broken defences 0.05 to 0.46.
    """
    if e.budget and e.has_run:  # without one nothing can move
        if not any(isinstance(a, Attack) and _climbs(a) for a in map(ATTACKS.build, e.specs)):
            raise Skip(
                "the run has no attack of robbench that climbs inside the budget; other attacks "
                "record no point where they fail"
            )
        worst, clean = e.column("adv_margin"), e.column("clean_margin")
        out = e.column("adversarial").bool() | (e.column("status") == UNFINISHED)
    else:
        result = e.probe(PROBE)
        worst, clean, out = result.margin, e.answers.margins, result.found
    text = (
        "unbroken samples kept all of their margin: the attack found no direction, or its points "
        "were outside of the threat model, where they do not count"
    )
    return counted(e, worst >= clean, e.right & ~out, 0.05, text)


def _climbs(attack: AnyRowAttack) -> bool:
    return attack.access == "white-box" and attack.goal == "fixed-eps"


def late_successes(e: Evidence) -> Reading:
    """Few samples fall in the last tenth of an attack's steps; if many do, more steps break more.

    Figures: pgd and apgd of 10 to 100 steps up to 0.067 (3 of 45); steps of 0.01 to 0.05 eps, which
    do not arrive, 0.11 to 0.20.
    """
    steps = _of_breaker(e, lambda attack: attack.steps if _climbs(attack) else 0)
    broken = (steps >= 10) & e.right
    if int(broken.sum()) < FALLS:
        raise Skip(f"fewer than {FALLS} samples fell to an attack with 10 steps or more")
    late = e.column("first_success_step") >= END * steps
    text = "falls came in the last tenth of the steps: more steps would break more"
    return counted(e, late, broken, 0.06, text, sure=True)


def last_restart(e: Evidence) -> Reading:
    """Few samples fall to the last of several restarts only.

    Figures: pgd and apgd with 2 to 5 restarts up to 0.038; on broken defences 0.09 to 0.83.
    """
    width = len(e.split.classes) + interface_of(e.model.model).outside
    classes = classes_in_play(width, e.threat)
    restarts = _of_breaker(e, lambda attack: attack.restarts)
    targets = _of_breaker(e, lambda attack: attack.variants(classes) // attack.restarts)
    if not bool((restarts > 1).any()):
        raise Skip("no sample was broken by an attack with restarts")
    last = e.column("broken_variant") >= (restarts - 1) * targets
    text = "falls came with the last restart: more would break more"
    return counted(e, last, (restarts > 1) & e.right, 0.06, text, sure=True)


def unconfirmed(e: Evidence) -> Reading:
    """No success was refused by the re-check in float32."""
    text = "samples had a success that the re-check did not confirm"
    return counted(e, e.column("status") == UNCONFIRMED, _everyone(e), 0.0, text)


def unfinished(e: Evidence) -> Reading:
    """The limits of time and queries were enough."""
    text = "samples were not attacked to the end: robust accuracy is a range"
    return counted(e, e.column("status") == UNFINISHED, _everyone(e), 0.0, text)


def odd_answers(e: Evidence) -> Reading:
    """At no step were logits or gradients NaN or infinite, or gradients exactly zero."""
    odd = e.column("n_zero_gradient") > 0
    if not any(row.get("clean_rejected") is not None for row in e.rows):  # rejections are meant
        odd |= e.column("n_nonfinite") > 0
    text = "samples met answers that are no numbers, or gradients of exactly zero"
    return counted(e, odd, _everyone(e), 0.0, text)


def audit(e: Evidence) -> Reading:
    """A full attack on some survivors of a cheap one, drawn at random, breaks none of them.

    A warning where it breaks at most 1 % of them; unclear where it breaks none, but they are too
    few to exclude that it would break more than 1 % of all survivors. Where all of them were
    audited, the robust accuracy is that of the full attack, and this only informs. `robbench attack
    --audit N` makes the audit; `robbench explain running` says how.
    """
    n, attack = e.info["n_audited"], e.info["audit_attack"]
    if not n:
        raise Skip("no audit: attack with --audit 300" if n is None else "no sample to audit")
    drawn = e.column("audited").bool()
    broken = drawn & e.column("adversarial").bool()
    count, most = int(broken.sum()), e.info["audit_missed_high"]
    by = sorted({row["broken_by"] for row, fell in zip(e.rows, broken, strict=True) if fell})
    whole = n == e.info["n_survivors"]
    text = f"{attack} broke {count} of {f'all {n}' if whole else f'{n} audited'} survivors"
    if count:
        text += f" ({', '.join(by)}): the "
        text += "cheaper attack alone is too weak" if whole else "robust accuracy is too high"
        mild: Severity | None = "warning" if count <= MISSED * n else None
        return Reading(True, count / n, 0.0, text, e.ids(broken), "info" if whole else mild)
    if most > MISSED:
        text += f", too few to exclude {percent_up(most)} of all: audit more"
        return Reading(None, 0.0, 0.0, text)
    return Reading(False, 0.0, 0.0, f"{text}, and would break at most {percent_up(most)} of all")


def few_classes(e: Evidence) -> Reading:
    """No attack had to be adapted to the number of classes."""
    flags = json.loads(e.info["flags"] or "[]")
    texts = [flag["text"] for flag in flags if flag["name"] == "few-classes"]
    text = "; ".join(texts) or "every attack ran as it is published"
    return Reading(bool(texts), float(len(texts)), 0.0, text)


def _everyone(e: Evidence) -> Tensor:
    return torch.ones(len(e.rows), dtype=torch.bool)


def _of_breaker(e: Evidence, value: Callable[[AnyRowAttack], int]) -> Tensor:
    """[N] a value of the attack that broke each sample; 0 where that was none of robbench's."""
    specs = {row["broken_by"] for row in e.rows} - {None, "clean", "replay"}
    attacks = {spec: ATTACKS.build(spec) for spec in specs}
    values = {spec: value(attack) for spec, attack in attacks.items() if isinstance(attack, Attack)}
    return torch.tensor([values.get(row["broken_by"], 0) for row in e.rows])
