"""What finished rows, few classes and chance are flagged for."""

from __future__ import annotations

import pytest

from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.engine.flags import Flag, adaptations, afterwards, at_chance, notes

pytestmark = pytest.mark.usefixtures("one_thread")

# -- after an attack

CASCADE = ["apgd-ce", "apgd-t", "fab-t", "square"]


def _told(
    broken: list[str | None], entries: list[str] = CASCADE, **columns: list[int]
) -> list[tuple[str, int]]:
    quiet = [0] * len(broken)
    columns = {"n_nonfinite": quiet, "n_zero_gradient": quiet} | columns
    return [flag[:2] for flag in afterwards(entries, {"square", "noise"}, broken, **columns)]


@pytest.mark.parametrize(
    ("n", "count", "raised"),
    [
        (10, 1, False),
        (10, 2, True),
        (999, 2, True),
        (1000, 2, False),
        (1000, 3, True),
        (10_000, 20, False),
        (10_000, 21, True),
    ],
)
def test_samples_that_only_a_black_box_attack_broke_are_a_reproach(
    n: int, count: int, raised: bool
) -> None:
    """From two samples, and above 0.2 % of all."""
    broken = ["square"] * count + ["apgd-ce", None, "clean"] + [None] * (n - count - 3)
    assert _told(broken) == ([("black-box-only", count)] if raised else [])


def test_a_black_box_attack_that_came_first_is_no_reproach() -> None:
    """What it broke no gradient attack tried; of two, the one after a gradient attack counts."""
    assert not _told(["square"] * 9 + [None], ["square"])
    assert not _told(["square"] * 9 + [None], ["square", "apgd-ce"])
    assert not _told(["square"] * 9 + [None], ["noise", "square"])
    assert _told(["square"] * 4 + ["noise"] * 5, ["square", "apgd-ce", "noise"]) == [
        ("black-box-only", 5)
    ]
    (flag,) = afterwards(
        CASCADE, {"square"}, ["square"] * 3 + [None], n_nonfinite=[0] * 4, n_zero_gradient=[0] * 4
    )
    assert flag.text.startswith(
        "3 of 4 samples fell only to square, after attacks with gradients had failed"
    )


def test_flat_and_ill_samples_are_counted_once_each() -> None:
    """Samples, not gradients; the share is in the text."""
    assert _told([None] * 4, n_zero_gradient=[0, 7, 0, 1], n_nonfinite=[0, 0, 3, 0]) == [
        ("zero-gradient", 2),
        ("non-finite", 1),
    ]
    (flag,) = afterwards(
        CASCADE, (), [None] * 8, n_nonfinite=[0] * 8, n_zero_gradient=[1] * 3 + [0] * 5
    )
    assert "3 of 8 samples (37.5%)" in flag.text
    assert not _told([])


# -- few classes


def _adapted(classes: int, *specs: str) -> dict[str, str]:
    flags = adaptations(classes, [(spec, ATTACKS.build(spec)) for spec in specs])
    assert all((flag.name, flag.count) == ("few-classes", 0) for flag in flags)
    return {flag.text.partition(" was ")[0]: flag.text.partition(": ")[2] for flag in flags}


def test_what_few_classes_force_on_attacks_is_told() -> None:
    """DLR is degenerate at two classes, targeted DLR at three; targets are cut to K-1."""
    told = _adapted(2, "apgd-ce", "apgd-dlr", "apgd-t", "pgd", "fgsm")
    assert told.keys() == {"apgd-dlr", "apgd-t"}
    assert "plain margin" in told["apgd-dlr"]
    assert "plain margin" in told["apgd-t"]
    assert "9 targets are cut to 1" in told["apgd-t"]
    told = _adapted(3, "apgd-dlr", "apgd-t", "apgd-t:targets=2")
    assert told.keys() == {"apgd-t", "apgd-t:targets=2"}
    assert told["apgd-t"].endswith("; 9 targets are cut to 2")
    assert "z_(1) - z_(3)" in told["apgd-t:targets=2"]
    assert "cut" not in told["apgd-t:targets=2"]
    assert _adapted(5, "apgd-t") == {"apgd-t": "9 targets are cut to 4"}
    assert not _adapted(10, "apgd-ce", "apgd-dlr", "apgd-t", "pyautoattack")


def test_targets_of_other_attacks_and_of_wrapped_ones_are_told() -> None:
    """FAB names its targets by two options; an attack that runs another is as that one."""
    fab = ATTACKS.build("fab:targeted=true,targets=9")
    assert [flag.text for flag in adaptations(4, [("fab-t", fab)])] == [
        "fab-t was adapted to 4 classes: 9 targets are cut to 3"
    ]
    assert not adaptations(4, [("fab", ATTACKS.build("fab"))])
    assert len(adaptations(4, [("eot:attack=fab-t", ATTACKS.build("eot:attack=fab-t"))])) == 1


def test_what_the_reference_package_leaves_out_is_told() -> None:
    """Its DLR attacks need three classes, targeted four."""
    assert _adapted(3, "pyautoattack") == {
        "pyautoattack": "apgd-t is left out; 9 targets are cut to 2"
    }
    assert _adapted(5, "pyautoattack") == {"pyautoattack": "9 targets are cut to 4"}
    assert _adapted(2, "pyautoattack:version=rand") == {
        "pyautoattack:version=rand": "apgd-dlr is left out"
    }
    with pytest.raises(UserError):
        _adapted(2, "pyautoattack:version=apgd-t")


# -- chance


@pytest.mark.parametrize(
    ("right", "labels", "told"),
    [
        # Wilson's interval at 95 %, z = 1.96.
        (90, [k % 10 for k in range(100)], False),
        (15, [k % 10 for k in range(100)], True),  # 0.0931, not above 0.1
        (17, [k % 10 for k in range(100)], False),  # 0.1089
        (0, [0, 1] * 50, True),
        (95, [0] * 95 + [1] * 5, True),  # no better than the constant answer
        (3, [0, 0, 0], False),  # nobody could be better
        (2, [0, 1], False),
        (0, [], False),
    ],
)
def test_clean_accuracy_at_the_level_of_chance(right: int, labels: list[int], told: bool) -> None:
    """Flagged where the 95 % interval reaches the majority share, and a perfect model's not."""
    found = at_chance([i < right for i in range(len(labels))], labels)
    assert [flag.name for flag in found] == ["at-chance"] * told
    if told:
        assert f"{right} of {len(labels)}" in found[0].text


def test_remarks_are_no_matter_of_samples() -> None:
    """One flag for each remark, with its text."""
    assert notes("interface", ["asked one by one", "cast"]) == [
        Flag("interface", 0, text) for text in ("asked one by one", "cast")
    ]
    assert "small-cnn are random" in notes("untrained", ["small-cnn"])[0].text
