"""Challengers: whatever another attack breaks of what the attack in question left standing is a reproach to it.

The attack in question is `Evidence.reference`. Challengers see the standing samples only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robbench.catalogue.builtins import ATTACKS
from robbench.checks.base import FEW, Reading, Skip, counted, share
from robbench.checks.evidence import PROBE, PROBE_MARGIN, Evidence
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
    return _held(e, "fgsm", 0.02, "fell to a single step: mend the step size, or add restarts")


def black_box(e: Evidence) -> Reading:
    """Whoever sees the gradient finds at least what is found without.

    Figures: good models up to 0.038 (trained at linf:0.3); weak attacks 0.17 to 0.18, NaN gradients
    0.07, other masks 0.62 to 0.72.
    """
    return _held(
        e,
        BLACK_BOX,
        0.05,
        f"fell to {BLACK_BOX}, which sees scores only: the attack is weak or the gradients mislead",
    )


def labels_only(e: Evidence) -> Reading:
    """Whoever sees the gradient finds at least what labels tell.

    Figures: good models 0; a weak attack 0.03, masks 0.10 to 0.30.
    """
    return _held(
        e,
        "hopskipjump:steps=200",
        0.01,
        "fell to hopskipjump, which sees labels only: the attack is weak or the gradients mislead",
    )


def noise(e: Evidence) -> Reading:
    """Random points of the ball find almost nothing that gradients miss.

    Figures: good models 0; masks 0.03 to 0.13.
    """
    return _held(
        e,
        "noise:steps=100",
        0.01,
        "fell to random points: the attack is weak or the gradients mislead",
    )


def transfer(e: Evidence) -> Reading:
    """The model's own gradients find at least what those of another model find.

    Figures: good models up to 0.015; weak attacks 0.08 to 0.10, masks 0.26 to 0.36.
    """
    seen = forward_tiles(e.source, e.x, tiles_of([e.source], e.x)).cpu().argmax(1) == e.labels
    if share(seen, e.right) < 0.5:
        raise Skip(
            f"the source is right on {int(seen.sum())} of {len(seen)} samples only: give a better --source MODEL"
        )
    return _held(
        e,
        f"transfer:source=given,attack=({PROBE})",
        0.03,
        "fell to points made for another model: the attack is weak or the gradients mislead",
    )


def steps_doubled(e: Evidence) -> Reading:
    """Twice the steps change little.

    Figures: good models up to 0.023, or masks, which stand twice the steps too, up to 0.033; a
    random search in place of an attack 0.20.
    """
    spec = _doubled(e)
    return _held(e, spec, 0.05, f"fell to twice the steps ({spec}): the attack has not converged")


def restarts(e: Evidence) -> Reading:
    """More random starts change little.

    Figures: good models up to 0.033, masks up to 0.098; weak attacks 0.27 to 0.28.
    """
    return _held(
        e, f"{PROBE},restarts=4", 0.1, "fell to more random starts: give the attack more restarts"
    )


def step_size(e: Evidence) -> Reading:
    """Half and twice the step length change little.

    Figures: good models up to 0.049, masks up to 0.066; weak attacks 0.25 to 0.27.
    """
    bad = e.challenge(f"{PROBE},rate=0.0625") | e.challenge(f"{PROBE},rate=0.25")
    return counted(e, bad, e.right, 0.1, f"fell to another step length: {e.hint('step-size')}")


def loss_gap(e: Evidence) -> Reading:
    """Cross-entropy and the margin find about the same; a gap says that one of them is saturated (Carlini and Wagner 2017).

    Figures: good models up to 0.05, linear ones 0.15 (cross-entropy climbs towards several classes
    at once); a crowd of far classes (the test's model) 0.47.
    """
    ce, margin = e.attack(PROBE).found, e.attack(PROBE_MARGIN).found
    figure = abs(share(ce, e.right) - share(margin, e.right))
    text = f"cross-entropy breaks {int(ce.sum())}, the margin {int(margin.sum())} of {int(e.right.sum())}{e.hint('loss-gap')}"
    return _unless_few(e, Reading(figure > 0.3, figure, 0.3, text, e.ids(ce ^ margin)))


def logit_scale(e: Evidence) -> Reading:
    """The same attack on the logits times 1/1000 and 1000 breaks no more: a scale changes no label.

    An attack brings logits of an extreme scale to a usual one (`objectives.temperatures`), so both
    make it ignore the model's own scale, one by the spread of all logits, one by the top two.

    Figures: good models up to 0.065, linear ones 0.12 (as for `loss_gap`); a crowd of far classes
    (the test's model) 0.5.
    """
    stands = e.right & ~e.attack(PROBE).found
    bad = torch.zeros_like(stands)
    for scale in SCALES:
        bad |= e.attack(PROBE, among=stands & ~bad, model=_Rescaled(e.model, scale)).found
    text = f"fell to {PROBE} on rescaled logits: cross-entropy follows their scale{e.hint('logit-scale')}"
    return counted(e, bad, e.right, 0.3, text)


def _held(e: Evidence, spec: str, threshold: float, text: str) -> Reading:
    return counted(e, e.challenge(spec), e.right, threshold, text)


def _unless_few(e: Evidence, reading: Reading) -> Reading:
    return reading._replace(failed=None) if int(e.right.sum()) < FEW else reading


def _doubled(e: Evidence) -> str:
    """The first attack in question that has steps and sees gradients, else PROBE, with twice the steps."""
    for text in (*e.specs, PROBE):
        attack = ATTACKS.build(text)
        options = options_of(attack)
        if attack.access == "white-box" and "steps" in options and attack.goal == "fixed-eps":
            return ATTACKS.canonical(
                str(Spec(text.partition(":")[0], None, {**options, "steps": 2 * options["steps"]}))
            )
    raise AssertionError(PROBE)


class _Rescaled(nn.Module):
    """A model with its logits times a number."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits * self.scale
