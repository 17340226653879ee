"""`robbench list` and `robbench explain`: everything registered, with its options."""

from __future__ import annotations

import json

import pytest

ESCAPE = "\x1b"


def registered():
    from robbench.catalogue.builtins import REGISTRIES

    return [(kind, name) for kind, registry in REGISTRIES.items() for name in registry.entries]


def test_list_has_everything(cli):
    """`list` names every registered name with its summary, `list KIND` one kind's; --json too."""
    everything = cli("list")
    answer = cli("list", "--json").json
    of_kind = {kind: cli("list", kind).out for kind, _ in registered()}
    for kind, name in registered():
        assert name in everything.out
        assert name in of_kind[kind]
        assert name in [item["name"] for item in answer[kind]]
    assert "apgd" not in cli("list", "losses").out
    expected = {
        "losses": {"cross-entropy", "trades", "differential"},
        "attacks": {"fgsm", "pgd", "apgd", "pyautoattack"},
        "models": {"mlp", "small-cnn", "preact-resnet18", "wide-resnet", "pyautoattack-resnet18"},
        "data": {
            "digits",
            "mnist",
            "fashion-mnist",
            "cifar10",
            "cifar100",
            "svhn",
            "parquet",
            "folder",
        },
    }
    for kind, names in expected.items():
        assert {item["name"] for item in answer[kind]} >= names


@pytest.mark.parametrize(("kind", "name"), registered())
def test_explain_everything(cli, kind, name):
    """Every registered name is explained: what it is, options, types, defaults, definition.

    Off a terminal in at most 80 columns and without escape codes.
    """
    done = cli("explain", name)
    assert done.code == 0, done.err
    assert ESCAPE not in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert name in done.out
    assert "defined in robbench." in done.out
    entries = cli("explain", name, "--json").json["entries"]  # a command may have the name, too
    (entry,) = [entry for entry in entries if entry["kind"] == kind]
    assert entry["doc"]
    for option in entry["options"]:
        assert option["name"] in done.out
        assert option["type"]
        assert option["help"], option["name"]


def test_explain_shows_types_and_defaults(cli):
    """The options of PGD with their types and defaults, as its dataclass has them."""
    (entry,) = cli("explain", "pgd", "--json").json["entries"]
    options = {option["name"]: option for option in entry["options"]}
    assert options["steps"]["type"] == "int"
    assert options["steps"]["default"] == "40"
    assert options["init"]["type"] == "uniform | gaussian | clean"
    (alias,) = cli("explain", "apgd-t", "--json").json["entries"]
    assert alias["same_as"] == "apgd:objective=dlr-targeted"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train", ["inner_beyond", "ema"]),
        ("attack", ["store_points", "bf16"]),
        ("mnist-linf", ["eps_warmup = 0.5"]),
    ],
)
def test_settings_and_recipes_are_explained(cli, name, words):
    """`explain` knows both commands' settings and what a recipe sets, as text and JSON."""
    done = cli("explain", name)
    assert done.code == 0, done.err
    assert all(word in done.out for word in words)
    assert json.loads(cli("explain", name, "--json").out)["entries"][0]["name"] == name
