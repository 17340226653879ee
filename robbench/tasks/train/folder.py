"""The folder of a model in training, `<out>/models/<name>/`.

It holds model.safetensors (the selected weights), last.safetensors or best.safetensors (the other
ones), config.json (everything to rebuild the model), epochs.parquet, and state.pt until training is
finished.
"""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from robbench.core.documents import require_regular
from robbench.core.errors import RunError, UserError
from robbench.core.files import atomic_write
from robbench.core.lock import locked
from robbench.data.base import reason
from robbench.models.base import Classifier
from robbench.models.weights import load_weights, require_whole, save
from robbench.store.address.copies import owned_at_address
from robbench.store.epochs import read_epochs, write_epochs
from robbench.store.schema import SCHEMA_VERSION
from robbench.tasks.model_folder import stored_config
from robbench.tasks.signals import StopFlag
from robbench.tasks.train.plan import TrainPlan
from robbench.tasks.train.selection import score
from robbench.training.state import restore_trainer, trainer_state
from robbench.training.trainer import Trainer

Rows = list[dict[str, Any]]


class TrainingFolder:
    """Reads and writes the folder of a plan. With `force` an earlier run in it does not count."""

    def __init__(self, plan: TrainPlan, *, force: bool) -> None:
        self.plan = plan
        self.force = force
        self.path = plan.folder
        self.state = plan.folder / "state.pt"

    @contextlib.contextmanager
    def lock(self, say: Callable[[str], None], stop: StopFlag, *, wait: bool) -> Iterator[None]:
        """The lock of the model's name: wait while another process holds it, or raise UserError."""

        def held(text: str) -> None:
            other = stored_config(self.path)
            differs = other is not None and other["identity"] != self.plan.identity
            if not wait or (differs and not self.force):
                raise UserError(
                    f"{text.partition(';')[0]}; wait for it to end, or choose another --name"
                )
            say(text)

        path, what = self.path.with_name(f".{self.plan.name}.lock"), f"model {self.plan.name}"
        with (
            locked(path, what, say=held, asked_to_stop=stop.check),
            owned_at_address(path, what, say=held, asked_to_stop=stop.check),
        ):
            yield

    def earlier(self) -> dict[str, Any] | None:
        """The config.json of an earlier run of the plan; one that kept no epoch does not count.

        Raises UserError for another run's.
        """
        found = stored_config(self.path)
        if found is None or self.force:
            return None
        if found["status"] != "done" and not self.state.exists():
            return None
        if found["identity"] != self.plan.identity:
            changed = ", ".join(_differences(found, self.plan)) or "the data or the code"
            raise UserError(
                f"{self.path} holds another run (different: {changed}); "
                "choose another --name, or --force to replace it"
            )
        return found

    def finished(self) -> dict[str, Any] | None:
        """The config.json of an earlier run that is finished. UserError for damaged weights."""
        found, weights = self.earlier(), self.path / "model.safetensors"
        if found is None or found["status"] != "done" or not weights.is_file():
            return None
        require_whole(weights)
        return found

    def has_leftovers(self, config: dict[str, Any]) -> bool:
        """Whether a process was killed between finishing the model and dropping its leftovers."""
        return any(path.exists() for path in self._leftovers(config))

    def drop_leftovers(self, config: dict[str, Any]) -> None:
        """Delete what a finished model does not need."""
        for path in self._leftovers(config):
            path.unlink(missing_ok=True)

    def _leftovers(self, config: dict[str, Any]) -> list[Path]:
        """The state, and the selected checkpoint, which is the model itself."""
        return [self.state, self.path / f"{config['selected']['model']}.safetensors"]

    def clear(self) -> None:
        """Delete the files of another run."""
        weights = (f"{which}.safetensors" for which in ("model", "best", "last"))
        for file in ("state.pt", "epochs.parquet", *weights):
            (self.path / file).unlink(missing_ok=True)

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.json."""
        text = json.dumps(config, indent=2, default=str) + "\n"
        atomic_write(
            self.path / "config.json", lambda path: path.write_text(text, encoding="utf-8")
        )

    def write_weights(self, which: str, model: Classifier) -> None:
        """Write the checkpoint `best` or `last`."""
        save(self.path, f"{which}.safetensors", model)

    def write_model(self, which: str) -> None:
        """Make a checkpoint the model."""
        checkpoint = self.path / f"{which}.safetensors"
        atomic_write(
            self.path / "model.safetensors", lambda path: shutil.copyfile(checkpoint, path)
        )

    def write_epochs(self, rows: Rows) -> None:
        """Write the epochs table; NaN, of what was not validated, becomes null."""
        common = {"model": self.plan.name, "schema_version": SCHEMA_VERSION}
        cleaned = [
            {key: None if value != value else value for key, value in row.items()} for row in rows
        ]
        write_epochs(self.path / "epochs.parquet", [{**common, **row} for row in cleaned])

    def read_epochs(self) -> Rows:
        """The epochs table; no rows where there is none. Raises UserError for a damaged one."""
        path = self.path / "epochs.parquet"
        return read_epochs(path) if path.exists() else []

    def write_state(self, trainer: Trainer, rows: Rows) -> None:
        """Write what a resumed run needs, and the epochs so far."""
        state = {**trainer_state(trainer), "rows": rows}
        try:
            atomic_write(self.state, lambda temporary: torch.save(state, temporary))
        except RuntimeError as error:  # torch words the system's errors in its own way
            raise RunError(f"cannot write {self.state} ({reason(error)})") from error
        self.write_epochs(rows)

    def require_best(self, trainer: Trainer) -> None:
        """Raise UserError unless the best epoch so far is there whole: it may become the model."""
        try:
            load_weights(copy.deepcopy(trainer.averaged_model), self.path / "best.safetensors")
        except UserError as error:
            raise UserError(f"cannot go on, --force begins anew: {error}") from None

    def read_state(self, trainer: Trainer) -> Rows:
        """Restore the trainer; the rows of its epochs. Raises UserError for a damaged file."""
        require_regular(self.state)
        try:
            state = torch.load(self.state, map_location=self.plan.device, weights_only=True)
            restore_trainer(trainer, state)
            rows = list(state["rows"])
            epochs = [row["epoch"] for row in rows]
            if not rows or epochs != list(range(1, trainer.epoch + 1)) or not all(map(score, rows)):
                raise ValueError
        except Exception as error:
            raise UserError(
                f"{self.state} cannot be resumed ({type(error).__name__}); "
                "use --force to train again"
            ) from error
        return rows


def _differences(found: dict[str, Any], plan: TrainPlan) -> list[str]:
    """What differs between a config.json and a plan: settings by name, then everything else."""
    before, now, made = found["config"], plan.spec, plan.fingerprints
    models = ("from_model", "teacher")  # count by their weights
    known = {**now, **before}
    names = [key for key in known if key not in models and before.get(key) != now.get(key)]
    code, start, teacher = (found.get(key) for key in ("code", "start", "teacher"))
    if code is not None:
        names += [
            f"the code of the {key}"
            for key, text in made["code"].items()
            if key not in names and code.get(key) != text
        ]
    if (start["hash"] if start else None) != made["start"]:
        names.append("the weights it starts from")
    elif "built" in found and found["built"] != made["built"] and "model" not in names:
        names.append("what the model's factory loads or sets")
    if (teacher["hash"] if teacher else before.get("teacher")) != made.get("teacher"):
        names.append("its teacher")
    if found.get("generated") != made.get("generated") and "generated" not in names:
        names.append("the generated data")
    if "samples" in found and found["samples"] != made["samples"] and "data" not in names:
        names.append("the data")
    return names
