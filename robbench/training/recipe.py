"""A recipe: the settings of the optimisation, whatever is trained on whichever data."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field

from robbench.core.spec import Number, Share


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: optimisation settings only."""

    epochs: Annotated[int, Field(ge=1, description="passes over the training data")] = 20
    batch_size: Annotated[int, Field(ge=1, description="samples per step")] = 64
    optimizer: Annotated[Literal["sgd", "adam", "adamw"], Field(description="torch's own")] = "adam"
    lr: Annotated[Number, Field(gt=0, description="peak learning rate")] = 0.003
    momentum: Annotated[Number, Field(ge=0, lt=1, description="of sgd")] = 0.9
    weight_decay: Annotated[
        Number, Field(ge=0, description="of matrices and kernels; biases and norms have none")
    ] = 0.0
    schedule: Annotated[
        Literal["constant", "cosine", "linear", "one-cycle", "cyclic", "piecewise"],
        Field(description="of the learning rate"),
    ] = "one-cycle"
    warmup: Annotated[
        Share, Field(description="share of training over which the rate grows from 0")
    ] = 0.0
    clip: Annotated[Number, Field(ge=0, description="largest norm of the gradient, 0 = any")] = 0.0
    augment: Annotated[
        Literal[
            "none", "crop", "flip", "crop-flip", "crop-flip-cutout", "idbh-weak", "idbh-strong"
        ],
        Field(description="of the training images"),
    ] = "none"
    mixup: Annotated[
        Number, Field(ge=0, description="alpha of mixup's beta distribution, 0 = off")
    ] = 0.0
    average: Annotated[
        Literal["none", "ema", "swa"],
        Field(description="of the weights: what is validated and kept; swa: of the last quarter"),
    ] = "none"
    ema_decay: Annotated[Number, Field(gt=0, lt=1, description="of ema, reached gradually")] = 0.999
    awp: Annotated[
        Number, Field(ge=0, description="gamma of adversarial weight perturbation, 0 = off")
    ] = 0.0
    awp_warmup: Annotated[Share, Field(description="share of training before it begins")] = 0.0
    precision: Annotated[
        Literal["fp32", "bf16"], Field(description="of the passes; weights stay float32")
    ] = "fp32"
    channels_last: Annotated[bool, Field(description="memory format of images, faster on GPUs")] = (
        False
    )
    compile: Annotated[bool, Field(description="compile the model")] = False
    seed: Annotated[
        int, Field(ge=0, lt=2**32, description="of weights, order, augmentation and attacks")
    ] = 0
