"""The id of a run: a hash, and a further one where the model behind it has changed unseen."""

from __future__ import annotations

import itertools

from robbench.core.errors import UserError
from robbench.core.spec import short_hash
from robbench.store.answers import same_answers
from robbench.store.row import run_row
from robbench.store.store import Store


def settled(store: Store, run_id: str, answers: str) -> tuple[str, str | None]:
    """(id of the run with these answers, id of a run with other answers or None).

    `run_id` is a hash of all that is known to decide a run. A run under it whose model answered
    otherwise is another run, and stays: this one has a further id, found again by every later call.
    """
    other: str | None = None
    for n in itertools.count():
        found = run_id if n == 0 else short_hash([run_id, n])
        if same_answers(_kept(store, found), answers):
            return found, other
        other = found
    raise AssertionError


def _kept(store: Store, run_id: str) -> str | None:
    """The answers that a run was begun with, finished or not; None where there are none."""
    path = store.run_path(run_id)
    try:
        return run_row(path).get("answers") if path.is_file() else store.partial(run_id).answers()
    except UserError:
        return None  # reading the run reports what is wrong with it
