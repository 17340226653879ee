"""Names of models: what they may be, and the one that a spec gives."""

from __future__ import annotations

import re

from robbench.core.errors import UserError

LONGEST_NAME = 200  # file systems take 255 bytes
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def slug(text: str) -> str:
    """A text as a part of a name: `trades:beta=6` -> `trades-beta-6`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("-._").rstrip("-")


def model_name(name: str | None, loss: str) -> str:
    """The name of the model, by default made from the loss. Raises UserError for a bad one."""
    if name is None:
        name = slug(loss)
    if len(name) > LONGEST_NAME:
        raise UserError(
            f"model name '{name[:40]}...' has {len(name)} characters; "
            f"give a --name of {LONGEST_NAME} at most"
        )
    if not NAME.fullmatch(name):
        raise UserError(
            f"model name '{name}': use letters, digits, '.', '_' and '-', "
            "starting with a letter or digit"
        )
    return name
