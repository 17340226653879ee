"""The text of each flag, and the attacks it advises: those that a run has not made already."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from robbench.attacks.base import MARGIN, AnyAttack

TEXTS = {
    "random": (
        "{count} of {n} samples get another answer when asked again, so one gradient or one "
        "verdict means little: {hint} layers left in training mode"
    ),
    "probabilities": (
        "the outputs are {what}: attacks on cross-entropy and DLR can lose their gradient where "
        "the model is confident; return the logits before the {layer}"
    ),
    "dynamic": (
        "the model differentiates or optimises inside its forward pass, which gradient attacks "
        "may not see through: {hint}"
    ),
    "no-gradient": "the model has no gradient ({reason}): {hint}",
    "non-finite-gradient": (
        "{count} of {n} samples have NaN or infinite gradients, which attacks take as zero: look "
        "for divisions, logarithms and roots of zero in the model{hint}"
    ),
    "zero-gradient": (
        "{count} of {n} samples have a gradient of exactly zero, so cross-entropy shows no way: "
        "{hint} rounding or saturation in the model"
    ),
    "vanishing": (
        "{count} of {n} samples have a gradient that all but underflows, so its direction may be "
        "lost: {hint}"
    ),
    "black-box-only": (
        "{count} of {n} samples fell only to {specs}, after attacks with gradients had failed: "
        "the gradients mislead, and true robustness is probably lower"
    ),
    "audit-all": (
        "{signs} may mean masked gradients, which a cheap attack can miss: attack again with "
        "--audit N --adaptive, which gives every sample that is left the full attack"
    ),
    "zero-gradient-met": (
        "{count} of {n} samples ({share:.1%}) met gradients of exactly zero, where an attack "
        "does not move: {hint}"
    ),
    "non-finite": (
        "{count} of {n} samples ({share:.1%}) got NaN or infinite logits or gradients, which "
        "never count as broken, so robustness may be overstated: fix the model"
    ),
    "rejected": (
        "the model rejected {count} of {n} samples ({share:.1%}) as they are or at points that "
        "were tried: wrong in the first case, no success in the second"
    ),
    "moving-state": (
        "{names} of the model change with every forward pass, also in evaluation mode, so it is "
        "another model at every step: disable the observers of quantisation and freeze running "
        "statistics (eot does not help)"
    ),
    "untrained": (
        "the weights of {spec} are random, they were never trained: name a trained model or a "
        "factory that loads weights"
    ),
    "tiny-logits": (
        "the logits of {count} of {n} samples are less than 1 apart, as similarities are: "
        "robbench's own attacks rescale them for cross-entropy, those of other packages do not "
        "and may find too little"
    ),
    "interface": "{note}",
    "of-target-class": (
        "{count} of {n} samples are of the target class already and left out of every number"
    ),
    "loaded": "{note}",
    "one-class": (
        "all samples are of class {note}: the numbers say nothing of any other; take them with "
        "--limit stratified=N"
    ),
    "fixed": (
        "{note} entries of an input are fixed, which no attack changes: compare only with runs "
        "that fix the same"
    ),
    "code-changed": (
        "the code of {spec} has changed since the model was trained, so its weights may mean "
        "something else now: train it again, or go back to the code it was trained with"
    ),
    "at-chance": (
        "clean accuracy, {count} of {n}, is not shown to be above that of always naming the most "
        "frequent class ({most} of {n}): look at the weights, the order of the classes and the "
        "preprocessing before believing any number"
    ),
    "rounding": (
        "answers round differently at another place in a batch or when asked again, with this "
        "model, processor and number of threads, so borderline samples may fall at one "
        "--batch-size and not at another: on a CPU, try one thread (OMP_NUM_THREADS=1)"
    ),
    "random-rows": (
        "a model of this run gives other answers or gradients when it is asked again, so no "
        "verdict is certain: look for layers left in training mode, also in the source of a "
        "transfer attack"
    ),
    "batch": (
        "a sample's answer depends on the others in its batch, so no verdict is certain: look for"
        " layers that use statistics of the batch, as batch-norm with track_running_stats=False, "
        "and give them fixed ones"
    ),
    "few-classes": "{spec} was adapted to {classes} classes: {changes}",
}
"""Of the flags in `engine/flags.py`."""

FLOAT64 = "--precision fp64"
"""The kind of a search in float64."""


class Hint(NamedTuple):
    """Attacks to add: `wanted` kinds, the sentence with `{}` for those left, the one for none."""

    wanted: tuple[str, ...]
    some: str
    none: str = ""
    last: str = " and "

    def text(self, done: Collection[str]) -> str:
        """The sentence for a run that has `done` some of them, see `kinds`."""
        left = [kind for kind in self.wanted if kind not in done]
        return (
            self.some.format(self.last.join([", ".join(left[:-1])] * (len(left) > 1) + left[-1:]))
            if left
            else self.none
        )


def kinds(attacks: Sequence[AnyAttack]) -> frozenset[str]:
    """What some attacks are, see `AnyAttack.kinds`."""
    return frozenset(kind for attack in attacks for kind in attack.kinds)


HINTS = {
    "random": Hint(("eot",), "attack with {}, and look for", "look for"),
    "dynamic": Hint(
        ("square", "transfer"),
        "write an adaptive attack, or add at least {}",
        "write an adaptive attack",
    ),
    "no-gradient": Hint(
        ("square", "hopskipjump", "transfer"),
        "add {}",
        "no attack with gradients means anything here",
        last=" or ",
    ),
    "non-finite-gradient": Hint(("square",), ", or add {}"),
    "zero-gradient": Hint((MARGIN, "square"), "add {}, and look for", "look for"),
    "vanishing": Hint((MARGIN,), "add {}, or scale the logits down", "scale the logits down"),
    "step-size": Hint(("apgd",), "tune it, or use {}", "tune it"),
    "logit-scale": Hint((MARGIN,), ": add {}"),
    "loss-gap": Hint((MARGIN,), ": add {}"),
    "stationary": Hint(("square", "transfer"), ": add {}"),
    "zero-gradient-met": Hint(
        (MARGIN, "square", FLOAT64), "add {}", "look for rounding or saturation in the model"
    ),
}
"""By the name of the text, which has it as `{hint}`, or of the check."""
