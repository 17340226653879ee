"""One file of samples, or one for each split: which file holds which."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from robbench.core.errors import UserError
from robbench.data.data_folder import data_folder
from robbench.data.image_files import USUAL_SPLITS, listed

SPLIT = "{split}"


class SplitFiles(NamedTuple):
    """The file of a split, and those of the usual splits, by their names.

    Where one file holds everything, it is `path` and `splits` is empty.
    """

    path: Path
    splits: dict[str, Path]

    @property
    def training(self) -> Path:
        """What statistics are taken from: the training split's file, else the one at hand."""
        return self.splits.get("train") or self.splits.get("training") or self.path

    @property
    def others(self) -> list[Path]:
        """The files of the other usual splits."""
        return [path for path in self.splits.values() if path != self.path]


def find_files(name: str, split: str, suffix: str, data_dir: Path | None) -> SplitFiles:
    """The files of a spec: `data.npz`, `data-{split}.npz`, or a folder of `train.npz`, `test.npz`.

    They are relative to the working folder, else to the data folder. suffix: of files in a folder.
    UserError when there is no such file.
    """
    try:
        given = Path(name).expanduser()
        places = [given] if given.is_absolute() else [given, data_folder(data_dir) / given]
        if SPLIT in name:
            patterns = [str(place) for place in places]
        else:
            for place in places:
                if place.is_file():
                    return SplitFiles(place, {})
            patterns = [str(place / f"{SPLIT}{suffix}") for place in places if place.is_dir()]
        for pattern in patterns:
            named = {each: Path(pattern.replace(SPLIT, each)) for each in (*USUAL_SPLITS, split)}
            found = {each: path for each, path in named.items() if path.is_file()}
            if split in found:
                return SplitFiles(found[split], found)
            if found:
                raise UserError(
                    f"no file {named[split]}; there are the splits {listed(sorted(found))}"
                )
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, an unknown home
        raise UserError(
            f"'{name[:80]}' cannot be a file's name here ({type(error).__name__})"
        ) from error
    wanted = [pattern.replace(SPLIT, split) for pattern in patterns] or list(map(str, places))
    raise UserError(
        f"no file {' and no file '.join(str(Path(each).absolute()) for each in wanted)}"
    )


def undivided(path: Path, rows: int) -> str:
    """The note on samples that are not divided into splits."""
    return f"{path.name} is not divided into splits: every split is the same {rows:,} samples"
