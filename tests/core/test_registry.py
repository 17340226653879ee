"""Registries: names, aliases, canonical forms, other packages' entries and private modules."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from robbench.attacks.apgd import APGD
from robbench.attacks.pgd import PGD
from robbench.catalogue.builtins import ATTACKS, REGISTRIES
from robbench.core.errors import UserError
from robbench.core.registry import Registry

SPELLINGS = [
    "fgsm",
    "fgsm:objective=margin",
    "pgd",
    "pgd:steps=7",
    "pgd:rate=8/255,restarts=3",
    "pgd:init=clean,objective=dlr",
    "apgd",
    "apgd:rho=3/4,alpha=0.5",
    "apgd-ce",
    "apgd-dlr:steps=20",
    "apgd-t:targets=3,restarts=2",
    "pyautoattack",
    "pyautoattack:version=apgd-ce",
]


def _registry(
    table: dict[str, tuple[str, str]], group: str = "robbench.tests.none"
) -> Registry[Any]:
    return Registry("attack", base="robbench.attacks.base:AnyAttack", group=group, table=table)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretends that packages are installed which declare entry points: (package, name, target)."""

    def install(*points: tuple[str, str, str]) -> None:
        found = [
            SimpleNamespace(name=name, value=target, dist=SimpleNamespace(name=package))
            for package, name, target in points
        ]
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found)

    return install


@pytest.mark.parametrize(
    ("text", "known"),
    [("pgd", True), ("pgd:steps=3", True), ("nets:pgd", False), ("pgdd", False), ("", False)],
)
def test_a_spec_begins_with_a_registered_name_or_not(text: str, known: bool) -> None:
    assert ATTACKS.registers(text) is known


def test_listing_imports_nothing() -> None:
    """The catalogue can be listed without torch, numpy or any attack's module."""
    code = (
        "import sys\n"
        "from robbench.catalogue.builtins import ATTACKS, REGISTRIES\n"
        "names = [list(registry.entries) for registry in REGISTRIES.values()]\n"
        "assert 'apgd' in ATTACKS.entries\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'pandas', 'sklearn', "
        "'scipy'} & set(sys.modules)\n"
        "ours = [name for name in sys.modules if name.startswith(('robbench.attacks', "
        "'robbench.losses', 'robbench.models'))]\n"
        "print(sorted(heavy), ours)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"


@pytest.mark.parametrize("kind", list(REGISTRIES))
def test_every_name_of_the_catalogue_leads_somewhere(kind: str) -> None:
    """Each entry has a one-line summary and a class of the registry's base behind it."""
    registry = REGISTRIES[kind]
    for name, entry in registry.entries.items():
        assert entry.summary
        assert "\n" not in entry.summary
        cls, spec = registry.parse(name)
        assert isinstance(cls, type)
        assert spec.name in registry.entries


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("apdg", "apgd"), ("PGD", "pgd"), ("fgms:objective=margin", "fgsm"), ("apgd-tt", "apgd-t")],
)
def test_did_you_mean(typed: str, meant: str) -> None:
    """A typo is answered with the nearest name, in one line."""
    with pytest.raises(UserError) as caught:
        ATTACKS.build(typed)
    message = str(caught.value)
    assert message.startswith(f"unknown attack '{typed.partition(':')[0]}'; did you mean ")
    assert meant in message.partition("did you mean")[2].replace("?", "").replace(" ", "").split(
        ","
    )
    assert len(message.splitlines()) == 1


def test_a_name_near_nothing_is_answered_with_all() -> None:
    """When no name is near, all are listed."""
    with pytest.raises(
        UserError, match="known: a3, adv-lib, apgd, apgd-ce, apgd-dlr, apgd-t, cw, ddn"
    ):
        ATTACKS.build("zzzzzz")


def test_aliases_are_followed_and_overridden() -> None:
    """An alias sets options, which the user's own win over."""
    assert ATTACKS.build("apgd-t") == APGD(objective="dlr-targeted")
    assert ATTACKS.build("apgd-t:steps=5") == APGD(objective="dlr-targeted", steps=5)
    assert ATTACKS.build("apgd-t:steps=5,objective=margin") == APGD(objective="margin", steps=5)


def test_aliases_of_aliases() -> None:
    """An alias of an alias adds its options to those of the other."""
    table = {
        "apgd": ("robbench.attacks.apgd:APGD", ""),
        "dlr": ("=apgd:objective=dlr,steps=50", ""),
        "quick": ("=dlr:steps=5", ""),
    }
    assert _registry(table).build("quick:restarts=2") == APGD(objective="dlr", steps=5, restarts=2)


def test_a_bad_option_of_an_alias_is_named() -> None:
    """A wrong option given to an alias is an error about the attack it stands for."""
    with pytest.raises(UserError, match=r"attack apgd: unknown option 'stesp'; did you mean steps"):
        ATTACKS.build("apgd-t:stesp=5")


@pytest.mark.parametrize(
    "spellings",
    [
        (
            "pgd",
            "pgd:steps=40",
            " pgd:restarts=1 ",
            "pgd:steps=40,restarts=1",
            "pgd:restarts=1,steps=40",
            "pgd:init=uniform",
        ),
        (
            "pgd:rate=1/4",
            "pgd:rate=0.25",
            "pgd:rate=0.250",
            "pgd:rate=25e-2",
            "pgd:steps=40,rate=(1/4)",
        ),
        ("apgd", "apgd-ce", "apgd:objective=cross-entropy", "apgd:rho=3/4"),
        (
            "apgd-t:steps=5",
            "apgd:objective=dlr-targeted,steps=5",
            "apgd:steps=05,objective=dlr-targeted",
        ),
        ("apgd-t:steps=5", "apgd-dlr:steps=5,objective=dlr-targeted"),
        ("robbench.attacks.pgd:PGD", "robbench.attacks.pgd:PGD:steps=40"),
        ("robbench.attacks.pgd:PGD:steps=4", "robbench.attacks.pgd:PGD:steps=4,init=uniform"),
    ],
)
@pytest.mark.parametrize("full", [False, True])
def test_two_spellings_of_one_thing_give_one_text(spellings: tuple[str, ...], full: bool) -> None:
    """Order, defaults, aliases, number formats and blanks do not show in the canonical form."""
    assert len({ATTACKS.canonical(text, full=full) for text in spellings}) == 1
    assert len({ATTACKS.build(text) for text in spellings}) == 1


