"""Model folders: round trips, atomic writes, and broken files."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from robbench.core.errors import RunError, UserError
from robbench.core.trust import trust_code
from robbench.data.base import DataInfo
from robbench.models.base import Classifier
from robbench.models.create import create
from robbench.models.weights import load_model, load_weights, model_hash, save

MakeInfo = Callable[..., DataInfo]


def _write(
    folder: Path,
    spec: str,
    info: DataInfo,
    *,
    head: str = "linear",
    changes: dict[str, Any] | None = None,
) -> Classifier:
    model = create(spec, info)
    if head != "linear":
        model.with_head(head)
    config = {
        "schema": "robbench.model/1",
        "model": spec,
        "head": head,
        "classes": list(info.classes),
        "shape": list(info.shape),
        "mean": list(info.mean),
        "std": list(info.std),
        "loss": "cross-entropy",
    }
    save(folder, "model.safetensors", model)
    (folder / "config.json").write_text(json.dumps({**config, **(changes or {})}))
    return model.eval()


@pytest.mark.parametrize(
    ("spec", "head"),
    [
        ("small-cnn:width=4", "linear"),
        ("mlp:depth=0", "score"),
        ("wide-resnet:depth=10,width=1", "score"),
    ],
)
def test_round_trip(spec: str, head: str, tmp_path: Path, info: MakeInfo) -> None:
    """A saved model returns with equal logits, hash, head, statistics and config, in eval mode."""
    model = _write(tmp_path / "m", spec, info((1, 8, 8), 2), head=head)
    loaded, config = load_model(tmp_path / "m", None)
    x = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
    assert model_hash(loaded) == model_hash(model)
    assert loaded.head_spec == head
    assert not loaded.training
    assert config["loss"] == "cross-entropy"


def test_which_weights(tmp_path: Path, info: MakeInfo) -> None:
    """`best` and `last` name other files of the folder; a missing one lists those present."""
    _write(tmp_path, "mlp:width=3", info((1, 8, 8)))
    other = create("mlp:width=3", info((1, 8, 8)))
    save(tmp_path, "best.safetensors", other)
    assert model_hash(load_model(tmp_path, "best")[0]) == model_hash(other)
    with pytest.raises(UserError, match="the folder has: best, model"):
        load_model(tmp_path, "last")


def test_loading_leaves_the_global_generator_alone(tmp_path: Path, info: MakeInfo) -> None:
    """Rebuilding a model consumes none of torch's global random numbers."""
    _write(tmp_path, "mlp", info((1, 8, 8)))
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    load_model(tmp_path, None)
    assert torch.equal(torch.rand(2), expected)


def test_a_private_model_comes_back(
    tmp_path: Path, info: MakeInfo, private_module: Callable[[str], str]
) -> None:
    """A module:factory model is rebuilt from spec and weights where its code is trusted."""
    name = private_module(
        "from torch import nn\ndef net(width=3):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, width))\n"
    )
    model = _write(tmp_path / "m", f"{name}:net:width=2", info((1, 8, 8), 2), head="score")
    with pytest.raises(UserError, match=f"config.json names private code, {name}:net"):
        load_model(tmp_path / "m", None)
    with trust_code():
        loaded, _ = load_model(tmp_path / "m", None)
    assert model_hash(loaded) == model_hash(model)


def test_the_hash_sees_every_bit_and_name() -> None:
    """A changed bit, dtype or name gives another hash; an equal copy gives the same."""
    first, second = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    assert model_hash(first) == model_hash(second)
    assert len(model_hash(first)) == 16
    assert model_hash(torch.nn.Sequential(first)) != model_hash(first)
    with torch.no_grad():
        second.bias.view(torch.int32)[1] ^= 1
    assert model_hash(first) != model_hash(second)
    assert model_hash(second.to(torch.bfloat16)) != model_hash(second.to(torch.float16))


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the final rename fails the old weights stay, no temporary file, a RunError."""
    model = torch.nn.Linear(2, 2)
    save(tmp_path, "model.safetensors", model)
    before = (tmp_path / "model.safetensors").read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RunError, match="No space left"):
        save(tmp_path, "model.safetensors", torch.nn.Linear(2, 2))
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_tied_weights_can_be_saved(tmp_path: Path) -> None:
    """Two layers that share one tensor are written and read back."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    path = save(tmp_path, "model.safetensors", model)
    expected = model_hash(model)
    load_weights(model, path)
    assert model_hash(model) == expected


def test_corrupt_and_truncated_weights(tmp_path: Path) -> None:
    """Garbage, an empty file, cuts and a pickle are refused; the model is unchanged."""
    model = torch.nn.Linear(4, 3)
    path = save(tmp_path, "model.safetensors", model)
    good, before = path.read_bytes(), model_hash(model)
    for bad in (
        b"",
        b"garbage",
        good[:5],
        good[:40],
        good[:-1],
        good + b"x",
        pickle.dumps({"weight": 1}),
    ):
        path.write_bytes(bad)
        with pytest.raises(UserError, match="corrupt or truncated") as caught:
            load_weights(model, path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
    assert model_hash(model) == before


def test_weights_of_another_model(tmp_path: Path) -> None:
    """Missing and unexpected names and other shapes are named, and nothing is half loaded."""
    model = torch.nn.Linear(4, 3)
    before = model_hash(model)
    path = tmp_path / "model.safetensors"
    for stored, words in (
        ({"weight": torch.zeros(3, 4)}, "1 missing such as bias"),
        (
            {"weight": torch.zeros(3, 4), "bias": torch.zeros(3), "scale": torch.zeros(1)},
            "1 unexpected such as scale",
        ),
        (
            {"weight": torch.zeros(3, 5), "bias": torch.zeros(3)},
            r"weight has shape \(3, 5\), should be \(3, 4\)",
        ),
    ):
        safetensors.torch.save_file(stored, path)
        with pytest.raises(UserError, match=words):
            load_weights(model, path)
    assert model_hash(model) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "robbench.model/2"}, "this robbench reads 'robbench.model/1'"),
        ({"shape": "wide"}, "shape"),
        ({"classes": None}, "classes"),
        ({"model": "mlpp"}, "did you mean mlp"),
        ({"model": "mlp:width=9"}, "does not fit the model"),
        ({"head": "score"}, "two classes"),
    ],
)
def test_configs_that_do_not_fit(
    changes: dict[str, Any], words: str, tmp_path: Path, info: MakeInfo
) -> None:
    """A config of another version, type or model than the weights is a UserError."""
    _write(tmp_path, "mlp:width=3", info((1, 8, 8)), changes=changes)
    with pytest.raises(UserError, match=words) as caught:
        load_model(tmp_path, None)
    assert "\n" not in str(caught.value)


def test_folders_that_are_no_models(tmp_path: Path) -> None:
    """A folder without config, with broken JSON, or with JSON that is no object is a UserError."""
    with pytest.raises(UserError, match="not a model folder"):
        load_model(tmp_path, None)
    for text in ("{", "[]", "", '{"schema": "robbench.model/1"}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=r"config\.json"):
            load_model(tmp_path, None)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="no UTF-8 text"):
        load_model(tmp_path, None)
