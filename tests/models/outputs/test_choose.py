"""Which outputs are the classes: by number, by name, as a subset, or as a rejection."""

import pytest

from robbench.core.errors import UserError
from robbench.models.outputs.choose import choose_outputs
from robbench.models.outputs.options import OutputOptions, Reading

ANIMALS = ("cat", "dog", "eel", "fox")


def chosen(width, names, of=None, labels=(), **options):
    reading = Reading(OutputOptions(**options), tuple(names), tuple(labels))
    return choose_outputs(width, len(names), reading, of)


def test_nothing_said_and_nothing_to_say():
    assert chosen(2, "ab")[1:] == (None, 0, (), False, False, False)


@pytest.mark.parametrize(
    ("options", "outputs", "outside"),
    [
        ({"outputs": "3,1"}, (3, 1), 0),
        ({"outputs": "3,1", "outside": "wrong"}, (3, 1, 0, 2), 2),
        ({"classes": "cat,dog,eel,fox"}, (3, 1), 0),
        ({"classes": ANIMALS, "outside": "wrong"}, (3, 1, 0, 2), 2),
        ({"labels": ANIMALS}, (3, 1), 0),
        ({"labels": ANIMALS, "outputs": "0-1"}, (0, 1), 0),
        ({"labels": ANIMALS, "outputs": "0-1", "outside": "wrong"}, None, 2),
    ],
)
def test_two_classes_of_four(options, outputs, outside):
    """The classes come first, in the order of the data; what is outside follows where it counts."""
    found = chosen(4, ("fox", "dog"), **options)
    assert found.outputs == outputs
    assert found.outside == outside
    assert found.stated
    assert bool(found.named) == ("outputs" not in options)


def test_another_order_is_resolved_by_name():
    found = chosen(2, ("dog", "cat"), labels=("cat", "dog"))
    assert found.outputs == (1, 0)
    assert chosen(2, ("cat", "dog"), labels=("cat", "dog")).outputs is None


@pytest.mark.parametrize("labels", [("LABEL_0", "LABEL_1"), ("cat",)])
def test_labels_that_say_nothing_are_passed_over(labels):
    assert chosen(2, ("dog", "cat"), labels=labels).outputs is None


def test_classes_that_are_only_numbered_keep_their_order():
    assert chosen(2, "01", labels=("cat", "dog")).outputs is None


def test_the_last_output_may_be_a_rejection():
    found = chosen(5, ANIMALS, reject="last")
    assert (found.reject, found.guessed, found.outputs) == (True, False, None)
    found = chosen(5, ("fox", "dog"), reject="last", classes=ANIMALS)
    assert (found.reject, found.outputs) == (True, (3, 1))
    assert chosen(5, ANIMALS, {}).guessed
    for other in ({"reject": "none"}, {"outside": "wrong"}, {"outputs": "0-3"}):
        assert not chosen(5, ANIMALS, {}, **other).reject


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"outputs": "3,4"}, "no output 4"),
        ({"outputs": "2,3", "reject": "last"}, "3 outputs, 0 to 2; there is no output 3"),
        ({"outputs": "0-1", "classes": "a,b"}, "outputs or classes, not both"),
        ({"classes": "cat,dog"}, "classes names 2 outputs, the model has 4$"),
        ({"classes": "cat,dog,fox"}, "the model has 4; reject=last if its last"),
        ({"classes": "cat,dog,eel,cow"}, "no output is fox; name the outputs"),
        ({"labels": ("a", "b", "c", "d")}, "not the model's own: no output is fox, dog"),
    ],
)
def test_what_cannot_be_told_is_refused(options, text):
    with pytest.raises(UserError, match=text):
        chosen(4, ("fox", "dog"), **options)
