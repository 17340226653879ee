"""Which Parquet files in a folder belong to which split."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from robbench.core.errors import UserError
from robbench.data.data_folder import parquet_files, visible
from robbench.data.image_files import USUAL_SPLITS, listed

# -00000-of-00003, -0, _1, -00000-of-00001-0a1b2c3d4e5f6a7b
_NUMBER = r"[-_.]\d+(?:[-_]of[-_](?P<of>\d+))?(?:-[0-9a-f]{8,})?"


@dataclass(frozen=True)
class Shards:
    """The Parquet files in a folder (`files`) and its sub-folders (`inner`), sorted."""

    root: Path
    files: list[Path]
    inner: dict[str, list[Path]]

    def of(self, split: str) -> list[Path]:
        """The files of a split, of the first layout that fits; [] when there are none.

        Layouts: SPLIT.parquet or SPLIT-00000-of-00003.parquet, SPLIT/*.parquet, numbered files in
        an inner folder. UserError when files hold the split twice: several inner folders are
        different configurations of a data set.
        """
        if found := _named(self.files, split) or self.inner.get(split, []):
            return found
        numbered = {
            name: [path for path in files if path.stem != split]
            for name, files in self.inner.items()
        }
        inner = {name: found for name, files in numbered.items() if (found := _named(files, split))}
        if len(inner) > 1:
            raise UserError(
                f"several folders in {self.root} hold the split '{split}': {', '.join(inner)}; "
                "name one of them"
            )
        return next(iter(inner.values()), [])

    def splits(self) -> list[str]:
        """The names of the splits that there are."""
        names = {_split_of(path) for path in self.files}
        for folder, files in self.inner.items():
            inside = {_split_of(path) for path in files}
            names |= inside if inside & {*USUAL_SPLITS} else {folder}
        return sorted(names)


def shards(root: Path) -> Shards:
    """Find Parquet files in a folder and the folders in it; none if it does not exist."""
    if not root.is_dir():
        return Shards(root, [], {})
    with os.scandir(root) as entries:
        folders = sorted(entry.name for entry in entries if entry.is_dir() and visible(entry.name))
    inner = {name: files for name in folders if (files := parquet_files(root / name))}
    return Shards(root, parquet_files(root), inner)


def missing(paths: list[Path]) -> str | None:
    """A sentence where numbered files, as in test-00000-of-00003, are not complete."""
    totals = {
        int(match["of"])
        for path in paths
        if (match := re.search(_NUMBER, path.stem)) and match["of"]
    }
    total = max(totals, default=0)
    return (
        f"only {len(paths)} of the {total} files of this split are there ({paths[0].name}, ...)"
        if len(paths) < total
        else None
    )


def _named(files: list[Path], split: str) -> list[Path]:
    name = re.escape(split)
    found = [
        (path, match)
        for path in files
        if (match := re.fullmatch(f"{name}(?P<number>{_NUMBER})?", path.stem))
    ]
    if not found:
        return [path for path in files if re.fullmatch(rf"{name}\d+", path.stem)]
    if len({match["of"] if match["number"] else "whole" for _, match in found}) > 1:
        names = listed(path.name for path, _ in found)
        raise UserError(
            f"the split '{split}' is there twice in {found[0][0].parent}: {names}; remove what "
            "is old"
        )
    return [path for path, _ in found]


def _split_of(path: Path) -> str:
    return re.sub(rf"(?:{_NUMBER}|\d+)$", "", path.stem) or path.stem
