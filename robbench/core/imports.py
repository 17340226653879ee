"""Imports of what a name leads to: ours, another package's, or private code."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from robbench.core.errors import UserError, text_of
from robbench.core.guest import guest_code
from robbench.core.trust import require_trusted


def import_target(target: str, owner: str) -> Any:
    """Import private code, `module:attribute`, also from the current folder.

    Where it is there, the folder stays at the end of the import path: functions import when they
    are called.

    Raises UserError for a name that came from a file (`core/trust.py`), is of Python's standard
    library, or does not exist.
    """
    module_name, _, attribute = target.partition(":")
    for path, what in ((module_name, "a module's name"), (attribute, "a name in a module")):
        if not all(part.isidentifier() for part in path.split(".")):
            raise UserError(f"{owner}: {path!r} is not {what}")
    require_trusted(target)
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        raise UserError(
            f"{owner}: {module_name} is a module of Python itself, nothing there is derived "
            "from our classes or builds a model"
        )
    with _current_folder_importable(module_name.partition(".")[0]):
        return import_attribute(target, owner)


def require_extra(module: str, extra: str, who: str) -> None:
    """Raise UserError, with the extra that installs it, unless a package is there."""
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{who}: pip install 'robbench[{extra}]'")


def import_attribute(target: str, owner: str) -> Any:
    """What `module:attribute` names. Raises UserError, with `owner`, where it cannot be had."""
    module_name, _, attribute = target.partition(":")
    try:
        with guest_code(f"{owner}: importing {module_name}", module_name):
            found: Any = importlib.import_module(module_name)
    except UserError:
        raise
    except ModuleNotFoundError as error:
        if error.name == module_name and module_name.endswith(".py"):
            plain = module_name.removesuffix(".py")
            text = f"no module '{module_name}'; write {plain}:{attribute}, without .py"
            raise UserError(f"{owner}: {text}") from error
        raise UserError(
            f"{owner}: no module '{error.name}'; install it or run where it can be imported"
        ) from error
    except Exception as error:
        raise UserError(
            f"{owner}: importing {module_name} raised {type(error).__name__}: {text_of(error)}"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UserError(f"{owner}: module '{module_name}' has no '{attribute}'")
        found = getattr(found, part)
    return found


@contextlib.contextmanager
def _current_folder_importable(module: str) -> Iterator[None]:
    # The console script, unlike `python -m`, does not put the current folder on the path. For
    # private code alone: torch and others import optional packages and plug-ins of whatever folder
    # is on the path.
    here = str(Path.cwd())
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.append(here)
    try:
        yield
    finally:
        if added and not _lies_in(here, module):
            sys.path.remove(here)


def _lies_in(folder: str, module: str) -> bool:
    """Whether a loaded top-level module, or part of it, is directly in a folder."""
    spec = getattr(sys.modules.get(module), "__spec__", None)
    places = [] if spec is None else [*(spec.submodule_search_locations or [spec.origin or ""])]
    return any(Path(place).parent == Path(folder) for place in places)
