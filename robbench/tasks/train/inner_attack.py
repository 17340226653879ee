"""The inner attack of a training: a spec becomes an attack that training can run."""

from __future__ import annotations

from robbench.attacks.base import AnyRowAttack, Attack, require_whole
from robbench.attacks.fab import FAB
from robbench.catalogue.builtins import ATTACKS
from robbench.catalogue.cascades import cascades
from robbench.core.errors import UserError
from robbench.core.spec import options_of, parse_spec, validate
from robbench.losses.base import Loss
from robbench.objectives import TARGETED
from robbench.tasks.train.config import TrainConfig
from robbench.threat.model import ThreatModel
from robbench.training.inner import Inner


def inner_spec(config: TrainConfig, loss: Loss) -> str | None:
    """The spec of the inner attack, which a loss may bring; None for clean training.

    Raises UserError where the loss needs an attack and the config has none.
    """
    text = config.inner or loss.inner
    if text is not None and text != "none":
        return text
    if loss.inner is not None:
        raise UserError(
            f"loss {config.loss} needs an inner attack; "
            f"leave out --inner none or give one such as --inner {loss.inner}"
        )
    return None


def build_inner(text: str, config: TrainConfig, loss: Loss, threat: ThreatModel) -> Inner:
    """The inner maximisation of a config. Raises UserError where it cannot work."""
    if loss.plain:
        raise UserError(
            f"loss {config.loss} trains without an inner attack; "
            "leave out --inner, or give --inner none"
        )
    if threat.eps == 0:
        raise UserError(
            f"--threat {threat.text} leaves the inner attack no budget; "
            "--inner none trains on clean inputs"
        )
    attack = _attack(text, threat.norm_name, loss)
    return Inner(attack, threat, config.inner_mode, config.eps_warmup, config.inner_beyond)


def _attack(text: str, norm: str, loss: Loss) -> AnyRowAttack:
    def refused(why: str) -> UserError:
        return UserError(f"--inner {text}: {why}")

    if text in cascades():
        raise refused("a cascade cannot be an inner attack; use pgd, apgd or fgsm")
    attack = ATTACKS.build(text)
    if not isinstance(attack, Attack):
        raise refused(
            "a backend cannot run inside training; use fgsm, pgd or another attack of ours"
        )
    require_whole(attack, text)
    if loss.nearest:
        if not isinstance(attack, FAB):
            raise refused(
                "this loss goes to the nearest boundary; use fab, as in fab:iterations=20"
            )
        if attack.targeted:
            raise refused(
                "the boundary of this loss is that of all classes; use fab without targets"
            )
        if attack.candidates != FAB.candidates:
            raise refused("this loss has one boundary, not one of each class; leave out candidates")
    elif attack.goal != "fixed-eps":
        raise refused(
            "it looks for the smallest perturbation, not inside a budget; use pgd or apgd"
        )
    if attack.access == "none":
        raise refused("it learns nothing from the model in training; use pgd, apgd or fgsm")
    if attack.objective in TARGETED:
        raise refused("a targeted attack cannot run inside training; choose another objective")
    if attack.variants(2) > 1:
        raise refused("training makes one run per step; leave out restarts")
    climbs = loss.climbs
    if climbs is not None:
        if parse_spec(text).options.get("objective", climbs) != climbs:
            raise refused(f"the inner attack of this loss climbs {climbs}; leave out objective")
        if getattr(attack, "init", None) == "clean" and climbs == "kl-from-clean":
            raise refused(
                f"{climbs} has no gradient at the clean input; use init=uniform or init=gaussian"
            )
        options = {**options_of(attack), "objective": climbs}
        validate(type(attack), options, f"--inner {text}, for a loss that climbs {climbs}")
    if norm not in attack.norms:
        raise UserError(
            f"--inner {text} does not work in {norm}; it knows {', '.join(sorted(attack.norms))}"
        )
    return attack
