"""`robbench inspect`: each thing that does not fit is found, and nothing on a good model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def seen(cli: Callable[..., Any], nets: Path, tmp_path: Path) -> Callable[..., Any]:
    """`seen("good", "--data digits")`: the JSON of the command, and its exit code."""

    def run(model: str, words: str = "--data digits", code: int = 0) -> Any:
        done = cli(f"inspect shown:{model} {words} --json -q --out", tmp_path / "S", cwd=nets)
        assert done.code == code, (done.code, done.err)
        assert done.err == ""
        assert not (tmp_path / "S").exists()  # nothing is written
        return done.json

    return run


def names(found: Any, severity: str = "error") -> list[str]:
    return [one["name"] for one in found["findings"] if one["severity"] == severity]


def only(found: Any) -> Any:
    """The one error."""
    (finding,) = [one for one in found["findings"] if one["severity"] == "error"]
    return finding


def test_a_good_model(seen: Callable[..., Any]) -> None:
    """Facts and costs, no finding but rounding, which is the processor's."""
    found = seen("good", "--data digits -n 300 --attack pgd:steps=5 --threat linf:0.1")
    assert {*names(found), *names(found, "warning")} <= {"rounding"}
    assert (found["shape"], len(found["classes"]), found["parameters"]) == ([1, 8, 8], 10, 650)
    (normalisation,) = found["normalisation"]
    assert (normalisation["module"], normalisation["front"]) == ("body.0", True)
    assert normalisation["mean"] == pytest.approx([0.3])
    assert (found["samples"], found["of"]) == (128, 300)
    assert found["clean_accuracy"] > 0.8
    assert found["clean_accuracy_low"] < found["clean_accuracy"] < found["clean_accuracy_high"]
    assert found["seconds_forward"] > 0
    # A sample: its flattened image of 64 entries in, 64 or 10 out; nothing is kept, all is linear.
    assert (found["memory_forward"], found["memory_backward"]) == (4 * (64 + 64), 0)


def test_the_forecast_is_that_of_the_attack(seen: Callable[..., Any], cli: Any, nets: Path) -> None:
    """Queries at most, as `robbench attack --dry-run` says for the same samples and attack."""
    words = "--data digits -n 50 --attack pgd:steps=5 --threat linf:0.1"
    found = seen("good", words)["forecast"]
    done = cli(f"attack shown:good {words} --dry-run -q", cwd=nets)
    (planned,) = done.json["forecasts"]
    assert found["queries_at_most"] == planned["queries_at_most"]
    assert (found["samples"], planned["samples"]) == (50, 50)


@pytest.mark.parametrize(
    ("model", "form", "advice"),
    [
        ("to_255", "0..255", "mean=(0), std=(0.003922)"),
        ("other_numbers", "0..1", "leave out the normalisation in front ('body.0', Normalize)"),
    ],
)
def test_inputs_in_another_form(
    seen: Callable[..., Any], model: str, form: str, advice: str
) -> None:
    """The form, how often the model is right in it, and what to do."""
    finding = only(seen(model, code=1))
    assert finding["name"] == "input-form"
    figures = finding["figures"]
    assert figures["form"]["name"] == form
    assert figures["correct_in_that_form"] > figures["correct"]
    assert advice in finding["remedy"]
    assert str(figures["correct_in_that_form"]) in finding["text"]


def test_statistics_that_no_list_has(seen: Callable[..., Any]) -> None:
    """Inputs far off, (x - 0.9) / 0.1: another form is clearly better, and none is certain."""
    finding = only(seen("not_normalised", code=1))
    assert finding["name"] == "input-form"
    assert "normalise inside the model" in finding["remedy"]


def test_classes_in_another_order(seen: Callable[..., Any]) -> None:
    """The advice, followed, gives the accuracy that was promised."""
    found = seen("permuted", code=1)
    finding = only(found)
    assert finding["name"] == "class-order"
    assert "outputs=(2,0,1,3,4,5,6,7,8,9)" in finding["remedy"]
    mended = seen("permuted:outputs=(2,0,1,3,4,5,6,7,8,9)")
    assert mended["correct"] == finding["figures"]["correct_in_that_order"] > found["correct"]


