"""Who works on a run: one process alone, or several that share it, write about it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from robbench.core.leftovers import sweep
from robbench.core.lock import locked
from robbench.store.address.copies import owned_at_address


@contextlib.contextmanager
def locked_runs(
    results: Path,
    subjects: Sequence[str],
    *,
    say: Callable[[str], None],
    asked_to_stop: Callable[[], None] = lambda: None,
    shared: bool = False,
) -> Iterator[None]:
    """Own runs of a folder of results, or other subjects of checks, while it is written about them.

    Waits for other processes, as `core.lock.locked` does with `say`, `asked_to_stop` and `shared`.
    Each has files `locks/<subject>.lock.*`; at an address one, of who owns it alone.
    """
    with contextlib.ExitStack() as stack:
        # In one order for all, so that no two wait for each other.
        for subject in sorted(set(subjects)):
            path = results / "locks" / f"{subject}.lock"
            stack.enter_context(
                locked(path, f"run {subject}", say=say, asked_to_stop=asked_to_stop, shared=shared)
            )
            stack.enter_context(
                owned_at_address(
                    path,
                    f"run {subject}",
                    runs=[subject],
                    say=say,
                    asked_to_stop=asked_to_stop,
                    shared=shared,
                )
            )
        # Of who died while it dropped the shards of a run that was done.
        sweep(results / "partial")
        yield
