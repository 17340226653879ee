"""Which private code may be imported: what the caller named, never what a file names.

A name such as `nets:make` runs code. On the command line only names typed in that very command are
imported, unless it has `--trust-code`; names in files and environment variables are refused. In
Python a name is the caller's own, except where it is read from a file (`names_from`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

from robbench.core.errors import UserError
from robbench.core.norms import NORMS

_NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
# Also behind a short option, -amodule:Attack.
_PRIVATE = re.compile(rf"(?:-[A-Za-z])?({_NAME}:{_NAME})(?=:|$)")
# A file of code in a language of its own.
_PROGRAM = re.compile(r"(?:^-[A-Za-z]|(?<![\w.:/-]))torchscript:")
_MOST_ENDS = 20


class _Command(NamedTuple):
    """What a command line allows."""

    typed: frozenset[str]
    trusts_all: bool
    dry: bool


# Of the process, not of a context: a new thread must not be free to import.
_command: _Command | None = None
_source: ContextVar[tuple[str, frozenset[str]] | None] = ContextVar("source", default=None)
_trusted: ContextVar[bool] = ContextVar("trusted", default=False)


def private_names(text: str) -> frozenset[str]:
    """The `module:attribute` names in a text, also in `transfer:source=(nets:make)`.

    And `torchscript:FILE`.
    """
    parts = re.split(r"[()\[\]=,\s]+", text)
    found = [_PRIVATE.match(part) for part in parts if not _PROGRAM.match(part)]
    return frozenset([*(match[1] for match in found if match), *_programs(text)])


def _programs(text: str) -> Iterator[str]:
    """`torchscript:FILE` for each FILE that a text may mean: a comma may end it, or be in it."""
    for start in _PROGRAM.finditer(text):
        rest = text[start.end() :]
        for begin in (0, *(option.end() for option in re.finditer(r"\bfile=", rest))):
            file = rest[begin:].lstrip("(")
            ends = [end.start() for end in re.finditer(r"[,)]|$", file)][:_MOST_ENDS]
            yield from (f"torchscript:{file[:end].strip()}" for end in ends if file[:end].strip())


@contextlib.contextmanager
def command_line(words: Sequence[str]) -> Iterator[None]:
    """While a command runs, only private names among its words are imported.

    With `--trust-code` those that files name are imported too. A dry run imports what was typed,
    and nothing else even with `--trust-code`.
    """
    global _command
    before = _command
    typed = frozenset(name for word in words for name in private_names(word))
    _command = _Command(typed, "--trust-code" in words, "--dry-run" in words)
    try:
        yield
    finally:
        _command = before


@contextlib.contextmanager
def names_from(source: object, *given: str | None) -> Iterator[None]:
    """Inside, names come from the file `source`: private ones are refused.

    Those in texts that the caller gave itself are not.
    """
    own = frozenset(name for text in given if text for name in private_names(text))
    outer = _source.get()
    token = _source.set((str(source), own if outer is None else own & outer[1]))
    try:
        yield
    finally:
        _source.reset(token)


@contextlib.contextmanager
def trust_code() -> Iterator[None]:
    """Inside, private code that files name is imported too, as with `--trust-code`."""
    token = _trusted.set(True)
    try:
        yield
    finally:
        _trusted.reset(token)


def licence() -> dict[str, Any]:
    """What may be imported here, as JSON: for a worker process, which has no command line."""
    command = None if _command is None else {**_command._asdict(), "typed": [*_command.typed]}
    return {"command": command, "trusted": _trusted.get()}


@contextlib.contextmanager
def licensed(given: Mapping[str, Any]) -> Iterator[None]:
    """Inside, what may be imported where `licence` was called may be imported here too."""
    global _command
    before, found, token = _command, given["command"], _trusted.set(given["trusted"])
    _command = found and _Command(**{**found, "typed": frozenset(found["typed"])})
    try:
        yield
    finally:
        _command = before
        _trusted.reset(token)


def require_trusted(name: str) -> None:
    """Raise UserError unless `module:attribute` may be imported here."""
    source, own = _source.get() or (None, frozenset())
    if _command is None:
        if source is not None and name not in own and not _trusted.get():
            raise _untrusted(source, name)
        return
    # `folder:photos`, typed as data, or the threat `l2:inf` is no leave for a file to import a
    # module of that name.
    typed = name in _command.typed and (source is None or name in own or not _is_registered(name))
    if not typed and (_command.dry or not _command.trusts_all):
        raise _untrusted(source or "a file or an environment variable", name)


def refuse_private(source: object, kind: str, values: Any) -> None:
    """Raise UserError when specs of a file name code that may not be imported.

    values: a spec or a list of them. kind: of which registry.
    """
    from robbench.catalogue.builtins import REGISTRIES
    from robbench.core.spec import require_plain  # not needed for --help, and it loads pydantic

    with names_from(source):
        for text in values if isinstance(values, list | tuple) else [values]:
            if not isinstance(text, str):
                continue
            require_plain(text)
            for found in re.finditer(rf"(?<![\w.:/-]){_NAME}:{_NAME}", text):
                option = re.search(r"(\w+)=\(*$", text[: found.start()])
                registry = REGISTRIES[_NESTED.get(option[1], kind) if option else kind]
                if found[0].partition(":")[0] not in registry.entries:
                    require_trusted(found[0])


def own_code(specs: Iterable[str]) -> bool:
    """Whether specs name private code: a command that reads them needs `--trust-code`."""
    return any(not _is_registered(name) for spec in specs for name in private_names(spec))


_NESTED = {"source": "models", "attack": "attacks", "arch": "models"}
"""The options that are specs themselves, and of which kind."""


def _is_registered(name: str) -> bool:
    from robbench.catalogue.builtins import REGISTRIES

    first = name.partition(":")[0]
    if _PROGRAM.match(name):
        return False
    return first in NORMS or any(first in registry.entries for registry in REGISTRIES.values())


def _untrusted(source: str, name: str) -> UserError:
    if _command is not None and _command.dry:
        return UserError(
            f"{source} names private code, {name}: a dry run imports only what is "
            "typed in its command"
        )
    how = (
        "load it inside robbench.core.trust.trust_code()"
        if _command is None
        else "give --trust-code"
    )
    return UserError(
        f"{source} names private code, {name}, which would be run here: {how} if you trust it"
    )
