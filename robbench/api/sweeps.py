"""Sweeps from Python: a grid as mappings, and what came of it as DataFrames."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robbench.api.arguments import optional_whole, texts, whole
from robbench.api.progress import Progress, interruptible, log, silent
from robbench.api.results import compare, load_runs, names_of
from robbench.api.specs import attack_texts, inner_text, loss_text, model_text
from robbench.api.wording import in_python, pythonic
from robbench.core.errors import UserError
from robbench.core.part import WHOLE, parse_part
from robbench.execution.task import Engine, Outcome
from robbench.tasks.signals import StopFlag
from robbench.tasks.sweep.compared import over_seeds
from robbench.tasks.sweep.grid import Axis
from robbench.tasks.sweep.plan import Item
from robbench.tasks.sweep.request import read_request
from robbench.tasks.sweep.run import Swept, Watcher
from robbench.tasks.sweep.start import Place
from robbench.tasks.sweep.start import sweep as run_tasks

if TYPE_CHECKING:
    import pandas as pd

_SPECS: Mapping[str, Callable[[Any], Any]] = {
    "loss": loss_text,
    "model": model_text,
    "inner": inner_text,
    "attack": attack_texts,
    "audit_attack": attack_texts,
}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep that has ended, whether all of it was done or not."""

    swept: Swept
    out: Path

    @property
    def name(self) -> str:
        """Of the sweep."""
        return self.swept.plan.name

    @property
    def failed(self) -> bool:
        """Whether a task failed, was lost, or was skipped."""
        return self.swept.error() is not None

    @property
    def tasks(self) -> pd.DataFrame:
        """One row per task: its settings, status, error, tries, seconds and runs."""
        import pandas as pd

        return pd.DataFrame(self.swept.rows)

    @property
    def runs(self) -> pd.DataFrame:
        """The row of every finished run. Raises UserError where there is none."""
        return load_runs(self._run_ids(), out=self.out)

    def compare(self, **options: Any) -> pd.DataFrame:
        """The runs side by side, as `robbench.compare` with these options.

        By default a row is the mean over training seeds where these vary.
        """
        return compare(
            self._run_ids(), out=self.out, **{"over_seeds": over_seeds(self.swept.plan), **options}
        )

    def _run_ids(self) -> list[str]:
        if not self.swept.run_ids:
            raise UserError(f"no attack of sweep {self.name} is done")
        return self.swept.run_ids

    def __str__(self) -> str:
        said = ", ".join(f"{count} {status}" for status, count in self.swept.counts.items())
        error = self.swept.error()
        return f"sweep {self.name}: {said}" + (f"; {error}" if error else "")


@pythonic
def sweep(
    grid: Mapping[str, Sequence[Any] | range] | None = None,
    *,
    name: str | None = None,
    file: Path | str | None = None,
    train: Mapping[str, Any] | None = None,
    attack: Mapping[str, Any] | None = None,
    models: str | Sequence[str] = (),
    steps: str | Sequence[str] = (),
    prefix: str | None = None,
    jobs: int | None = None,
    engine: str = "local",
    address: str | None = None,
    retries: int = 0,
    shard: str | None = None,
    processes_per_task: int = 1,
    device: str = "auto",
    out: Path | str = "runs",
    data_dir: Path | str | None = None,
    download: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Sweep:
    """Train and attack a grid of settings, as `robbench sweep` does: each part once.

    grid: settings that vary, with their values: `{"loss": ["mart", "trades:beta=6"], "seed":
    range(3)}`; losses, models and attacks may be objects or classes of your own that are in a
    module. train, attack: settings that do not vary. models: trained models or specs to attack.
    file: a TOML file, whose settings the others replace. jobs, engine, address: how many tasks at a
    time, and where. shard: `2/8`, the part of the models that is this process' own.
    processes_per_task: of each training, started with torchrun. A task that fails is a row of
    `.tasks`, and the rest goes on. Raises UserError, before anything begins, for what cannot work.
    """
    fixed = {
        f"{command}.{key}": _as_spec(key, value)
        for command, settings in (("train", train), ("attack", attack))
        for key, value in (settings or {}).items()
    }
    axes = [_axis(key, values) for key, values in (grid or {}).items()]
    if names := names_of(models):
        axes.append(Axis("models", names))
    request = read_request(
        None if file is None else Path(file),
        name=name,
        grid=axes,
        fixed=fixed,
        steps=texts("steps as text", steps),
        prefix=prefix,
    )
    place = Place(
        Path(out),
        device=device,
        data_dir=None if data_dir is None else Path(data_dir),
        download=download,
        processes=whole("processes_per_task", processes_per_task, 1),
    )
    with interruptible() as stop:
        swept = run_tasks(
            request,
            place,
            jobs=optional_whole("jobs", jobs, 1),
            engine=engine,
            address=address,
            retries=whole("retries", retries),
            force=force,
            part=WHOLE if shard is None else parse_part(shard),
            watcher=_Log(progress or silent, stop),
        )
    if error := swept.error():
        log.warning(in_python(error))
    return Sweep(swept, Path(out))


def _axis(key: str, values: Sequence[Any] | range) -> Axis:
    if isinstance(values, str | bytes) or not isinstance(values, Sequence) or not values:
        raise UserError(f"grid: '{key}' should be a list of values, with one at least")
    if isinstance(values, range):
        return Axis(key, values)
    return Axis(key, [_as_spec(key, value) for value in values])


def _as_spec(key: str, value: Any) -> Any:
    made = _SPECS.get(key.rpartition(".")[2])
    return value if made is None else made(value)


class _Log(Watcher):
    """Messages go to the log, progress to a callback."""

    def __init__(self, progress: Progress, stop: StopFlag) -> None:
        self.progress = progress
        self.stop = stop
        self.total = 1
        self.over = 0

    def say(self, text: str) -> None:
        log.info(in_python(text))

    def begins(self, tasks: int, done: int) -> None:
        self.total, self.over = tasks, done

    def ended(self, item: Item, outcome: Outcome) -> None:
        self.over += 1
        self.say(f"{item.task.title}: {outcome.status} {outcome.error}".strip())
        self.progress(self.over / self.total, item.task.title)

    def tick(self, engine: Engine) -> None:
        self.stop.check()
