"""`robbench explain`: a name of the catalogue, a check, a command's settings, or a page of the manual."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robbench.catalogue.cascades import cascades
from robbench.catalogue.recipes import read_recipe, recipes
from robbench.cli import options as o
from robbench.cli.reporter import print_json, print_result, print_rich, reported, results
from robbench.core.errors import UserError, unknown
from robbench.guide import TOPICS, Page, read_page

if TYPE_CHECKING:
    from rich.markdown import Markdown

    from robbench.checks.base import Check
    from robbench.core.registry import Registry

Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="A registered name, module:attribute, cascade, recipe, check or topic; nothing lists "
        "the topics.",
    ),
]
Entry = dict[str, Any]


@reported
def explain(
    name: Name = None, as_json: o.Json = False, quiet: o.Quiet = False, verbose: o.Verbose = False
) -> None:
    """Explain a loss, attack, model, data set, check or topic; without a name, list the topics.

    Of a registered name it shows the options with types and defaults; --quiet: options only.
    `explain train` and `explain attack` list the settings that --set, files and ROBBENCH_* know.

    Example: robbench explain apgd
    """
    if name is None:
        _list_topics(as_json, quiet)
        return
    entries = _entries(name)
    if as_json:
        print_json("robbench.explain/1", entries=[_public(entry) for entry in entries])
        return
    for entry in entries:
        _SHOW.get(entry["kind"], _show_options)(entry, quiet)
        if verbose and "file" in entry:
            print_result(f"read from {entry['file']}")


def _list_topics(as_json: bool, quiet: bool) -> None:
    pages = [read_page(topic) for topic in TOPICS]
    if as_json:
        listed = [{"name": p.topic, "title": p.title, "summary": p.summary} for p in pages]
        print_json("robbench.topics/1", topics=listed)
        return
    if quiet:
        print_result("\n".join(TOPICS))
        return
    from rich.table import Table

    table = Table(title="topics", title_justify="left", box=None, show_header=False)
    for page in pages:
        table.add_row(page.topic, page.summary)
    print_rich(table)


def _public(entry: Entry) -> Entry:
    return {key: value for key, value in entry.items() if key != "file"}


def _entries(name: str) -> list[Entry]:
    """What a name means, as `--json` shows it; several entries where several registries have it.

    Raises UserError with the nearest names of all kinds.
    """
    from robbench.core.config import COMMANDS

    if name in TOPICS:
        return [_page_entry(read_page(name))]
    if name in cascades():
        return [{"kind": "cascade", "name": name, **cascades()[name]}]
    if name in COMMANDS:
        return [_settings_entry(name)]
    if name in recipes():
        return [{"kind": "recipe", "name": name, "doc": recipes()[name], **read_recipe(name)}]
    if found := _registered(name):
        return found

    from robbench.checks.registry import CHECKS  # loads torch

    for check in CHECKS:
        if name == check.name:
            return [_check_entry(check)]
    raise unknown("name", name, {*_known(), *(check.name for check in CHECKS)})


def _known() -> list[str]:
    """Every name that `explain` knows, but for the checks'."""
    from robbench.catalogue.builtins import REGISTRIES
    from robbench.core.config import COMMANDS
    from robbench.data.data_folder import data_folder, private_sets

    registered = [name for registry in REGISTRIES.values() for name in registry.entries]
    own = private_sets(data_folder())
    return [*TOPICS, *COMMANDS, *recipes(), *cascades(), *registered, *own]


def _registered(name: str) -> list[Entry]:
    """What the registries hold under a name: registered, a `module:attribute`, or a set of the data folder."""
    from robbench.catalogue.builtins import REGISTRIES
    from robbench.data.data_folder import data_folder, private_sets

    kinds = [kind for kind, registry in REGISTRIES.items() if name in registry.entries]
    if not kinds and ":" in name:
        kinds = [kind for kind, registry in REGISTRIES.items() if _fits(registry, name)]
    if not kinds and name in private_sets(data_folder()):
        kinds, name = ["data"], f"parquet:{name}"
    return [_registered_entry(kind, name) for kind in kinds]


def _fits(registry: Registry[Any], name: str) -> bool:
    try:
        registry.parse(name)
    except UserError:
        return False
    return True


def _registered_entry(kind: str, name: str) -> Entry:
    from robbench.catalogue.builtins import REGISTRIES
    from robbench.core.registry import explain_options

    cls, spec = REGISTRIES[kind].parse(name)
    entry = REGISTRIES[kind].entries.get(name)
    return {
        "kind": kind,
        "name": name,
        "doc": inspect.getdoc(cls) or "",
        "same_as": str(spec) if str(spec) != name else None,
        "source": f"{cls.__module__}.{cls.__qualname__}",
        "package": entry.package if entry else None,
        "options": [vars(option) for option in explain_options(cls)],
        "file": inspect.getsourcefile(cls),
    }


