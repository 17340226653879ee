"""Classes of data and of a model are matched by id or by name, or listed; nothing is guessed."""

import json

import pytest
import torchvision

from robbench.core.errors import UserError
from robbench.models.outputs.class_names import known, match, read_labels
from robbench.models.sources.imagenet import imagenet_ids, with_ids

IDS = ("n01440764", "n01443537", "n02012849", "n03126707")
NAMES = ("tench, Tinca tinca", "goldfish", "crane", "crane")


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        (("dog", "cat"), ("cat", "dog"), (1, 0)),
        (("Great_White  Shark", "TENCH"), ("tench", "great white shark"), (1, 0)),
        (("Tinca tinca", "goldfish"), NAMES, (0, 1)),
        (("n03126707", "n02012849"), tuple(map(" ".join, zip(IDS, NAMES, strict=True))), (3, 2)),
        (("n01443537 goldfish",), NAMES, (1,)),
        (("3", "8"), tuple("0123456789"), (3, 8)),
    ],
    ids=["order", "case and underscores", "synonym", "ids", "name beside an id", "numbers"],
)
def test_classes_are_found_by_id_and_by_name(names, labels, expected):
    assert match(names, labels) == expected


@pytest.mark.parametrize(
    ("names", "labels", "text"),
    [
        (("cat", "car"), ("cat", "cart"), "no output is car"),
        (("crane",), NAMES, r"several outputs are crane \(outputs 2, 3\)"),
        (("tench", "tinca tinca"), NAMES, r"more than one class: tench \(output 0\)"),
        (("n00000001 goldfish",), ("n01443537 goldfish",), "no output is n00000001"),
        (tuple("abcdefgh"), ("x",), "no output is a, b, c, d, e and 3 more"),
    ],
    ids=["missing", "ambiguous", "shared", "another id", "many"],
)
def test_what_has_no_one_output_is_listed(names, labels, text):
    with pytest.raises(UserError, match=text):
        match(names, labels)


@pytest.mark.parametrize(
    "text",
    [
        "cat\nsea dog\n",
        "\ufeffcat\r\n\r\nsea dog",
        "0 cat\n1 sea dog\n",
        "1: sea dog\n0: cat\n",
        "0,cat\n1,sea dog",
        json.dumps(["cat", "sea dog"]),
        json.dumps({"1": "sea dog", "0": "cat"}),
    ],
)
def test_files_of_names(tmp_path, text):
    path = tmp_path / "names"
    path.write_text(text)
    assert read_labels(str(path)) == ("cat", "sea dog")


def test_files_of_ids_and_lists(tmp_path):
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}))
    assert match(["n01443537", "tench"], read_labels(str(path))) == (1, 0)
    path.write_text("n01440764 tench\nn01443537 goldfish\n")
    assert match(["n01443537", "tench"], read_labels(str(path))) == (1, 0)
    assert read_labels("cat, sea dog") == read_labels(["cat", "sea dog"]) == ("cat", "sea dog")


@pytest.mark.parametrize(
    "text", ["", "{", '{"a": 1}', '{"0": 1}', "[[]]", "1 a\n2 b", '{"1": "a"}', "0 a\n0 b"]
)
def test_malformed_files_are_refused(tmp_path, text):
    path = tmp_path / "names"
    path.write_text(text)
    with pytest.raises(UserError, match=f"classes={path}: "):
        read_labels(str(path))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x80\x04pickle"])
def test_what_is_no_text_is_refused(tmp_path, content):
    path = tmp_path / "names"
    path.write_bytes(content)
    with pytest.raises(UserError, match="no readable text"):
        read_labels(str(path))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_labels("names.txt")


def test_made_up_names_mean_nothing():
    assert not known(["LABEL_0", "LABEL_1"])
    assert not known([])
    assert known(["tench", "LABEL_1"])


def test_ten_classes_of_imagenet_by_id_and_by_name():
    """The ids are those of the data's folders, the names those of torchvision's models."""
    categories = torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"]
    labels = with_ids(categories)
    outputs = tuple(range(7, 1000, 99))
    assert match([imagenet_ids()[output] for output in outputs], labels) == outputs
    assert match([categories[output].upper() for output in outputs], labels) == outputs
