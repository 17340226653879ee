"""Threat models: a norm and a budget, written `linf:8/255` or `l2:0.5`.

Several budgets of one norm are written `linf:2/255,8/255`.

Inputs live in the box [0,1]; every budget is in those units. `l2:inf` has no budget: what is sought
is the smallest perturbation. `linf:8/255 -> TARGET` is targeted: only a point that is predicted as
the target is a success.

`corruption:fog@3` is no ball but one point for each input: itself, corrupted. `corruption:fog` is
that at all five severities, `corruption:all` every corruption.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from robbench.core.corruptions import PREFIX, expand, is_corruption
from robbench.core.errors import UserError
from robbench.core.spec import parse_number
from robbench.core.threat_text import ARROW, parse_target, split_threat
from robbench.threat.norms import Norm, find_norm

# Half the distance of 1 to its neighbour: pixels near white stay where they are below it.
SMALLEST = 2.0**-24
SMALLEST_SIDE = 8  # of an image that is corrupted, in pixels


@dataclasses.dataclass(frozen=True)
class ThreatModel:
    """One norm and one budget eps >= 0, or inf; `text` is how it was written, in canonical form.

    target: a class, `least-likely`, `random` or `column:NAME`; None where any mistake will do. Of a
    corruption the norm is its name, `corruption:fog`, and eps its severity.
    """

    norm_name: str
    eps: float
    text: str
    target: str | None = None

    def __str__(self) -> str:
        return self.text

    @property
    def norm(self) -> Norm:
        """The norm's sizes and projections; of a corruption linf, in which it goes anywhere."""
        return find_norm("linf" if self.corruption else self.norm_name)

    @property
    def corruption(self) -> str | None:
        """The name of the corruption, such as `fog`; None of a ball."""
        norm = self.norm_name
        return norm.removeprefix(PREFIX) if is_corruption(norm) else None

    def towards(self, target: str | None) -> ThreatModel:
        """The same norm and budget with another target, or none.

        Raises UserError for a corruption, which seeks nothing.
        """
        if target is not None and self.corruption:
            raise UserError(f"threat {self.text} seeks no target: leave the target out")
        text = split_threat(self.text)._replace(target=target)
        return dataclasses.replace(self, text=str(text), target=target)


def classes_in_play(classes: int, threat: ThreatModel) -> int:
    """The classes an attack chooses among: under a target that one and the label."""
    return classes if threat.target is None else 2


def parse_threat(text: str) -> list[ThreatModel]:
    """`linf:8/255,16/255` -> one threat model per budget. Raises UserError for anything else."""
    ball, arrow, target = text.partition(ARROW)
    if arrow:
        return [one.towards(parse_target(target)) for one in parse_threat(ball.strip())]
    if is_corruption(text.strip().lower()):
        return [
            ThreatModel(PREFIX + kind, float(severity), f"{PREFIX}{kind}@{severity}")
            for kind, severity in expand(text.partition(":")[2])
        ]
    name, colon, budgets = text.strip().partition(":")
    norm = find_norm(name)
    if not colon or not budgets.strip():
        raise UserError(f"malformed threat '{text}': write NORM:EPS such as linf:8/255 or l2:0.5")
    models = []
    for budget in (item.strip() for item in budgets.split(",")):
        try:
            eps = float(parse_number(budget))
        except ValueError:
            raise UserError(
                f"malformed threat '{text}': '{budget}' is not a number such as 0.03 or 8/255"
            ) from None
        if math.isnan(eps) or eps < 0 or (math.isinf(eps) and budget.lower() != "inf"):
            raise UserError(
                f"threat '{text}': eps must be at least 0, or inf for the smallest perturbation, "
                f"not {budget}"
            )
        if norm.name == "linf" and 1 < eps < math.inf:
            raise UserError(
                f"threat '{text}': pixels are in [0,1], so linf eps {budget} is more than "
                f"everything; {budget}/255?"
            )
        if norm.counts and eps != math.inf and not eps.is_integer():
            raise UserError(
                f"threat '{text}': {norm.name} counts changed {norm.counts}, {budget} is no such "
                f"number; write {norm.name}:6 for 6 of them (10 % of 64 {norm.counts})"
            )
        if 0 < eps < SMALLEST:
            raise UserError(
                f"threat '{text}': eps {budget} changes no pixel in 32-bit numbers; "
                "0 is no perturbation at all"
            )
        eps = abs(eps)  # -0 is 0
        short = f"{eps:g}"
        canonical = (
            budget.replace(" ", "")
            if "/" in budget
            else short
            if float(short) == eps
            else repr(eps)
        )
        models.append(ThreatModel(norm.name, eps, f"{norm.name}:{canonical}"))
    return models


def require_inside(threats: Iterable[ThreatModel], shape: Sequence[int]) -> None:
    """Raise UserError for a budget larger than the whole box [0,1] of this shape.

    It forbids nothing, so it is a typing error. And for a corruption of what is no image of at
    least 8x8 pixels.
    """
    entries = math.prod(shape)
    pixels = math.prod(shape[1:]) if len(shape) == 3 else entries
    for threat in threats:
        if threat.corruption and (len(shape) != 3 or min(shape[1:]) < SMALLEST_SIDE):
            raise UserError(
                f"threat {threat.text} is for images of at least {SMALLEST_SIDE}x{SMALLEST_SIDE} "
                f"pixels, the data have the shape {'x'.join(map(str, shape))}"
            )
        most = {
            "linf": 1.0,
            "l2": math.sqrt(entries),
            "l1": float(entries),
            "l0": float(entries),
            "l0px": float(pixels),
        }.get(threat.norm_name, math.inf)
        if most < threat.eps < math.inf:
            raise UserError(
                f"threat {threat.text}: two images of shape {'x'.join(map(str, shape))} "
                "with pixels in [0,1] are "
                "at most "
                f"{threat.norm_name}:{most:g} apart"
                + ("" if threat.norm.counts else f"; did you mean {threat.eps:g}/255?")
            )


def single_threat(text: str) -> ThreatModel:
    """The threat model to train under. Raises UserError for several budgets, or none."""
    models = parse_threat(text)
    if models[0].target is not None:
        raise UserError(f"threat '{text}' has a target; training is against any mistake")
    if models[0].corruption:
        raise UserError(f"threat '{text}' is a corruption; training takes a budget: linf:8/255")
    if len(models) > 1:
        raise UserError(f"threat '{text}' names {len(models)} budgets; training takes one")
    if math.isinf(models[0].eps):
        raise UserError(f"threat '{text}' has no budget; training needs one")
    return models[0]
