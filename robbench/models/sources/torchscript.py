"""Models saved by `torch.jit.save`.

Such an archive holds code of its own language, which runs in torch's interpreter: no Python, no
pickle, but operators that read and write files. Archives that name one of those, or anything but
tensor operators, are refused before they are loaded. Because it is code all the same, a file that
only a stored row names needs `--trust-code` (`core/trust.py`).
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from dataclasses import dataclass

import torch
from torch import nn

from robbench.core.trust import require_trusted
from robbench.data.base import DataInfo
from robbench.models.base import Loading
from robbench.models.outputs.interface import main_output
from robbench.models.sources.base import Loaded
from robbench.models.sources.program_file import ProgramFile

_BATCHES = (*range(1, 65), 100, 128, 200, 256, 500, 512, 1000)
_UNSAFE = re.compile(
    r"\b(?:save|from_file)\b"  # torch.save and torch.from_file write files
    # Another name of a namespace, or getattr of it, would hide what is taken from it.
    r"|\b(?:torch|__torch__)\b(?!\s*\.\s*\w)"
    r"|(?<![\w.])ops\b(?!\s*\.\s*(?:aten|prim|quantized|torchvision)\b)(?:\s*\.\s*\w+)?"
    r"|\btorch\s*\.\s*classes\b(?!\s*\.\s*quantized\b)(?:\s*\.\s*\w+)?"
)


@dataclass(frozen=True, kw_only=True)
class TorchScript(ProgramFile):
    """A model that was traced or scripted and saved with torch.jit.save; with gradients.

    Archives whose code names operators on files or classes of other libraries are refused.
    """

    def load(self, loading: Loading) -> Loaded:
        """The script. UserError where the file is no such archive or names what it should not."""
        require_trusted(f"torchscript:{self.file}")
        content = self.read()
        try:
            self._require_plain(content)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the format is deprecated, files of it are there
                module: nn.Module = torch.jit.load(  # type: ignore[no-untyped-call]
                    io.BytesIO(content), map_location="cpu"
                )
        except (RuntimeError, ValueError, OSError) as error:
            first = str(error).strip().partition(". ")[0].partition("\n")[0]
            raise self.refuse(
                f"is no whole TorchScript archive ({first}): copy or save it again; a file of "
                "weights is checkpoint:FILE,arch=SPEC"
            ) from None
        return Loaded(module, batch=_batch(module.eval(), loading.info))

    def _require_plain(self, content: bytes) -> None:
        archive = torch._C.PyTorchFileReader(io.BytesIO(content))
        for name in archive.get_all_records():
            folded = name.lower()  # torch finds records in another case too
            if folded.startswith("code/") and folded.endswith(".py"):
                text = archive.get_record(name).decode(errors="replace")
                if found := _UNSAFE.search(text):
                    raise self.refuse(
                        f"is not loaded: its code names '{found[0]}', which is no operator on "
                        "tensors; save the model without it"
                    )


def _batch(module: nn.Module, info: DataInfo) -> int | None:
    """The only batch size of a script, which does not say it: found by trying.

    None where two rows will do, and where none of _BATCHES does.
    """
    for n in (2, *_BATCHES):
        with torch.no_grad(), contextlib.suppress(Exception):  # whatever a script raises
            found = main_output(module(torch.full((n, *info.shape), 0.5)), training=False)
            if len(found) == n:
                return None if n == 2 else n
    return None
