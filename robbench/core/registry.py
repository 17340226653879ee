"""One registry per kind of plug-in: lazy, loud and explainable.

Listing imports nothing. A name comes from our table (`catalogue/builtins.py`), from another
package's entry point, or is `module:attribute` for a private one. Two packages claiming one name is
an error that names both.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
from collections.abc import Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

from robbench.core.code import private_code
from robbench.core.errors import UserError, unknown
from robbench.core.imports import import_attribute, import_target
from robbench.core.spec import Spec, build, options_of, parse_spec

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
        found: type[T] = import_attribute(self._base, self.kind)
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

    def registers(self, text: str) -> bool:
        """Whether a spec begins with a registered name."""
        return text.partition(":")[0] in self.entries

    def find(self, name: str) -> type[T]:
        """The class behind a registered name or a `module:attribute`."""
        entry = self.entries.get(name)
        if entry is None and ":" not in name:
            raise unknown(self.kind, name, self.entries)
        target = entry.target if entry else name
        owner = f"{self.kind} '{name}'" + (f" of package {entry.package}" if entry else "")
        found = import_attribute(target, owner) if entry else import_target(target, owner)
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
                inner = parse_spec(f"{attribute}:{options}") if options else Spec(attribute)
                name = f"{module}:{attribute}"
                return self.find(name), Spec(name, inner.argument, inner.options)
        return self.find(spec.name), spec

    def build(self, text: str) -> T:
        """Make the object that a text describes. Raises UserError for anything wrong with it."""
        cls, spec = self.parse(text)
        return build(cls, spec, f"{self.kind} {spec.name}")

    def canonical(self, text: str, *, full: bool = False, without: Iterable[str] = ()) -> str:
        """The one shortest form of a spec, or in full with every option but those of `without`."""
        cls, spec = self.parse(text)
        built = build(cls, spec, f"{self.kind} {spec.name}")
        fields = () if full else dataclasses.fields(cls)  # type: ignore[arg-type]
        defaults = {field.name: field.default for field in fields}
        options = {
            key: value
            for key, value in options_of(built).items()
            if key not in without and (key not in defaults or value != defaults[key])
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
