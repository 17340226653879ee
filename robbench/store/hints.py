"""Commands that messages suggest: they work when pasted, also for another output folder."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from robbench.core.escaping import without_password


def command(*words: str, out: Path | None) -> str:
    """`robbench WORDS` for a shell, with `--out` unless `out` is the folder taken without it.

    Without `out` no folder is known, as on a page that is read anywhere.
    """
    return shlex.join(["robbench", *map(without_password, words)]) + place(out)


def place(out: Path | None) -> str:
    """What `command` adds for the folder, with a space before it; empty where nothing is needed."""
    from robbench.store.address.copies import shown  # loads what help does not need

    usual = os.environ.get("ROBBENCH_OUT") or "runs"
    if out is None or out == Path(usual):
        return ""
    named = shown(out)
    return "" if named == without_password(usual) else f" --out {shlex.quote(named)}"