def _settings_entry(command: str) -> Entry:
    from robbench.core.registry import explain_options
    from robbench.tasks.attack.config import AttackConfig
    from robbench.tasks.train.config import TrainConfig

    config = TrainConfig if command == "train" else AttackConfig
    return {
        "kind": "settings",
        "name": command,
        "doc": f"Settings of robbench {command}, by --set KEY=VALUE, ROBBENCH_KEY or a file; "
        "the common ones are flags too.",
        "same_as": None,
        "source": config.__module__,
        "package": "robbench",
        "options": [vars(option) for option in explain_options(config)],
    }


def _check_entry(check: Check) -> Entry:
    return {
        "kind": "check",
        "name": check.name,
        "doc": inspect.getdoc(check.ask) or "",
        "severity": check.severity,
        "cost": check.cost,
        "literature": check.source,
        "source": f"{check.ask.__module__}.{check.ask.__qualname__}",
    }


def _page_entry(page: Page) -> Entry:
    return {"kind": "topic", "name": page.topic, "title": page.title, "text": page.text}


def _show_page(entry: Entry, quiet: bool) -> None:
    """Rendered on a terminal, the Markdown itself elsewhere."""
    if not on_terminal():
        print_result(entry["text"], end="")
        return
    print_rich(_manual(entry["text"]))


def _manual(text: str) -> Markdown:
    """Markdown whose tables keep the first column whole and cut nothing off."""
    from rich.console import Console, ConsoleOptions
    from rich.markdown import Markdown, TableElement
    from rich.table import Table

    class WholeTable(TableElement):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
            for table in super().__rich_console__(console, options):
                assert isinstance(table, Table)
                for column in table.columns:
                    column.overflow = "fold"
                table.columns[0].no_wrap = True
                yield table

    class Manual(Markdown):
        elements = Markdown.elements | {"table_open": WholeTable}

    return Manual(text, hyperlinks=False)


def _show_check(entry: Entry, quiet: bool) -> None:
    print_result(f"{entry['name']}  (check, severity {entry['severity']})\n")
    _print_paragraphs(entry["doc"])
    cost = f"at most {entry['cost']} queries per sample" if entry["cost"] else "no queries"
    print_result(f"costs {cost}\nafter {entry['literature']}\ndefined in {entry['source']}")


def _show_recipe(entry: Entry, quiet: bool) -> None:
    print_result(f"{entry['name']}  (recipe)\n")
    _print_paragraphs(entry["doc"])
    settings = {key: entry[key] for key in entry if key not in ("kind", "name", "doc")}
    print_result("\n".join(f"  {key} = {value}" for key, value in settings.items()))


def _show_cascade(entry: Entry, quiet: bool) -> None:
    print_result(f"{entry['name']}  (cascade of attacks)\n")
    _print_paragraphs(entry["summary"])
    print_result("\n".join(f"  {spec}" for spec in entry["attacks"]))
    for norm in (key for key in entry if isinstance(entry[key], dict)):
        print_result(f"in {norm}:\n" + "\n".join(f"  {spec}" for spec in entry[norm]["attacks"]))


def _show_options(entry: Entry, quiet: bool) -> None:
    if not quiet:
        alias = f" = {entry['same_as']}" if entry["same_as"] else ""
        print_result(f"{entry['name']}{alias}  ({entry['kind']})\n")
        _print_paragraphs(entry["doc"])
    if entry["options"]:
        from rich.table import Table

        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for column in ("option", "type", "default", "meaning"):
            table.add_column(column, overflow="fold")
        for option in entry["options"]:
            table.add_row(option["name"], option["type"], option["default"], option["help"])
        print_rich(table)
    if quiet:
        return
    package = entry["package"]
    print_result(
        ("\n" if entry["options"] else "")
        + f"defined in {entry['source']}"
        + (f", package {package}" if package not in (None, "robbench") else "")
    )


def _print_paragraphs(text: str) -> None:
    for paragraph in text.split("\n\n"):
        print_result(textwrap.fill(" ".join(paragraph.split()), 79) + "\n")


def on_terminal() -> bool:
    """Whether the result goes to a person's screen."""
    return results().isatty()


_SHOW = {
    "topic": _show_page,
    "cascade": _show_cascade,
    "recipe": _show_recipe,
    "check": _show_check,
}
