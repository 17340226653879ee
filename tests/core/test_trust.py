"""Which private code may be imported: what the caller named, never what a file names."""

from __future__ import annotations

import json

import pytest

from robbench.core.errors import UserError
from robbench.core.trust import (
    command_line,
    licence,
    licensed,
    names_from,
    own_code,
    private_names,
    require_trusted,
    trust_code,
)


def test_names_are_found_in_every_place():
    """Nested, behind options, with options of their own; never in paths."""
    assert private_names("transfer:source=(nets.a:make:width=5),attack=(m:Attack)") >= {
        "nets.a:make",
        "m:Attack",
    }
    for text in (
        "nets:make",
        "--model=nets:make",
        "-anets:make",
        "model=nets:make",
        "nets:make:width=3",
        "nets:make[a,b][first=3]",
    ):
        assert "nets:make" in private_names(text), text
    assert private_names("folder/nets:make.parquet") == frozenset()
    assert private_names("nets:make.parquet") == {"nets:make.parquet"}


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("torchscript:net.pt", "net.pt"),
        ("--model=torchscript:net.pt", "net.pt"),
        ("torchscript:my net, new (1)=.pt,mean=0.5,std=0.5", "my net, new (1)=.pt"),
        ("torchscript:file=net.pt", "net.pt"),
        ("torchscript:mean=0.5,std=0.5,file=(a,b.pt)", "a,b.pt"),
        ("transfer:source=(torchscript:net.pt)", "net.pt"),
    ],
)
def test_a_script_that_was_typed_is_the_users_own(text, file):
    """However its name looks, and no other."""
    with command_line(["attack", text]):
        require_trusted(f"torchscript:{file}")
        for other in (f"{file}.pt", file[:-1], f"x/{file}"):
            with pytest.raises(UserError, match="names private code"):
                require_trusted(f"torchscript:{other}")


def test_in_python_names_are_the_callers_own_unless_read():
    """A caller's names are free, a file's only if given by the caller; nesting widens nothing."""
    require_trusted("nets:make")
    with names_from("runs.parquet", "nets:make"):
        require_trusted("nets:make")
        with (
            names_from("a line of config", "other:make"),
            pytest.raises(UserError, match="of config names private code, other:make"),
        ):
            require_trusted("other:make")
        with trust_code():
            require_trusted("other:make")
    with (
        command_line(["attack", "nets:make"]),
        trust_code(),
        pytest.raises(UserError, match="--trust-code"),
    ):
        require_trusted("other:make")


def test_a_threat_model_is_no_name_of_code():
    """`l2:inf` was typed as a budget: no file may import a module `l2` for it."""
    with (
        command_line(["attack", "at", "--threat", "l2:inf"]),
        names_from("row.parquet"),
        pytest.raises(UserError, match="l2:inf"),
    ):
        require_trusted("l2:inf")


@pytest.mark.parametrize(
    ("spec", "own"),
    [
        ("pgd:steps=5", False),
        ("small-cnn:width=8", False),
        ("folder:photos", False),
        ("memory", False),
        ("transfer:source=(small-cnn:width=8)", False),
        ("attacks.mine:Mine", True),
        ("transfer:source=(nets:make),attack=(pgd:steps=5)", True),
    ],
)
def test_specs_that_name_private_code(spec, own):
    """A registered name before the colon is none, nested specs count."""
    assert own_code(["pgd", spec]) == own


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (["sweep", "--grid", "loss=nets:make"], {"nets:make"}),
        (["sweep", "--trust-code"], {"nets:make", "other:make"}),
        (["sweep", "--trust-code", "--dry-run", "nets:make"], {"nets:make"}),
        (["sweep"], set()),
    ],
)
def test_a_worker_may_import_what_its_command_may(words, allowed):
    """The licence passes through JSON, and is in force no longer than it should."""
    with command_line(words):
        given = json.loads(json.dumps(licence()))
    with licensed(given):
        for name in ("nets:make", "other:make"):
            if name in allowed:
                require_trusted(name)
            else:
                with pytest.raises(UserError, match="private code"):
                    require_trusted(name)
    require_trusted("other:make")


def test_a_worker_of_a_python_caller_may_import_what_the_caller_may():
    """Files' names only inside `trust_code`."""
    plain = json.loads(json.dumps(licence()))
    with trust_code():
        trusting = json.loads(json.dumps(licence()))
    with licensed(plain), names_from("a file"), pytest.raises(UserError, match="private code"):
        require_trusted("nets:make")
    with licensed(trusting), names_from("a file"):
        require_trusted("nets:make")
