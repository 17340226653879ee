"""Other packages' attacks: right on linear models, without side effects, errors in one line."""

from __future__ import annotations

import math
import pickle
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.engine.counter import Counter
from robbench.testing import check_attack
from robbench.threat.problem import size_and_fits

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE, CLASSES = (3, 4, 4), 5
MODULES = {
    "foolbox": "foolbox",
    "torchattacks": "torchattacks",
    "adv-lib": "adv_lib.attacks",
    "pyautoattack": "pyautoattack",
}


def build(spec: str) -> Any:
    pytest.importorskip(MODULES[spec.partition(":")[0]])
    return ATTACKS.build(spec)


@pytest.mark.parametrize(
    ("spec", "norm"),
    [
        ("foolbox:L2DeepFoolAttack", "l2"),
        ("foolbox:LinfDeepFoolAttack", "linf"),
        ("torchattacks:DeepFool", "l2"),
        ("adv-lib:df", "l2"),
        ("adv-lib:df", "linf"),
    ],
)
def test_deepfool_of_each_package_overshoots_the_exact_distance_by_little(
    spec: str, norm: str, linear: Any
) -> None:
    """Without a budget the minimum-norm attacks seek the smallest perturbation in the norm."""
    attack = build(spec)
    model, p, distances = linear(norm, math.inf)
    x = attack.run(model, p, seed=0)
    assert attack.goal == "minimum-norm"
    assert (model(x).argmax(1) != p.y).all()
    extra = (
        p.norm.size(x - p.x0) - distances
    )  # all overshoot by 2 %, and foolbox' steps are 1e-4 longer
    assert ((extra > 0.015 * distances) & (extra < 0.021 * distances + 1.1e-4)).all()
    assert len(p.y.unique()) > 2


@pytest.mark.parametrize(
    ("spec", "norm"),
    [
        ("foolbox:LinfPGD,options=(steps=20,rel_stepsize=0.2)", "linf"),
        ("foolbox:l2pgd,options=(steps=50,rel_stepsize=0.1)", "l2"),
        ("foolbox:L2DeepFoolAttack,options=(overshoot=1e-4)", "l2"),
        ("torchattacks:PGD,options=(steps=20,alpha=0.01)", "linf"),
        ("torchattacks:PGDL2,options=(steps=50,alpha=0.05)", "l2"),
        ("torchattacks:apgd,options=(steps=30)", "l2"),
        ("torchattacks:APGD,options=(steps=30)", "linf"),
        ("adv-lib:pgd_linf", "linf"),
        ("adv-lib:apgd,options=(loss_function=ce)", "l2"),
        ("pyautoattack:version=apgd-ce", "l1"),
        ("pyautoattack:version=apgd-t", "l1"),
        ("pyautoattack:version=fab-t", "l1"),
    ],
)
def test_under_a_budget_exactly_the_rows_whose_boundary_is_inside_fall(
    spec: str, norm: str, linear: Any
) -> None:
    """The budget is between two rows' distances. Two classes where the loss picks the class."""
    attack = build(spec)
    model, p, distances = linear(norm, classes=CLASSES if "-t" in spec else 2)
    x = attack.run(model, p, seed=0)
    assert size_and_fits(x, p)[1].all()
    fallen = model(x).argmax(1) != p.y
    assert not fallen[distances > p.eps * 1.001].any()
    assert fallen[distances < p.eps * 0.9].all()
    assert 0 < int((distances < p.eps * 0.9).sum()) < len(p)


