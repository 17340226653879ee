"""One frozen dataclass per run, filled from: flag > --set > ROBBENCH_* > TOML file > recipe > default.

A TOML file may hold plain keys and one table per command (`[train]`, `[attack]`), which wins over the plain keys.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field

from robbench.core.errors import UserError, nearest
from robbench.core.spec import Number, OrNone, option_names, validate

T = TypeVar("T")
COMMANDS = ("train", "attack")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides what a training run gives."""

    data: str = "digits"
    model: str = "small-cnn"
    loss: str = "cross-entropy"
    inner: str | None = None  # attack spec; "none" switches off what a loss would use by itself
    inner_mode: Literal["eval", "train"] = "eval"
    threat: str | None = None  # default: the data set's own
    eps_warmup: Annotated[Number, Field(ge=0, le=1)] = 0.0  # share of training over which the inner eps grows from 0
    epochs: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=1)] = 64
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    lr: Annotated[Number, Field(gt=0)] = 0.003
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[Number, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine", "linear", "one-cycle", "piecewise"] = "one-cycle"
    warmup: Annotated[Number, Field(ge=0, le=1)] = 0.0  # share of training over which the rate grows from 0
    clip: Annotated[Number, Field(ge=0)] = 0.0  # largest norm of the gradient; 0 = any
    augment: Literal["none", "crop", "flip", "crop-flip", "crop-flip-cutout"] = "none"
    mixup: Annotated[Number, Field(ge=0)] = 0.0  # alpha of its beta distribution; 0 = off
    average: Literal["none", "ema", "swa"] = "none"  # of the weights: what is judged and kept
    ema_decay: Annotated[Number, Field(gt=0, lt=1)] = 0.999
    awp: Annotated[Number, Field(ge=0)] = 0.0  # gamma of adversarial weight perturbation; 0 = off
    awp_warmup: Annotated[Number, Field(ge=0, le=1)] = 0.0  # share of training without it
    inner_beyond: Annotated[int | None, OrNone, Field(ge=0)] = None  # inner steps after a row's first mistake; none = all
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    compile: bool = False
    validation: Annotated[Number, Field(ge=0, lt=1)] = 0.1
    select: Literal["auto", "best", "last"] = "auto"
    limit: Annotated[int | None, Field(ge=1)] = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def parse_width(value: Any) -> int | None:
    """`auto` -> None; otherwise a whole number of at least 1."""
    if value is None or value == "auto":
        return None
    text = str(value)
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("should be auto or a whole number of at least 1")
    return int(text)


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much may be spent: seconds of a run, or queries (forwards) of a sample; inf for no limit."""

    seconds: float = math.inf
    queries: float = math.inf

    def __str__(self) -> str:
        if math.isfinite(self.queries):
            return f"{self.queries:.0f}q"
        return f"{int(self.seconds) if self.seconds.is_integer() else self.seconds}s" if math.isfinite(self.seconds) else "none"


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_budget(value: Any) -> Budget | None:
    """`90s`, `2m`, `1.5h` of time for a run, `5000q` of queries for a sample; `none` for no limit."""
    if value is None or isinstance(value, Budget) or value == "none":
        return None if value == "none" else value
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([smhq])", str(value).strip().lower())
    amount = float(match[1]) if match else 0.0
    if match is None or amount == 0 or (match[2] == "q" and not amount.is_integer()):
        raise ValueError("should be a time such as 90s, 2m or 1h, or queries per sample such as 5000q")
    return Budget(queries=amount) if match[2] == "q" else Budget(seconds=amount * _UNITS[match[2]])


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """Everything that decides an attack's verdicts, and the width it runs at."""

    attack: tuple[str, ...] = ("apgd",)
    threat: tuple[str, ...] = ()  # default: the data set's own
    data: str | None = None  # default: what the model was trained on
    split: Literal["train", "test"] = "test"
    limit: Annotated[int | None, Field(ge=1)] = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    batch_size: Annotated[int | None, BeforeValidator(parse_width)] = None  # rows in flight; none = auto, by device
    precision: Literal["fp32", "bf16"] = "fp32"  # of the search; successes are always confirmed in float32
    compile: bool = False  # the model the attacks see
    budget: Annotated[Budget | None, BeforeValidator(parse_budget)] = None
    store_points: bool = False
    replay: tuple[str, ...] = ()  # runs whose points are tried first
    measure: bool = False  # at the end, as `robbench measure` does; keeps the points too


def load_config(
    cls: type[T],
    command: str,
    *,
    file: Path | None,
    sets: Sequence[str],
    flags: Mapping[str, Any],
    base: Mapping[str, Any] = MappingProxyType({}),
) -> T:
    """Merge the sources, `base` (a recipe) below all. UserError that names the source, the key and the nearest known key."""
    names = option_names(cls)
    merged: dict[str, Any] = dict(base)
    if file is not None:
        merged |= _checked(_read_toml(file, command), names, str(file))
    merged |= {name: os.environ[key] for name in names if (key := f"ROBBENCH_{name.upper()}") in os.environ}
    merged |= _checked(dict(_key_value(item) for item in sets), names, "--set")
    merged |= {name: value for name, value in flags.items() if value not in (None, [], ()) and value is not False}
    for name in ("attack", "threat", "replay"):
        if isinstance(merged.get(name), str) and "tuple" in str(cls.__dataclass_fields__[name].type):  # type: ignore[attr-defined]
            merged[name] = [merged[name]]
    return validate(cls, merged, command)


def _key_value(item: str) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not equals or not key:
        raise UserError(f"--set '{item}': write KEY=VALUE")
    return key.strip().replace("-", "_"), value.strip()


def _read_toml(path: Path, command: str) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the config file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"the config file {path} is not valid TOML: {error}") from None
    own = content.get(command, {})
    if not isinstance(own, dict):
        raise UserError(f"{path}: '{command}' must be a table: [{command}]")
    return {key: value for key, value in content.items() if key not in COMMANDS} | own


def _checked(values: dict[str, Any], names: Sequence[str], source: str) -> dict[str, Any]:
    values = {key.replace("-", "_"): value for key, value in values.items()}
    for key in values:
        if key not in names:
            raise UserError(f"{source}: unknown key '{key}'{nearest(key, names)}")
    return values
