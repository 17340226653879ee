"""Stronger attacks: what they break that the attack in question did not is evidence against it.

`Evidence.reference` has the results of the attack in question. Stronger attacks run on the samples
that it left unbroken.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robbench.catalogue.builtins import ATTACKS
from robbench.checks.base import FEW, Reading, counted, share
from robbench.checks.evidence import Evidence, Skip
from robbench.checks.probes import PROBE, PROBE_MARGIN
from robbench.core.spec import Spec, options_of
from robbench.engine.oracle import forward_tiles
from robbench.engine.shapes import tiles_of

BLACK_BOX = "square:steps=200,rescale=true"
SCALES = (1e-3, 1e3)


def single_step(e: Evidence) -> Reading:
    """Many steps find at least what one finds.

    Figures: good models up to 0.005; attacks in question that are weak 0.17 to 0.18, a shattered
    gradient 0.18.
    """
    return _found_by(e, "fgsm", 0.02, "fell to a single step: fix the step size, or add restarts")


def black_box(e: Evidence) -> Reading:
    """White-box attacks find at least what score-based ones find.

    Figures: good models up to 0.038 (trained at linf:0.3); weak attacks 0.17 to 0.18, NaN gradients
    0.07, other broken defences 0.62 to 0.72.
    """
    text = f"fell to {BLACK_BOX}, a score-based attack: the attack is weak or the gradients mislead"
    return _found_by(e, BLACK_BOX, 0.05, text)


def labels_only(e: Evidence) -> Reading:
    """White-box attacks find at least what decision-based ones find.

    Figures: good models 0; a weak attack 0.03, broken defences 0.10 to 0.30.
    """
    text = (
        "fell to hopskipjump, a decision-based attack: the attack is weak or the gradients mislead"
    )
    return _found_by(e, "hopskipjump:steps=200", 0.01, text)


def noise(e: Evidence) -> Reading:
    """Random points of the ball find almost nothing that gradients miss.

    Figures: good models 0; broken defences 0.03 to 0.13.
    """
    text = "fell to random points: the attack is weak or the gradients mislead"
    return _found_by(e, "noise:steps=100", 0.01, text)


def transfer(e: Evidence) -> Reading:
    """The model's own gradients find at least what those of another model find.

    Figures: good models up to 0.015; weak attacks 0.08 to 0.10, broken defences 0.26 to 0.36.
    """
    x = e.answers.x
    right = forward_tiles(e.source, x, tiles_of([e.source], x)).cpu().argmax(1) == e.labels
    if share(right, e.right) < 0.5:
        raise Skip(
            f"the source is right on {int(right.sum())} of {len(right)} samples only: "
            "give a better --source MODEL"
        )
    text = "fell to points made for another model: the attack is weak or the gradients mislead"
    return _found_by(e, f"transfer:source=given,attack=({PROBE})", 0.03, text)


def steps_doubled(e: Evidence) -> Reading:
    """Twice the steps change little.

    Figures: good models up to 0.023; broken defences, which withstand twice the steps too, up to
    0.033; a random search in place of an attack 0.20.
    """
    spec = _doubled(e)
    text = f"fell to twice the steps ({spec}): the attack has not converged"
    return _found_by(e, spec, 0.05, text)


def restarts(e: Evidence) -> Reading:
    """More random starts change little.

    Figures: good models up to 0.033, broken defences up to 0.098; weak attacks 0.27 to 0.28.
    """
    text = "fell to more random starts: give the attack more restarts"
    return _found_by(e, f"{PROBE},restarts=4", 0.1, text)


def step_size(e: Evidence) -> Reading:
    """Half and twice the step length change little.

    Figures: good models up to 0.049, broken defences up to 0.066; weak attacks 0.25 to 0.27.
    """
    short = e.probe(f"{PROBE},rate=0.0625", among=e.standing).found
    long = e.probe(f"{PROBE},rate=0.25", among=e.standing).found
    text = f"fell to another step length: {e.hint('step-size')}"
    return counted(e, short | long, e.right, 0.1, text)


def loss_gap(e: Evidence) -> Reading:
    """Cross-entropy and the margin find about the same; a gap says that one of them is saturated.

    (Carlini and Wagner 2017.)

    Figures: good models up to 0.05, linear ones 0.15 (cross-entropy climbs towards several classes
    at once); a crowd of far classes (the test's model) 0.47.
    """
    ce, margin = e.probe(PROBE).found, e.probe(PROBE_MARGIN).found
    figure = abs(share(ce, e.right) - share(margin, e.right))
    failed = figure > 0.3 if int(e.right.sum()) >= FEW else None
    text = (
        f"cross-entropy breaks {int(ce.sum())}, the margin {int(margin.sum())} of "
        f"{int(e.right.sum())}{e.hint('loss-gap') if failed else ''}"
    )
    return Reading(failed, figure, 0.3, text, e.ids(ce ^ margin))


def logit_scale(e: Evidence) -> Reading:
    """The same attack on the logits times 1/1000 and 1000 breaks no more: a scale changes no label.

    An attack brings logits of an extreme scale to a usual one (`objectives.temperatures`), so both
    factors make it ignore the model's own scale, one by the spread of all logits, the other by the
    top two.

    Figures: good models up to 0.065, linear ones 0.12 (as for `loss_gap`); a crowd of far classes
    (the test's model) 0.5.
    """
    standing = e.right & ~e.probe(PROBE).found
    bad = torch.zeros_like(standing)
    for scale in SCALES:
        bad |= e.probe(PROBE, among=standing & ~bad, model=_Rescaled(e.model, scale)).found
    text = (
        f"fell to {PROBE} on rescaled logits: cross-entropy follows their scale"
        f"{e.hint('logit-scale')}"
    )
    return counted(e, bad, e.right, 0.3, text)


def _found_by(e: Evidence, spec: str, threshold: float, text: str) -> Reading:
    return counted(e, e.probe(spec, among=e.standing).found, e.right, threshold, text)


def _doubled(e: Evidence) -> str:
    """The first white-box, fixed-eps attack in question with steps, else PROBE; steps doubled."""
    for text in (*e.specs, PROBE):
        attack = ATTACKS.build(text)
        options = options_of(attack)
        if attack.access == "white-box" and "steps" in options and attack.goal == "fixed-eps":
            twice = Spec(text.partition(":")[0], None, {**options, "steps": 2 * options["steps"]})
            return ATTACKS.canonical(str(twice))
    raise AssertionError(PROBE)


class _Rescaled(nn.Module):
    """A model with its logits times a number."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model = model
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits * self.scale
