"""Messages in the words of Python: they name a parameter where the command line has a flag."""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from robbench.core.errors import RobbenchError, UserError

P = ParamSpec("P")
R = TypeVar("R")

# A command to copy stays as it is, up to the end of its clause.
_COMMAND = (
    r"(?:pip install"
    r"|robbench (?:attack|baseline|bundle|card|cascade|certify|check|compare|demo|doctor|explain"
    r"|export|gate|history|inspect|list|measure|merge|plot|query|report|runs|show|sweep|train"
    r"|verify|view))"
    r"\b[^,;:()]*"
)
_FLAG = r"(?<![\w-])--([a-z][a-z-]*)"
_CONDITION = r"--(where|allow) ('[^']*=[^']*'|[\w:=/.+-]*\w)"
_RENAMED = {"from": "from_model", "no_model": "with_model=False"}
_KNOWN = {"target", "threat"}  # who reads them says more of what they should be
_TEXT = {"str": str, "str | None": str | None}  # annotations as they are written
_SWITCHES = {"compile", "download", "force", "measure", "over_seeds", "store_points"}


def in_python(text: str) -> str:
    """`--max-time` as `max_time`, `--force` as `force=True`, `--allow attack` as `allow="attack"`.

    Commands of the shell stay.
    """

    def reworded(found: re.Match[str]) -> str:
        command, name, value, flag = found.groups()
        if name:
            condition = value.strip("'")
            return f'{name}="{condition}"'
        return str(command or _parameter(flag))

    return re.sub(f"({_COMMAND})|{_CONDITION}|{_FLAG}", reworded, text)


def _parameter(flag: str) -> str:
    name = flag.replace("-", "_")
    return f"{name}=True" if name in _SWITCHES else _RENAMED.get(name, name)


def _log(text: str) -> None:
    logging.getLogger("robbench").warning(in_python(text))


def _checked(parameter: inspect.Parameter, value: Any) -> Any:
    if parameter.name == "device" and value is not None:
        return str(value)
    if parameter.name in _KNOWN or parameter.annotation not in _TEXT:
        return value
    plain = str(value) if isinstance(value, Path) else value
    if not isinstance(plain, _TEXT[parameter.annotation]):
        raise UserError(f"{parameter.name} should be a text, not {value!r}")
    return plain


def pythonic(function: Callable[P, R]) -> Callable[P, R]:
    """Let the errors of a function speak of parameters, and its `out` be an address too.

    It gets a working copy of the address, the name of a `device` of torch, and a path as text where
    it takes only that. Raises UserError for anything else there.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            try:
                given = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # raises it with the name of the function
            for name, value in given.arguments.items():
                given.arguments[name] = _checked(signature.parameters[name], value)
            if not isinstance(given.arguments.get("out"), str):
                return function(*given.args, **given.kwargs)
            from robbench.store.address.copies import working_copy

            with working_copy(given.arguments["out"], _log) as folder:
                given.arguments["out"] = folder
                return function(*given.args, **given.kwargs)
        except RobbenchError as error:
            error.args = (in_python(str(error)),)
            raise

    return wrapped
