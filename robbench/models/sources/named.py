"""What models of a library by their names there have in common."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from robbench.core.errors import UserError
from robbench.core.spec import OrNone
from robbench.models.base import Loading
from robbench.models.shapes import image_shape
from robbench.models.sources.base import Loaded, Source
from robbench.models.sources.fill import fill
from robbench.models.sources.libraries import library, other_code
from robbench.models.sources.state_dicts import sets_in
from robbench.models.sources.weight_files import read_weight_file


@dataclass(frozen=True, kw_only=True)
class Named(Source):
    """A model of a library, by its name there; `pretrained=false` gives it random weights."""

    argument: ClassVar[str] = "name"
    places: ClassVar[tuple[str, ...]] = (*Source.places, "weights")
    package: ClassVar[str]

    name: Annotated[str, Field(min_length=1, description="its name in the library")]
    weights: Annotated[
        str | None,
        OrNone,
        Field(description="a file of weights, instead of those of the library"),
    ] = None
    pretrained: Annotated[  # a plain attribute in place of the property
        bool,
        Field(description="false: random weights, and as many outputs as the data have classes"),
    ] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is not None and not self.pretrained:
            raise UserError("pretrained=false reads no weights; give weights or pretrained=false")

    @property
    def what(self) -> str:
        """How messages call it."""
        return f"model {self.package}:{self.name}"

    def load(self, loading: Loading) -> Loaded:
        """The model, with its weights where they are asked for."""
        image_shape(loading.info, self.what.removeprefix("model "))
        found = library(self.package, self.package)
        self.require_known(found)
        if self.pretrained and loading.weights:
            return self.with_weights(found, loading)
        with other_code(self.what, loading.download):
            return self.random(found, loading)

    def fill(self, found: Loaded, path: Path, channels: int) -> Loaded:
        """With the weights of a file, and its normalisation where it has one."""
        filled = fill(
            found.module,
            path,
            self.what,
            channels=channels,
            normalised=self.mean is not None,
        )
        found = found._replace(notes=filled.notes)
        if filled.statistics is None:
            return found
        mean, std = (part * (channels // len(part)) for part in filled.statistics[:2])
        return found._replace(mean=mean, std=std)

    @abstractmethod
    def require_known(self, library: Any) -> None:
        """Raise UserError, with the nearest names, where the library has no such model."""

    @abstractmethod
    def random(self, library: Any, loading: Loading) -> Loaded:
        """A new model with one output for each class of the data."""

    @abstractmethod
    def with_weights(self, library: Any, loading: Loading) -> Loaded:
        """The model with the weights of the file or of the library's cache."""

    def no_weights(self, places: Iterable[str]) -> UserError:
        """The error where weights are on no place of this machine."""
        where = " and ".join(places)
        ways = "give weights=FILE, or pretrained=false for random weights"
        if not where:
            return UserError(f"{self.what} has no weights in the library: {ways}")
        return UserError(f"{self.what}: its weights are not in {where}: add --download, {ways}")


def torch_hub_file(url: str, name: str | None = None) -> Path:
    """Where torch.hub keeps the file of an address."""
    return Path(torch.hub.get_dir()) / "checkpoints" / (name or url.rpartition("/")[2])


def download_to(path: Path, url: str) -> None:
    """Download a file to its place in the cache of torch.hub, checked where its name has a hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digits = torch.hub.HASH_REGEX.search(path.name)
    torch.hub.download_url_to_file(
        url, str(path), digits[1] if digits else None, progress=sys.stderr.isatty()
    )


def last_layer(model: nn.Module) -> tuple[str, nn.Module]:
    """Name and module of the last linear or convolutional layer: the head of a classifier."""
    layers = (nn.Linear, nn.Conv2d)
    return [(n, module) for n, module in model.named_modules() if isinstance(module, layers)][-1]


def outputs_in(path: Path, head: str) -> int | None:
    """How many outputs the layer `head` has in a file of weights; None where it is not there."""
    for _, tensors in sets_in(read_weight_file(path)):
        for name, tensor in tensors.items():
            if f".{name}".endswith(f".{head}.weight") and tensor.ndim:
                return len(tensor)
    return None
