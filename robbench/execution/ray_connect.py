"""How to reach a Ray cluster, or start one, and to say in one line why that fails."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

from robbench.core.errors import RunError, UserError, text_of

CONNECT, PROBE = 5.0, 20.0
"""Seconds in which an address has to answer, and in which Ray has to be there."""
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` it would upload the folder
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a task that holds no GPU sees none
}
LOCAL = "local"
_PROBE = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level=40)"
_CLIENT_PORT = 10001


def address_of(given: str | None) -> str:
    """The address of the cluster to use: as given, else RAY_ADDRESS, else `local`.

    Raises UserError for what is no address.
    """
    address = given or os.environ.get("RAY_ADDRESS") or LOCAL
    if address not in ("auto", LOCAL):
        _place(address)
    return address


def load_ray() -> Any:
    """The package, with its settings made before it is imported. Raises UserError without it."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UserError("Ray is not installed: pip install 'robbench[ray]'") from error


def connect(ray: Any, address: str) -> None:
    """Connect to a cluster or start one, and say in one line why that fails."""
    _require_answer(address)
    with _signals_kept():
        try:
            ray.init(
                address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({"include_dashboard": False} if address == LOCAL else {}),
            )
        except Exception as error:  # many kinds, of Ray and of what it is made of
            what = "cannot be started" if address == LOCAL else f"at {address} does not answer"
            raise RunError(
                f"the Ray cluster {what}: {type(error).__name__}, {first_line(error)}"
            ) from error


def silence(place: tuple[str, int]) -> str:
    """Why nothing answers at a host and port; empty if something does."""
    try:
        socket.create_connection(place, timeout=CONNECT).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return ""


def _place(address: str) -> tuple[str, int]:
    """Host and port of an address."""
    found = re.fullmatch(r"(ray://)?(\[[^\]]+\]|[^:/]+)(?::(\d+))?", address)
    if found is None or not (found[1] or found[3]):
        raise UserError(f"address '{address}' should be auto, HOST:PORT or ray://HOST:PORT")
    return found[2].strip("[]"), int(found[3] or _CLIENT_PORT)


def _require_answer(address: str) -> None:
    """Raise RunError where no Ray answers: Ray itself takes minutes to say so, in many lines."""
    if address in ("auto", LOCAL):
        return
    if why := silence(_place(address)):
        raise RunError(f"no Ray cluster answers at {address}: {why}")
    probe = [sys.executable, "-c", _PROBE, address]
    try:
        subprocess.run(probe, capture_output=True, text=True, timeout=PROBE, check=True)
    except subprocess.TimeoutExpired:
        raise RunError(
            f"no Ray cluster answers at {address}: nothing came in {PROBE:.0f} s"
        ) from None
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.strip()] or [""]
        raise RunError(f"no Ray cluster answers at {address}: {said[-1].strip()}") from None


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts its own handlers in place of ours."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def first_line(error: Exception) -> str:
    """What an error says first; some of Ray's go on for pages."""
    lines = [line.strip() for line in text_of(error).splitlines() if line.strip()]
    return lines[0] if lines else ""
