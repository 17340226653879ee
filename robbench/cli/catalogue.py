"""`robbench list` and `robbench explain`: what the registries hold."""

from __future__ import annotations

import inspect
import textwrap
from typing import Annotated, Any

import typer

from robbench.catalogue.cascades import cascades
from robbench.catalogue.recipes import read_recipe, recipes
from robbench.cli import options as o
from robbench.cli.reporter import print_json, print_result, print_rich, reported
from robbench.core.errors import UserError, unknown

Kind = Annotated[
    str | None,
    typer.Argument(
        metavar="[losses|attacks|models|data|recipes]", help="Which registry; nothing means all."
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A registered name or module:attribute.")]


@reported
def list_(
    kind: Kind = None, as_json: o.Json = False, quiet: o.Quiet = False, verbose: o.Verbose = False
) -> None:
    """List what is registered, installed plug-ins included; with --quiet names only, with --verbose where each comes from.

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
            for name in private_sets(data_folder())
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


@reported
def explain(
    name: Name, as_json: o.Json = False, quiet: o.Quiet = False, verbose: o.Verbose = False
) -> None:
    """Explain a loss, attack, model or data set: what it is, its options, types, defaults and source; --quiet: options only.

    `explain train` and `explain attack` list the settings that --set, files and ROBBENCH_* know,
    `explain RECIPE` a recipe.

    Example: robbench explain apgd
    """
    from robbench.catalogue.builtins import REGISTRIES
    from robbench.core.config import COMMANDS, AttackConfig
    from robbench.core.registry import explain_options
    from robbench.data.data_folder import data_folder, private_sets
    from robbench.tasks.train.config import TrainConfig

    if name in cascades():
        _explain_cascade(name, as_json)
        return
    if name in COMMANDS:
        cls = TrainConfig if name == "train" else AttackConfig
        settings = explain_options(cls)
        text = f"Settings of robbench {name}, by --set KEY=VALUE, ROBBENCH_KEY or a file; the common ones are flags too."
        item = {"kind": "settings", "name": name, "doc": text, "same_as": None, "source": cls.__module__,
                "package": "robbench", "options": [vars(option) for option in settings]}  # fmt: skip
        print_json("robbench.explain/1", entries=[item]) if as_json else _print(item, quiet)
        return
    if name in recipes():
        settings_of = read_recipe(name)
        if as_json:
            print_json(
                "robbench.explain/1",
                entries=[{"kind": "recipe", "name": name, "doc": recipes()[name], **settings_of}],
            )
            return
        print_result(f"{name}  (recipe)\n\n{textwrap.fill(recipes()[name], 79)}\n")
        print_result("\n".join(f"  {key} = {value}" for key, value in settings_of.items()))
        return
    holders = [
        (kind, registry) for kind, registry in REGISTRIES.items() if name in registry.entries
    ]
    if not holders and ":" in name:
        holders = [
            (kind, registry) for kind, registry in REGISTRIES.items() if _fits(registry, name)
        ]
    private = private_sets(data_folder()) if not holders else []
    if name in private:
        holders, name = [("data", REGISTRIES["data"])], f"parquet:{name}"
    if not holders:
        entries = [key for registry in REGISTRIES.values() for key in registry.entries]
        raise unknown("name", name, [*COMMANDS, *recipes(), *cascades(), *entries, *private])
    shown: list[dict[str, Any]] = []
    for kind, registry in holders:
        cls, spec = registry.parse(name)
        entry = registry.entries.get(name)
        options = explain_options(cls)
        shown.append({
            "kind": kind, "name": name, "doc": inspect.getdoc(cls) or "", "same_as": str(spec) if str(spec) != name else None,
            "source": f"{cls.__module__}.{cls.__qualname__}", "package": entry.package if entry else None,
            "options": [vars(option) for option in options],
        })  # fmt: skip
    if as_json:
        print_json("robbench.explain/1", entries=shown)
        return
    for item, (_, registry) in zip(shown, holders, strict=True):
        _print(item, quiet)
        if verbose:
            print_result(f"read from {inspect.getsourcefile(registry.parse(name)[0])}")


def _explain_cascade(name: str, as_json: bool) -> None:
    cascade = dict(cascades()[name])
    if as_json:
        print_json("robbench.explain/1", entries=[{"kind": "cascade", "name": name, **cascade}])
        return
    print_result(f"{name}  (cascade of attacks)\n\n{textwrap.fill(cascade.pop('summary'), 79)}\n")
    print_result("\n".join(f"  {spec}" for spec in cascade.pop("attacks")))
    for norm, own in cascade.items():
        print_result(f"in {norm}:\n" + "\n".join(f"  {spec}" for spec in own["attacks"]))


def _fits(registry: object, name: str) -> bool:
    try:
        registry.parse(name)  # type: ignore[attr-defined]
    except UserError:
        return False
    return True


def _print(item: dict[str, Any], quiet: bool) -> None:
    from rich.table import Table

    alias = f" = {item['same_as']}" if item["same_as"] else ""
    if not quiet:
        print_result(f"{item['name']}{alias}  ({item['kind']})\n")
    for paragraph in str(item["doc"]).split("\n\n") if not quiet else []:
        print_result(textwrap.fill(" ".join(paragraph.split()), 79) + "\n")
    if options := item["options"]:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for column in ("option", "type", "default", "meaning"):
            table.add_column(column, overflow="fold")
        for option in options:
            table.add_row(option["name"], option["type"], option["default"], option["help"])
        print_rich(table)
    if quiet:
        return
    print_result(
        ("\n" if options else "")
        + f"defined in {item['source']}"
        + (
            f", package {item['package']}"
            if item["package"] != "robbench" and item["package"]
            else ""
        )
    )
