"""The parts of the manual that are made from the code, and checked by test_generated.py.

    python tests/docs/generated.py

writes them anew, each between `<!-- generated: NAME -->` and `<!-- end -->`. Meanings of columns
are written by hand in the table itself and kept.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from robbench.catalogue.builtins import ATTACKS, CERTIFIERS, DATA, LOSSES, MODELS
from robbench.catalogue.cascades import cascades
from robbench.catalogue.recipes import recipes
from robbench.checks.registry import CHECKS
from robbench.core.corruptions import CORRUPTIONS, PREFIX
from robbench.core.norms import NORMS
from robbench.core.options import explain_options
from robbench.core.registry import Registry
from robbench.guide import FOLDER
from robbench.store import schema

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "papers"))
import page as papers
import record  # noqa: F401 - test_papers.py finds it then
from page import table

sys.path.pop(0)  # else a test's own module could be found there

PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n)(.*?)(<!-- end -->\n)", re.DOTALL)


def ours(registry: Registry) -> Iterator[tuple[str, str, type]]:
    """Name, summary and class of what robbench itself registers."""
    for name, entry in registry.entries.items():
        if entry.package == "robbench":
            yield name, entry.summary, registry.find(name) if entry.target[0] != "=" else object


def losses() -> str:
    """Every loss with its inner attack and options."""
    rows = []
    for name, summary, cls in ours(LOSSES):
        brought = LOSSES.build(name).inner
        inner = f"`{brought}`" if brought else "none" if cls.plain else "`--inner`"
        options = ", ".join(f"`{option.name}`" for option in explain_options(cls))
        rows.append((f"`{name}`", summary, inner, options))
    return table(("loss", "what it is", "inner attack", "options"), rows)


def attacks() -> str:
    """Every attack with norms, goal and access; those that wrap another have its properties."""
    rows = []
    for name, summary, cls in ours(ATTACKS):
        if ATTACKS.entries[name].target.startswith("="):
            continue
        if any(field.default is dataclasses.MISSING for field in dataclasses.fields(cls)):
            rows.append((f"`{name}`", summary, *["its attack's"] * 3))
        else:
            norms = " ".join(norm for norm in NORMS if norm in cls.norms)
            rows.append((f"`{name}`", summary, norms, cls.goal, cls.access))
    return table(("attack", "what it is", "norms", "goal", "access"), rows)


def aliases() -> str:
    """Names of attacks that stand for another with options."""
    found = ((name, entry) for name, entry in ATTACKS.entries.items() if entry.target[0] == "=")
    rows = ((f"`{name}`", f"`{entry.target[1:]}`", entry.summary) for name, entry in found)
    return table(("alias", "stands for", "what it is"), rows)


def names(registry: Registry, head: str) -> str:
    """Names and summaries."""
    rows = ((f"`{name}`", summary) for name, summary, _ in ours(registry))
    return table((head, "what it is"), rows)


def corruptions() -> str:
    """Every corruption."""
    rows = ((f"`{PREFIX}{name}`", text) for name, text in CORRUPTIONS.items())
    return table(("corruption", "what it is"), rows)


def cascade_table() -> str:
    """The cascades that ship, as lists of specs."""
    rows = [
        (f"`{name}`", item["summary"], " ".join(f"`{spec}`" for spec in item["attacks"]))
        for name, item in cascades().items()
    ]
    return table(("cascade", "what it is", "attacks"), rows)


def recipe_table() -> str:
    """The recipes that ship."""
    return table(
        ("recipe", "what it is for"), ((f"`{name}`", text) for name, text in recipes().items())
    )


def checks() -> str:
    """Every check with severity, cost, question, figures and source, by family."""
    parts = []
    for family, members in itertools.groupby(
        sorted(CHECKS, key=lambda check: check.family), lambda check: check.family
    ):
        module = inspect.getmodule((checks := list(members))[0].ask)
        parts.append(
            f"### {family}\n\n{(module.__doc__ or '').partition(chr(10) * 2)[0].strip()}\n"
        )
        for check in checks:
            cost = {0: "no queries", 1: "1 query"}.get(check.cost, f"at most {check.cost} queries")
            asked = " ".join(inspect.getdoc(check.ask).split())
            item = f"- `{check.name}` ({check.severity}, {cost}): {asked} After {check.source}."
            parts.append(textwrap.fill(item, 118, subsequent_indent="  ", break_on_hyphens=False))
        parts.append("")
    return "\n".join(parts)


def columns(of: pa.Schema, before: str) -> str:
    """Every column of a result table with its type; its meaning is kept from `before`."""
    meanings = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (.*) \|$", before, re.MULTILINE))
    rows = []
    for field in of:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        null = " or null" if field.nullable else ""
        rows.append((f"`{field.name}`", f"{kind}{null}", meanings.get(field.name, "(write it)")))
    return table(("column", "type", "meaning"), rows)


MAKE: dict[str, Callable[[str], str]] = {
    "losses": lambda _: losses(),
    "attacks": lambda _: attacks(),
    "aliases": lambda _: aliases(),
    "models": lambda _: names(MODELS, "model"),
    "data": lambda _: names(DATA, "data set"),
    "certifiers": lambda _: names(CERTIFIERS, "method"),
    "corruptions": lambda _: corruptions(),
    "cascades": lambda _: cascade_table(),
    "recipes": lambda _: recipe_table(),
    "checks": lambda _: checks(),
}
MAKE["papers-verdicts"] = lambda _: papers.verdicts()
MAKE["papers-linear"] = lambda _: papers.linear()
MAKE["papers-log-odds-drop"] = lambda _: papers.log_odds_drop()
for _sweep in papers.SHEETS:
    MAKE[f"papers-{_sweep}"] = lambda _, sweep=_sweep: papers.part(sweep)
for _name, _value in vars(schema).items():
    if isinstance(_value, pa.Schema):
        MAKE[f"schema-{_name.lower()}"] = lambda before, of=_value: columns(of, before)


def renewed(text: str) -> str:
    """A page with its generated parts made anew."""

    def make(found: re.Match[str]) -> str:
        return f"{found[1]}\n{MAKE[found[2]](found[3]).strip()}\n\n{found[4]}"

    return PART.sub(make, text)


if __name__ == "__main__":
    for page in sorted(FOLDER.glob("*.md")):
        old = page.read_text(encoding="utf-8")
        if (new := renewed(old)) != old:
            page.write_text(new, encoding="utf-8")
            print(f"wrote {page}", file=sys.stderr)
