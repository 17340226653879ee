"""Work as plain data, and what came of it: what any process that has robbench can be given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

Status = Literal["done", "failed", "lost", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A function call that is independent of the process that makes it.

    id: unique in a job; names its log file.
    call: `package.module:function`, which takes `payload` and returns a mapping, both JSON.
    after: the ids of tasks that have to be done first.
    cpus, gpus: what it holds on a Ray cluster if the engine does not say, a GPU also in part; None:
    one where the cluster has any. The workers of one machine share its cores and GPUs.
    """

    id: str
    call: str
    payload: Mapping[str, Any]
    title: str = ""
    after: tuple[str, ...] = ()
    cpus: int = 1
    gpus: float | None = None


class Outcome(NamedTuple):
    """What one try of a task came to.

    `failed`: it raised; `error` is one line. `lost`: its process died (killed, out of memory, a
    machine that is gone). `skipped`: a task that it comes after was not done.
    """

    task: str
    status: Status
    value: Mapping[str, Any] | None = None
    error: str = ""
    log: str = ""  # the end of what it printed
    seconds: float = 0.0
    worker: str = ""
    code: int = 0  # of a failure: 2 for bad input, which no second try mends; else 3
    tries: int = 1


class Running(NamedTuple):
    """A task in flight."""

    task: str
    seconds: float
    share: float  # of its work that is done, in [0,1]
    text: str
    title: str = ""


class Engine(ABC):
    """Where tasks run. Used as a context manager: leaving it ends all workers.

    A worker's task that is ended by `close` gets a signal first, so that it keeps finished work.
    """

    @property
    @abstractmethod
    def free(self) -> int:
        """How many more tasks it takes now."""

    @abstractmethod
    def start(self, task: Task) -> None:
        """Begin a task. Raises UserError for one that never fits, such as more GPUs than exist."""

    @abstractmethod
    def wait(self, timeout: float) -> list[Outcome]:
        """The tasks that ended since the last call; returns early when one does."""

    @abstractmethod
    def running(self) -> Sequence[Running]:
        """The tasks in flight."""

    @abstractmethod
    def close(self) -> None:
        """End all tasks in flight, then the workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
