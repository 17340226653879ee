"""`robbench measure`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_rich, reported

if TYPE_CHECKING:
    from robbench.tasks.measure.measurer import Measured

WHAT = "What to measure"
Runs = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="Model names, NAME@latest, run ids or Parquet paths."),
]
TrainSamples = Annotated[
    int,
    option(
        "--train-samples",
        panel=WHAT,
        metavar="N",
        min=0,
        max=999_999_999,
        help="Training samples to look at, spread over the classes, and test samples in a "
        "support vector machine; 0 = none and all.",
    ),
]
Model = Annotated[
    str | None,
    option(
        "--model",
        panel=WHAT,
        metavar="MODEL",
        help="The runs' model, if it is no longer under its name in the output folder.",
    ),
]


@reported
def measure(
    runs: Runs,
    train_samples: TrainSamples = 2000,
    model: Model = None,
    out: o.Out = Path("runs"),
    device: o.Device = "auto",
    data_dir: o.DataDir = None,
    download: o.Download = False,
    trust_code: o.TrustCode = False,
    force: o.Force = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Measure attacked models at clean and worst points: margins, ranks, gradients, calibration.

    Example: robbench measure ce at
    """
    from robbench.store.address.copies import shown
    from robbench.store.store import Store

    reporter, store = Reporter(quiet=quiet, verbose=verbose), Store(out)
    store.find_local(runs)  # before torch, which takes seconds to load
    from robbench.tasks.measure.run import measure as measure_runs

    found = measure_runs(
        runs,
        model=model,
        train_samples=train_samples,
        out=out,
        device=device,
        data_dir=data_dir,
        download=download,
        force=force,
        listener=reporter,
    )
    if as_json:
        print_json("robbench.measure/1", rows=describe(found))
    else:
        show(found)
        reporter.say(
            f"measures: {shown(store.root / 'results' / 'measures')}; "
            f"per sample: {shown(store.root / 'results' / 'sample_measures')}"
        )


def show(found: Sequence[Measured]) -> None:
    """The measures of runs as tables on stdout."""
    from robbench.metrics.gradients import dual
    from robbench.reports.terminal.metrics import measures_table

    for measured in found:
        print_rich(measures_table(measured.info, measured.measures, dual(measured.info["norm"])))


def describe(found: Iterable[Measured]) -> list[dict[str, object]]:
    """The measures of runs as plain values, under the names of their table."""
    from robbench.tasks.measure.rows import plain_rows

    return [row for one in found for row in plain_rows(one.info, one.measures)]
