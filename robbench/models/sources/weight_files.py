"""Files of weights by other code, read without running anything that is in them.

PyTorch files are read by torch's unpickler for weights, which builds tensors and plain containers
alone; safetensors files hold no code. Whatever needs more is refused.
"""

from __future__ import annotations

import contextlib
import re
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from robbench.core.errors import UserError, text_of
from robbench.data.base import reason

SUFFIXES = (".pt", ".pth", ".ckpt", ".tar", ".bin", ".safetensors")
"""Of files that are taken for weights, in hints; what is read is told by its first bytes."""


_MOST_PACKED = 2**30  # bytes after unpacking


class LeftOut:
    """In place of a value beside the weights: it takes what the file gives, and keeps nothing."""

    def __new__(cls, *args: Any) -> LeftOut:
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# Settings and numbers that training code keeps beside the weights. Nothing of these packages is
# called: LeftOut and OrderedDict take the place of the classes that a file names.
_LEFT_OUT = [
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"pathlib.{name}Path" for name in ("", "Pure", "Posix", "PurePosix", "Windows")),
    *(
        f"numpy.{core}.multiarray.{name}"
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
    "numpy.dtype",
    "numpy.ndarray",
]
_AS_DICT = [
    f"{package}.AttributeDict"
    for package in (
        "pytorch_lightning.utilities.parsing",
        "lightning.pytorch.utilities.parsing",
        "lightning_fabric.utilities.data",
        "lightning.fabric.utilities.data",
    )
]
_STARTS = (
    (b"version https://git-lfs", "only the pointer that Git LFS left there: run git lfs pull"),
    (b"<", "a web page, not the file itself: download it again"),
)
_ASIDE = (
    "where you trust it, save its weights alone in Python: x = torch.load({!r}, "
    "weights_only=False); torch.save(x['state_dict'], 'weights.pth'), or x.state_dict() where x is "
    "a whole model"
)
# Modules and builtins that only a hostile file names.
_RUN_CODE = re.compile(
    r"(os|posix|nt|sys|subprocess|shutil|runpy|socket|eval|exec|getattr|open|__import__)\b"
)


def read_weight_file(path: Path) -> Any:
    """What a .pt, .pth, .ckpt, .tar, .bin or .safetensors file holds; its tensors on the CPU.

    Raises UserError, one line, where there is no such file, it is empty, truncated or of another
    kind, or only unpickling would read it, which could run code.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file of weights")
    if not path.is_file():  # also of pipes and devices, which may never end
        raise UserError(f"no file of weights at {path}")
    try:
        with path.open("rb") as file:
            start = file.read(64)
        return _content(path, start)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({reason(error)})") from error
    except MemoryError:
        raise UserError(f"{path} does not fit into memory") from None


def _content(path: Path, start: bytes) -> Any:
    if not start:
        raise UserError(f"{path} is empty; copy or download it again")
    for sign, text in _STARTS:
        if start.lstrip().startswith(sign):
            raise UserError(f"{path} is {text}")
    if start[8:9] == b"{":  # after the length of the header
        try:
            return safetensors.torch.load_file(path)
        except (SafetensorError, ValueError, KeyError) as error:
            raise _damaged(path, error) from error
    mapped = start.startswith(b"PK") and _checked(path)
    try:
        with _only_weights(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols that are refused anyway
            # Mapped where it can be: a file may be larger than memory.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # pickle, zip, key, type and run-time errors, as the bytes have it
        raise _refused(path, error) from error


def _checked(path: Path) -> bool:
    """Whether the tensors of a zip file can be mapped: torch.save compresses none.

    Raises UserError unless it is whole and holds what torch.save writes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _require_torch(path, [entry.filename for entry in entries])
            packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
            if sum(entry.file_size for entry in packed) > _MOST_PACKED:
                raise UserError(f"{path} is compressed and too large for that: save it again")
            # Torch looks at no checksum, but may be told to write none, also of data.pkl.
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error
    if damaged and not damaged.endswith("data.pkl"):
        raise UserError(f"{path} is damaged ({damaged} in it); copy or download it again")
    return not packed


def _require_torch(path: Path, names: list[str]) -> None:
    """Raise UserError unless records of a zip file are those that torch.save writes."""
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside:
        raise UserError(f"{path} is a TorchScript program: write torchscript:{path}")
    if "data.pkl" not in inside:
        if any(name.endswith(("archive_format", "archive_version")) for name in names):
            raise UserError(f"{path} is an exported program: write export:{path}")
        raise UserError(f"{path} is a zip file that torch.save did not write")


@contextlib.contextmanager
def _only_weights() -> Iterator[None]:
    """Inside, torch's unpickler knows our own classes, and none that other packages allowed."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(
        [*((LeftOut, name) for name in _LEFT_OUT), *((OrderedDict, name) for name in _AS_DICT)]
    )
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _refused(path: Path, error: Exception) -> UserError:
    text, aside = text_of(error), _ASIDE.format(str(path))
    for sign in ("Unsupported global: GLOBAL ", "unsupported GLOBAL "):
        if sign in text:
            name = text.partition(sign)[2].split()[0]
            if _RUN_CODE.match(name):
                return UserError(
                    f"{path} names {name}, which runs code and has no place among weights: do not "
                    "load it with anything that unpickles"
                )
            return UserError(
                f"{path} holds an object of {name}, which only unpickling makes, and that can run "
                f"code; {aside}"
            )
    if "legacy .tar" in text:
        return UserError(f"{path} is in the tar format of PyTorch 0.1, which is not read; {aside}")
    if "Unsupported operand" in text or "weights_only" in text:
        return UserError(
            f"{path} is a pickle that torch.save did not write, and unpickling can run code; "
            f"{aside}"
        )
    return _damaged(path, error)


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is truncated or no file of weights ({reason(error)[:120]}); copy or download it "
        "again"
    )
