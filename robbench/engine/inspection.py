"""What shows before an attack: signs that it may find too little.

The signs are those of Croce and Hein 2020 (AutoAttack's checks, arXiv:2003.01690) and of the
checklist of Carlini et al. 2019 (arXiv:1902.06705), looked for in every sample given, and without a
process-wide trace function: an optimisation inside the forward pass shows in what autograd saves
for a backward pass while gradients are off.

Deviations, on purpose. Random: the difference of two answers is relative to the larger one, so that
a random scale shows too (theirs: distance of the normalised logits), and every changed prediction
counts, not the number of right ones. Zero gradients: of cross-entropy at two points (theirs: of DLR
at one).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robbench.attacks.base import Backend
from robbench.core import keyed
from robbench.core.access import access_of
from robbench.core.tiles import Model, Tiles
from robbench.engine.advice import kinds
from robbench.engine.flags import Flag, make_flag
from robbench.engine.oracle import forward_tiles
from robbench.models.base import interface_of
from robbench.models.outputs.scales import bounded, probabilities, squashed
from robbench.objectives import cross_entropy, temperatures
from robbench.threat.norms import find_norm
from robbench.threat.problem import Problem

SAMPLES = 64  # as many are looked at before an attack
SAME = 1e-4  # relative difference of two answers to the same question that rounding may explain
VANISHING = 1e-30  # a gradient whose largest entry is below loses its digits in the next product
NEAR = 8 / 255  # how far from the input the random point may be, in the maximum norm
_BY_NATURE = {"score-based": "it gives scores only", "decision-based": "it names classes only"}


class Inspection(NamedTuple):
    """What was noticed before an attack, and what it cost per sample."""

    flags: list[Flag]
    n_forward: int
    n_backward: int


def inspect(
    model: Model, x: Tensor, y: Tensor, tiles: Tiles, attacks: Sequence[Any] = ()
) -> Inspection:
    """Look at a frozen model at the first SAMPLES of inputs x [n,*] in [0,1] with labels y [n].

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
    access = access_of(model)
    done, labels_only = kinds(attacks), access == "decision-based"
    if labels_only:  # nothing to advise
        done |= {"square"}
    if not isinstance(model, nn.Module) or next(model.parameters(), None) is None:  # no torch
        reason = _BY_NATURE.get(access, reason)
    layer = layers[0] if layers else None
    expected = interface_of(model).scale != "logits"
    flags = _output_flags(first.cpu(), second.cpu(), moved, layer, done, expected=expected)
    # Only other packages' attacks are misled by the scale; without attacks any may follow.
    if (
        not flags
        and not labels_only
        and (not attacks or any(isinstance(attack, Backend) for attack in attacks))
    ):
        flags = _scale_flags(first, y)
    if dynamic:
        flags.append(make_flag("dynamic", n, n, done))
    flags += (
        _gradient_flags(found, n, done)
        if found
        else [make_flag("no-gradient", n, n, done, reason=reason)]
    )
    return Inspection(flags, n_forward=1 + asked + max(len(found), 1), n_backward=len(found))


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
    *,
    expected: bool,
) -> list[Flag]:
    """What two answers [n,K] to the same question say.

    `moved`: buffers that changed; `layer`: what seems to have made the answers; `expected`:
    they are made of probabilities on request.
    """
    n, flags = len(first), []
    if moved:
        flags.append(
            make_flag("moving-state", n, n, names=", ".join(moved[:3]) + ", ..." * (len(moved) > 3))
        )
    elif varied := int(differ(first, second).sum()):
        flags.append(make_flag("random", varied, n, done))
    outputs = None if expected else probabilities(first) or layer or bounded(first)
    if outputs:
        flags.append(make_flag("probabilities", n, n, what=outputs[0], layer=outputs[1]))
    return flags


def _scale_flags(logits: Tensor, y: Tensor) -> list[Flag]:
    """Whether a model that is right on most samples has logits [n,K] of tiny scale.

    Of two classes none misleads an attack.
    """
    n = len(y)
    count = int(((temperatures(logits) < 1) & (logits.argmax(1) == y)).sum())
    return [make_flag("tiny-logits", count, n)] if logits.shape[1] > 2 and 2 * count > n else []


def differ(a: Tensor, b: Tensor) -> Tensor:
    """[n] bool: another prediction, or logits apart by more than rounding; NaN equals NaN."""
    known_a, known_b = torch.isfinite(a), torch.isfinite(b)
    za, zb = a.where(known_a, 0.0).double(), b.where(known_b, 0.0).double()
    apart, size = (
        (za - zb).square().sum(1).sqrt(),
        torch.maximum(za.square().sum(1), zb.square().sum(1)).sqrt(),
    )
    return (apart > SAME * size) | (known_a != known_b).any(1) | (a.argmax(1) != b.argmax(1))


def watched(forward: Callable[[], Tensor]) -> tuple[Tensor, bool, int]:
    """A forward pass without gradients: answer, whether it made a graph of its own, passes made."""
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
    """Gradients [n,*] of cross-entropy at x and at a random point near it, or why none."""
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
    bad, largest = ~torch.isfinite(flat).all(2), flat.abs().amax(2)
    wrong = {
        "non-finite-gradient": bad,
        "zero-gradient": largest == 0,
        "vanishing": (largest > 0) & (largest < VANISHING),
    }
    counts = {name: int(rows.any(0).sum()) for name, rows in wrong.items()}
    return [make_flag(name, count, n, done) for name, count in counts.items() if count]