def test_probabilities(seen: Callable[..., Any]) -> None:
    """Refused by attacks; accuracy and costs are known all the same."""
    found = seen("probabilities", code=1)
    assert only(found)["name"] == "refused"
    assert "look like probabilities" in only(found)["text"]
    assert found["clean_accuracy"] > 0.8
    assert found["forecast"]["queries_at_most"] > 0
    assert "outputs=probs" in only(found)["text"]
    accepted = seen("probabilities:outputs=probs")
    assert accepted["correct"] == found["correct"]
    assert not names(accepted)
    assert not names(seen("probabilities:outputs=probs", "--shape 1x8x8"))


def test_more_outputs_than_classes(seen: Callable[..., Any]) -> None:
    """How to name those of the classes; no accuracy."""
    found = seen("wide", code=1)
    assert "20 outputs, the data have 10 classes" in only(found)["text"]
    assert found["clean_accuracy"] is None
    assert found["parameters"] == 65 * 20


def test_images_of_another_shape(seen: Callable[..., Any]) -> None:
    """Which shapes the model takes."""
    finding = only(seen("colour", code=1))
    assert "cannot process images of shape (1, 8, 8)" in finding["text"]
    assert finding["figures"]["shapes_taken"] == [[3, 32, 32]]
    assert "it takes 3x32x32: give data of such a shape" in finding["remedy"]


def test_channels_last(seen: Callable[..., Any]) -> None:
    """A model that takes (H,W,C) only."""
    finding = only(seen("channels_last", code=1))
    assert "x.movedim(1, -1)" in finding["remedy"]


def test_no_tensor(seen: Callable[..., Any]) -> None:
    """A model that returns a text."""
    found = seen("text", code=1)
    assert "returns str" in only(found)["text"]
    assert found["seconds_forward"] is None


def test_warnings_do_not_fail(seen: Callable[..., Any]) -> None:
    """Left in training mode; statistics of the batch; chance; another type: exit 0."""
    for model, flag in {
        "dropout": "random",
        "batch_statistics": "batch",
        "random": "at-chance",
        "bfloat16": "interface",
    }.items():
        assert flag in names(seen(model), "warning"), model


def test_an_untrained_architecture(cli: Callable[..., Any]) -> None:
    """One line says that its weights are random, not that its accuracy is at chance too."""
    found = cli("inspect mlp:width=16,depth=1 -n 100 --json -q").json
    assert "untrained" in names(found, "warning")
    assert "at-chance" not in names(found, "warning")


def test_without_data(seen: Callable[..., Any]) -> None:
    """The shape is found by trying, or is given; no accuracy, costs of 1,000 or N samples."""
    found = seen("colour", "")
    assert (found["shape"], found["data"], found["clean_accuracy"]) == ([3, 32, 32], None, None)
    assert len(found["classes"]) == 10
    assert found["forecast"]["samples"] == 1000
    given = seen("good", "--shape 1x8x8 -n 70")
    assert (given["shape"], given["forecast"]["samples"]) == ([1, 8, 8], 70)


def test_a_saved_model_has_its_data(cli: Any, trained: Path) -> None:
    """Name alone: the data, split and threat model it was trained with."""
    done = cli("inspect ce -n 100 --json -q --out", trained)
    assert done.code == 0, done.err
    found = done.json
    assert (found["data"], found["split"], found["samples"]) == ("digits", "test", 100)
    assert found["threat"] == "linf:0.15"
    assert found["normalisation"][0]["module"] == "normalize"


def test_the_accuracy_is_that_of_a_run(cli: Any, trained: Path, tmp_path: Path) -> None:
    """All samples of a small run: as many right as the run's row has."""
    found = cli("inspect ce -n 60 --json -q --out", trained).json
    done = cli(f"attack {trained / 'models' / 'ce'} --attack fgsm -n 60 --json -q --out", tmp_path)
    (row,) = done.json["rows"]
    assert row["clean_accuracy"] == pytest.approx(found["correct"] / 60)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nowhere", "unknown model 'nowhere'"),
        ("mlp --attack nothing", "unknown attack 'nothing'"),
        ("mlp --data nothing", "unknown data set 'nothing'"),
        ("mlp --shape 8x8", "should be CxHxW"),
        ("mlp --shape 3x8x8 --data digits", "leave out --shape or --data"),
        ("mlp --threat l7:1", "l7"),
        ("shown:nothing", "no module 'shown'"),
    ],
)
def test_bad_input(cli: Any, tmp_path: Path, words: str, message: str) -> None:
    """One line and exit 2 for what is no model, attack, data set, shape or threat model."""
    done = cli(f"inspect {words} -q --out", tmp_path / "S")
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "S").exists()
