"""Packages that only some models need."""

from __future__ import annotations

import importlib
from typing import Any

from robbench.core.errors import UserError


def require_package(name: str, extra: str) -> Any:
    """Import a package of an extra. UserError, with the line that installs it, if it is missing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise UserError(
            f"this model needs the package {name}: pip install 'robbench[{extra}]'"
        ) from None
