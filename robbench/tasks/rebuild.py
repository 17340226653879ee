"""The model and the data of a finished run, found again."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from robbench.core.errors import UserError
from robbench.core.trust import names_from
from robbench.store.run import Run, attacked_model
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.model_names import find_folder
from robbench.tasks.subject import Subject, find_subject, not_found


def folder_of(path: Path, run: Run, out: Store) -> Store:
    """The output folder of the run at `path` if its model is there, else `out`."""
    own = Store(path.absolute().parents[2])
    return own if find_folder(attacked_model(run.info), own)[0] is not None else out


def rebuild(
    path: Path,
    run: Run,
    store: Store,
    *,
    device: torch.device,
    model: str | None = None,
    data: str | None = None,
    data_dir: Path | None = None,
    download: bool = False,
) -> Subject:
    """The model of the run at `path` on the samples that its settings name.

    model, data: where they are by now, if not where the run says. Raises UserError where one of
    them is not there; whether they are those of the run is for the caller to see.
    """
    info = run.info
    limit = json.loads(info["config"]).get("limit")
    config = AttackConfig(
        data=data or info["data"], split=info["split"], limit=limit, seed=info["seed"]
    )
    try:
        with names_from(path, model, data):
            name = model or attacked_model(info)
            return find_subject(name, config, store, device, data_dir, download)[0]
    except UserError as error:
        raise not_found(info, model, error) from error
