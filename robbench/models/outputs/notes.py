"""How a model is called and its outputs are read, in sentences for the user."""

from __future__ import annotations

from robbench.models.outputs.interface import Interface

_READ = {
    "probs": (
        "their logarithms are taken as logits, which end, without a gradient, where a probability "
        "rounds to 0; return the logits if you can"
    ),
    "log-probs": "they are logits but for a constant",
    "labels": (
        "it names a class and gives no scores, so its logits are 1/2 for that class, -1/2 for the "
        "others, and every margin is 1 or -1"
    ),
    "sigmoid": (
        "log(p / (1 - p)) is taken as logit, which ends, without a gradient, where p rounds to 0 "
        "or 1; return the logits if you can"
    ),
}


def notes_of(interface: Interface, classes: int) -> list[str]:
    """What a user should know of an interface to a model of some classes, one line each."""
    found = []
    if interface.batch == 1:
        found.append(
            "the model takes a batch of one only, so it gets one image at a time, which is slow"
        )
    elif interface.batch is not None:
        found.append(
            f"the model takes batches of {interface.batch} only: smaller ones are filled up with "
            "copies, which costs as much as whole ones"
        )
    if interface.dtype is not None:
        found.append(
            f"the model computes in {str(interface.dtype).removeprefix('torch.')}: its inputs are "
            "cast to it"
        )
    if interface.scale != "logits":
        found.append(
            f"the model's outputs are read as {interface.scale}: " + _READ[interface.scale]
        )
    if interface.binary:
        found.append(
            "the model has one output z for two classes: its logits are taken to be (-z/2, z/2)"
            if interface.scale == "logits"
            else "the model has one output for two classes, the probability of the second"
        )
    if interface.outputs is not None or interface.outside:
        found.append(_which(interface, classes, interface.outputs or tuple(range(interface.width))))
    if interface.reject:
        found.append(_rejection(interface, classes))
    return found


def _which(interface: Interface, classes: int, outputs: tuple[int, ...]) -> str:
    chosen, rest = outputs[:classes], interface.width - classes - interface.reject
    if interface.named:
        pairs = [f"'{c}' is output {o}" for c, o in zip(interface.named, chosen, strict=True)]
        which = "; ".join(pairs[:3]) + "; ..." * (len(pairs) > 3)
        which = f"the model's outputs were matched to the classes by name: {which}"
    else:
        which = ", ".join(map(str, chosen[:10])) + ", ..." * (len(chosen) > 10)
        which = f"outputs {which} of the model are the classes, in this order"
    if interface.outside:
        return f"{which}; its {interface.outside} other outputs are wrong classes (outside=wrong)"
    if rest:
        return (
            f"the model has more outputs than there are classes: {which}; the rest is left out "
            "(outside=wrong counts it as misclassified)"
        )
    return which


def _rejection(interface: Interface, classes: int) -> str:
    which = f"output {interface.width - 1} of the model"
    meaning = "a rejected clean input is wrong, a rejected adversarial one is no success"
    if not interface.guessed:
        return f"{which} is a rejection: {meaning}, which calls for an attack of its own"
    return (
        f"{which}, beyond the {classes} classes, is taken for a rejection: {meaning}, which "
        "calls for an attack of its own; reject=last says that it is one, "
        f"outputs=0-{classes - 1} that it is none"
    )
