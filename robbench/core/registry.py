"""One registry per kind of plug-in: lazy, loud and explainable.

Listing imports nothing. A name comes from our table (`catalogue/builtins.py`), from another
package's entry point, or is `module:attribute` for a private one. Two packages claiming one name is
an error that names both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from robbench.core.code import private_code
from robbench.core.errors import UserError, unknown
from robbench.core.guest import guest_code
from robbench.core.spec import Spec, build, options_of, parse_spec, value_text
from robbench.core.trust import require_trusted

T = TypeVar("T")


class Entry(NamedTuple):
    """Where a name leads. `target` is `module:attribute`, or `=spec` for an alias."""

    target: str
    summary: str
    package: str = "robbench"


class Registry(Generic[T]):
    """The names of one kind. `base`: `module:attribute` of the class that all derive from."""

    def __init__(
        self, kind: str, *, base: str, group: str, table: Mapping[str, tuple[str, str]]
    ) -> None:
        self.kind = kind
        self.group = group
        self._base = base
        self._table = {name: Entry(*row) for name, row in table.items()}

    @property
    def base(self) -> type[T]:
        """The class that all of this kind derive from."""
        found: type[T] = _import(self._base, self.kind)
        return found

    @functools.cached_property
    def entries(self) -> dict[str, Entry]:
        """Every known name, ours and those of installed packages; nothing is imported."""
        found = dict(self._table)
        for point in importlib.metadata.entry_points(group=self.group):
            package = point.dist.name if point.dist else "?"
            if point.name in found and found[point.name].target != point.value:
                owners = f"{found[point.name].package} and {package}"
                raise UserError(
                    f"two packages register the {self.kind} '{point.name}': {owners}; "
                    "uninstall one of them"
                )
            found[point.name] = Entry(point.value, f"from {package}", package)
        return found

    def find(self, name: str) -> type[T]:
        """The class behind a registered name or a `module:attribute`."""
        entry = self.entries.get(name)
        if entry is None and ":" not in name:
            raise unknown(self.kind, name, self.entries)
        target = entry.target if entry else name
        owner = f"{self.kind} '{name}'" + (f" of package {entry.package}" if entry else "")
        found = _import(target, owner) if entry else import_target(target, owner)
        base = self.base
        if not (isinstance(found, type) and issubclass(found, base)):
            raise UserError(
                f"{owner}: {target} is not a class derived from "
                f"{base.__module__}.{base.__qualname__}"
            )
        if lacking := sorted(getattr(found, "__abstractmethods__", ())):
            raise UserError(
                f"{owner}: {target} lacks {', '.join(lacking)}, which "
                f"{base.__module__}.{base.__qualname__} describes"
            )
        whole: bool = dataclasses.is_dataclass(found)
        if not whole:
            raise UserError(
                f"{owner}: {target} is no dataclass: write "
                "@dataclasses.dataclass(frozen=True, kw_only=True) above its class"
            )
        return found

    def parse(self, text: str) -> tuple[type[T], Spec]:
        """The class and spec of a text; aliases are followed, their options can be overridden."""
        spec = parse_spec(text)
        entry = self.entries.get(spec.name)
        if entry is not None and entry.target.startswith("="):
            cls, alias = self.parse(entry.target[1:])
            return cls, Spec(
                alias.name, spec.argument or alias.argument, {**alias.options, **spec.options}
            )
        if entry is None and ":" in text:  # module:attribute[:options]
            module, attribute, options = (*text.split(":", 2), "")[:3]
            if "=" not in attribute:
                inner = parse_spec(f"_:{options}") if options else Spec("_")
                name = f"{module}:{attribute}"
                return self.find(name), Spec(name, inner.argument, inner.options)
        return self.find(spec.name), spec

    def build(self, text: str) -> T:
        """Make the object that a text describes. Raises UserError for anything wrong with it."""
        cls, spec = self.parse(text)
        return build(cls, spec, f"{self.kind} {spec.name}")

    def canonical(self, text: str, *, full: bool = False) -> str:
        """The one shortest form of a spec, or in full with every option."""
        cls, spec = self.parse(text)
        built = build(cls, spec, f"{self.kind} {spec.name}")
        fields = () if full else dataclasses.fields(cls)  # type: ignore[arg-type]
        defaults = {field.name: field.default for field in fields}
        options = {
            key: value
            for key, value in options_of(built).items()
            if key not in defaults or value != defaults[key]
        }
        return str(Spec(spec.name, None, options))

    def code(self, text: str) -> str:
        """What tells versions of the code behind a spec apart.

        The version of a package, ours too, and the content of private modules.

        Private are the modules of a `module:attribute`, or of a package that is not installed but
        is in a working folder, and every private module that they import (`core/code.py`).
        """
        cls, spec = self.parse(text)
        return code_of([cls.__module__], spec.name, self.entries.get(spec.name))

    def broken(self) -> list[tuple[str, str]]:
        """Names of other packages that cannot be loaded, with the reason, for `robbench doctor`."""
        failures = []
        for name, entry in self.entries.items():
            if entry.package != "robbench":
                try:
                    self.find(name)
                except UserError as error:
                    failures.append((name, str(error)))
        return failures


def code_of(modules: Iterable[str], name: str, entry: Entry | None) -> str:
    """`package version` of a registered name, else its module; and a hash of private code.

    modules: the names of the modules whose private code counts.
    """
    if entry is not None:
        label = f"{entry.package} {importlib.metadata.version(entry.package)}"
    else:
        label = name.partition(":")[0]
        modules = [*modules, label]
    return f"{label} {private_code(modules)}".strip()


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
        return _import(target, owner)


def _import(target: str, owner: str) -> Any:
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
            f"{owner}: importing {module_name} raised {type(error).__name__}: {error}"
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


@dataclasses.dataclass(frozen=True)
class OptionInfo:
    """One option of a registered class, as `robbench explain` shows it."""

    name: str
    type: str
    default: str
    help: str


def explain_options(cls: type) -> list[OptionInfo]:
    """The options of a class, read from its dataclass fields and their `Field(description=...)`."""
    import typing

    if not dataclasses.is_dataclass(cls):
        return []
    hints = typing.get_type_hints(cls, include_extras=True)
    rows = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        hint = hints[field.name]
        texts = [getattr(mark, "description", None) for mark in getattr(hint, "__metadata__", ())]
        default = (
            "(must be given)" if field.default is dataclasses.MISSING else value_text(field.default)
        )
        rows.append(
            OptionInfo(field.name, _type_text(hint), default, next((t for t in texts if t), ""))
        )
    return rows


def _type_text(hint: Any) -> str:
    """A type as a person would write it: without marks, choices as `a | b`, None as `none`."""
    import types
    import typing

    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _type_text(hint.__origin__)
    if origin is typing.Literal:
        return " | ".join(str(value) for value in typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_type_text(part) for part in typing.get_args(hint))
    return (
        "none" if hint is types.NoneType else hint.__name__ if isinstance(hint, type) else str(hint)
    )
