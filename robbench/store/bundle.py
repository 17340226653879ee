"""A bundle: runs, their models and what they are, in one file that says the SHA-256 of each part.

It is a zip file with the layout of an output folder and a `manifest.json` in front. Nothing in it
is executed, and no name in it leads out of the folder it is unpacked to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from zipfile import ZipFile

from pydantic import BaseModel, Field

from robbench.core.documents import MOST_BYTES, parse_json
from robbench.core.errors import UserError
from robbench.core.files import sha256, write_output
from robbench.core.spec import checked
from robbench.store.archive import BROKEN, extract, opened, write_archive
from robbench.store.store import Store

SCHEMA = "robbench.bundle/1"
MANIFEST = "manifest.json"
_MEMBER = re.compile(
    r"results/(?:runs|samples|points|checks)/[A-Za-z0-9_-]{1,64}\.parquet"
    r"|models/(?!\.)[^/\\:\x00-\x1f]{1,200}/(?:config\.json|(?:model|best|last)\.safetensors)"
)


class Changed(NamedTuple):
    """A part of a bundle that is not what was packed."""

    name: str
    expected: str | None  # its SHA-256, or its size
    found: str | None
    why: str


class Unpacked(NamedTuple):
    """A bundle in a folder: what it says of itself, and what of it was changed."""

    manifest: dict[str, Any]
    changed: list[Changed]


class _Member(BaseModel, strict=True):
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Run(BaseModel, extra="allow", strict=True):
    run_id: str


class _Manifest(BaseModel, extra="allow"):
    schema_: Annotated[Literal["robbench.bundle/1"], Field(alias="schema")]
    runs: list[_Run]
    members: dict[str, _Member]


def is_member(name: str) -> bool:
    """Whether a part of a bundle may have this name."""
    return _MEMBER.fullmatch(name) is not None


def is_bundle(name: str) -> bool:
    """Whether a text names a zip file, by its ending or its first bytes."""
    path = Path(name)
    try:
        if path.suffix == ".zip" or not path.is_file():
            return path.suffix == ".zip"
        with path.open("rb") as file:
            return file.read(2) == b"PK"
    except (OSError, ValueError):
        return False


def require_there(names: Sequence[str], store: Store) -> None:
    """Raises UserError for a name that is neither a zip file of ours nor a run of the store."""
    for name in names:
        if is_bundle(name):
            with opened(Path(name)):
                pass
        else:
            store.find_local([name])


def write_bundle(path: Path, members: Mapping[str, Path], facts: Mapping[str, Any]) -> None:
    """Write a bundle in one step; `facts` go into its manifest. Equal input makes equal bytes."""
    sums = {
        name: {"bytes": members[name].stat().st_size, "sha256": sha256(members[name])}
        for name in sorted(members)
    }
    text = json.dumps({"schema": SCHEMA, **facts, "members": sums}, indent=1) + "\n"
    packed: dict[str, Path | bytes] = {MANIFEST: text.encode()}
    packed |= {name: members[name] for name in sums}
    write_output(path, lambda temporary: write_archive(temporary, packed))


def unpack(path: Path, folder: Path) -> Unpacked:
    """Write the parts of a bundle below an empty folder, and say which are not what was packed.

    Raises UserError for what is no bundle, is of a newer robbench, or holds anything else: then
    nothing is written.
    """
    with opened(path) as archive:
        manifest = _manifest(path, archive)
        if isinstance(manifest, Changed):
            return Unpacked({}, [manifest])
        for name in archive.namelist():
            if name != MANIFEST and not is_member(name):
                raise UserError(
                    f"{path} holds {name[:100]!r}, which is no part of a bundle: do not use it"
                )
        members = manifest["members"]
        odd = [
            Changed(name, members.get(name, {}).get("sha256"), None, why)
            for name, why in extract(archive, folder, _order)
        ]
    broken = {change.name for change in odd}
    there = {name for name in archive.namelist() if name != MANIFEST}
    changed = [Changed(name, None, None, "is not in the manifest") for name in there - {*members}]
    for name, member in members.items():
        if name not in there:
            changed.append(Changed(name, member["sha256"], None, "is missing"))
        elif name not in broken and (found := sha256(folder / name)) != member["sha256"]:
            changed.append(Changed(name, member["sha256"], found, "was changed"))
        elif name not in broken and (size := (folder / name).stat().st_size) != member["bytes"]:
            sizes = f"{member['bytes']} bytes", f"{size} bytes"
            changed.append(Changed(name, *sizes, "has another size than the manifest says"))
    return Unpacked(manifest, sorted([*changed, *odd]))


def _order(names: Sequence[str]) -> list[str]:
    return [MANIFEST, *sorted(name for name in names if name != MANIFEST)]


def _manifest(path: Path, archive: ZipFile) -> dict[str, Any] | Changed:
    if MANIFEST not in archive.namelist():
        raise UserError(f"{path} is no bundle of robbench: it has no {MANIFEST}")
    if archive.getinfo(MANIFEST).file_size > MOST_BYTES:
        raise UserError(f"{path}: {MANIFEST} has more than {MOST_BYTES >> 20} MB; do not use it")
    try:
        text = archive.read(MANIFEST).decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: {MANIFEST} is no UTF-8 text") from None
    except BROKEN as error:
        return Changed(MANIFEST, None, None, f"cannot be read ({error})")
    found = parse_json(text, f"{path}: {MANIFEST}")
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise UserError(
            f"{path} has schema {repr(schema)[:40]}, this robbench reads '{SCHEMA}': upgrade "
            "robbench, or bundle the runs again"
        )
    checked(_Manifest, found, f"{path}: {MANIFEST}")
    return dict(found)
