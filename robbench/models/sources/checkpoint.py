"""Weights that other code saved, in an architecture that the user names."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from robbench.catalogue.builtins import MODELS
from robbench.core.errors import UserError
from robbench.core.spec import OrNone
from robbench.models.base import Loading
from robbench.models.create import unchecked
from robbench.models.external import External
from robbench.models.normalisation import normalisations
from robbench.models.sources.base import Loaded, Normalized, Source
from robbench.models.sources.fill import Filled, WrongClassesError, fill
from robbench.models.sources.layouts import layouts_of, looks_like
from robbench.models.sources.state_dicts import Layout, Statistics, sets_in
from robbench.models.sources.weight_files import SUFFIXES, read_weight_file

_NONE = Statistics((0.0,), (1.0,), "")  # inputs stay as they are


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Source):
    """A file of weights (.pt, .pth, .ckpt, .bin, .safetensors) and the architecture they are for.

    The file is not unpickled, so nothing in it is run. The weights, prefixes of their names and a
    normalisation layer are found in it; every weight must fit. The layouts of TRADES, MART, AWP,
    robust overfitting, RobustBench and DeepMind load into preact-resnet18, resnet18 and
    wide-resnet.
    """

    argument: ClassVar[str] = "file"
    places: ClassVar[tuple[str, ...]] = ("file", "key", "prefix")

    file: Annotated[str, Field(description="the file of weights")] = ""
    arch: Annotated[
        str, Field(description="model spec, in parentheses if it has options, or module:factory")
    ] = ""
    key: Annotated[
        str | None, OrNone, Field(description="where the weights are in the file; none: found")
    ] = None
    prefix: Annotated[
        str | None, OrNone, Field(description="what their names begin with; none: found")
    ] = None

    def label(self, spec: str) -> str:
        """The name of the file, without its suffix."""
        return _stem(self.file) or spec

    def load(self, loading: Loading) -> Loaded:
        """The architecture with the weights of the file, and the normalisation found there."""
        if not self.arch or (loading.weights and not self.file):
            raise UserError(
                f"checkpoint: arch must be given, {suggestion(Path(self.file))}"
                if self.file
                else "checkpoint: file and arch must be given, checkpoint:FILE,arch=SPEC"
            )
        channels = loading.info.shape[0]
        module, statistics = self._architecture(loading)
        if not loading.weights:
            # Normalised as it is with weights: a model that was trained from them is read into it.
            return Loaded(module, (0.0,) * channels, (1.0,) * channels)
        try:
            filled = self._filled(module, channels)
        except WrongClassesError as error:
            if not (loading.judged or self.outputs):
                raise
            info = dataclasses.replace(loading.info, classes=tuple(map(str, range(error.classes))))
            module, statistics = self._architecture(loading._replace(info=info))
            try:
                filled = self._filled(module, channels)
            except WrongClassesError:
                raise UserError(
                    f"{self.file} has {error.classes} classes, {self.arch} has others: give their "
                    "number in arch, such as arch=(nets:make:classes=20)"
                ) from None
        if filled.statistics or self.mean is not None:
            statistics = None
        found = filled.statistics or statistics or _NONE
        stated = found is not _NONE or self.mean is not None or normalisations(module, channels)
        return Loaded(
            module,
            _each(found.mean, channels),
            _each(found.std, channels),
            notes=(*filled.notes, *([statistics.text] if statistics else [])),
            assumed=tuple(_assumed(filled.layout, normalised=bool(stated))),
        )

    def _architecture(self, loading: Loading) -> tuple[nn.Module, Statistics | None]:
        """The module that is filled, and the normalisation that its own source puts in front."""
        built = unchecked(self.arch, loading._replace(weights=False))
        if not isinstance(built, External):
            built.normalize = nn.Identity()  # with the statistics of the data, not of the file
            return built, None
        if not isinstance(built.body, Normalized):
            return built.body, None
        numbers = (built.body.normalize.get_buffer(name) for name in ("mean", "std"))
        mean, std = (tuple(part.flatten().tolist()) for part in numbers)
        return built.body.model, Statistics(mean, std, self.arch)

    def _filled(self, module: nn.Module, channels: int) -> Filled:
        registered = MODELS.registers(self.arch)
        return fill(
            module,
            Path(self.file),
            self.arch,
            channels=channels,
            key=self.key,
            prefix=self.prefix,
            layouts=layouts_of(MODELS.build(self.arch)) if registered else (),
            normalised=self.mean is not None,
            hint=_hint,
        )


def suggestion(path: Path) -> str:
    """What to write for a file of weights, with the architecture that its names speak for.

    Raises UserError where it is none.
    """
    sets = sets_in(read_weight_file(path))
    spec = next(filter(None, (looks_like(tensors) for _, tensors in sets)), "")
    if spec:
        return f"it looks like {shlex.quote(f'checkpoint:{path},arch={_nested(spec)}')}"
    return f"checkpoint:{path},arch=SPEC, such as preact-resnet18 or a module:factory of yours"


def _assumed(layout: Layout, *, normalised: bool) -> Iterator[str]:
    """normalised: the module does it, or what is put in front, or the user said what does."""
    if layout.ambiguity:
        yield layout.ambiguity
    if not normalised:
        known = f" ({layout.normalised})" if layout.normalised else ""
        yield (
            "no normalisation is in the file, so images in [0,1] enter as they are: give mean= "
            f"and std= if the training code normalised{known}"
        )


def _hint(tensors: Mapping[str, Tensor]) -> str:
    spec = looks_like(tensors)
    return f"; it looks like arch={_nested(spec)}" if spec else ""


def _each(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values


def _nested(spec: str) -> str:
    return f"({spec})" if "," in spec else spec


def _stem(file: str) -> str:
    name = Path(file).name
    while name.endswith(SUFFIXES):
        name = name.rpartition(".")[0]
    return name
