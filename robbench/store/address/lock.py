"""Locks at an address: small objects that say who works on something, and are renewed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator

from robbench.core.claims import BEAT, SILENCE
from robbench.core.errors import RobbenchError
from robbench.core.leftovers import here, lives
from robbench.store.address.place import Place

_PAUSE = 0.5  # seconds between two looks at others' claims
_LOOKS = 10  # of who came first of several at once, until the others have withdrawn
_SUFFIX = re.compile(r"\.([0-9a-f]{24})\.([0-9a-f]{8})\.(\d+)")


@contextlib.contextmanager
def locked_at(
    place: Place,
    name: str,
    what: str,
    *,
    say: Callable[[str], None],
    asked_to_stop: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Own `what` for the time of a block by a file whose name begins with `name`; waits for others.

    An owner that died on this machine is succeeded at once, on another one after
    `core.claims.SILENCE` seconds in which it has not renewed its file. Clocks are not compared.
    Needs no more of a file system than that a new file is listed, if late, no later than newer
    ones. Raises as `Place` does.
    """
    own = _take(_Claims(place, name), what, say, asked_to_stop)
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(place, own, ended), daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
        with contextlib.suppress(RobbenchError):  # without network others wait for its silence
            place.remove(own)


class _Claims:
    """The files of all who want the lock `name`: `<name>.<token>.<machine>.<process>`.

    Each has one of its own, so that nobody ever replaces or removes that of somebody alive.
    """

    def __init__(self, place: Place, name: str) -> None:
        self.place, self._name = place, name
        self._seen: dict[str, tuple[str, float]] = {}

    def new(self, order: int) -> str:
        """A name that nobody has; of two the one of lower `order` is first."""
        return f"{self._name}.{order:016x}{secrets.token_hex(4)}.{here()}.{os.getpid()}"

    def alive(self) -> list[str]:
        """The claims whose owners live, first come first; others are removed."""
        owners = []
        for claim, version in sorted(self.place.versions(self._name.rpartition("/")[0]).items()):
            fits = _SUFFIX.fullmatch(claim[len(self._name) :])
            if not claim.startswith(self._name) or fits is None:
                continue
            seen, since = self._seen.get(claim, ("", 0.0))
            if version != seen:
                since = time.monotonic()
            self._seen[claim] = version, since
            dead = fits[2] == here() and not lives(int(fits[3]))
            if dead or time.monotonic() - since > SILENCE:
                self.place.remove(claim)
            else:
                owners.append(claim)
        return owners


def _take(
    claims: _Claims, what: str, say: Callable[[str], None], asked_to_stop: Callable[[], None]
) -> str:
    order, said = time.time_ns(), False
    while True:
        own = claims.new(order)
        try:
            claims.place.write(own, _sign(0))
            if _is_first(own, claims):
                return own
        except BaseException:
            with contextlib.suppress(RobbenchError):
                claims.place.remove(own)
            raise
        claims.place.remove(own)
        while owners := [claim for claim in claims.alive() if claim != own]:
            if not said and (content := claims.place.read(owners[0])) is not None:
                say(f"{what}: {_owner(content)} is working on it; waiting for it to end")
                said = True
            asked_to_stop()
            time.sleep(_PAUSE)


def _is_first(own: str, claims: _Claims) -> bool:
    """Whether `own` is had: all claim before they look, so that never two find nobody else.

    One looks until one's own claim is listed: so are all that were made before it.
    """
    for _ in range(_LOOKS):
        owners = claims.alive()
        if owners == [own]:
            return True
        if own in owners[1:]:
            break
        time.sleep(_PAUSE / _LOOKS)
    return False


def _sign(beat: int) -> bytes:
    return f"process {os.getpid()} on {socket.gethostname()}, beat {beat}".encode()


def _owner(content: bytes) -> str:
    text = content.decode(errors="replace").partition(",")[0]
    return text if text.startswith("process ") and text.isprintable() else "another process"


def _beat(place: Place, own: str, ended: threading.Event) -> None:
    beat = 0
    while not ended.wait(BEAT):
        beat += 1
        with contextlib.suppress(RobbenchError):
            if place.version(own) is None:
                return  # taken for dead, after a silence of this machine
            place.write(own, _sign(beat))
