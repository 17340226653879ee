"""A module filled from a file: where the weights lie in it, what is taken, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from robbench.core.errors import UserError
from robbench.models.sources.fill import fill
from robbench.models.sources.state_dicts import Layout


def net(seed: int = 0, classes: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, classes)
    )
    model[1].running_mean.uniform_()
    model[1].running_var.uniform_(0.5, 2)
    return model.eval()


def renamed(model: nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in model.state_dict().items()}


def filled(path: Path, content: Any, **options: Any) -> tuple[nn.Module, Any]:
    torch.save(content, path)
    model = net(seed=1)
    return model, fill(model, path, "the model", channels=3, **options)


X = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
SOURCE = net()


def assert_source(model: nn.Module) -> None:
    assert torch.equal(model(X), SOURCE(X))


@pytest.mark.parametrize(
    "key", ["", "state_dict", "model", "net", "model_state_dict", "ema", "state_dict_ema", "x.y"]
)
@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "_orig_mod.", "1.", "net.", "backbone.", "module.model.1."]
)
def test_keys_and_prefixes_are_found_and_stated(tmp_path, key, prefix):
    content: Any = renamed(SOURCE, prefix)
    for part in reversed(key.split(".") if key else []):
        content = {part: content, "epoch": 3, "best": torch.tensor(0.5)}
    model, found = filled(tmp_path / "w.pth", content)
    assert_source(model)
    assert found.statistics is None
    place = f" at {key}" if key else ""
    without = f", names without '{prefix}'" if prefix else ""
    assert found.notes == (f"all weights are from w.pth{place}{without}",)


def test_lightnings_file_is_read(tmp_path):
    """Its settings, callbacks and optimizer lie beside; so does a metric, which is stated."""
    content = {
        "epoch": 1,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {**renamed(SOURCE, "model."), "accuracy.total": torch.ones(2)},
        "hyper_parameters": {"lr": 0.1},
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.ones(4, 3, 3, 3)}}}],
    }
    model, found = filled(tmp_path / "w.ckpt", content)
    assert_source(model)
    assert any(note.endswith("in w.ckpt: accuracy.total (2)") for note in found.notes)


def test_safetensors_fill_the_same(tmp_path):
    safetensors.torch.save_file(renamed(SOURCE, "module."), tmp_path / "w.safetensors")
    model = net(seed=1)
    fill(model, tmp_path / "w.safetensors", "the model", channels=3)
    assert_source(model)


def test_counters_of_batch_norm_may_be_absent(tmp_path):
    content = {k: v for k, v in SOURCE.state_dict().items() if "num_batches" not in k}
    model, _ = filled(tmp_path / "w.pth", content)
    assert_source(model)


def test_weights_of_another_type_are_converted_and_this_is_stated(tmp_path):
    model, found = filled(tmp_path / "w.pth", copy.deepcopy(SOURCE).half().state_dict())
    assert next(model.parameters()).dtype == torch.float32
    assert torch.equal(model[3].weight, SOURCE[3].weight.half().float())
    assert "float16" in found.notes[1]


@pytest.mark.parametrize(
    ("mean", "std", "prefix"),
    [
        ("normalize.mean", "normalize.std", "model."),
        ("0.mean", "0.std", "1."),
        ("mu", "sigma", ""),
        ("module.mu", "module.sigma", "module."),
        ("mean", "std", "net."),
        ("module.normalizer.new_mean", "module.normalizer.new_std", "module.model."),  # Madry lab
        ("image_means", "image_stds", ""),
        ("_mean", "_std", "net."),
    ],
)
def test_a_normalisation_layer_in_the_file_is_found(tmp_path, mean, std, prefix):
    values = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6])
    content = {mean: values[0].reshape(1, 3, 1, 1), std: values[1], **renamed(SOURCE, prefix)}
    model, found = filled(tmp_path / "w.pth", content)
    assert_source(model)
    assert found.statistics.mean == pytest.approx((0.1, 0.2, 0.3))
    assert found.statistics.std == pytest.approx((0.4, 0.5, 0.6))
    assert found.statistics.name == mean


def test_normalisations_that_differ_are_refused_unless_given(tmp_path):
    content = {
        "a.mean": torch.zeros(3),
        "a.std": torch.ones(3),
        "b.mean": torch.ones(3),
        "b.std": torch.ones(3),
        **renamed(SOURCE, "net."),
    }
    with pytest.raises(UserError, match=r"several normalisations that differ \(a.mean, b.mean\)"):
        filled(tmp_path / "w.pth", content)
    model, found = filled(tmp_path / "w.pth", content, normalised=True)
    assert_source(model)
    assert found.statistics is None


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        ({"bn.running_mean": 3, "bn.running_var": 3}, r"bn.running_mean, bn.running_var beside"),
        ({"scale": 3}, "w.pth: scale beside the weights may normalise the inputs: give mean="),
    ],
)
def test_other_numbers_for_each_channel_are_not_left_out(tmp_path, beside, words):
    """A layer in front would change the logits; the weights of a twin and metrics would not."""
    others = {name: torch.full((n, 1, 1), 0.5) for name, n in beside.items()}
    content = {**others, **renamed(SOURCE, "net."), **renamed(SOURCE, "twin.net.")}
    content["metric.total"] = torch.ones(5)
    with pytest.raises(UserError, match=words):
        filled(tmp_path / "w.pth", content)
    model, found = filled(tmp_path / "w.pth", content, normalised=True)
    assert_source(model)
    for name in others:
        del content[name]
    model, found = filled(tmp_path / "w.pth", content)
    assert_source(model)
    assert found.statistics is None


def test_statistics_of_0_to_255_are_refused_with_those_of_0_to_1(tmp_path):
    content = {"mean": torch.full((3,), 127.5), "std": torch.full((3,), 51.0)}
    words = r"not of images in \[0,1\].*mean=\(0.5,0.5,0.5\),std=\(0.2,0.2,0.2\)"
    with pytest.raises(UserError, match=words):
        filled(tmp_path / "w.pth", {**content, **renamed(SOURCE, "net.")})


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf")])
def test_a_normalisation_that_is_none_is_refused(tmp_path, std):
    content = {"mean": torch.zeros(3), "std": torch.full((3,), std), **renamed(SOURCE, "net.")}
    with pytest.raises(UserError, match=r"mean and its std are no normalisation.*give mean="):
        filled(tmp_path / "w.pth", content)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "odd",
    [
        lambda w: w.to(torch.complex64),
        lambda w: w.to_sparse(),
        lambda w: w.to("meta"),
        lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
    ],
)
def test_tensors_that_are_no_plain_numbers_are_refused(tmp_path, odd):
    weight = odd(SOURCE[3].weight.detach())
    with pytest.raises(UserError, match=r"w.pth: 3.weight is no plain tensor of real numbers"):
        filled(tmp_path / "w.pth", {**SOURCE.state_dict(), "3.weight": weight})


@pytest.mark.parametrize(
    ("content", "option", "choice"),
    [
        ({"model": SOURCE.state_dict(), "ema": net(2).state_dict()}, "key", "model"),
        (renamed(SOURCE, "student.") | renamed(net(2), "teacher."), "prefix", "student"),
    ],
)
def test_two_sets_that_fit_and_differ_are_not_chosen_from(tmp_path, content, option, choice):
    with pytest.raises(UserError, match=f"fit and differ.*choose one with {option}="):
        filled(tmp_path / "w.pth", content)
    model, _ = filled(tmp_path / "w.pth", content, **{option: choice})
    assert_source(model)


def test_two_sets_that_are_equal_are_one(tmp_path):
    model, _ = filled(tmp_path / "w.pth", {"a": SOURCE.state_dict(), "b": SOURCE.state_dict()})
    assert_source(model)


def test_a_layout_renames_and_leaves_out_what_it_knows_to_be_unused(tmp_path):
    layout = Layout("theirs", ((r"^3\.", "fc."), (r"^0\.", "stem.")), r"aux\.")
    content = {
        name.replace("3.", "fc.").replace("0.", "stem.", 1): tensor
        for name, tensor in SOURCE.state_dict().items()
    }
    content["aux.weight"] = torch.ones(2)
    model, found = filled(tmp_path / "w.pth", content, layouts=[layout])
    assert_source(model)
    assert found.notes == (
        "all weights are from w.pth, in the layout of theirs",
        "w.pth holds tensors that its own code does not use: 1 are left out",
    )


def changed(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    state = {**SOURCE.state_dict(), **{k.replace("_", ".", 1): v for k, v in changes.items()}}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (net(classes=7).state_dict(), "it has 7 classes, the model has 3"),
        (changed(**{"1_weight": None}), r"it lacks 1.weight \(4\)$"),
        (
            changed(**{"0_weight": torch.ones(4, 3, 5, 5)}),
            r"0.weight is \(4, 3, 5, 5\) instead of \(4, 3, 3, 3\)$",
        ),
        (changed(**{"5_weight": torch.ones(2)}), r"no place for 5.weight \(2\)$"),
        ({"a.b": torch.ones(2)}, "none of its names, such as a.b"),
        ({"state_dict": {}}, "no named tensors"),
        (torch.ones(3), "no named tensors"),
        ([SOURCE.state_dict()], "no named tensors"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_filled(tmp_path, content, words):
    torch.save(content, tmp_path / "w.pth")
    model = net(seed=1)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match=words):
        fill(model, tmp_path / "w.pth", "the model", channels=3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_hint_is_added_and_a_wrong_key_lists_the_keys(tmp_path):
    with pytest.raises(UserError, match=r"no place for x \(1\); try b"):
        filled(tmp_path / "w.pth", changed(x=torch.ones(1)), hint=lambda tensors: "; try b")
    with pytest.raises(UserError, match="no tensors at key=ema; it has some at model"):
        filled(tmp_path / "w.pth", {"model": SOURCE.state_dict()}, key="ema")


class Versioned(nn.Linear):
    """A layer that takes no tensors without a version, as some of torchvision."""

    _version = 2

    def _load_from_state_dict(self, state, prefix, metadata, *rest):
        assert metadata.get("version") == 2
        super()._load_from_state_dict(state, prefix, metadata, *rest)


def test_layers_are_told_the_version_of_their_weights(tmp_path):
    torch.manual_seed(0)
    saved, module = Versioned(3, 2), Versioned(3, 2)
    torch.save({"state_dict": dict(saved.state_dict())}, tmp_path / "w.pt")
    fill(module, tmp_path / "w.pt", "model x", channels=3)
    assert torch.equal(module.weight, saved.weight)
