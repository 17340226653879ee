"""Options of outputs: numbers, ranges and forms, together or alone."""

import pytest

from robbench.core.errors import UserError
from robbench.core.spec import Spec, build, options_of, parse_spec
from robbench.models.outputs.options import OutputOptions, parse_outputs, ranges


@pytest.mark.parametrize(
    ("text", "expected"), [("0-2", (0, 1, 2)), ("5,3,4", (5, 3, 4)), ("7,0-1", (7, 0, 1))]
)
def test_outputs_are_written_as_ranges_and_lists(text: str, expected: tuple[int, ...]) -> None:
    """In the order of the classes."""
    assert parse_outputs(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "1,1,2", "2-0", "-1,2,3", "1-2,2-3", "0-999999,0-999999"]
)
def test_outputs_that_name_no_classes(text: str) -> None:
    """One twice, or no numbers: refused."""
    with pytest.raises(UserError, match="outputs"):
        parse_outputs(text)


@pytest.mark.parametrize(
    ("text", "scale", "chosen"),
    [
        (None, "logits", None),
        ("probs", "probs", None),
        ("2-0", "logits", None),
        ("log-probs", "log-probs", None),
        ("sigmoid,3,8", "sigmoid", (3, 8)),
        ("0-2, probs", "probs", (0, 1, 2)),
    ],
)
def test_a_form_and_numbers_may_be_given_together(text, scale, chosen):
    options = OutputOptions(outputs=text)
    assert options.scale == scale
    if text == "2-0":
        with pytest.raises(UserError, match="outputs"):
            _ = options.chosen
    else:
        assert options.chosen == chosen


@pytest.mark.parametrize(
    ("options", "classes"),
    [({}, 5), ({"reject": "last"}, 4), ({"outputs": "1,3"}, 2), ({"outputs": "probs"}, 5)],
)
def test_how_many_classes_five_outputs_are(options, classes):
    assert OutputOptions(**options).count(5) == classes


@pytest.mark.parametrize("numbers", [(0,), (0, 1, 2), (3, 8), (5, 3, 4, 9), (2, 1, 0)])
def test_ranges_are_read_again(numbers):
    assert parse_outputs(ranges(numbers)) == numbers


def test_a_spec_with_every_option_builds_the_same_again():
    first = build(
        OutputOptions, parse_spec("m:outputs=(3,8),classes=(a,b),outside=wrong,reject=last")
    )
    assert build(OutputOptions, parse_spec(str(Spec("m", None, options_of(first))))) == first
