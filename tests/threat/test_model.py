"""How threat models are written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robbench.core.errors import UserError
from robbench.threat.model import classes_in_play, parse_threat, require_inside, single_threat
from robbench.threat.norms import NORMS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linf:8/255", [("linf", 8 / 255, "linf:8/255")]),
        ("L2:inf", [("l2", float("inf"), "l2:inf")]),
        ("LINF:8/255", [("linf", 8 / 255, "linf:8/255")]),
        (" Linf : 8 / 255 ", [("linf", 8 / 255, "linf:8/255")]),
        ("l2:0.50", [("l2", 0.5, "l2:0.5")]),
        ("L2:1", [("l2", 1.0, "l2:1")]),
        ("l1:12", [("l1", 12.0, "l1:12")]),
        ("L0:10,inf", [("l0", 10.0, "l0:10"), ("l0", float("inf"), "l0:inf")]),
        ("l2:0", [("l2", 0.0, "l2:0")]),
        ("l2:5e-1", [("l2", 0.5, "l2:0.5")]),
        (
            "linf:2/255,0.1, 16/255",
            [
                ("linf", 2 / 255, "linf:2/255"),
                ("linf", 0.1, "linf:0.1"),
                ("linf", 16 / 255, "linf:16/255"),
            ],
        ),
    ],
)
def test_good_threats(text: str, expected: list[tuple[str, float, str]]) -> None:
    """Norms are case-blind, fractions kept as written, several budgets several models."""
    found = parse_threat(text)
    assert [(threat.norm_name, threat.eps, threat.text) for threat in found] == expected
    assert all(threat.norm is NORMS[threat.norm_name] for threat in found)
    assert [str(threat) for threat in found] == [line for _, _, line in expected]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "unknown norm"),
        ("linf", "write NORM:EPS"),
        ("linf:", "write NORM:EPS"),
        ("linf: ", "write NORM:EPS"),
        ("8/255", "unknown norm"),
        ("lnf:0.1", "did you mean linf"),
        ("inf:0.1", "did you mean linf"),
        ("l3:0.1", "did you mean"),
        ("manhattan:3", "known: l0, l0px, l1, l2, linf"),
        ("linf:abc", "'abc' is not a number"),
        ("linf:0.1,", "'' is not a number"),
        ("linf:0.1,,0.2", "'' is not a number"),
        ("linf:1/0", "'1/0' is not a number"),
        ("linf:1/2/3", "'1/2/3' is not a number"),
        ("linf:8/x", "'8/x' is not a number"),
        ("linf:-0.1", "at least 0"),
        ("linf:-8/255", "at least 0"),
        ("linf:nan", "at least 0"),
        ("l2:-inf", "at least 0"),
        ("l2:1e999", "or inf"),
        ("linf:nan/1", "at least 0"),
        ("linf:0.1,-1", "at least 0"),
        ("linf:0.1:0.2", "not a number"),
        ("l0:0.1", "l0 counts changed entries, 0.1 is no such number; write l0:6"),
        ("l0:2.5", "l0 counts changed entries"),
        ("l0px:2.5", "l0px counts changed pixels, 2.5 is no such number; write l0px:6"),
        ("l0:1/255", "l0 counts changed entries"),
        ("linf:1e-9", "changes no pixel"),
        ("l2:5e-324", "changes no pixel"),
    ],
)
def test_bad_threats(text: str, words: str) -> None:
    """Each is a UserError of one line that says what was wrong."""
    with pytest.raises(UserError) as caught:
        parse_threat(text)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_training_takes_one_budget() -> None:
    """single_threat refuses several budgets."""
    assert single_threat("linf:8/255").eps == 8 / 255
    with pytest.raises(UserError, match="names 2 budgets"):
        single_threat("linf:0.1,0.2")


@given(
    st.sampled_from(["linf", "l1", "l2"]),
    st.floats(2**-24, 1) | st.integers(0, 255).map(lambda n: n / 255),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_threats_text_means_the_same_threat(name: str, eps: float) -> None:
    """The text of any threat, read again, is that threat: budgets never share a text."""
    (threat,) = parse_threat(f"{name}:{eps!r}")
    assert threat.eps == eps
    assert parse_threat(threat.text) == [threat]


@pytest.mark.parametrize(
    ("inside", "beyond"),
    [("l2:4", "l2:4.001"), ("l1:16", "l1:17"), ("l0:16", "l0:17"), ("linf:1", None)],
)
def test_a_budget_is_not_larger_than_the_box(inside: str, beyond: str | None) -> None:
    """In 16 entries in [0,1] no points are further apart than 1, 4, 16, 16; inf is fine."""
    require_inside([*parse_threat(inside), *parse_threat("l2:inf")], (1, 4, 4))
    if beyond:
        hint = (
            "" if beyond.startswith("l0") else f"; did you mean {beyond.partition(':')[2]}/255\\?"
        )
        with pytest.raises(
            UserError,
            match=f"{beyond}: two images of shape 1x4x4 .* are at most {inside} apart{hint}$",
        ):
            require_inside(parse_threat(beyond), (1, 4, 4))


@given(st.integers(0, 255), st.integers(1, 255))
@settings(deadline=None, derandomize=True)
def test_fractions_survive_their_text(numerator: int, denominator: int) -> None:
    """A fraction is kept as a fraction and means the same when read again."""
    (threat,) = parse_threat(f"l2:{numerator}/{denominator}")
    assert threat.eps == numerator / denominator
    assert parse_threat(threat.text) == [threat]


def test_a_linf_budget_above_one_is_a_forgotten_fraction() -> None:
    """Pixels end at 1, so linf:8 is refused with the likely fraction; other norms may be."""
    with pytest.raises(UserError, match="8/255"):
        parse_threat("linf:8")
    assert parse_threat("l2:8")[0].eps == 8


def test_a_target_is_written_behind_an_arrow_and_read_back() -> None:
    """Of every budget; what is written is what is read, and norm and budget are as without it."""
    found = parse_threat("Linf:8/255,0.1->  a, b -c ")
    assert [(t.text, t.target, t.towards(None).text) for t in found] == [
        ("linf:8/255 -> a, b -c", "a, b -c", "linf:8/255"),
        ("linf:0.1 -> a, b -c", "a, b -c", "linf:0.1"),
    ]
    for threat in found:
        assert parse_threat(threat.text) == [threat]
        ball = threat.text.removesuffix(" -> a, b -c")
        assert threat.towards(None) == parse_threat(ball)[0]
        assert threat.towards("7").text == f"{ball} -> 7"
    assert parse_threat("l2:inf -> Least-Likely")[0].target == "least-likely"
    assert (classes_in_play(10, found[0]), classes_in_play(10, found[0].towards(None))) == (2, 10)


@pytest.mark.parametrize("text", ["linf:0.1 ->", "linf:0.1 -> column:", "linf:0.1 -> a -> b"])
def test_a_target_has_to_be_named(text: str) -> None:
    """One of it, in words."""
    with pytest.raises(UserError, match="give a class, least-likely, random or column:NAME"):
        parse_threat(text)


def test_training_has_no_target() -> None:
    """It is against any mistake."""
    with pytest.raises(UserError, match="has a target; training is against any mistake"):
        single_threat("linf:0.1 -> 3")


def test_a_corruption_is_a_norm_of_its_own_with_its_severity_as_budget() -> None:
    """So runs of one corruption are a curve, and none of them is compared with another's."""
    found = parse_threat("Corruption:fog@2,snow@5")
    assert [(one.norm_name, one.eps, one.text) for one in found] == [
        ("corruption:fog", 2.0, "corruption:fog@2"),
        ("corruption:snow", 5.0, "corruption:snow@5"),
    ]
    assert [one.corruption for one in (*found, *parse_threat("l2:1"))] == ["fog", "snow", None]
    with pytest.raises(UserError, match="seeks no target"):
        parse_threat("corruption:fog@2 -> 3")
    with pytest.raises(UserError, match="training takes a budget"):
        single_threat("corruption:fog@2")
    require_inside(found, (1, 8, 8))
    for shape in ((64,), (3, 7, 40)):
        with pytest.raises(UserError, match="is for images of at least 8x8 pixels"):
            require_inside(found, shape)
