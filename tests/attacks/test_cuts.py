"""What a cut attack finds can be read off the rows of the longer one: it is its beginning."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.base import Attack, AttackEntry
from robbench.catalogue.builtins import ATTACKS
from robbench.engine.evaluate import evaluate
from robbench.testing.toys import toy_model, toy_split
from robbench.threat.model import parse_threat

pytestmark = pytest.mark.usefixtures("one_thread")

CUT = [
    ("pgd:steps=3,restarts=3", "restarts", 1, "linf:0.05"),
    ("apgd:steps=4,restarts=3", "restarts", 1, "l2:0.2"),
    ("apgd-t:steps=4,targets=3", "targets", 1, "linf:0.03"),
    ("apgd-t:steps=3,targets=3,order=distance", "targets", 1, "linf:0.03"),
    ("apgd-t:steps=3,targets=2,restarts=2", "restarts", 1, "l1:1"),
    ("fab:iterations=2,restarts=3", "restarts", 1, "linf:0.03"),
    ("fab-t:iterations=4,targets=4", "targets", 1, "linf:0.02"),
    ("pma:steps=4,restarts=2", "restarts", 1, "linf:0.05"),
    ("noise:steps=30", "steps", 8, "linf:0.2"),
    ("square:steps=40", "steps", 9, "linf:0.06"),
    ("square:steps=20,restarts=2", "restarts", 1, "l2:0.3"),
    ("a3:rounds=4", "rounds", 2, "linf:0.05"),
    ("sigma-zero:steps=12,targets=3", "targets", 2, "l0:3"),
]
CLASSES = 6
Broken = dict[int, tuple[int, int]]


class Rugged(nn.Module):
    """Many small hills, so that a second start or target finds what the first has missed."""

    def __init__(self) -> None:
        super().__init__()
        self.smooth, self.first = toy_model(CLASSES), nn.Linear(36, 24)
        self.last = nn.Linear(24, CLASSES)
        nn.init.normal_(self.first.weight, std=15.0)

    def forward(self, x: Tensor) -> Tensor:
        hills: Tensor = self.last(torch.sin(self.first(x.flatten(1))))
        return hills + self.smooth(x)


def _broken(attack: Attack, threat: str, seed: int) -> Broken:
    """Variant and step that broke each sample. The key depends on the text, the same for both."""
    torch.manual_seed(1)
    model, split = Rugged(), toy_split(120, classes=CLASSES)
    split = dataclasses.replace(split, labels=model(split.images / 255).argmax(1))
    found = evaluate(
        model,
        split,
        parse_threat(threat),
        [AttackEntry("it", attack)],
        seed=seed,
        width=16,
    )
    return {v.sample: (v.variant, v.step) for v in found.verdicts if v.entry == 0}


@pytest.mark.few(6)
@pytest.mark.parametrize(("spec", "option", "less", "threat"), CUT)
def test_a_cut_finds_what_the_rows_of_the_longer_attack_say(
    spec: str, option: str, less: int, threat: str
) -> None:
    """The same samples, at the same variant and step; later successes are lost, and no other."""
    whole = ATTACKS.build(spec)
    assert isinstance(whole, Attack)
    assert option in whole.cuts
    cut = dataclasses.replace(whole, **{option: less})
    known, found = _broken(whole, threat, 3), _broken(cut, threat, 3)
    variants = cut.variants(CLASSES)
    expected = {
        i: (variant, step)
        for i, (variant, step) in known.items()
        if variant < variants and step <= cut.steps
    }
    assert found == expected
    assert 0 < len(expected) < len(known) < 120


def test_every_cut_is_tried_above() -> None:
    """Each attack that says it can be cut is among these, for each of its options."""
    tried = {(type(ATTACKS.build(spec)), option) for spec, option, _, _ in CUT}
    for name in ATTACKS.entries:
        try:
            attack = ATTACKS.build(name)
        except Exception:  # an option without default
            continue
        assert {(type(attack), option) for option in attack.cuts} <= tried


def test_what_depends_on_all_its_targets_or_steps_has_no_cut() -> None:
    """A second restart repeats all targets; a stretched schedule depends on its length."""
    assert ATTACKS.build("apgd-t:restarts=2").cuts == {"restarts"}
    assert ATTACKS.build("fab-t:restarts=2").cuts == {"restarts"}
    assert ATTACKS.build("square:rescale=true").cuts == {"restarts"}
    assert ATTACKS.build("apgd").cuts == {"restarts"}
    assert ATTACKS.build("tsta").cuts == frozenset()