class Moody(nn.Module):
    """A classifier with all that an attack could change; it notes the modes of its calls."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.drop, self.last = (
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.Dropout(),
            nn.Linear(16, CLASSES),
        )
        self.norm(self.conv(torch.rand(8, *SHAPE)))  # statistics of its own
        self.eval()
        self.modes: set[tuple[bool, ...]] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.modes.add(tuple(module.training for module in self.modules()))
        logits: Tensor = self.last(self.drop(self.norm(self.conv(x)).relu()).flatten(1))
        return logits


TOUCHY = [
    "foolbox:LinfPGD,options=(steps=3)",
    "foolbox:LinfDeepFoolAttack,options=(steps=3)",
    "foolbox:InversionAttack",
    "torchattacks:PGD,options=(steps=3)",
    "torchattacks:AutoAttack,options=(version=rand)",
    "torchattacks:Pixle",
    "adv-lib:pgd_linf",
]


@pytest.mark.parametrize("spec", TOUCHY)
def test_model_and_random_state_are_left_alone(spec: str, problem: Any) -> None:
    """Gradients, flags, modes, buffers, hooks, three global generators, inputs; in eval mode."""
    attack = build(spec)
    model, x = Moody(), torch.rand(6, *SHAPE)
    model(x).sum().backward()
    model.conv.bias.requires_grad_(False)  # type: ignore[union-attr]
    norm = min(attack.norms)
    p = problem(model, x, model(x).argmax(1), torch.full((6,), {"l0": 3.0}.get(norm, 0.1)), norm)
    grads = {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }
    kept = (
        x.clone(),
        p.y.clone(),
        {name: value.clone() for name, value in model.state_dict().items()},
    )
    legacy = np.random.get_state
    states = torch.get_rng_state(), legacy()[1].tolist(), random.getstate()
    model.modes.clear()
    with warnings.catch_warnings(record=True) as heard:
        attack.run(Counter(model), p, seed=0)
    assert model.modes == {(False,) * 5}
    assert not heard  # foolbox would warn of the wrapper, which is in training mode
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (legacy()[1].tolist(), random.getstate())
    assert torch.equal(x, kept[0])
    assert torch.equal(p.y, kept[1])
    assert all(torch.equal(value, kept[2][name]) for name, value in model.state_dict().items())
    for name, weight in model.named_parameters():
        assert weight.requires_grad == (name != "conv.bias")
        assert torch.equal(weight.grad, grads[name])  # type: ignore[arg-type]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_model_in_mixed_modes_gets_them_back(problem: Any) -> None:
    """The package puts the whole model in eval mode, then the whole model in train mode."""
    attack = build("torchattacks:PGD,options=(steps=2)")
    model, x = Moody(), torch.rand(4, *SHAPE)
    p = problem(model, x, torch.zeros(4, dtype=torch.int64), torch.full((4,), 0.1), "linf")
    model.train()
    model.norm.eval()
    attack.run(model, p, seed=0)
    assert [module.training for module in model.modules()] == [True, True, False, True, True]


@pytest.mark.parametrize(
    "spec", ["foolbox:LinfPGD,options=(steps=2)", "torchattacks:PGD,options=(steps=2)"]
)
def test_the_seed_decides_the_random_numbers(spec: str, linear: Any) -> None:
    attack = build(spec)
    model, p, _ = linear("linf")
    first = attack.run(model, p, seed=1)
    torch.rand(5)
    assert torch.equal(first, attack.run(model, p, seed=1))
    assert not torch.equal(first, attack.run(model, p, seed=2))


@pytest.mark.parametrize(
    "spec",
    [
        "foolbox:LinfPGD,options=(steps=3)",
        "foolbox:L2CarliniWagnerAttack,options=(steps=5)",
        "torchattacks:CW",
    ],
)
def test_backends_conform(spec: str) -> None:
    pytest.importorskip(MODULES[spec.partition(":")[0]])
    check_attack(spec)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("foolbox", "attack must be given"),
        ("foolbox:linfpdg", "unknown foolbox attack 'linfpdg'; did you mean linfpgd"),
        (
            "foolbox:LinfPGD,options=(step=5)",
            "foolbox:LinfPGD: unknown option 'step'; did you mean steps",
        ),
        ("foolbox:LinfPGD,options=(steps=many)", "steps='many': should be a number"),
        ("foolbox:LinfPGD,options=(random_start=1)", "random_start=1: should be true or false"),
        ("foolbox:LinfPGD,options=steps", "'steps' is not key=value"),
        ("foolbox:InversionAttack,options=(distance=l2)", "distance is not an option here"),
        ("foolbox:VirtualAdversarialAttack", "its option steps must be given"),
        ("foolbox:HopSkipJumpAttack,options=(constraint=l7)", "HopSkipJumpAttack cannot be made"),
        ("foolbox:SpatialAttack", "unknown foolbox attack"),
        ("torchattacks:PDG", "unknown torchattacks attack 'PDG'; did you mean pgd"),
        ("torchattacks:MultiAttack", "unknown torchattacks attack"),
        ("torchattacks:PGD,options=(eps=0.1)", "eps is not an option here"),
        ("torchattacks:PGD,options=(stps=2)", "unknown option 'stps'; did you mean steps"),
    ],
)
def test_what_is_wrong_is_said_when_the_attack_is_made(spec: str, words: str) -> None:
    pytest.importorskip(MODULES[spec.partition(":")[0]])
    with pytest.raises(UserError) as caught:
        ATTACKS.build(spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "norm", "eps", "words"),
    [
        ("foolbox:LinfPGD", "l2", 0.1, "does not work in l2; it knows linf"),
        ("foolbox:LinfPGD", "linf", math.inf, "needs a budget"),
        ("torchattacks:CW", "linf", 0.1, "does not work in linf; it knows l2"),
        ("torchattacks:APGD", "l1", 0.1, "does not work in l1; it knows l2, linf"),
    ],
)
def test_a_norm_or_budget_that_does_not_fit_is_refused(
    spec: str, norm: str, eps: float, words: str, linear: Any
) -> None:
    attack = build(spec)
    model, p, _ = linear(norm, eps)
    with pytest.raises(UserError, match=words):
        attack.run(model, p, seed=0)


@pytest.mark.parametrize("spec", ["foolbox:LinfPGD", "torchattacks:PGD", "adv-lib:ddn"])
def test_a_missing_package_is_named_with_its_install_command(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = MODULES[spec.partition(":")[0]].partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=f"attacks of {module} need that package; .*pip install"):
        ATTACKS.build(spec)


def test_a_package_without_its_own_requirement_says_which(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "adv_lib"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "adv_lib").mkdir()
    (tmp_path / "adv_lib" / "__init__.py").touch()
    (tmp_path / "adv_lib" / "attacks.py").write_text("import no_such_plotter")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        UserError, match="the module 'no_such_plotter' that it needs: pip install no_such_plotter"
    ):
        ATTACKS.build("adv-lib:ddn")
    for name in [name for name in sys.modules if name.partition(".")[0] == "adv_lib"]:
        monkeypatch.delitem(sys.modules, name)


def test_a_spec_is_canonical_and_survives_pickling() -> None:
    """Two orders of the options are one attack; its text builds it again."""
    pytest.importorskip("foolbox")
    texts = [
        "foolbox:LinfPGD,options=(steps=5,random_start=false)",
        "foolbox:attack=LinfPGD,options=(random_start=false,steps=5)",
    ]
    first, second = (ATTACKS.canonical(text) for text in texts)
    assert first == second == texts[1]
    attack = ATTACKS.build(first)
    assert pickle.loads(pickle.dumps(attack)) == attack == ATTACKS.build(texts[0])
    assert (attack.norms, attack.goal) == ({"linf"}, "fixed-eps")
