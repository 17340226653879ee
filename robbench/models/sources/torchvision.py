"""Classifiers of torchvision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from robbench.core.errors import UserError
from robbench.models.base import Loading
from robbench.models.shapes import image_shape
from robbench.models.sources.base import Loaded
from robbench.models.sources.imagenet import with_ids
from robbench.models.sources.libraries import other_code, unknown_name
from robbench.models.sources.named import Named, download_to, last_layer, outputs_in, torch_hub_file
from robbench.models.sources.weight_files import read_weight_file


@dataclass(frozen=True, kw_only=True)
class Torchvision(Named):
    """A classifier of torchvision by its name, such as `resnet50`.

    Weights come from the cache of torch.hub, from `weights=FILE`, or with --download from the
    network; `weights=IMAGENET1K_V2` chooses among those of the library, whose default is the best.
    The normalisation of those weights goes inside.
    """

    package: ClassVar[str] = "torchvision"

    def require_known(self, library: Any) -> None:
        """UserError with the nearest names where torchvision has no such classifier."""
        known = library.models.list_models(module=library.models)
        if self.name not in known:
            how = "torchvision.models.list_models(module=torchvision.models)"
            raise unknown_name(self.what, self.name, known, how)

    def load(self, loading: Loading) -> Loaded:
        """The model. UserError for images that have not three channels, as all of these take."""
        channels, _, _ = image_shape(loading.info, f"torchvision:{self.name}")
        if channels != 3:
            raise UserError(
                f"{self.what} takes images of 3 channels, the data have {channels}; channels=3 "
                "makes them of a folder or Parquet files"
            )
        return super().load(loading)

    def random(self, library: Any, loading: Loading) -> Loaded:
        """A new model with torchvision's initial weights."""
        classes = len(loading.info.classes)
        model = library.models.get_model(self.name, weights=None, num_classes=classes)
        return _described(model, library.models.get_model_weights(self.name).DEFAULT)._replace(
            size=(), prepared=""
        )

    def with_weights(self, library: Any, loading: Loading) -> Loaded:
        """The model with its weights; with a new head where one is needed to train on the data."""
        known = library.models.get_model_weights(self.name)
        chosen = known.DEFAULT if self.weights is None else known.__members__.get(self.weights)
        with other_code(self.what, loading.download):
            if chosen is None:
                found = self._from_file(library, known, Path(str(self.weights)))
            else:
                found = self._from_cache(library, chosen, loading.download)
            if loading.judged:
                return found
            return found._replace(
                module=_for_classes(found.module, len(loading.info.classes), self.what), labels=()
            )

    def _from_cache(self, library: Any, chosen: Any, download: bool) -> Loaded:
        path = torch_hub_file(chosen.url)
        if download and not path.is_file():
            download_to(path, chosen.url)
        if not path.is_file():
            raise self.no_weights([str(path)])
        with _in_place_of_the_download(type(chosen), read_weight_file(path)):
            model = library.models.get_model(self.name, weights=chosen)
        return _described(model, chosen)._replace(labels=with_ids(chosen.meta["categories"]))

    def _from_file(self, library: Any, known: Any, path: Path) -> Loaded:
        if not path.exists() and path.name == str(path) and not path.suffix:
            raise UserError(
                f"{self.what}: weights={path} is no file, and none of its weights: "
                f"{', '.join(known.__members__)}"
            )
        default, build = known.DEFAULT, library.models.get_model
        usual = len(default.meta["categories"])
        outputs = outputs_in(path, last_layer(build(self.name, weights=None))[0]) or usual
        model = build(self.name, weights=None, num_classes=outputs)
        labels = with_ids(default.meta["categories"]) if outputs == usual else ()
        return self.fill(_described(model, default)._replace(labels=labels), path, 3)


@contextlib.contextmanager
def _in_place_of_the_download(kind: Any, state: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, these weights are those of torchvision's enumeration, which would unpickle a file."""
    kind.get_state_dict = lambda *_, **__: state
    try:
        yield
    finally:
        del kind.get_state_dict  # that of its base class again


def _described(model: nn.Module, weights: Any) -> Loaded:
    images = weights.transforms()
    crop, resize = images.crop_size[0], images.resize_size[0]
    return Loaded(
        model,
        tuple(images.mean),
        tuple(images.std),
        size=(crop, crop),
        prepared=f"resize={resize},crop={crop},filter={images.interpolation.value}",
    )


def _for_classes(model: nn.Module, classes: int, what: str) -> nn.Module:
    """The model with a new last layer, if it has other outputs than there are classes."""
    name, layer = last_layer(model)
    if len(layer.get_parameter("weight")) == classes:
        return model
    if not isinstance(layer, nn.Linear):
        raise UserError(f"{what}: its last layer is no nn.Linear, so it gets no other classes")
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, nn.Linear(layer.in_features, classes))
    return model
