"""Measure finished runs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from robbench.core.device import find_device
from robbench.store.store import Store
from robbench.tasks.listener import Listener
from robbench.tasks.measure.measurer import Measured, Measurer
from robbench.tasks.measure.observer import TRAIN_SAMPLES, Observer
from robbench.tasks.measure.rows import ChangedError
from robbench.tasks.subject import Subject


def measure(
    runs: Sequence[str],
    *,
    model: str | None = None,
    train_samples: int = TRAIN_SAMPLES,
    out: Path,
    device: str = "auto",
    data_dir: Path | None = None,
    download: bool = False,
    force: bool = False,
    listener: Listener | None = None,
) -> list[Measured]:
    """Measure the runs that names mean, of an empty sequence all; unless `force`, what is new.

    model: the place of the runs' model if it was moved. train_samples: as `Observer` has them. Runs
    whose model or data have changed are left out, with a message. Raises ChangedError where all
    are, UserError as `Store.find_local` and `Measurer.measure` do.
    """
    listener, store = listener or Listener(), Store(out)
    observer = Observer(find_device(device), data_dir, download, train_samples)
    measurer = Measurer(store, observer, say=listener.say)
    found, changed = list[Measured](), list[ChangedError]()
    for path in store.find_local(runs):
        try:
            found.append(measure_run(measurer, path, listener, force=force, model=model))
        except ChangedError as error:  # an older run of a name; a newer one may be measured
            changed.append(error)
    if not found:
        raise changed[0]
    for reason in changed:
        listener.say(f"left out: {reason}")
    return found


def measure_run(
    measurer: Measurer,
    path: Path,
    listener: Listener,
    *,
    force: bool,
    model: str | None = None,
    subject: Subject | None = None,
) -> Measured:
    """Measure one run, with its progress and what to know about it."""
    what = f"measuring {path.stem}"
    expect = functools.partial(listener.forecast, what)
    with listener.progress(what) as bar:
        measured = measurer.measure(
            path, force=force, watch=bar.update, model=model, subject=subject, expect=expect
        )
    title = f"run {path.stem} ({measured.info['model']} {measured.info['threat']})"
    if not measured.fresh:
        listener.say(f"{title} has been measured already; nothing to do (--force does it again)")
    for note in measured.notes:
        listener.say(f"{title}: {note}")
    return measured
