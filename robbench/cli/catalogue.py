"""`robbench list`: what the registries hold."""

from __future__ import annotations

from typing import Annotated

import typer

from robbench.catalogue.cascades import cascades
from robbench.catalogue.recipes import recipes
from robbench.cli import options as o
from robbench.cli.reporter import print_json, print_result, print_rich, reported
from robbench.core.errors import unknown

Kind = Annotated[
    str | None,
    typer.Argument(
        metavar="[losses|attacks|models|data|recipes]", help="Which registry; nothing means all."
    ),
]


@reported
def list_(
    kind: Kind = None,
    data_dir: o.DataDir = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """List what is registered, installed plug-ins included.

    With --quiet names only, with --verbose where each comes from.

    Example: robbench list attacks
    """
    from robbench.catalogue.builtins import REGISTRIES
    from robbench.core.registry import Entry
    from robbench.data.data_folder import data_folder, private_sets

    if kind is not None and kind not in (known := [*REGISTRIES, "recipes"]):
        raise unknown("kind", kind, known)
    rows = {name: registry.entries for name, registry in REGISTRIES.items() if kind in (None, name)}
    if "data" in rows:
        rows["data"] = {
            name: Entry("", "Parquet files in the data folder")
            for name in private_sets(data_folder(data_dir))
        } | rows["data"]
    if kind in (None, "recipes"):
        rows["recipes"] = {name: Entry("", summary) for name, summary in recipes().items()}
    if as_json:
        plain = {
            name: [{"name": key, **entry._asdict()} for key, entry in found.items()]
            for name, found in rows.items()
        }
        if "attacks" in plain:
            plain["cascades"] = [{"name": key, **value} for key, value in cascades().items()]
        print_json("robbench.list/1", **plain)
        return
    for name, found in rows.items():
        from rich.table import Table

        if name == "attacks":
            found = found | {
                key: Entry("", f"cascade: {value['summary']}") for key, value in cascades().items()
            }

        if quiet:
            print_result("\n".join(sorted(found)))
            continue
        table = Table(
            title=name, title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0)
        )
        for key, entry in sorted(found.items()):
            table.add_row(
                key,
                entry.summary,
                *([f"{entry.target} ({entry.package})"] if verbose and entry.target else []),
            )
        print_rich(table)
