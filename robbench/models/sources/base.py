"""Models of other libraries and files: wrapped, with the normalisation they come with in front."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from robbench.core.errors import UserError
from robbench.core.spec import OrNone, option_names
from robbench.data.base import DataInfo
from robbench.models.base import Architecture, Loading, Normalize
from robbench.models.external import External
from robbench.models.outputs.options import OutputOptions, Reading


class Loaded(NamedTuple):
    """A module from images to outputs [B,K'], and what is known of it.

    mean, std: of its inputs, values in [0,1], where it does not normalise by itself. labels: the
    class of each output, in order; () where unknown. size, prepared: height and width of the images
    it was trained on, and the options of `folder` data that make such images; () and "" if
    unknown, or if there are none.
    batch: the only number of rows it takes. notes: what was loaded, from where. assumed: what the
    source does not say and a user should know.
    """

    module: nn.Module
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: tuple[str, ...] = ()
    size: tuple[int, ...] = ()
    prepared: str = ""
    batch: int | None = None
    notes: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


def _numbers(value: Any) -> Any:
    """`(0.5,0.4)` -> (0.5, 0.4); anything else is left to the type's own parser."""
    return value.strip("() ").split(",") if isinstance(value, str) else value


_PerChannel = Annotated[
    Annotated[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], BeforeValidator(_numbers)]
    | None,
    OrNone,
    Field(description="of the inputs [0,1], for each channel; none: as the model's source says"),
]
"""One number per channel, written `(0.49,0.48,0.45)`."""


class Normalized(nn.Module):
    """A module behind the normalisation of its inputs."""

    def __init__(self, normalize: Normalize, model: nn.Module) -> None:
        super().__init__()
        self.normalize = normalize
        self.model = model

    def forward(self, x: Tensor) -> Any:
        """Whatever the module returns."""
        return self.model(self.normalize(x))


@dataclass(frozen=True, kw_only=True)
class Source(OutputOptions, Architecture):
    """A model of another library or file. Subclasses say how it is loaded."""

    places: ClassVar[tuple[str, ...]] = ("classes",)

    mean: _PerChannel = None
    std: _PerChannel = None

    @property
    def pretrained(self) -> bool:
        """It comes with weights."""
        return True

    def __post_init__(self) -> None:
        if len(self.mean or ()) != len(self.std or ()):
            raise UserError("give mean and std together, one number for each channel")
        if any(value <= 0 for value in self.std or ()):
            raise UserError("std should be above 0")

    def label(self, spec: str) -> str:
        """The spec, with the names of files and folders but not their places."""
        for name in self.places:
            value = getattr(self, name)
            if isinstance(value, str) and Path(value).exists():
                spec = spec.replace(value, Path(value).resolve().name)
        return spec

    @abstractmethod
    def load(self, loading: Loading) -> Loaded:
        """The module. Raises UserError when it cannot be had."""

    def build(self, info: DataInfo) -> External:
        """The loaded model for some data. UserError when it cannot be had or does not fit."""
        return self.build_from(Loading(info))

    def build_from(self, loading: Loading) -> External:
        """As `build`, with what is asked for."""
        found = self.load(loading)
        mean, std = (self.mean, self.std) if self.mean else (found.mean, found.std)
        model = found.module
        if mean is not None and std is not None:
            channels = loading.info.shape[0]
            if len(mean) not in (1, channels) or not all(map(math.isfinite, (*mean, *std))):
                raise UserError(
                    f"mean and std have {len(mean)} numbers, the data have {channels} channels"
                )
            model = Normalized(Normalize(tuple(mean), tuple(std)), model)
        options = OutputOptions(
            **{name: getattr(self, name) for name in option_names(OutputOptions)}
        )
        names = tuple(loading.info.classes)
        external = External(model, len(names), Reading(options, names, found.labels), found.batch)
        external.loaded, external.assumed = found.notes, found.assumed
        if found.size and tuple(loading.info.shape[1:]) != found.size:
            external.made_for = _made_for(found)
        return external


def _made_for(found: Loaded) -> str:
    size = "x".join(map(str, found.size))
    if found.prepared:
        ways = f", as --data folder:DIR,{found.prepared} makes them"
    else:
        ways = "; no options of --data folder: are known to prepare them as its source does"
    return f"the model was made for {size} images{ways}"
