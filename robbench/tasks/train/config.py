"""The settings of `robbench train`: a recipe, and what it is applied to."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from robbench.core.config import parse_limit
from robbench.core.spec import Number, OrNone, Share
from robbench.training.recipe import Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Recipe):
    """Everything that decides the result of a training run."""

    data: Annotated[str, Field(description="data set")] = "digits"
    generated: Annotated[
        str | None,
        OrNone,
        Field(description="generated data to mix in, such as npz:FILE or parquet:DIR"),
    ] = None
    generated_ratio: Annotated[
        Number, Field(gt=0, lt=1, description="share of each batch that is generated")
    ] = 0.7
    model: Annotated[str, Field(description="architecture")] = "small-cnn"
    from_model: Annotated[
        str | None,
        OrNone,
        Field(
            description="trained model whose weights to start from: "
            "NAME, NAME@best, NAME@last or a folder"
        ),
    ] = None
    loss: Annotated[str, Field(description="loss")] = "cross-entropy"
    teacher: Annotated[
        str | None,
        OrNone,
        Field(
            description="what the loss learns from, if it does: a trained model (NAME, NAME@best, "
            "NAME@last or a folder), or average, that of the weights (needs average=ema)"
        ),
    ] = None
    inner: Annotated[
        str | None,
        Field(description="inner attack; by default what the loss needs, none = clean training"),
    ] = None
    inner_mode: Annotated[
        Literal["eval", "train"], Field(description="mode of the model during the inner attack")
    ] = "eval"
    inner_beyond: Annotated[
        Annotated[int, Field(ge=0)] | None,
        OrNone,
        Field(description="inner steps after a sample's first mistake, none = all"),
    ] = None
    threat: Annotated[
        str | None, Field(description="of inner attack and validation; by default the data set's")
    ] = None
    eps_warmup: Annotated[
        Share, Field(description="share of training over which the inner eps grows from 0")
    ] = 0.0
    validation: Annotated[
        Number, Field(ge=0, lt=1, description="share of the training data kept for validation")
    ] = 0.1
    select: Annotated[
        Literal["auto", "best", "last"],
        Field(description="epoch to use; auto: best with an inner attack, else last"),
    ] = "auto"
    limit: Annotated[
        int | str | None,
        BeforeValidator(parse_limit),
        Field(description="only the first N samples, or stratified=N"),
    ] = None
