"""One training over several processes of this machine, started with torchrun.

`python -m robbench.tasks.sweep.torchrun PAYLOAD` is one of these processes.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from robbench.core.errors import RobbenchError, RunError, UserError
from robbench.tasks.signals import stop_flag

_WAIT = 0.2  # seconds between two looks
_PATIENCE = 10.0  # seconds to end
_ERROR = "error: "


def train_together(payload: Mapping[str, Any], processes: int, say: Callable[[str], None]) -> None:
    """Run the task `train` in so many processes, and wait for them.

    A signal is passed on to them, which keep finished epochs. Raises UserError or RunError with
    what the first of them said, Stopped after a signal.
    """
    with stop_flag(say) as stop, tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        child = subprocess.Popen(_command(payload, processes), stdout=out)
        try:
            with stop.unhurried():
                while child.poll() is None and not stop:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        child.wait(_WAIT)
                if stop:
                    child.terminate()  # once: after a second signal torchrun waits for nobody
                child.wait()
        finally:
            _end(child)
        stop.check()
        out.seek(0)
        said = out.read().splitlines()
    if child.returncode:
        errors = [line.removeprefix(_ERROR) for line in said if line.startswith(_ERROR)]
        code, _, text = errors[0].partition(" ") if errors else ("3", "", "")
        kind = UserError if code == "2" else RunError
        raise kind(text or f"torchrun ended with {child.returncode}, its log says why")


def _command(payload: Mapping[str, Any], processes: int) -> list[str]:
    return [
        sys.executable,
        *("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
        *("-m", __name__, json.dumps(payload)),
    ]


def _end(child: subprocess.Popen[bytes]) -> None:
    """End what was left by an exception."""
    child.terminate()
    try:
        child.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()


def main() -> int:
    """Train as one of the processes; an error is a line on stdout with its exit code."""
    from robbench.tasks.sweep.steps import train

    try:
        train(json.loads(sys.argv[1]))
    except RobbenchError as error:
        print(f"{_ERROR}{error.exit_code} {' '.join(str(error).split())}", flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
