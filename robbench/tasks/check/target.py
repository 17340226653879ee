"""Whether a user means a run or a model. Without torch, so that a typing error costs no time."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator
from pathlib import Path

from robbench.core.corruptions import is_corruption
from robbench.core.errors import UserError
from robbench.store.row import run_row
from robbench.store.store import Store
from robbench.tasks.model_names import require_known


def require_target(text: str, store: Store) -> None:
    """Raise UserError for what is neither a run nor a model, or files that cannot be read."""
    if find_run(text, store) is None:
        with no_run(text):
            require_known(text, store)


@contextlib.contextmanager
def no_run(text: str) -> Iterator[None]:
    """Errors of a text as a model also say that it is no run."""
    try:
        yield
    except UserError as error:
        raise UserError(f"'{text}' is no run; as a model: {error}") from error


def find_run(text: str, store: Store) -> Path | None:
    """The run that a text means, of several the latest attack; None when it means none.

    Raises UserError where files cannot be read.
    """
    runs = store.run_path(text).parent
    if not text.endswith(".parquet") and not any(runs.glob("*.parquet")):
        return None
    try:
        found = store.find_local([text])
        attacks = (p for p in reversed(found) if not is_corruption(run_row(p, ("norm",))["norm"]))
        return next(attacks, found[-1])
    except UserError:
        if text.endswith(".parquet") or any(runs.glob(f"{glob.escape(text)}*.parquet")):
            raise
        store.find()  # a damaged file is no reason to take a run for a model
        return None