@pytest.mark.parametrize("text", SPELLINGS)
@pytest.mark.parametrize("full", [False, True])
def test_the_canonical_form_builds_the_same_and_is_its_own(text: str, full: bool) -> None:
    """build(canonical(s)) == build(s), and canonical forms are fixed points; in full too."""
    canonical = ATTACKS.canonical(text, full=full)
    assert ATTACKS.build(canonical) == ATTACKS.build(text)
    assert ATTACKS.canonical(canonical, full=full) == canonical


def test_full_form_names_every_option() -> None:
    """With full=True every option is spelled out, so changing a default changes the text."""
    assert ATTACKS.canonical("apgd:steps=5", full=True) == (
        "apgd:steps=5,objective=cross-entropy,restarts=1,targets=9,order=margin,"
        "rho=0.75,alpha=0.75,large_eps=true"
    )
    assert ATTACKS.canonical("apgd:steps=5") == "apgd:steps=5"


def test_other_packages_add_names(installed: Callable[..., None]) -> None:
    """An entry point is a name like ours and can be told from it."""
    installed(("other-attacks", "theirs", "robbench.attacks.pgd:PGD"))
    registry = _registry({"mine": ("robbench.attacks.fgsm:FGSM", "")})
    assert sorted(registry.entries) == ["mine", "theirs"]
    assert registry.entries["theirs"].package == "other-attacks"
    assert registry.build("theirs:steps=3") == PGD(steps=3)
    assert registry.broken() == []


@pytest.mark.parametrize("taken", ["ours", "another's"])
def test_two_packages_claiming_one_name_is_an_error_that_names_both(
    installed: Callable[..., None], taken: str
) -> None:
    """A clash is loud and says which packages to choose between."""
    if taken == "ours":
        installed(("late", "mine", "late.module:Attack"))
        registry, first = _registry({"mine": ("robbench.attacks.fgsm:FGSM", "")}), "robbench"
    else:
        installed(("early", "mine", "early.module:Attack"), ("late", "mine", "late.module:Attack"))
        registry, first = _registry({}), "early"
    with pytest.raises(UserError) as caught:
        registry.build("mine")
    assert "'mine'" in str(caught.value)
    assert first in str(caught.value)
    assert "late" in str(caught.value)


def test_broken_packages_are_listed_with_the_reason(installed: Callable[..., None]) -> None:
    """Names of other packages that cannot be loaded do not hide the others."""
    installed(
        ("gone", "a", "no_such_module_at_all:Attack"),
        ("stale", "b", "robbench.attacks.pgd:Gone"),
        ("wrong", "c", "robbench.core.spec:Spec"),
        ("fine", "d", "robbench.attacks.pgd:PGD"),
    )
    failures = dict(_registry({}).broken())
    assert sorted(failures) == ["a", "b", "c"]
    assert "no module 'no_such_module_at_all'" in failures["a"]
    assert "package gone" in failures["a"]
    assert "no 'Gone'" in failures["b"]
    assert "not a class derived from robbench.attacks.base.AnyAttack" in failures["c"]


def test_module_attribute_of_the_current_folder(module: Callable[[str, str], None]) -> None:
    """`module:attribute` finds a private class in the current folder, with options."""
    source = (
        "import dataclasses\nfrom robbench.attacks.pgd import PGD\n\n"
        "@dataclasses.dataclass(frozen=True, kw_only=True)\n"
    )
    module("private_attack_one", source + "class Mine(PGD):\n    extra: int = 1\n")
    made = ATTACKS.build("private_attack_one:Mine:steps=3,extra=2")
    assert (made.steps, made.extra) == (3, 2)
    assert ATTACKS.build("private_attack_one:Mine").steps == 40
    assert (
        ATTACKS.canonical("private_attack_one:Mine:steps=3,extra=1")
        == "private_attack_one:Mine:steps=3"
    )


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("no_such_module_at_all:Attack", UserError, "no module 'no_such_module_at_all'"),
        ("robbench.attacks.pgd:Gone", UserError, "has no 'Gone'"),
        (
            "robbench.attacks.pgd:find_objective",
            UserError,
            "not a class derived from robbench.attacks.base.AnyAttack",
        ),
        (
            "robbench.losses.trades:TRADES",
            UserError,
            "not a class derived from robbench.attacks.base.AnyAttack",
        ),
        (
            "private_attack_two:Attack",
            UserError,
            "importing private_attack_two raised ZeroDivisionError",
        ),
        ("private_attack_three:Attack", UserError, "no module 'not_installed_either'"),
    ],
)
def test_targets_that_do_not_work(
    module: Callable[[str, str], None], text: str, error: type[Exception], words: str
) -> None:
    """A missing module or attribute, a wrong class and a raising module: each its own line."""
    module("private_attack_two", "1 / 0\n")
    module("private_attack_three", "import not_installed_either\n")
    with pytest.raises(error) as caught:
        ATTACKS.build(text)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
