"""What was verified, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from robbench.reports import texts
from robbench.reports.terminal.fitted import FittedTable, Head, cell

STYLES = {
    "confirmed": "green",
    "refuted": "bold red",
    "rounding": "yellow",
    "unconfirmed": "yellow",
}
SHOWN = 5  # ids of samples that speak against a claim
_HEADS = [
    Head("claim", "claim", right=False),
    Head("published", "published"),
    Head("confirmed", "confirmed"),
    Head("verdict", "verdict", right=False),
]


def verified_table(
    title: str, claims: Sequence[Mapping[str, Any]], *, bound: bool = True
) -> RenderableType:
    """The claims of a run or of a bundle's files, then why any is not confirmed.

    bound: whether a robust accuracy is an upper bound, as no corruption's is.
    """
    rows = [
        [
            cell(claim["claim"]),
            *(cell(_value(claim, name, bound)) for name in ("published", "confirmed")),
            Text(claim["verdict"], STYLES[claim["verdict"]]),
        ]
        for claim in claims
    ]
    notes = [_note(claim) for claim in claims if claim["why"]]
    return Group(FittedTable(title, _HEADS, rows, [""] * len(rows), gap=2), *notes)


def summary(claims: Sequence[Mapping[str, Any]]) -> str:
    """How many claims came to what: `6 confirmed, 1 refuted`."""
    counts = {verdict: sum(c["verdict"] == verdict for c in claims) for verdict in STYLES}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def _value(claim: Mapping[str, Any], name: str, bound: bool) -> str:
    value = claim[name]
    if isinstance(value, float):
        if "distance" in claim["claim"]:
            return texts.decimals(value)
        below = bound and name == "confirmed" and claim["claim"] != "clean accuracy"
        return f"{'<= ' if below else ''}{texts.percent(value)}"
    if value is None:
        return texts.NOTHING
    return f"{value[:13]}..." if len(str(value)) == 64 else str(value)  # a SHA-256


def _note(claim: Mapping[str, Any]) -> Text:
    ids = ", ".join(claim["samples"][:SHOWN])
    more = f" and {len(claim['samples']) - SHOWN} more" if len(claim["samples"]) > SHOWN else ""
    samples = f" (samples {ids}{more})" if ids else ""
    return Text(f"{claim['claim']}: {claim['why']}{samples}", style=STYLES[claim["verdict"]])
