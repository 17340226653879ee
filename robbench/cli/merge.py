"""`robbench merge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robbench.cli import options as o
from robbench.cli.reporter import Reporter, print_json, print_result, reported

if TYPE_CHECKING:
    from robbench.tasks.attack.merge import Merged

Unfinished = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        help="Run ids or their beginnings, or names of models; nothing means all that is there.",
    ),
]


@reported
def merge(
    runs: Unfinished = None,
    out: o.Out = Path("runs"),
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Write the runs whose samples parts have all decided, without their models.

    Whoever decides the last sample does so too. Of the others it says what is missing, exit code 3.
    More about parts of an attack: robbench explain clusters.

    Example: robbench merge
    """
    from robbench.core.errors import RunError
    from robbench.store.store import Store
    from robbench.tasks.attack.merge import merge as run

    reporter = Reporter(quiet=quiet, verbose=verbose)
    found = run(Store(out), runs or (), say=reporter.say)
    if as_json:
        print_json("robbench.merge/1", attacks=[one._asdict() for one in found])
    else:
        for one in found:
            print_result(f"{' '.join(one.run_ids)}  {one.model} {one.threat}: {_text(one)}")
    if not found:
        reporter.say("nothing to merge: no run is unfinished")
    if left := [one for one in found if not one.merged]:
        raise RunError(
            f"{len(left)} of {len(found)} attacks are not finished; to go on: "
            + "; ".join(dict.fromkeys(one.command or one.run_ids[0] for one in left))
        )


def _text(one: Merged) -> str:
    if one.merged:
        return f"merged, {one.samples} samples"
    if one.missing:
        return f"{one.missing} of {one.samples} samples are missing"
    return f"all {one.samples} samples are decided; its audit takes the model"
