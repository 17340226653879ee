"""Every registered attack and loss conforms, and the suite notices when one does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from robbench.attacks.pgd import PGD
from robbench.catalogue.builtins import ATTACKS, LOSSES
from robbench.core.errors import UserError
from robbench.engine.lockstep import lockstep
from robbench.losses.trades import TRADES
from robbench.testing import check_attack, check_loss, judge, toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = {
    "fgsm": "",
    "fgsm-rs": "",
    "n-fgsm": "",
    "pyautoattack": "version=apgd-ce",
    "apgd-t": "steps=4,targets=2",
    "pgd": "steps=4,restarts=2",
    "noise": "steps=9",
    "square": "steps=20",
    "eot": "attack=(pgd:steps=3),draws=3",
    "minimal": "attack=(pgd:steps=2),rounds=3",
    "hopskipjump": "steps=18",
    "fab": "iterations=4",
    "fab-t": "iterations=3,targets=2",
    "cw": "iterations=4,search_steps=2",
    "tsta": "iterations=3,probe=2,targets=2",
    "a3": "rounds=3",
}
CLASSES = {"differential": 2}
OTHER_ATTACKS = [
    "fgsm:objective=dlr",
    pytest.param("pgd:steps=3,init=gaussian,objective=kl-from-clean", marks=pytest.mark.slow),
    "pgd:steps=2,init=clean,objective=margin",
    pytest.param("apgd:steps=5,objective=margin,restarts=2", marks=pytest.mark.slow),
    pytest.param("apgd-t:steps=3,restarts=2", marks=pytest.mark.slow),
    "apgd:steps=1",
    "sigma-zero:steps=4,targets=2",
    pytest.param("sigma-zero:steps=12,polish=6", marks=pytest.mark.slow),
]
OTHER_LOSSES = [
    ("trades:beta=0", 3),
    ("trades:beta=1", 2),
    ("differential:form=logistic,bias=extreme", 2),
    ("differential:form=squared-hinge,bias=mean", 2),
]


@pytest.fixture(autouse=True)
def broken_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes `broken_plugins:NAME` a spec, as a private module in the user's folder is."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop("broken_plugins", None)


ELSEWHERE = {
    "foolbox",
    "torchattacks",
    "adv-lib",
    "transfer",
}  # need a package's attack or a model: in tests/attacks


@pytest.mark.parametrize("name", sorted(ATTACKS.entries.keys() - ELSEWHERE))
def test_every_attack_conforms(name: str) -> None:
    """check_attack accepts each name of the catalogue, at few steps."""
    options = SHORT.get(name, "steps=5")
    check_attack(f"{name}:{options}" if options else name)


@pytest.mark.parametrize("spec", OTHER_ATTACKS)
def test_attacks_conform_under_other_options(spec: str) -> None:
    """check_attack accepts other objectives, starts, restarts and the shortest schedule."""
    check_attack(spec)


@pytest.mark.parametrize("name", sorted(LOSSES.entries))
def test_every_loss_conforms(name: str) -> None:
    """check_loss accepts each name of the catalogue."""
    check_loss(name, CLASSES.get(name, 4))


@pytest.mark.parametrize(("spec", "classes"), OTHER_LOSSES)
def test_losses_conform_under_other_options(spec: str, classes: int) -> None:
    """check_loss accepts other forms and numbers of classes."""
    check_loss(spec, classes)


def test_honest_plugins_pass() -> None:
    """The base of the broken ones is accepted: the suite notices exactly the broken rule."""
    check_attack("broken_plugins:Honest")
    check_loss("broken_plugins:HonestLoss")
    check_loss("broken_plugins:DeclaredCoupled")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("GlobalNoise", "must not touch the global random state"),
        ("BatchMean", "must give the same verdicts"),
        ("BatchClock", "must give the same verdicts"),
        ("ChangesWeights", "it must not touch the model"),
        ("ChangesMode", "survive the re-check|it must not"),
        ("ExtraQuery", "rows were queried, the verdict says"),
        ("TwoQueries", r"a step must query the model once: steps moves take steps \+ 1"),
        (
            "EveryPair",
            r"moves to points of shape \[40, 40, 1, 6, 6\], expected .* \[40, 1, 6, 6\].*lift",
        ),
        ("QueriesPairs", r"queries points of shape \[40, 40, 1, 6, 6\], expected \[B,\*\] = "),
        ("NoLift", r"it raised RuntimeError: .*lift\(p.eps, x\)"),
        ("NaNPoints", "points must be finite"),
        ("MovesFixed", "points must keep the entries that are fixed"),
        (
            "UnknownNorm",
            r'norms must be .* linf, l2, l1, l0, l0px: write .* norms = frozenset\(\{"linf"',
        ),
        ("NormsAsText", r'norms must be .* write .* norms = frozenset\(\{"linf"'),
        ("NoNorms", r'norms must be .* write .* norms = frozenset\(\{"linf"'),
        ("NoSteps", "steps, .* write .* steps: int = 10"),
        ("ForgetsAnOption", "its canonical spec must build the same attack"),
        ("TrainsTheModel", "it must not touch the model"),
        ("Reseeds", "must not touch the global random state"),
    ],
)
def test_broken_attacks_are_noticed(name: str, rule: str) -> None:
    """Each breaks one rule, and check_attack raises an AssertionError that names it."""
    with pytest.raises(AssertionError, match=rule):
        check_attack(f"broken_plugins:{name}")


@pytest.mark.parametrize(
    ("name", "words"), [("NeedsFourClasses", "out of range"), ("ImagesOnly", "expected 4, got 2")]
)
def test_attacks_that_raise_on_other_classes_or_shapes_are_noticed(name: str, words: str) -> None:
    """The suite tries few classes and flat inputs; what an attack raises there comes through."""
    with pytest.raises((AssertionError, RuntimeError, ValueError), match=words):
        check_attack(f"broken_plugins:{name}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NoStart", "NoStart: its start returned Tensor, not its state"),
        ("ForgetsToReturn", "ForgetsToReturn: its step returned NoneType, not its state"),
    ],
)
def test_what_is_no_state_is_refused(name: str, words: str) -> None:
    """By the engine, in attacks as in training."""
    with pytest.raises(UserError, match=words):
        check_attack(f"broken_plugins:{name}")
    attack = ATTACKS.build(f"broken_plugins:{name}")
    x = torch.rand(3, 4)
    p = Problem.of(x, torch.zeros(3).long(), torch.full((3,), 0.1), NORMS["linf"])
    with pytest.raises(UserError, match=words):
        lockstep(attack, lambda x: x, p)


def test_an_attack_that_leaves_the_ball_gains_nothing_by_it() -> None:
    """Its points outside are never booked: every verdict comes from points inside."""
    model, split = toy_model(), toy_split(40)
    threat = parse_threat("linf:0.01")[0]
    with torch.no_grad():
        far = (split.pixels(slice(None)) - 0.5).neg() + 0.5
        fooled = int((model(far).argmax(1) != split.labels).sum())
    assert fooled > 30  # mistakes abound outside the ball
    verdicts = judge("broken_plugins:Outside", model, split, threat)
    honest = judge("broken_plugins:Honest:steps=30", model, split, threat)
    for verdict, other in zip(verdicts, honest, strict=True):
        assert verdict.linf <= 0.01 * (1 + 1e-5) + 1e-7
        assert verdict.step in (-1, 0)  # the start is the only point that it has inside
        assert other.adversarial or not verdict.adversarial


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("Nothing", "its value must be a tensor, not NoneType"),
        ("HiddenAdversary", r"calls step.adversary\(\) .*inner: ClassVar"),
        ("HiddenTeacher", r"calls step.teacher\(\) .*let its property teacher return"),
        ("Scalar", r"must have shape \(24,\), not \(\)"),
        ("Column", r"must have shape \(24,\), not \(24, 1\)"),
        ("Coupled", "set batch_coupled = True"),
        ("ByPlace", "must not depend on its place"),
        ("NotANumber", "its values must be finite"),
        ("Noisy", "the same step must give the same values again"),
        ("Detached", "its gradient must reach the weights"),
        ("LeavesTrainMode", "leave the model's mode|same values again"),
        ("InfiniteHead", "fit_head must leave finite values"),
    ],
)
def test_broken_losses_are_noticed(name: str, rule: str) -> None:
    """Each breaks one rule, and check_loss raises an AssertionError that names it."""
    with pytest.raises(AssertionError, match=rule):
        check_loss(f"broken_plugins:{name}")


def test_a_loss_that_cannot_work_on_the_data_says_so() -> None:
    """A loss for two classes refuses four with a UserError, not with a traceback."""
    with pytest.raises(UserError, match="works on 2 classes"):
        check_loss("differential", 4)


def test_objects_and_classes_are_checked_like_their_specs() -> None:
    """Also where they break a rule, which is named with the spec."""
    from broken_plugins import BatchMean, HonestLoss, NotANumber

    check_loss(HonestLoss)
    check_loss(TRADES(beta=2))
    check_attack(PGD(steps=2))
    with pytest.raises(AssertionError, match=r"^broken_plugins:NotANumber: its values"):
        check_loss(NotANumber())
    with pytest.raises(AssertionError, match=r"^broken_plugins:BatchMean:steps=2 in"):
        check_attack(BatchMean(steps=2))
    with pytest.raises(UserError, match="derived from"):
        check_attack(TRADES())


def test_the_suite_restores_what_it_uses() -> None:
    """check_attack and check_loss leave no gradient mode or number of threads changed behind."""
    before = torch.is_grad_enabled(), torch.get_num_threads()
    check_loss("cross-entropy")
    assert (torch.is_grad_enabled(), torch.get_num_threads()) == before
