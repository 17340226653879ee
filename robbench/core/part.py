"""A part of a job that several processes share, as `--shard` has it: `2/8`, or `slurm`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from robbench.core.errors import UserError

_SLURM = "SLURM_ARRAY_TASK"


class Part(NamedTuple):
    """Part `number` of `count`, counted from 1: of the positions every `count`-th is its own."""

    number: int = 1
    count: int = 1  # type: ignore[assignment]  # the method of a tuple

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, size: int) -> range:
        """Its own of the positions 0 to size - 1."""
        return range(self.number - 1, size, self.count)

    def cut(self, count: int) -> list[Part]:
        """As many smaller parts, which together have its positions."""
        return [Part(self.number + self.count * n, self.count * count) for n in range(count)]


WHOLE = Part()


def parse_part(text: str, environ: Mapping[str, str] = os.environ) -> Part:
    """`2/8` -> Part(2, 8); `slurm` -> the place of this task in its job array.

    Raises UserError for anything else, and for `slurm` outside of an array of equal steps.
    """
    if text.strip().lower() == "slurm":
        return _of_slurm(environ)
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(
            f"--shard {text}: write i/n, part i of n, from 1/n to n/n, such as 2/8; or slurm"
        )
    return Part(int(match[1]), int(match[2]))


def _of_slurm(environ: Mapping[str, str]) -> Part:
    found = [environ.get(f"{_SLURM}_{name}", "") for name in ("ID", "MIN", "MAX", "COUNT")]
    if not all(re.fullmatch(r"[0-9]{1,10}", text) for text in found):
        raise UserError(
            f"--shard slurm is for tasks of a Slurm job array, which have {_SLURM}_ID, _MIN, _MAX "
            "and _COUNT: start it with sbatch --array=1-8, or write --shard i/n"
        )
    number, first, last, count = map(int, found)
    step = (last - first) // (count - 1) if count > 1 else 1
    equal = step and last - first == step * (count - 1) and (number - first) % step == 0
    if count < 1 or not first <= number <= last or not equal:
        raise UserError(
            "--shard slurm needs an array of equal steps, such as --array=1-8 or --array=0-14:2"
        )
    return Part((number - first) // step + 1, count)
