"""RobustBench's model zoo (Croce et al. 2021, arXiv:2010.09670)."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from robbench.core.errors import UserError
from robbench.data.vision import CIFAR10
from robbench.models.base import Loading, Usual
from robbench.models.sources.base import Loaded, Source
from robbench.models.sources.imagenet import imagenet_ids
from robbench.models.sources.libraries import library, other_code, unknown_name
from robbench.models.sources.weight_files import read_weight_file

_THREATS = ("Linf", "L2", "corruptions")
_DATASETS = ("cifar10", "cifar100", "imagenet")
_BUDGETS = {
    ("cifar10", "Linf"): "linf:8/255",
    ("cifar10", "L2"): "l2:0.5",
    ("cifar100", "Linf"): "linf:8/255",
    ("imagenet", "Linf"): "linf:4/255",
}
_LABELS = {"cifar10": CIFAR10.classes, "imagenet": imagenet_ids()}
_PREPARED = {
    "Res256Crop224": ((224, 224), "resize=256,crop=224"),
    "BicubicRes256Crop224": ((224, 224), "resize=256,crop=224,filter=bicubic"),
    "Crop288": ((288, 288), "crop=288"),
}


def _folded(known: tuple[str, ...]) -> BeforeValidator:
    return BeforeValidator(
        lambda value: next((k for k in known if k.lower() == str(value).lower()), value)
    )


@dataclass(frozen=True, kw_only=True)
class RobustBench(Source):
    """A model of RobustBench's zoo by its name there, such as `Rice2020Overfitting`.

    Weights are the files that robustbench keeps in `dir`, or come with --download. Its data set and
    threat model are used where a command names none. These models take pixels in [0,1].
    Needs `pip install 'robbench[robustbench]'`.
    """

    argument: ClassVar[str] = "name"
    places: ClassVar[tuple[str, ...]] = (*Source.places, "dir")

    name: Annotated[str, Field(min_length=1, description="its name in the zoo")]
    threat: Annotated[
        Literal["Linf", "L2", "corruptions"],
        _folded(_THREATS),
        Field(description="the threat model it is listed under"),
    ] = "Linf"
    dataset: Annotated[
        Literal["cifar10", "cifar100", "imagenet"],
        _folded(_DATASETS),
        Field(description="the data set it was trained on"),
    ] = "cifar10"
    dir: Annotated[
        str, Field(min_length=1, description="folder of the zoo's files, DIR/cifar10/Linf/NAME.pt")
    ] = "models"

    @property
    def usual(self) -> Usual:
        """The data set and the threat model of its list."""
        data = None if self.dataset == "imagenet" else self.dataset
        return Usual(data, _BUDGETS.get((self.dataset, self.threat)))

    def label(self, spec: str) -> str:
        """Its name in the zoo."""
        return self.name

    def load(self, loading: Loading) -> Loaded:
        """The model with its weights. UserError where it is to be trained."""
        what = f"model robustbench:{self.name}"
        if not loading.judged:
            raise UserError(
                f"{what} can be attacked but not trained; for an architecture of its kind see "
                "robbench list models"
            )
        with _importable():
            found = library("robustbench.utils", "robustbench")
        entry = self._entry(found, what)
        files = self._files(entry)
        if not loading.download:
            self._require_there(found, files, what)
        for file in files:
            if file.is_file():
                read_weight_file(file)  # which refuses what only unpickling would read
        with other_code(what, loading.download):
            model = found.load_model(
                self.name,
                model_dir=self.dir,
                dataset=self.dataset,
                threat_model=self.threat,
            )
        size, prepared = _PREPARED.get(entry.get("preprocessing"), ((), ""))
        return Loaded(
            model,
            labels=_LABELS.get(self.dataset, ()),
            size=size if self.dataset == "imagenet" else (32, 32),
            prepared=prepared,
        )

    def _entry(self, library: Any, what: str) -> Any:
        """What the zoo knows of the model. UserError, with where it is instead or nearest names."""
        zoo = {
            (data.value, threat.value): models
            for data, lists in library.all_models.items()
            for threat, models in lists.items()
        }
        models = zoo.get((self.dataset, self.threat), {})
        if self.name in models:
            return models[self.name]
        elsewhere = [
            f"threat={threat},dataset={data}"
            for (data, threat), others in zoo.items()
            if self.name in others
        ]
        if elsewhere:
            raise UserError(
                f"{what} is not listed under {self.threat} on {self.dataset}: add "
                f"{' or '.join(elsewhere)}"
            )
        if not models:
            lists = "; ".join(f"threat={threat},dataset={data}" for data, threat in zoo)
            raise UserError(
                f"{what}: the zoo has no list of {self.threat} on {self.dataset}; it has {lists}"
            )
        how = f"robustbench.utils.all_models under {self.threat} on {self.dataset}"
        raise unknown_name(what, self.name, models, how)

    def _files(self, entry: Any) -> list[Path]:
        """Where robustbench keeps the weights of an entry: a file for each part of an ensemble."""
        path = Path(self.dir) / self.dataset / self.threat / f"{self.name}.pt"
        parts = entry["gdrive_id"]
        if isinstance(parts, list):
            return [path.with_name(f"{path.name}_m{n}.pt") for n in range(len(parts))]
        return [path] if parts is not None else []

    def _require_there(self, library: Any, files: list[Path], what: str) -> None:
        # Others are models of timm or torchvision, whose caches are asked when they are built.
        in_timm = f"{self.name}_{self.dataset}_{self.threat}".lower().replace("-", "_")
        if library.timm.is_model(in_timm) or (
            self.dataset == "imagenet" and self.name.startswith("Standard")
        ):
            return
        if missing := [str(file) for file in files if not file.is_file()]:
            raise UserError(
                f"{what}: its weights are not at {missing[0]}: add --download, copy them there, or "
                "give the folder that has them, dir=DIR"
            )


@contextlib.contextmanager
def _importable() -> Iterator[None]:
    """Inside, robustbench finds what it imports and current packages lack.

    It wants `pkg_resources`, which setuptools has dropped, for the path of a file, and
    `autoattack`, which its own requirement pyautoattack has under another name.
    """
    made: dict[str, Any] = {}
    if importlib.util.find_spec("pkg_resources") is None:
        made["pkg_resources"] = ModuleType("pkg_resources")
        made["pkg_resources"].resource_filename = _beside
    if importlib.util.find_spec("autoattack") is None:
        package = library("pyautoattack", "robustbench")
        made |= {
            "autoattack": package,
            "autoattack.state": library("pyautoattack.state", "robustbench"),
        }
    made = {name: module for name, module in made.items() if name not in sys.modules}
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            sys.modules.pop(name, None)


def _beside(module: str, file: str) -> str:
    return str(Path(str(sys.modules[module].__file__)).parent / file)
