"""Models of other libraries by name: imported when used, quiet, offline unless asked otherwise."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import logging
import os
import pickle
import socket
import sys
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, NoReturn

import torch
from pydantic import Field
from torch import nn

from robbench.core.errors import RobbenchError, RunError, UserError
from robbench.core.guest import guest_code
from robbench.core.spec import OrNone
from robbench.data.base import reason
from robbench.models.shapes import image_shape
from robbench.models.sources.base import Loaded, Loading, Source
from robbench.models.sources.fill import fill
from robbench.models.sources.state_dicts import sets_in
from robbench.models.sources.weight_files import read_weight_file

_NETWORK = ("gdown", "httpcore", "httpx", "huggingface_hub", "requests", "socket", "ssl", "urllib")
_PAIR = "pip install --force-reinstall torch torchvision"


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


def library(module: str, extra: str) -> Any:
    """Import another package. UserError, with what to install, when that cannot be done."""
    try:
        with quiet(), guest_code(f"importing {module}", module):
            return importlib.import_module(module)
    except UserError:
        raise
    except ModuleNotFoundError as error:
        if error.name == module:
            raise UserError(
                f"models of {module} need that package: pip install 'robbench[{extra}]'"
            ) from None
        raise UserError(
            f"the package {module} cannot be imported: it needs the module '{error.name}': pip "
            f"install {error.name}"
        ) from error
    except Exception as error:
        no_pair = any("torchvision" in str(cause) for cause in _causes(error))
        pair = f"; torch and torchvision may be no pair: {_PAIR}" if no_pair else ""
        raise UserError(
            f"the package {module} is installed but cannot be imported ({reason(error)}){pair}"
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Inside, no warning and no log below an error reaches the terminal."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def other_code(what: str, download: bool) -> Iterator[None]:
    """Call another library: quiet, without unpickling, without the network unless `download`.

    What it raises becomes a UserError of one line that begins with `what`, of the network a
    RunError.
    """
    try:
        with (
            quiet(),
            guest_code(what, "robbench"),
            _only_weights(),
            contextlib.ExitStack() as stack,
        ):
            if not download:
                stack.enter_context(_offline())
            yield
    except RobbenchError:
        raise
    except Exception as error:
        if download and _of_network(error):
            raise RunError(f"{what}: the download failed ({reason(error)})") from error
        if any(isinstance(cause, _OfflineError) for cause in _causes(error)):
            raise UserError(f"{what}: its weights are in no cache here: add --download") from error
        if any(isinstance(cause, pickle.UnpicklingError) for cause in _causes(error)):
            raise UserError(
                f"{what}: its file of weights is damaged, or holds objects that only unpickling "
                "makes, which can run code"
            ) from error
        raise UserError(f"{what}: {reason(error)}") from error


@contextlib.contextmanager
def _only_weights() -> Iterator[None]:
    """Inside, torch.load reads weights only, whatever its caller says, as torch.hub's does."""
    names = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ[names[0]] = "1"
    try:
        yield
    finally:
        del os.environ[names[0]]
        os.environ.update(before)


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Inside, no host is found, and the Hugging Face hub is not asked."""
    hub, lookup = sys.modules.get("huggingface_hub.constants"), socket.getaddrinfo
    before = getattr(hub, "HF_HUB_OFFLINE", None)
    socket.getaddrinfo = _refuse
    if hub is not None:
        hub.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    try:
        yield
    finally:
        socket.getaddrinfo = lookup
        if hub is not None:
            hub.HF_HUB_OFFLINE = before  # type: ignore[attr-defined]


class _OfflineError(OSError):
    """A host was looked up."""


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise _OfflineError("the network is used with --download only")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _of_network(error: BaseException) -> bool:
    return any(
        type(cause).__module__.partition(".")[0] in _NETWORK
        or isinstance(cause, ConnectionError | TimeoutError)
        for cause in _causes(error)
    )


def unknown_name(what: str, name: str, known: Iterable[str], how: str) -> UserError:
    """The error for a name that a library does not have: the nearest ones, else how to list all."""
    close = difflib.get_close_matches(name.lower(), sorted(known), n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else f"{how} lists them"
    return UserError(f"{what}: there is no such model; {hint}")


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
