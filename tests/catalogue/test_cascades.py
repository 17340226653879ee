"""Names for lists of attacks: what they stand for, and files that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robbench.attacks.base import Attack
from robbench.catalogue.builtins import ATTACKS
from robbench.catalogue.cascades import audited_by, cascades, expand
from robbench.core.errors import UserError
from robbench.tasks.attack.entries import build_entries
from robbench.threat.model import parse_threat

# What the package of Croce and Hein (fra31/auto-attack) runs under these names, in its words.
STANDARD = {"apgd-ce", "apgd-t", "fab-t", "square"}
PLUS = {"apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"}


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", sorted(cascades()))
def test_every_name_stands_for_attacks_that_can_be_built(name: str, norm: str) -> None:
    """In every norm of AutoAttack each name gives different attacks that know the norm."""
    specs = expand(name, norm)
    assert len(specs) >= 2
    assert all(norm in ATTACKS.build(spec).norms for spec in specs)
    assert len({ATTACKS.canonical(spec) for spec in specs}) == len(specs)
    entries = build_entries([name], parse_threat(f"{norm}:0.1"))
    assert [entry.spec for entry in entries] == [ATTACKS.canonical(spec) for spec in specs]


def test_names_are_not_attacks() -> None:
    """No cascade hides an attack of the same name; each has a line about itself."""
    assert not set(cascades()) & set(ATTACKS.entries)
    assert all(
        isinstance(cascade["summary"], str) and cascade["summary"]
        for cascade in cascades().values()
    )


def _built(name: str, norm: str) -> dict[str, Any]:
    return {spec.partition(":")[0]: ATTACKS.build(spec) for spec in expand(name, norm)}


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_autoattack_is_the_standard_one(norm: str) -> None:
    """APGD-CE, APGD-T, FAB-T, Square: one restart, 100 steps, nine targets, 5,000 queries."""
    assert [spec.partition(":")[0] for spec in expand("autoattack", norm)] == [
        "apgd-ce",
        "apgd-t",
        "fab-t",
        "square",
    ]
    found = _built("autoattack", norm)
    assert set(found) == STANDARD
    assert (found["apgd-ce"].steps, found["apgd-ce"].variants(10)) == (100, 1)
    assert (found["apgd-t"].steps, found["apgd-t"].variants(10)) == (100, 9)
    assert (found["fab-t"].iterations, found["fab-t"].variants(10)) == (100, 9)
    assert found["square"].variants(10) == 1
    assert 4_990 <= found["square"].steps <= 5_000


def test_autoattack_in_l1() -> None:
    """Croce and Hein 2021: five restarts of APGD-CE and five targets of APGD-T in l1."""
    found = _built("autoattack", "l1")
    assert set(found) == STANDARD
    assert found["apgd-ce"].variants(10) == found["apgd-t"].variants(10) == 5


def test_autoattack_plus() -> None:
    """Five restarts of APGD-CE, APGD-DLR and FAB, and the targeted ones besides."""
    found = _built("autoattack-plus", "linf")
    assert set(found) == PLUS
    assert [
        found[name].variants(10) for name in ("apgd-ce", "apgd-dlr", "fab", "apgd-t", "fab-t")
    ] == [5, 5, 5, 9, 9]


def test_autoattack_rand() -> None:
    """Every query is the mean of 20 draws."""
    for spec in expand("autoattack-rand", "linf"):
        attack = ATTACKS.build(spec)
        assert isinstance(attack, Attack)
        assert (attack.draws, attack.steps) == (20, 100)


def forwards_and_backwards(name: str, norm: str) -> int:
    """Of a cascade on a sample of ten classes that survives, at most."""
    total = 0
    for spec in expand(name, norm):
        attack = ATTACKS.build(spec)
        assert isinstance(attack, Attack)
        runs, moves = attack.variants(10), attack.steps
        total += runs * (moves + 1 + moves * attack.gradients(10))
    return total


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize(("name", "most"), [("autoattack-lite", 320), ("autoattack-fast", 370)])
def test_the_cheap_ones_cost_what_they_say(name: str, most: int, norm: str) -> None:
    """A sample that survives costs about as many queries as the summary says, of ten classes."""
    assert f"about {most} queries" in cascades()[name]["summary"]
    assert forwards_and_backwards(name, norm) <= 1.02 * most


@pytest.mark.parametrize(
    "name", ["autoattack:version=plus", "autoattack-fast:steps=3", "autoattack:"]
)
def test_a_cascade_takes_no_options(name: str) -> None:
    """Options are the attacks' own; the message says where to look."""
    with pytest.raises(UserError, match=r"takes no options.*explain autoattack"):
        expand(name, "linf")


@pytest.mark.parametrize(
    "text", ["apgd", "pgd:steps=3", "module:Attack", "pgd:objective=margin", "unheard-of", ""]
)
def test_what_is_no_cascade_stands_for_itself(text: str) -> None:
    """Also what nobody knows: to say so is not this function's business."""
    assert expand(text, "linf") == (text,)


# -- a user's own


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str | bytes], str]:
    """Writes a cascade and gives its path."""

    def write(content: str | bytes) -> str:
        path = tmp_path / "mine.toml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


