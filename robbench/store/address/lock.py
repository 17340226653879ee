"""Locks at an address: a small object that says who works on something, and is renewed."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator

from robbench.core.claims import BEAT, SILENCE
from robbench.core.errors import RobbenchError
from robbench.core.leftovers import here, lives
from robbench.store.address.place import Place

_PAUSE = 0.5  # seconds between two looks at another's lock


@contextlib.contextmanager
def locked_at(
    place: Place,
    name: str,
    what: str,
    *,
    say: Callable[[str], None],
    asked_to_stop: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Own `what` for the time of a block by the file `name`; waits for other owners.

    An owner that died on this machine is succeeded at once, on another one after
    `core.claims.SILENCE` seconds in which it has not renewed the file. Clocks are not compared.
    Raises as `Place` does.
    """
    token, said = secrets.token_hex(8), False
    seen, since = b"", time.monotonic()
    while not place.create(name, _sign(token, 0)):
        found = place.read(name)
        if found is None:
            continue
        if found != seen:
            seen, since = found, time.monotonic()
        if _is_dead(found) or time.monotonic() - since > SILENCE:
            if place.read(name) == found:  # nobody else has succeeded it meanwhile
                place.remove(name)
            continue
        if not said:
            say(f"{what}: {_owner(found)} is working on it; waiting for it to end")
        said = True
        asked_to_stop()
        time.sleep(_PAUSE)
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(place, name, token, ended), daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
        with contextlib.suppress(RobbenchError):  # without network others wait for its silence
            if _is_mine(place.read(name), token):
                place.remove(name)


def _sign(token: str, beat: int) -> bytes:
    return f"{token} {here()} {os.getpid()} {beat} {socket.gethostname()}".encode()


def _is_mine(content: bytes | None, token: str) -> bool:
    return content is not None and content.startswith(token.encode())


def _owner(content: bytes) -> str:
    _, _, pid, _, host, *_ = [*content.decode(errors="replace").split(" "), "", "", "", "", ""]
    return f"process {pid} on {host}" if pid.isdecimal() and host else "another process"


def _is_dead(content: bytes) -> bool:
    """Whether the owner was a process of this machine that has ended."""
    _, machine, pid, *_ = [*content.decode(errors="replace").split(" "), "", "", ""]
    return machine == here() and pid.isdecimal() and not lives(int(pid))


def _beat(place: Place, name: str, token: str, ended: threading.Event) -> None:
    beat = 0
    while not ended.wait(BEAT):
        beat += 1
        with contextlib.suppress(RobbenchError):
            if not _is_mine(place.read(name), token):
                return  # taken over, after a silence of this machine
            place.write(name, _sign(token, beat))
