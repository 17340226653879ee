"""Arguments from Python: numbers of NumPy count, what no command would take is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import robbench
from robbench.api.arguments import number, seconds, several, texts, whole
from robbench.core.errors import UserError

NAN, INFINITE = float("nan"), float("inf")


def test_whole_numbers() -> None:
    """Of Python or NumPy, up to both ends of the range."""
    for value in (3, np.int64(3), np.uint8(3)):
        found = whole("jobs", value, 3, 3)
        assert (found, type(found)) == (3, int)
    for odd in (2, 4, 3.0, np.float64(3), NAN, INFINITE, True, "3", [3], np.array([3]), None):
        with pytest.raises(UserError, match="jobs should be a whole number from 3 to 3, not "):
            whole("jobs", odd, 3, 3)


def test_numbers() -> None:
    """Of Python or NumPy."""
    for value in (3, 3.0, np.int64(3), np.float32(3), np.float64(3)):
        found = number("width", value)
        assert (found, type(found)) == (3, float)
    for odd in (True, "3", [3], np.array([3]), None):
        with pytest.raises(UserError, match="width should be a number, not "):
            number("width", odd)


def test_limits_of_time() -> None:
    """A number is of seconds; what is none is left to who reads the text."""
    for value in (30, 30.0, np.int64(30), np.float32(30), np.float64(30)):
        assert seconds(value) == "30s"
    assert (seconds(None), seconds("2m"), seconds(True)) == (None, "2m", "True")
    assert (seconds(NAN), seconds(INFINITE)) == ("nan", "inf")


def test_one_or_several() -> None:
    """A text is one, whatever else can be gone through is several."""
    assert texts("tags as text", "ab") == several("ab") == ["ab"]
    assert texts("tags as text", (one for one in "ab")) == ["a", "b"]
    assert texts("tags as text", ()) == []
    for odd, kind in ((3, "int"), (["a", 3], "int"), (b"ab", "bytes"), (None, "NoneType")):
        with pytest.raises(UserError, match=f"give tags as text, not {kind}"):
            texts("tags as text", odd)


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("attack", {"models": []}),
        ("attack", {"models": "m", "threat": 0.1}),
        ("attack", {"models": "m", "tags": 3}),
        ("attack", {"models": "m", "replay": [3]}),
        ("attack", {"models": "m", "jobs": 0}),
        ("attack", {"models": "m", "max_time": True}),
        ("bundle", {"runs": "m", "file": "m.zip", "with_model": False, "model": "m"}),
        ("attack", {"models": "m", "max_time": np.float64(-3)}),
        ("cascade_suggest", {"max_queries": 0}),
        ("cascade_suggest", {"seed": -1}),
        ("certify", {"models": ()}),
        ("certify", {"models": "m", "threat": 0.1}),
        ("compare", {"runs": 3}),
        ("compare", {"runs": [3]}),
        ("compare", {"allow": 3}),
        ("compare", {"where": [3]}),
        ("gate", {"candidate": "m", "alpha": "x"}),
        ("gate", {"candidate": "m", "batch_size": 0}),
        ("gate", {"candidate": "m", "max_drop": [1]}),
        ("gate", {"candidate": "m", "seed": 2**32}),
        ("history", {"name": "m", "last": 2.5}),
        ("history", {"name": "m", "last": True}),
        ("measure", {"train_samples": -1}),
        ("measure", {"train_samples": 0.5}),
        ("plot", {"kind": "curves", "width": "x"}),
        ("sweep", {"name": "s", "grid": {"seed": [0]}, "jobs": 0}),
        ("sweep", {"name": "s", "grid": {"seed": [0]}, "processes_per_task": 0}),
        ("sweep", {"name": "s", "grid": {"seed": [0]}, "retries": -1}),
        ("sweep", {"name": "s", "grid": {"seed": [0]}, "steps": 3}),
        ("view", {"html": "v.html", "limit": 0.5}),
        ("view", {"html": "v.html", "seed": -1}),
        ("view", {"html": "v.html", "trace": INFINITE}),
    ],
)
def test_what_a_command_would_refuse(call: str, given: dict[str, Any], tmp_path: Path) -> None:
    """One line that names the argument, before anything is looked for."""
    with pytest.raises(UserError) as caught:
        getattr(robbench, call)(**given, out=tmp_path)
    name = [*given][-1]
    said = {"models": "no model is named", "runs": "compare names of runs"}
    assert said.get(name, name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [*tmp_path.iterdir()]


X, Y = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("classes", [-1, 0, 1, 2.5, True, "10", [], ["a"], ["a", "a"], 10**20])
def test_classes_are_their_number_or_their_names(trained_net: Any, classes: Any) -> None:
    """At least two, each named once."""
    for call in (robbench.evaluate, robbench.inspect):
        with pytest.raises(UserError, match="classes should be"):
            call(trained_net, X, Y, "linf:0.1", "fgsm", classes=classes)
    with pytest.raises(UserError, match="classes should be"):
        robbench.inspect(trained_net, classes=classes)


def test_force_needs_a_folder(trained_net: Any) -> None:
    """Without one there is no run to replace."""
    with pytest.raises(UserError, match="give out, or leave out force"):
        robbench.evaluate(trained_net, X, Y, "linf:0.1", "fgsm", force=True)


def test_numbers_of_numpy_are_numbers(trained_net: Any) -> None:
    """In evaluate, inspect and the checks of an evaluation."""
    found = robbench.evaluate(
        trained_net,
        X,
        Y,
        "linf:0.1",
        "fgsm",
        classes=np.int64(10),
        seed=np.int64(0),
        limit=np.int64(3),
        batch_size=np.int64(2),
        max_time=np.float64(600),
        max_queries=np.int64(50),
    )
    assert (len(found), found.plan.config.max_time) == (3, 600)
    assert len(robbench.inspect(trained_net, classes=np.int64(10)).classes) == 10
    for odd in (0, -1, 0.5, "x"):
        with pytest.raises(UserError, match="limit should be a whole number from 1"):
            found.check(limit=odd)
    for shape in (0, 2.5, np.float64(8), (1, 8)):
        with pytest.raises(UserError, match="should be CxHxW"):
            robbench.inspect(trained_net, shape=shape)


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("attack", {"models": "at", "shard": 3}),
        ("train", {"loss": "cross-entropy", "data": 3}),
        ("certify", {"models": "at", "method": None}),
        ("gate", {"candidate": 3}),
        ("check", {"target": "at", "split": b"test"}),
    ],
)
def test_what_is_no_text_is_refused(call: str, given: dict[str, Any], tmp_path: Path) -> None:
    """In one line with its name, where the function takes nothing else."""
    name, value = list(given.items())[-1]
    with pytest.raises(UserError) as error:
        getattr(robbench, call)(**given, out=tmp_path / "runs")
    assert str(error.value) == f"{name} should be a text, not {value!r}"


def test_a_device_of_torch_and_paths_as_texts(tmp_path: Path) -> None:
    """They are taken by their names."""
    how: dict[str, Any] = {"data": "digits", "model": "mlp:depth=0", "epochs": 1, "limit": 20}
    done = robbench.train(**how, name=Path("mine"), device=torch.device("cpu"), out=tmp_path)
    assert done.folder == tmp_path / "models" / "mine"
    with pytest.raises(UserError, match="unknown device '3'"):
        robbench.train(**how, device=3, out=tmp_path)


def test_python_names_the_function_of_unknown_arguments() -> None:
    """In the words of Python."""
    with pytest.raises(TypeError, match=r"compare\(\) got an unexpected keyword argument 'typo'"):
        robbench.compare(typo=3)
    with pytest.raises(TypeError, match=r"check\(\) missing 1 required"):
        robbench.check()
