"""config.json of a model folder: written by training, read by every command with a model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from robbench.core.documents import parse_json, read_text
from robbench.core.errors import UserError
from robbench.core.spec import checked

SCHEMA = "robbench.model/1"
_MOST_VALUES = 2**28  # of one input; an image of 16,000 x 16,000


class _Open(BaseModel):
    """Keys that are read, of just these types; others may be there."""

    model_config = ConfigDict(extra="allow", strict=True)


class Rebuilt(_Open):
    """What rebuilds a model."""

    model: Annotated[str, Field(min_length=1)]
    head: Annotated[str, Field(min_length=1)] = "linear"
    classes: Annotated[list[str], Field(min_length=1)]
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=3)]
    mean: Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1)]
    std: Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)]

    units: (
        Annotated[
            list[list[Annotated[float, Field(allow_inf_nan=False)]]],
            Field(min_length=2, max_length=2),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.units is not None and {len(part) for part in self.units} != {self.shape[-1]}:
            raise ValueError("units should be two numbers for each feature")
        if math.prod(self.shape) > _MOST_VALUES:
            raise ValueError(f"shape has more than {_MOST_VALUES} values")
        if len(self.mean) != len(self.std):
            raise ValueError("mean and std should be of the same length")
        return self


class _Selected(_Open):
    model: Literal["best", "last"]
    epoch: int


class _Settings(_Open):
    data: Annotated[str, Field(min_length=1)]
    threat: str | None = None
    loss: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None


class _Provenance(_Open):
    argv: list[str] | None = None
    env: dict[str, str] | None = None


class _BuiltOn(_Open):
    folder: str | None = None


class Described(_Open):
    """What a report shows of a model."""

    classes: list[str] | None = None
    provenance: _Provenance | None = None
    code: dict[str, str | None] | None = None
    start: _BuiltOn | None = None
    teacher: _BuiltOn | None = None


class Listed(_Open):
    """What a list of models shows of one."""

    status: str
    provenance: _Provenance | None = None


class _Counted(_Open):
    hash: str


class Trained(Rebuilt):
    """What the trainer writes."""

    name: str
    head: Annotated[str, Field(min_length=1)]
    identity: Any
    status: str
    selected: _Selected | None
    config: _Settings
    provenance: _Provenance | None = None
    samples: str | None = None
    code: dict[str, str | None] | None = None
    built: str | None = None
    start: _Counted | None = None
    teacher: _Counted | None = None

    @model_validator(mode="after")
    def _chosen(self) -> Self:
        if self.status == "done" and self.selected is None:
            raise ValueError("selected must not be null once status is done")
        return self


def read_config(path: Path, needs: type[BaseModel] = Trained) -> dict[str, Any]:
    """A config.json as plain values, in which all that `needs` names is there and of its type.

    Raises UserError, naming the file and the key, for one that is missing, damaged, or of another
    robbench.
    """
    found = parse_json(read_text(path, "the model file", "JSON"), str(path))
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        version = repr(schema)[:40]
        raise UserError(
            f"{path} has schema {version}, this robbench reads '{SCHEMA}': "
            "upgrade robbench, or train it again"
        )
    checked(needs, found, str(path))
    return dict(found)