def test_a_file_of_ones_own(file: Callable[[str], str]) -> None:
    """A list of specs; a table named after a norm replaces it there; the rest is ignored."""
    text = file(
        'summary = "mine"\nattacks = ["fgsm", "pgd:steps=3,rate=1/4"]\n[l1]\n'
        'attacks = ["apgd:restarts=2"]\n[l2]\nnote = 1\n'
    )
    assert (
        expand(text, "linf")
        == expand(text, "l2")
        == expand(text, "l0")
        == ("fgsm", "pgd:steps=3,rate=1/4")
    )
    assert expand(text, "l1") == ("apgd:restarts=2",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "list of specs"),
        ("attacks = []", "list of specs"),
        ('attacks = "pgd"', "list of specs"),
        ('attacks = ["pgd", 3]', "list of specs"),
        ("attacks = [[]]", "list of specs"),
        ('attack = ["pgd"]', "list of specs"),
        ('attacks = ["pgd"', "not valid TOML"),
        (b"\xff\xfe\x00", "not valid TOML"),
        ('attacks = ["pgd"]\n[linf]\nattacks = []', "list of specs"),
        ('attacks = ["pgd"]\n[linf]\nattacks = [1]', "list of specs"),
        ('attacks = ["pgd"]\n[linf]\nattacks = "fgsm"', "list of specs"),
        ('attacks = ["pgd"]\n[linf]\nattacks = 3', "list of specs"),
    ],
)
def test_files_that_are_no_cascade(
    content: str | bytes, message: str, file: Callable[[Any], str]
) -> None:
    """A user's error that names the file."""
    text = file(content)
    with pytest.raises(UserError, match=message) as error:
        expand(text, "linf")
    assert text in str(error.value)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    """So is a file that is not there, or is a folder."""
    for path in (tmp_path / "no.toml", tmp_path / "folder.toml"):
        (tmp_path / "folder.toml").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="cannot read"):
            expand(str(path), "linf")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('attacks = ["apdg"]', "apgd"),
        ('attacks = ["pgd:stepz=3"]', "steps"),
        ('attacks = ["pgd:steps=0"]', "steps"),
        ('attacks = ["pgd", "n-fgsm"]', "attack n-fgsm: .*--inner n-fgsm"),
    ],
)
def test_bad_specs_in_a_file(content: str, message: str, file: Callable[[str], str]) -> None:
    """What is wrong with a spec is said as if it stood on the command line."""
    with pytest.raises(UserError, match=message):
        build_entries([file(content)], parse_threat("linf:0.1"))


# -- cascades and attacks together


@pytest.mark.parametrize("texts", [["autoattack-fast", "fgsm"], ["fgsm", "autoattack-fast"]])
def test_attacks_beside_a_cascade(texts: list[str]) -> None:
    """In the order they were given."""
    specs = [entry.spec for entry in build_entries(texts, parse_threat("linf:0.1"))]
    fast = [ATTACKS.canonical(spec) for spec in expand("autoattack-fast", "linf")]
    assert specs == (["fgsm", *fast] if texts[0] == "fgsm" else [*fast, "fgsm"])


def test_an_attack_that_a_cascade_brings_along_too() -> None:
    """It is run once, where it was first named, whichever of the two is named first."""
    first = [
        entry.spec for entry in build_entries(["square", "autoattack"], parse_threat("linf:0.1"))
    ]
    assert first == [
        "square",
        *(ATTACKS.canonical(spec) for spec in expand("autoattack", "linf")[:3]),
    ]
    last = [
        entry.spec for entry in build_entries(["autoattack", "square"], parse_threat("linf:0.1"))
    ]
    assert last == [ATTACKS.canonical(spec) for spec in expand("autoattack", "linf")]
    both = [
        entry.spec
        for entry in build_entries(["autoattack", "autoattack-plus"], parse_threat("linf:0.1"))
    ]
    assert len(both) == len(set(both))


@pytest.mark.parametrize("texts", [["fgsm", "fgsm"], ["apgd", "apgd-ce"], ["pgd:steps=40", "pgd"]])
def test_the_same_attack_twice(texts: list[str]) -> None:
    """Named twice by the user it is a mistake."""
    with pytest.raises(UserError, match="twice"):
        build_entries(texts, parse_threat("linf:0.1"))


def test_a_cascade_without_a_budget() -> None:
    """It needs one; the message says what does not."""
    with pytest.raises(UserError, match="fmn"):
        build_entries(["autoattack"], parse_threat("linf:inf"))


def test_attacks_that_do_not_know_the_norm() -> None:
    """AutoAttack has no l0 form: a user's error, not a run of what is left."""
    with pytest.raises(UserError, match="does not work in l0"):
        build_entries(["autoattack"], parse_threat("l0:5"))


def test_a_name_nobody_knows_is_held_against_cascades_too() -> None:
    """A typing error in `autoattack` leads to it, not only to the attacks that are no cascades."""
    with pytest.raises(UserError, match="unknown attack 'autoatack'; did you mean autoattack, "):
        build_entries(["autoatack"], parse_threat("linf:0.1"))


def test_a_cheap_cascade_is_audited_by_a_full_one() -> None:
    """That is a cascade itself, and none that wants an audit."""
    full = {audited_by(name) for name in cascades()} - {None}
    assert full == {"autoattack"}
    whole = {"autoattack", "autoattack-plus", "autoattack-rand"}
    assert {name for name in cascades() if audited_by(name) is None} == whole
    assert audited_by("pgd") is None
    assert not any(map(audited_by, full))
