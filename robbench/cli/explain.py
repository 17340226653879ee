"""`robbench explain`: a name, check, flag, command, a page or word of the manual."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from robbench.cli import options as o
from robbench.cli.entries import Entry, entries_of
from robbench.cli.reporter import print_json, print_result, print_rich, reported, results
from robbench.guide import TOPICS, read_page

if TYPE_CHECKING:
    from rich.markdown import Markdown

Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="A registered name, module:attribute, cascade, recipe, check, flag, command, topic or "
        "word of the manual, such as a norm or a column; without a name it lists the topics.",
    ),
]


@reported
def explain(
    name: Name = None,
    data_dir: o.DataDir = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Explain a loss, attack, data set, check, flag, command or topic; without a name list topics.

    Of a registered name it shows the options with types and defaults; --quiet: options only.
    `explain train` and `explain attack` list the settings that --set, files and ROBBENCH_* know.

    Example: robbench explain apgd
    """
    if name is None:
        _list_topics(as_json, quiet)
        return
    entries = entries_of(name, data_dir)
    if as_json:
        print_json("robbench.explain/1", entries=[_public(entry) for entry in entries])
        return
    for n, entry in enumerate(entries):
        if n:
            print_result()
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


def _show_flag(entry: Entry, quiet: bool) -> None:
    print_result(f"{entry['name']}  (flag: a warning that a run carries)\n")
    print_result(textwrap.fill(entry["doc"], 79))


def _show_word(entry: Entry, quiet: bool) -> None:
    print_result(f"{entry['name']}  (a word of the manual)\n")
    for passage in entry["passages"]:
        _print_paragraphs(f"{passage['text'].strip('-| ')} (robbench explain {passage['topic']})")


def _show_command(entry: Entry, quiet: bool) -> None:
    print_result(f"{entry['name']}  (command)\n")
    _print_paragraphs(entry["doc"])
    print_result(f"flags: robbench {entry['name']} --help")
    if entry["pages"]:
        print_result(f"pages: robbench explain {' | '.join(entry['pages'])}")


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
    if entry["options"]:
        print_result()
    if entry.get("norms"):
        norms = " ".join(entry["norms"])
        print_result(f"norms {norms}; goal {entry['goal']}; access {entry['access']}")
    if entry.get("inner"):
        _print_paragraphs(_inner_text(entry["inner"]))
    if entry.get("teacher") is not None:
        _print_paragraphs(
            "teacher: the running average of the weights, which robbench train --set average=ema "
            "makes; --teacher NAME gives a trained model"
            if entry["teacher"]
            else "teacher: a trained model, which robbench train --teacher NAME names"
        )
    print_result(
        f"defined in {entry['source']}"
        + (f", package {package}" if package not in (None, "robbench") else "")
    )


def _inner_text(inner: Entry) -> str:
    """What a loss's own inner attack does, with every option."""
    name, options = inner["spec"].partition(":")[0], inner["options"]
    written = ", ".join(f"{key}={value}" for key, value in options.items())
    return f"inner attack: {name} with {written}; robbench train --inner gives another"


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
    "flag": _show_flag,
    "word": _show_word,
    "command": _show_command,
}
