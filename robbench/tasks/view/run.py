"""The page of some runs of one data set, written to one HTML file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from robbench.analysis.choose import choose
from robbench.core.errors import UserError
from robbench.core.files import write_output
from robbench.core.model_config import Described, read_config
from robbench.reports.html.view import COLUMNS, Pictures, ViewData, render_view
from robbench.store.address.copies import bring_runs
from robbench.store.locations import model_folder, sibling_table
from robbench.store.run import Run, attacked_model, read_run
from robbench.store.store import Store, local
from robbench.tasks.listener import Listener
from robbench.tasks.report import check_target

ROWS = 100_000
"""Rows of samples on a page without a limit, all runs together."""
_BYTES, _OF_A_ROW, _LEAST = 20_000_000, 100, 2_000_000
"""Of a page, of a row of samples about, and what pictures may take beside any rows."""


class Viewed(NamedTuple):
    """A written page: path, bytes, run ids; samples on it, pictured, traced; what is missing."""

    path: Path
    size: int
    runs: list[str]
    n_samples: int
    n_pictures: int
    traced: list[int]
    notes: list[str]


def view(
    names: Sequence[str],
    out: Path,
    html: Path,
    *,
    where: Sequence[str] = (),
    limit: int | None = None,
    trace: int = 0,
    seed: int = 0,
    title: str = "Samples",
    device: str = "auto",
    data_dir: Path | None = None,
    download: bool = False,
    listener: Listener | None = None,
) -> Viewed:
    """Write the page of the runs that `names` mean (none: all of the store) to `html`.

    where: conditions COLUMN=VALUE that runs meet; limit: only the first so many samples of the
    data; trace: of so many samples, drawn by `seed`, the margin along the steps of an attack, which
    asks the models again. Raises UserError, before anything is written, for names, conditions,
    numbers, results or a target that cannot be right, and for runs of several data sets; RunError
    when the file cannot be written.
    """
    check_target(html)
    if (limit is not None and limit < 1) or trace < 0:
        raise UserError("--limit should be at least 1 and --trace at least 0")
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed should be from 0 to {2**32 - 1}, not {seed}")
    listener = listener or Listener()
    paths = local(choose(Store(out), names, where))
    bring_runs(paths, points=True)
    runs = [(path, read_run(path, COLUMNS)) for path in paths]
    _require_one_data_set([run for _, run in runs])
    samples, notes = _samples([run for _, run in runs], limit)
    with listener.progress("view") as bar:
        bar.update(0.0, "pictures")
        pictures, more = _pictures(runs, samples, data_dir)
        notes += more
        material = ViewData(
            runs=[run for _, run in runs],
            samples=samples,
            classes=_classes(runs),
            pictures=pictures,
            points=frozenset(
                run.info["run_id"] for path, run in runs if sibling_table(path, "points").is_file()
            ),
        )
        chosen: list[int] = []
        if trace:
            from robbench.core.device import find_device
            from robbench.tasks.view.traces import drawn, traces_of

            bar.update(0.5, "traces")
            chosen = drawn(samples, trace, seed)
            traces, more = traces_of(
                runs,
                chosen,
                out,
                device=find_device(device),
                data_dir=data_dir,
                download=download,
            )
            notes += more
            chosen = [one for one in chosen if any(one in found for found in traces.values())]
            material = dataclasses.replace(material, traces=traces)
    page = render_view(dataclasses.replace(material, notes=notes), title).encode()
    write_output(html, lambda temporary: temporary.write_bytes(page))
    return Viewed(
        html,
        len(page),
        [run.info["run_id"] for _, run in runs],
        len(samples),
        len(pictures.clean),
        chosen,
        notes,
    )


def _require_one_data_set(runs: Sequence[Run]) -> None:
    """Raise UserError where the runs are of several data sets or splits."""
    found = sorted({f"{run.info['data']} {run.info['split']}" for run in runs})
    if len(found) > 1:
        info = runs[0].info
        column = "split" if len({run.info["data"] for run in runs}) == 1 else "data"
        raise UserError(
            f"the runs are of {', '.join(found)}: name runs of one, or choose with "
            f"--where {column}={info[column]}"
        )


def _samples(runs: Sequence[Run], limit: int | None) -> tuple[list[int], list[str]]:
    """The ids of the samples to show, in the order of the first run that has them.

    And a line where these are not all.
    """
    everyone = list(
        dict.fromkeys(one for run in runs for one in run.samples["sample_id"].to_pylist())
    )
    shown = everyone[: limit or max(1, ROWS // len(runs))]
    n = len(everyone)
    left_out = [f"The first {len(shown)} of {n} samples: --limit {n} shows all."]
    return shown, left_out if len(shown) < n else []


def _classes(runs: Sequence[tuple[Path, Run]]) -> list[str]:
    """The names of the classes, as the first run or model that knows them has them."""
    for path, run in runs:
        if run.info["classes"]:
            return list(json.loads(run.info["classes"]))
        folder = model_folder(path, attacked_model(run.info))
        if folder is not None:
            classes = read_config(folder / "config.json", Described).get("classes")
            if classes:
                return list(classes)
    return []


def _pictures(
    runs: Sequence[tuple[Path, Run]], samples: Sequence[int], data_dir: Path | None
) -> tuple[Pictures, list[str]]:
    from robbench.tasks.view.pictures import pictures_of

    rows = len(samples) * len(runs)
    return pictures_of(runs, samples, data_dir, max(_LEAST, _BYTES - _OF_A_ROW * rows))
