"""What was verified, as it is printed."""

import io

import pytest
from rich.console import Console

from robbench.reports.terminal.verified import summary, verified_table


def _claim(name="robust accuracy", **more):
    plain = {"claim": name, "published": 0.5, "confirmed": 0.5, "verdict": "confirmed"}
    return plain | {"why": "", "samples": []} | more


def _text(claims, width=80):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(verified_table("run x", claims))
    return out.getvalue()


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (_claim(), ["50.0%", "<= 50.0%", "confirmed"]),
        (_claim("clean accuracy", confirmed=0.25), ["50.0%", "25.0%"]),
        (_claim("median distance", published=1.5, confirmed=1.25), ["1.500", "1.250"]),
        (_claim(confirmed=None, verdict="unconfirmed"), ["50.0%", "-", "unconfirmed"]),
        (_claim("model", published="ab" * 8, confirmed="ab" * 8), ["ab" * 8] * 2),
        (_claim("f", published="0123456789abcdef" * 4), ["0123456789abc..."]),
        (_claim("stored points", published=12, confirmed=7), ["12", "7"]),
    ],
)
def test_a_claim_is_a_row(claim, words):
    """A robust accuracy is confirmed as a bound; a clean one, a distance and a hash are not."""
    row = _text([claim]).splitlines()[3]
    cells = row.removeprefix(claim["claim"]).split("  ")
    found = [cell.strip() for cell in cells if cell.strip()]
    assert found[: len(words)] == words


def test_why_it_does_not_hold_is_below(cli):
    """With the first samples, in the width of the terminal."""
    ids = [f"{i:016x}" for i in range(7)]
    text = _text([_claim(), _claim("points", verdict="refuted", why="7 are odd", samples=ids)])
    below = " ".join(text.splitlines()[5:])
    assert below.startswith(f"points: 7 are odd (samples {ids[0]}")
    assert "and 2 more)" in " ".join(below.split())
    assert ids[5] not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_summary_counts_the_verdicts():
    """In the order of their weight; none that did not happen."""
    claims = [_claim(), _claim(verdict="unconfirmed"), _claim(), _claim(verdict="refuted")]
    assert summary(claims) == "2 confirmed, 1 refuted, 1 unconfirmed"
