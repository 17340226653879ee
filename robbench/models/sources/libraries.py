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
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from robbench.core.errors import RobbenchError, RunError, UserError
from robbench.core.guest import guest_code
from robbench.data.base import reason

_NETWORK = ("gdown", "httpcore", "httpx", "huggingface_hub", "requests", "socket", "ssl", "urllib")
_PAIR = "pip install --force-reinstall torch torchvision"


def library(module: str, extra: str) -> Any:
    """Import another package. UserError, with what to install, when that cannot be done."""
    try:
        with quiet(), guest_code(f"importing {module}", module):
            return importlib.import_module(module)
    except UserError:
        raise
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name == package:
            raise UserError(
                f"this model needs the package {package}: pip install 'robbench[{extra}]'"
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
