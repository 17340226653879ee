"""Locks between processes, of one machine or of several that share a folder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from robbench.core.claims import Claim, InUseError, Others, Owner

_PAUSE = 0.1  # seconds between two tries: a signal is heard between them
_LOOKS = 10  # of who came first of several at once, until the others have withdrawn


@contextlib.contextmanager
def locked(
    path: Path,
    what: str,
    *,
    say: Callable[[str], None],
    asked_to_stop: Callable[[], None] = lambda: None,
    shared: bool = False,
) -> Iterator[None]:
    """Own `what` for the time of a block, alone or with others who want it `shared`.

    Waits for other owners and `say`s who they are; `asked_to_stop` raises what ends the wait. The
    lock's file begins with the name of `path` and goes with its owner. Of an owner that dies the
    lock is free at once; on another machine, or where the file system has no locks, after
    `core.claims.SILENCE` seconds. Raises UserError or RunError when the file cannot be made.
    """
    claim = _take(Others(path, shared), what, say, asked_to_stop)
    try:
        claim.keep()
        yield
    finally:
        claim.withdraw()


def _take(
    others: Others, what: str, say: Callable[[str], None], asked_to_stop: Callable[[], None]
) -> Claim:
    order, said = time.time_ns(), False
    while True:
        claim = Claim(others.path, order, others.shared)
        try:
            others.offset = claim.make()
            if _is_first(claim, others):
                return claim
        except InUseError:
            pass
        except BaseException:
            claim.withdraw()
            raise
        claim.withdraw()
        while owners := others.alive():
            if not said:
                say(f"{what}: {_named(owners)} working on it; waiting for it to end")
            said = True
            asked_to_stop()
            time.sleep(_PAUSE)


def _is_first(claim: Claim, others: Others) -> bool:
    """Whether `claim` is had: all claim before they look, so that never two find nobody else."""
    for _ in range(_LOOKS):
        owners = others.alive(claim)
        if not owners:
            return claim.is_there()
        if min(owner.token for owner in owners) < claim.token:
            break
        time.sleep(_PAUSE / _LOOKS)
    return False


def _named(owners: Sequence[Owner]) -> str:
    if len(owners) == 1:
        return f"{owners[0].text} is"
    return f"{owners[0].text} and {len(owners) - 1} more are"
