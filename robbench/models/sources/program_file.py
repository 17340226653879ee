"""What models in a file of their own have in common: how they are named, read and refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.models.sources.base import Source

Shape = Sequence[int | None]
"""Of inputs, with the batch in front; None where any size will do."""
_KINDS = {
    ".onnx": "onnx",
    ".pt2": "export",
    ".ts.pt": "torchscript",
    ".ts": "torchscript",
    ".torchscript": "torchscript",
    ".jit": "torchscript",
}


def program_spec(file: str) -> str:
    """`onnx:net.onnx` for a file of such a name; empty where the name says nothing."""
    found = (kind for end, kind in _KINDS.items() if file.endswith(end))
    return next((f"{kind}:{file}" for kind in found), "")


@dataclass(frozen=True, kw_only=True)
class ProgramFile(Source):
    """A model that is one file, weights and all. It is attacked as it is, never trained."""

    argument: ClassVar[str] = "file"
    places: ClassVar[tuple[str, ...]] = ("file",)
    trainable: ClassVar[bool] = False

    file: Annotated[str, Field(min_length=1, description="its path")]

    def label(self, spec: str) -> str:
        """The file's name, without `.pt2`, `.onnx`, `.pt`, `.ts.pt`."""
        return Path(self.file).stem.removesuffix(".ts")

    def read(self) -> bytes:
        """The content of the file. UserError where it cannot be read."""
        path = Path(self.file)
        try:
            if path.exists() and not path.is_dir() and not path.is_file():
                raise self.refuse("is a pipe or a device, which may never end")
            return path.read_bytes()
        except OSError as error:
            raise self.refuse(f"cannot be read ({error.strerror})") from None
        except MemoryError:
            raise self.refuse("does not fit into memory") from None

    def refuse(self, why: str) -> UserError:
        """The error for a file that is not what it is said to be."""
        return UserError(f"the model file {self.file} {why}")


class ProgramShapeError(UserError):
    """The data are of another shape than a program takes; shape: its own, None where any will do.

    Without the batch.
    """

    def __init__(self, text: str, shape: Shape) -> None:
        super().__init__(text)
        self.shape = shape


def fixed_batch(shape: Shape | None, info: DataInfo, file: str) -> int | None:
    """The only batch size of a program whose inputs have this shape; None for any, or not known.

    Raises ProgramShapeError where the shape is not that of the data.
    """
    if shape is None:
        return None
    inside = tuple(shape[1:])
    known = [(want, have) for want, have in zip(inside, info.shape, strict=False)]
    if len(inside) != len(info.shape) or any(w not in (None, h) for w, h in known):
        text = "x".join("?" if size is None else str(size) for size in inside)
        raise ProgramShapeError(
            f"the program in {file} takes inputs of shape {text}, the data have "
            f"{'x'.join(map(str, info.shape))}: export it for that shape, or resize the data",
            inside,
        )
    return shape[0]
