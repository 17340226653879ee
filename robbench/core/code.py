"""Versions of private code: one hash for the files of some modules and of all that they import.

Private is what is neither in Python's own library, nor where packages are installed, nor in
robbench itself. Imports are read from the source, also those inside functions, so the hash does not
depend on what a process happens to have imported; modules that a loaded module holds by another way
(`importlib`) are followed too. A package that imports by computed names consists of all its
modules.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import inspect
import pkgutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

_OURS = Path(__file__).resolve().parent.parent
_PYTHON = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))
_INSTALLED = {"site-packages", "dist-packages"}
_COMPUTED = "*"
"""In place of a module's name: one that is known when the code runs."""


class _Place(NamedTuple):
    """The places of a module: its file, if any, and of a package the folders of its modules."""

    file: Path | None
    folders: Sequence[str] | None


def private_code(modules: Iterable[str]) -> str:
    """16 hexadecimal digits of all private code of the modules of these names; empty for none.

    A file's path means a module that is not loaded under its name.
    """
    digest = hashlib.blake2b(digest_size=8)
    files = private_files(modules)
    contents = {name: _read(file, file.stat().st_mtime_ns)[0] for name, file in files.items()}
    for name, content in sorted((Path(name).name, content) for name, content in contents.items()):
        digest.update(f"{name} {content.hex()}\n".encode(errors="surrogateescape"))
    return digest.hexdigest() if files else ""


def private_files(modules: Iterable[str]) -> dict[str, Path]:
    """The files of all private code of some modules and of what they import, by module name.

    As `private_code` takes the names; a module that was loaded by path has that as its name.
    """
    files, waiting = dict[str, Path](), [name for name in modules if name]
    places: dict[str, _Place | None] = {}
    while waiting:
        name = waiting.pop()
        for each in [name] if Path(name).is_absolute() else _with_parents(name):
            if each in places:
                continue
            place = places[each] = _locate(each, places)
            if place is None or (place.file is not None and not _private(each, place.file)):
                places[each] = None  # what belongs to an installed package is its business
                break
            if place.file is not None:
                _, imports = _read(place.file, place.file.stat().st_mtime_ns)
                files[each] = place.file
                for level, found in imports:
                    waiting += (
                        _modules_in(each, place)
                        if found == _COMPUTED
                        else [_absolute(level, found, each, place)]
                    )
                waiting += _held(each)
    return files


def is_private(module: str) -> bool:
    """Whether a loaded module, or the file of one, is private code."""
    file: str | None = (
        module if Path(module).is_absolute() else getattr(sys.modules.get(module), "__file__", None)
    )
    return file is not None and _private(module, Path(file))


def _with_parents(name: str) -> Iterator[str]:
    """`a`, `a.b` and `a.b.c` of `a.b.c`: importing a module runs its packages first."""
    parts = name.split(".")
    return (".".join(parts[: n + 1]) for n in range(len(parts)))


def _locate(name: str, places: dict[str, _Place | None]) -> _Place | None:
    """The place of a module, without importing it; None when there is none.

    Its parents have been looked for already.
    """
    if Path(name).is_absolute():
        return _Place(Path(name), None)
    top, _, _ = name.partition(".")
    if top in sys.stdlib_module_names or top == _OURS.name:
        return None
    parent = name.rpartition(".")[0]
    if loaded := sys.modules.get(name):
        file, folders = getattr(loaded, "__file__", None), getattr(loaded, "__path__", None)
        return _Place(Path(file) if file else None, list(folders) if folders is not None else None)
    above = places[parent] if parent else None
    if parent and (above is None or above.folders is None):
        return None
    try:
        spec = _find_spec(name, above.folders if above else None)
    except KeyError:
        # A folder without __init__.py in another such: Python finds it only once that is imported.
        below = [
            Path(folder) / name.rpartition(".")[2]
            for folder in (above.folders if above else None) or ()
        ]
        return _Place(None, [str(folder) for folder in below if folder.is_dir()])
    if spec is None:
        return None
    folders = spec.submodule_search_locations
    return _Place(
        Path(spec.origin) if spec.origin and spec.has_location else None,
        None if folders is None else list(folders),
    )


