"""Commands that messages suggest: they work when pasted, also for another output folder."""

from __future__ import annotations

import os
import shlex
from pathlib import Path


def command(*words: str, out: Path | None) -> str:
    """`robbench WORDS` for a shell, with `--out` unless `out` is the folder taken without it.

    Without `out` no folder is known, as on a page that is read anywhere.
    """
    usual = Path(os.environ.get("ROBBENCH_OUT") or "runs")
    place = [] if out is None or out == usual else ["--out", str(out)]
    return shlex.join(["robbench", *words, *place])
