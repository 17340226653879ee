"""A worker process: makes the calls it is given, one after the other, until its input ends.

It talks in lines of JSON over what was its stdin and stdout; whatever tasks print goes into their
logs. Its input ends when the driver wants it to end, and also when the driver is gone, however that
died: then a task in flight gets SIGTERM, so that it keeps finished work, and some seconds.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import IO, Any

from robbench.core.errors import Stopped
from robbench.core.trust import licensed
from robbench.execution.call import tried
from robbench.execution.logs import printed_into
from robbench.execution.progress import progress_into
from robbench.execution.task import Outcome, Task

GRACE = 20.0
"""Seconds that a task has to keep its work after SIGTERM."""
BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])['path']; "
    "from robbench.execution.worker import main; main()"
)
"""What Python runs in a worker; its argument is JSON: `path` to import from, and `licence`."""

_Inbox = queue.SimpleQueue[dict[str, Any] | None]


def main() -> None:
    """Until the input ends."""
    given = json.loads(sys.argv[1])
    sys.argv = ["robbench"]
    tasks, answers = _apart()
    came, wake = os.pipe()
    for end in (came, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    inbox: _Inbox = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks, inbox, came), daemon=True).start()
    try:
        _say(answers, "ready")
        with licensed(given["licence"]):
            while (message := inbox.get()) is not None:
                task = Task(**message["task"])
                _say(answers, work(task, Path(message["log"]), Path(message["progress"])))
    except (Stopped, BrokenPipeError):
        sys.exit(128 + signal.SIGTERM)


def work(task: Task, log: Path, progress: Path) -> Outcome:
    """One try of a task, which prints into a log and says into a file how far it is."""
    with printed_into(log), progress_into(progress):
        return tried(task, f"{socket.gethostname()}, process {os.getpid()}", sys.stderr)


def _apart() -> tuple[IO[str], IO[str]]:
    """The pipes from and to the driver, out of reach of what tasks read and print."""
    tasks, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return tasks, answers


def _say(answers: IO[str], what: Any) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(128 + number)


def _listen(tasks: IO[str], inbox: _Inbox, came: int) -> None:
    """Hand over what the driver sends; end this process when it sends no more."""
    for line in tasks:
        inbox.put(json.loads(line))
    inbox.put(None)
    try:
        earlier = os.read(came, 4096)
    except BlockingIOError:
        earlier = b""
    # A second signal would end a task at once. Schedulers send the first to all processes.
    if not {signal.SIGTERM, signal.SIGINT} & {*earlier}:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)