def _find_spec(name: str, folders: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
    for finder in sys.meta_path:
        if (spec := finder.find_spec(name, folders)) is not None:
            return spec
    # The console script does not put the current folder on the path.
    return (
        importlib.machinery.PathFinder.find_spec(name, [str(Path.cwd())])
        if folders is None
        else None
    )


@functools.cache
def _private(module: str, file: Path) -> bool:
    path = file.resolve()
    if _INSTALLED & {*file.parts, *path.parts} or not path.is_file():
        return False
    root = (
        file.parent
        if Path(module).is_absolute()
        else file.parents[module.count(".") + (file.stem == "__init__")]
    )
    installed = _installed_in(root)
    return not (
        any(path.is_relative_to(folder) for folder in (_OURS, *_PYTHON))
        or installed is None
        or file.relative_to(root).parts[0] in installed
    )


@functools.cache
def _installed_in(folder: Path) -> set[str] | None:
    """What packages were installed as in this folder (`pip install --target`).

    None where one does not say.
    """
    found = set()
    for info in folder.glob("*.dist-info"):
        if (files := importlib.metadata.PathDistribution(info).files) is None:
            return None
        found |= {file.parts[0] for file in files}
    return found


@functools.lru_cache(maxsize=4096)
def _read(file: Path, changed: int) -> tuple[bytes, list[tuple[int, str]]]:
    """The hash of a file, and its imports as the number of leading dots and a name.

    `changed` tells versions of the file apart.
    """
    content = file.read_bytes().replace(b"\r\n", b"\n")
    found: list[tuple[int, str]] = []
    if file.suffix == ".py":
        try:
            tree = ast.parse(content)
        except (SyntaxError, ValueError, RecursionError):
            tree = ast.Module([], [])
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found += [(0, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                found += [
                    (node.level, f"{base}.{alias.name}".strip("."))
                    for alias in node.names
                    if alias.name != "*"
                ]
                found.append((node.level, base))
            elif isinstance(node, ast.Call) and node.args:
                found += _called(node.func, node.args[0])
    return hashlib.blake2b(content, digest_size=16).digest(), list(dict.fromkeys(found))


def _called(function: ast.expr, argument: ast.expr) -> list[tuple[int, str]]:
    """What a call of `importlib.import_module` or `__import__` imports."""
    if getattr(function, "attr", getattr(function, "id", "")) not in (
        "import_module",
        "__import__",
    ):
        return []
    if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
        return [(0, _COMPUTED)]
    name = argument.value.lstrip(".")
    return [(len(argument.value) - len(name), name)]


def _absolute(level: int, name: str, module: str, place: _Place) -> str:
    """The full name of an import, which may be relative; empty where it leads nowhere."""
    if level == 0:
        return name
    if Path(module).is_absolute():
        return ""
    package = module.split(".") if place.folders is not None else module.split(".")[:-1]
    return ".".join([*package[: len(package) - level + 1], *([name] if name else [])])


def _modules_in(package: str, place: _Place) -> list[str]:
    """The names of all modules of a package."""
    return [f"{package}.{module.name}" for module in pkgutil.iter_modules(place.folders or ())]


def _held(name: str) -> list[str]:
    """The modules that the values of a loaded module come from."""
    found = []
    for value in list(vars(sys.modules[name]).values()) if name in sys.modules else []:
        source = module_of(value)
        # A package holds those of its modules that something has imported: which, depends on the
        # process.
        if source and not (isinstance(value, ModuleType) and source.startswith(f"{name}.")):
            found.append(source)
    return found


def module_of(value: Any) -> str:
    """The module of a module, class or function, by name; empty for other values.

    Where none of that name is loaded, as when its code was read by path, it is the absolute path of
    the file.
    """
    if isinstance(value, ModuleType):
        known = sys.modules.get(value.__name__) is value
        return value.__name__ if known else _file_of(value) or value.__name__
    if isinstance(value, type) or inspect.isroutine(value):
        name = getattr(value, "__module__", None) or ""
        return name if name in sys.modules else _file_of(value) or name
    return ""


def _file_of(value: Any) -> str:
    """The file of a module, a function or a class's first method; empty for none."""
    functions = list(vars(value).values()) if isinstance(value, type) else [value]
    codes = [
        getattr(getattr(function, "__wrapped__", function), "__code__", None)
        for function in functions
    ]
    files = [
        getattr(value, "__file__", None),
        *(getattr(code, "co_filename", None) for code in codes),
    ]
    return next(
        (
            str(Path(file).absolute())
            for file in files
            if isinstance(file, str) and Path(file).is_file()
        ),
        "",
    )
