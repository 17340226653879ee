"""What a careful evaluator notices: signs that a number may say more about the attack than about the model.

The signs are those of Croce and Hein 2020 (AutoAttack's checks, arXiv:2003.01690) and of the
checklist of Carlini et al. 2019 (arXiv:1902.06705), looked for in every sample given, and without a
process-wide trace function: an optimisation inside the forward pass shows in what autograd saves
for a backward pass while gradients are off.

Deviations, on purpose. Random: the difference of two answers is relative to the larger one, so that
a random scale shows too (theirs: distance of the normalised logits), and every changed prediction
counts, not the number of right ones. Zero gradients: of cross-entropy at two points (theirs: of DLR
at one). Black-box: samples that the gradient attacks of the run had failed on, not a difference of
accuracies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robbench.attacks.pyautoattack import PyAutoAttack
from robbench.core import keyed
from robbench.core.tiles import Model, RowEquality, Tiles
from robbench.engine.advice import HINTS, TEXTS, kinds
from robbench.engine.oracle import forward_tiles
from robbench.models.outputs import bounded, probabilities, squashed
from robbench.objectives import TARGETED, cross_entropy, temperatures
from robbench.statistics.proportions import wilson
from robbench.threat.norms import find_norm
from robbench.threat.problem import Problem

SAMPLES = 64  # as many are looked at before an attack
SAME = 1e-4  # relative difference of two answers to the same question that rounding may explain
VANISHING = 1e-30  # a gradient whose largest entry is below loses its digits in the next product
NEAR = 8 / 255  # how far from the input the random point may be, in the maximum norm
BLACK_BOX_SHARE = 0.002  # more than this share of all samples (AutoAttack's 0.2 points) ...
BLACK_BOX_COUNT = 2  # ... and at least so many: a single one can be luck


class Flag(NamedTuple):
    """Something to look into before believing the numbers."""

    name: str
    count: int  # type: ignore[assignment]  # samples concerned; 0 when it is not a matter of samples
    text: str  # one line: what it means and what to do


class Inspection(NamedTuple):
    """What was noticed before an attack, and what it cost per sample."""

    flags: list[Flag]
    forwards: int
    backwards: int


# -- before an attack
# ------------------------------------------------------------------------------------------------------


def inspect(
    model: Model, x: Tensor, y: Tensor, tiles: Tiles, attacks: Sequence[Any] = ()
) -> Inspection:
    """Look at a frozen model (`core/freeze.py`) at the first SAMPLES of inputs x [n,*] in [0,1] with labels y [n].

    `attacks` are those of the run: what they are is not advised.
    """
    x, y = x[:SAMPLES], y[:SAMPLES]
    n = len(x)
    if n == 0:
        return Inspection([], 0, 0)
    state = _state(model)
    first = forward_tiles(model, x, tiles)
    moved = [name for name, before in state.items() if not _same(before, _state(model).get(name))]
    second, dynamic, asked = watched(lambda: forward_tiles(model, x, tiles))
    layers: list[tuple[str, str] | None] = []

    def noted(x: Tensor) -> Tensor:
        logits = model(x)
        layers.append(squashed(logits))
        return logits

    found, reason = gradients(noted, x, y, tiles)
    done = kinds(attacks)
    flags = _output_flags(first.cpu(), second.cpu(), moved, layers[0] if layers else None, done)
    flags = flags or _scale_flags(first, y)
    if dynamic:
        flags.append(_flag("dynamic", n, n, done))
    flags += (
        _gradient_flags(found, n, done)
        if found
        else [_flag("no-gradient", n, n, done, reason=reason)]
    )
    return Inspection(flags, forwards=1 + asked + max(len(found), 1), backwards=len(found))


def _state(model: Model) -> dict[str, Tensor]:
    """Copies of the buffers that a forward pass in evaluation mode should leave alone."""
    if not isinstance(model, nn.Module) or getattr(model, "training", False):
        return {}
    return {name: buffer.detach().clone() for name, buffer in model.named_buffers()}


def _same(before: Tensor, after: Tensor | None) -> bool:
    return after is not None and before.shape == after.shape and bool(torch.equal(before, after))


def _output_flags(
    first: Tensor,
    second: Tensor,
    moved: Sequence[str],
    layer: tuple[str, str] | None,
    done: Collection[str],
) -> list[Flag]:
    """What two answers [n,K] to the same question say; `moved`: buffers that changed; `layer`: what seems to have made them."""
    n, flags = len(first), []
    if moved:
        flags.append(
            _flag("moving-state", n, n, names=", ".join(moved[:3]) + ", ..." * (len(moved) > 3))
        )
    elif varied := int(differ(first, second).sum()):
        flags.append(_flag("random", varied, n, done))
    if outputs := probabilities(first) or layer or bounded(first):
        flags.append(_flag("probabilities", n, n, what=outputs[0], layer=outputs[1]))
    return flags


def _scale_flags(logits: Tensor, y: Tensor) -> list[Flag]:
    """Whether a model that is right on most samples has logits [n,K] of tiny scale; of two classes none misleads an attack."""
    n = len(y)
    count = int(((temperatures(logits) < 1) & (logits.argmax(1) == y)).sum())
    return [_flag("tiny-logits", count, n)] if logits.shape[1] > 2 and 2 * count > n else []


def differ(a: Tensor, b: Tensor) -> Tensor:
    """[n] bool: another prediction, or logits that differ by more than rounding; NaN is equal to NaN."""
    known_a, known_b = torch.isfinite(a), torch.isfinite(b)
    za, zb = a.where(known_a, 0.0).double(), b.where(known_b, 0.0).double()
    apart, size = (
        (za - zb).square().sum(1).sqrt(),
        torch.maximum(za.square().sum(1), zb.square().sum(1)).sqrt(),
    )
    return (apart > SAME * size) | (known_a != known_b).any(1) | (a.argmax(1) != b.argmax(1))


def watched(forward: Callable[[], Tensor]) -> tuple[Tensor, bool, int]:
    """The answer of a forward pass without gradients, whether it made a graph of its own, and how many passes that took."""
    saved = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += 1
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            return forward(), saved > 0, 1
    except (
        RuntimeError
    ) as error:  # torch.func refuses to differentiate under such hooks, which tells as much
        if "saved tensor hooks" not in str(error):
            raise
    return forward(), True, 2


def gradients(model: Model, x: Tensor, y: Tensor, tiles: Tiles) -> tuple[list[Tensor], str]:
    """Gradients [n,*] of cross-entropy at x and at a random point near it; or none, and the reason."""
    rows = torch.arange(len(x), device=x.device)
    p = Problem.of(x, y, NEAR, find_norm("linf"), key=keyed.mix(rows), index=rows)
    found = []
    try:
        for point in (p.x0, p.ball.uniform()):
            parts = []
            for place, real in tiles.split(rows):
                leaf = point[place].detach().requires_grad_()
                with torch.enable_grad():
                    value = cross_entropy(model(leaf), p.take(place)).sum()
                part = (
                    torch.autograd.grad(value, leaf, allow_unused=True)[0]
                    if value.requires_grad
                    else None
                )
                if part is None:
                    return [], "something in it cuts the output off from the input"
                parts.append(part[:real])
            found.append(torch.cat(parts))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # with gradients only: without them it has just answered
        return [], str(error).strip().partition("\n")[0]
    return found, ""


def _gradient_flags(gradients: Sequence[Tensor], n: int, done: Collection[str]) -> list[Flag]:
    """What is wrong with the gradients [n,*] of samples, at any of the points looked at."""
    flat = torch.stack([gradient.flatten(1) for gradient in gradients])  # [points,n,D]
    ill, largest = ~torch.isfinite(flat).all(2), flat.abs().amax(2)
    wrong = {
        "non-finite-gradient": ill,
        "zero-gradient": largest == 0,
        "vanishing": (largest > 0) & (largest < VANISHING),
    }
    counts = {name: int(rows.any(0).sum()) for name, rows in wrong.items()}
    return [_flag(name, count, n, done) for name, count in counts.items() if count]


def of_rows(equality: RowEquality, known: Sequence[Flag]) -> list[Flag]:
    """That no number of rows agrees with another, unless a flag already says why."""
    if equality.equal or any(flag.name in ("random", "moving-state") for flag in known):
        return []
    return [_flag(equality.why, 0, 0, text="random-rows" if equality.why == "random" else "")]


# -- after an attack
# -------------------------------------------------------------------------------------------------------


def afterwards(
    entries: Sequence[str],
    black_box: Collection[str],
    broken_by: Sequence[str | None],
    *,
    nonfinite: Sequence[int],
    zero_gradients: Sequence[int],
    rejects: bool = False,
    attacks: Sequence[Any] = (),
) -> list[Flag]:
    """What the finished samples of a run say, at one finite budget; `attacks` as for `inspect`.

    entries: specs of the cascade in their order; black_box: those among them that use no gradient
    of the model. Per sample: the spec that broke it (anything else, such as None or `clean`, when
    no attack did), how many of its answers were not finite (`rejects`: that is how the model
    rejects), and how many of its gradients exactly zero. A sample that a black-box attack broke
    after one with gradients had failed is a reproach to the latter; it takes BLACK_BOX_COUNT of
    them, and more than BLACK_BOX_SHARE of all samples.
    """
    n = len(broken_by)
    first = next(
        (place for place, spec in enumerate(entries) if spec not in black_box), len(entries)
    )
    late = {spec for spec in entries[first:] if spec in black_box}
    alone = sum(spec in late for spec in broken_by)
    zero, ill = (sum(count > 0 for count in column) for column in (zero_gradients, nonfinite))
    flags = []
    if alone >= BLACK_BOX_COUNT and alone > BLACK_BOX_SHARE * n:
        specs = " or ".join(spec for spec in entries if spec in late & set(broken_by))
        flags.append(_flag("black-box-only", alone, n, specs=specs))
    if zero:
        flags.append(
            _flag(
                "zero-gradient", zero, n, kinds(attacks), text="zero-gradient-met", share=zero / n
            )
        )
    if ill:
        flags.append(_flag("rejected" if rejects else "non-finite", ill, n, share=ill / n))
    return flags


def at_chance(correct: Sequence[bool], labels: Sequence[int]) -> list[Flag]:
    """Whether clean accuracy is no better than always naming one class, by the lower end of its interval at 95 %.

    Nothing is said of so few samples that not even a perfect model would be better.
    """
    n, right, most = len(labels), sum(correct), max(Counter(labels).values(), default=0)
    if n and wilson(n, n)[0] > most / n >= wilson(right, n)[0]:
        return [_flag("at-chance", right, n, most=most)]
    return []


def notes(name: str, texts: Sequence[str]) -> list[Flag]:
    """Remarks that are no matter of samples: on how a model is asked, its training, its code, or on the classes of the data."""
    return [_flag(name, 0, 0, note=text, spec=text) for text in texts]


def adaptations(classes: int, entries: Sequence[tuple[str, Any]]) -> list[Flag]:
    """What the number of classes forced on the attacks of a cascade, given as pairs of spec and attack."""
    found = [
        (spec, _changes(classes, getattr(attack, "inner", attack))) for spec, attack in entries
    ]
    return [
        _flag("few-classes", 0, 0, spec=spec, classes=classes, changes="; ".join(changes))
        for spec, changes in found
        if changes
    ]


def _changes(classes: int, attack: Any) -> list[str]:
    if isinstance(attack, PyAutoAttack):
        names = attack.attacks(classes)
        changes = [
            f"{name} is left out" for name in attack.attacks(classes=1000) if name not in names
        ]
        return changes + _fewer(9, classes) * any(name in ("apgd-t", "fab-t") for name in names)
    objective, targets = getattr(attack, "objective", None), getattr(attack, "targets", None)
    changes = []
    if objective in ("dlr", "dlr-targeted") and classes == 2:
        changes.append("DLR is the plain margin, as there is no third logit to scale it by")
    elif objective == "dlr-targeted" and classes == 3:
        changes.append("targeted DLR is scaled by z_(1) - z_(3), as there is no fourth logit")
    aims = objective in TARGETED or getattr(attack, "targeted", False)
    return changes + (_fewer(targets, classes) if aims and isinstance(targets, int) else [])


def _fewer(targets: int, classes: int) -> list[str]:
    return [f"{targets} targets are cut to {classes - 1}"] if targets > classes - 1 else []


def _flag(
    name: str, count: int, n: int, done: Collection[str] = (), *, text: str = "", **words: Any
) -> Flag:
    hint = HINTS[text or name].text(done) if (text or name) in HINTS else ""
    return Flag(name, count, TEXTS[text or name].format(count=count, n=n, hint=hint, **words))
