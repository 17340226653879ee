"""Model folders: config.json and safetensors weights, written atomically, read without pickle."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from robbench.core.errors import RunError, UserError
from robbench.core.files import atomic_write
from robbench.core.model_config import Rebuilt, read_config
from robbench.core.trust import names_from
from robbench.data.base import DataInfo, Units, reason
from robbench.models.base import Classifier
from robbench.models.create import create
from robbench.models.state import state_of

CONFIG = "config.json"


def save(folder: Path, filename: str, model: nn.Module) -> Path:
    """Write the state dict to folder/filename (safetensors), atomically.

    Returns the path. RunError when it cannot be written.
    """
    path = folder / filename
    # Clones: tied weights share storage, which safetensors refuses to write.
    state = {
        name: tensor.detach().cpu().clone().contiguous()
        for name, tensor in model.state_dict().items()
    }
    try:
        atomic_write(path, lambda temporary: safetensors.torch.save_file(state, temporary))
    except SafetensorError as error:
        raise RunError(f"cannot write {path} ({reason(error)})") from error
    return path


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a model's state dict from a safetensors file, on its own device and in its own dtypes.

    UserError when the file is missing, corrupt, truncated or holds other names or shapes; the model
    is then unchanged.
    """
    if not path.is_file():
        raise UserError(f"no weights at {path}{_neighbours(path)}")
    with _readable(path):
        stored = safetensors.torch.load_file(path)
    expected = model.state_dict()
    missing, extra = (
        sorted(expected.keys() - stored.keys()),
        sorted(stored.keys() - expected.keys()),
    )
    if missing or extra:
        parts = [
            f"{len(names)} {what} such as {names[0]}"
            for what, names in (("missing", missing), ("unexpected", extra))
            if names
        ]
        raise UserError(f"{path} does not fit the model: {' and '.join(parts)}")
    for name, tensor in expected.items():
        if stored[name].shape != tensor.shape:
            raise UserError(
                f"{path} does not fit the model: {name} has shape {tuple(stored[name].shape)}, "
                f"should be {tuple(tensor.shape)}"
            )
    model.load_state_dict(stored)


def require_whole(path: Path) -> None:
    """Raise UserError where a safetensors file is truncated or none; its numbers are not read."""
    with _readable(path), safetensors.safe_open(path, framework="pt"):
        pass


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} is corrupt or truncated ({reason(error)}); copy it again, or train again "
            "with --force"
        ) from error


def load_model(
    folder: Path, which: Literal["model", "last", "best"] | None = None
) -> tuple[Classifier, dict[str, Any]]:
    """The classifier of a model folder (CPU, evaluation mode), and its config.json.

    `which` names the weights file, model.safetensors by default. UserError when the folder, its
    config or its weights are missing, broken or do not belong together, or the config names private
    code (`core/trust.py`). Torch's global generator is left as it was.
    """
    config = _read_config(folder)
    units = Units(*map(tuple, config["units"])) if "units" in config else None
    texts = {name: tuple(config[name]) for name in ("shape", "classes", "mean", "std")}
    info = DataInfo(**texts, units=units)
    with torch.random.fork_rng(devices=[]), names_from(folder / CONFIG):
        model = create(config["model"], info, weights=False)
        if (head := config.get("head", "linear")) != model.head_spec:
            model = model.with_head(head)
    load_weights(model, folder / f"{which or 'model'}.safetensors")
    return model.eval(), config


def model_hash(model: nn.Module) -> str:
    """16 hexadecimal digits: blake2b over all of a model's state (`state.py`)."""
    return state_of(model).hash()


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(
            f"{folder} is not a model folder: it has no {CONFIG}; give one that robbench train "
            "wrote"
        )
    return read_config(path, Rebuilt)


def _neighbours(path: Path) -> str:
    names = sorted(other.stem for other in path.parent.glob("*.safetensors"))
    return f"; the folder has: {', '.join(names)}" if names else "; train the model first"
