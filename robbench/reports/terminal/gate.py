"""What a gate found, for a terminal, a pull request, a CI system that reads JUnit XML, and GitHub's annotations."""

from __future__ import annotations

import dataclasses
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from robbench.analysis.gate_checks import DISTANCE, MARGIN, GateCheck
from robbench.core.escaping import markdown, printable
from robbench.reports import texts

if TYPE_CHECKING:
    from rich.console import RenderableType

    from robbench.analysis.gate import GateFinding

EXIT_CODES = {"pass": 0, "regression": 1, "undecided": 4}
HEADLINES = {"pass": "pass", "regression": "regression", "undecided": "not enough evidence"}
_STYLES = {"pass": "green", "regression": "bold red", "undecided": "yellow"}
_LEVELS = {"pass": "notice", "regression": "error", "undecided": "error"}


def sentences(finding: GateFinding) -> list[str]:
    """What the verdict rests on: a sentence for each check that must be passed, or that shows a regression."""
    judged = [check for check in finding.checks if check.decision != "not shown"]
    if finding.verdict != "pass":
        judged = [check for check in judged if check.decision == finding.verdict]
    return [sentence(check) for check in judged] or ["no sample was decided in time"]


def sentence(check: GateCheck) -> str:
    """One check in words, rates in percentage points."""
    name = (
        f"robust accuracy of {check.metric}" if check.metric.startswith("class ") else check.metric
    )
    moved = "fell" if check.drop > 0 else "rose" if check.drop < 0 else "did not change"
    size = f" by {_amount(check, abs(check.drop))}" if check.drop else ""
    change = (
        f"{name} {moved}{size} ({_value(check, check.baseline)} to "
        f"{_value(check, check.candidate)}, {check.n} samples)"
    )
    allowed = "" if check.tolerance is None else f"{_amount(check, check.tolerance)} tolerated"
    if check.method == "these samples" or check.tolerance is None:
        return f"{change}{'; ' if allowed else ''}{allowed}"
    if check.decision == "regression":
        return f"{change}: a drop of at least {_amount(check, check.low)} is shown, {allowed}"
    if check.decision == "pass":
        most = f"a drop above {_amount(check, max(check.high, 0.0))} is ruled out"
        return f"{change}: {most}, {allowed}"
    between = (
        f"{change}: the drop is between {_signed(check, check.low)} and "
        f"{_signed(check, check.high)}, {allowed}"
    )
    if check.decision == "not shown":
        return between
    if check.needed is None:
        return f"{between}; too near to what is tolerated for any number of samples to tell"
    return f"{between}; about {_rounded(check.needed)} samples are needed"


def gate_table(finding: GateFinding) -> RenderableType:
    """All checks, below them what the verdict rests on, warnings, and the verdict as the last line."""
    from rich.console import Group
    from rich.text import Text

    from robbench.reports.terminal.fitted import FittedTable, Head, cell

    drop = f"drop\n({_level(finding)} bounds)"
    titles = ("baseline", "candidate", drop, "tolerated", "verdict")
    numbers = [Head(text.replace("\n", " "), text) for text in titles]
    heads = [Head("", "", right=False), *numbers]
    cells = [
        [*map(cell, _cells(check)), Text(_word(check), _STYLES.get(check.decision, "dim"))]
        for check in finding.checks
    ]
    table = FittedTable(_title(finding), heads, cells, [""] * len(cells))
    notes = [Text(note, style="dim") for note in (*finding.notes, *_tests(finding))]
    lines = [Text(text) for text in sentences(finding)]
    verdict = Text(f"{HEADLINES[finding.verdict].upper()}", style=_STYLES[finding.verdict])
    return Group(*([table] if finding.checks else []), *notes, *lines, verdict)


def to_markdown(finding: GateFinding) -> str:
    """A section for a pull request or GitHub's job summary."""
    lines = [f"### robbench gate: {HEADLINES[finding.verdict]}", "", markdown(_title(finding)), ""]
    if finding.checks:
        heads = [
            "",
            "baseline",
            "candidate",
            f"drop ({_level(finding)} bounds)",
            "tolerated",
            "lost / won",
            "McNemar",
            "verdict",
        ]
        lines += [_row(heads), _row(["---", *["---:"] * (len(heads) - 1)])]
        for check in finding.checks:
            changed = texts.NOTHING if check.lost is None else f"{check.lost} / {check.won}"
            p = texts.NOTHING if check.mcnemar_p is None else texts.p_value(check.mcnemar_p)
            lines.append(_row([*_cells(check), changed, p, _word(check)]))
        lines.append("")
    lines += [f"- {markdown(text)}" for text in (*sentences(finding), *finding.notes)]
    return "\n".join([*lines, ""])


def to_json(finding: GateFinding) -> dict[str, Any]:
    """The content of the command's JSON object; rates are in [0,1]."""
    facts = (
        "run_id",
        "model",
        "data",
        "split",
        "threat",
        "attack",
        "n_samples",
        "status",
        "model_hash",
    )
    return {
        "verdict": finding.verdict,
        "exit_code": EXIT_CODES[finding.verdict],
        "baseline": {name: finding.baseline.get(name) for name in facts},
        "candidate": {name: finding.candidate.get(name) for name in facts},
        "samples": finding.seen,
        "samples_of": finding.total,
        "alpha": finding.tolerances.alpha,
        "these_samples": finding.tolerances.these_samples,
        "checks": [dataclasses.asdict(check) for check in finding.checks],
        "messages": sentences(finding),
        "notes": list(finding.notes),
    }


def to_junit(finding: GateFinding, seconds: float) -> str:
    """One test suite with a test case for each check: failed by a regression, in error without enough evidence."""
    info = finding.baseline
    checks = [check for check in finding.checks if check.tolerance is not None]
    decisions = [check.decision for check in checks]
    counts = {
        "tests": len(checks) or 1, "failures": decisions.count("regression"),
        "errors": decisions.count("undecided") + (not checks), "skipped": 0,
    }  # fmt: skip
    total = {name: str(count) for name, count in counts.items()} | {"time": f"{seconds:.3f}"}
    root = ET.Element("testsuites", {"name": "robbench gate", **total})
    suite = ET.SubElement(
        root, "testsuite", {"name": _clean(f"robbench gate {finding.candidate['model']}"), **total}
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("baseline", info["run_id"]),
        ("candidate", finding.candidate["run_id"]),
        ("verdict", finding.verdict),
    ):
        ET.SubElement(properties, "property", {"name": name, "value": _clean(str(value))})
    place = _clean(f"{info['data']} {info['split']}.{info['threat']}")
    for check in checks:
        case = ET.SubElement(
            suite,
            "testcase",
            {
                "classname": place,
                "name": _clean(check.metric),
                "time": f"{seconds / len(checks):.3f}",
            },
        )
        if check.decision in ("regression", "undecided"):
            kind = "failure" if check.decision == "regression" else "error"
            said = {"type": HEADLINES[check.decision], "message": _clean(sentence(check))}
            ET.SubElement(case, kind, said).text = _clean(
                "\n".join([sentence(check), *finding.notes])
            )
        else:
            ET.SubElement(case, "system-out").text = _clean(sentence(check))
    if not checks:
        case = ET.SubElement(
            suite, "testcase", {"classname": place, "name": "samples", "time": f"{seconds:.3f}"}
        )
        ET.SubElement(
            case,
            "error",
            {"type": HEADLINES["undecided"], "message": _clean(sentences(finding)[0])},
        )
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def github_lines(finding: GateFinding) -> Iterator[str]:
    """GitHub's workflow commands, a line each."""
    level, title = _LEVELS[finding.verdict], f"robbench gate: {HEADLINES[finding.verdict]}"
    for text in sentences(finding):
        yield annotation(level, title, f"{finding.candidate['model']}: {text}")


def annotation(level: str, title: str, message: str) -> str:
    """`::error title=...::message`, with what would end it escaped."""
    escaped = [
        printable(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))
        for text in (title, message)
    ]
    return f"::{level} title={escaped[0].replace(':', '%3A').replace(',', '%2C')}::{escaped[1]}"


def _title(finding: GateFinding) -> str:
    info, other = finding.baseline, finding.candidate
    of = "" if finding.seen == finding.total else f" of {finding.total}"
    where = (
        f"{info['data']} {info['split']}, {info['threat']}, {info['attack']}, "
        f"{finding.seen}{of} samples"
    )
    return (
        f"{other['model']} ({other['run_id'][:6]}) against {info['model']} "
        f"({info['run_id'][:6]}): {where}"
    )


def _cells(check: GateCheck) -> list[str]:
    exact = check.low == check.high
    bounds = "" if exact else f" ({_signed(check, check.low)} to {_signed(check, check.high)})"
    tolerated = (
        texts.NOTHING if check.tolerance is None else _amount(check, check.tolerance, unit=False)
    )
    values = [_value(check, check.baseline), _value(check, check.candidate)]
    return [check.metric, *values, f"{_signed(check, check.drop)}{bounds}", tolerated]


def _word(check: GateCheck) -> str:
    if check.decision == "not shown":
        return texts.NOTHING if check.tolerance is None else "no regression"
    return check.decision


def _tests(finding: GateFinding) -> Iterator[str]:
    for check in finding.checks:
        if (
            check.tolerance is not None
            and check.mcnemar_p is not None
            and not check.metric.startswith("class ")
        ):
            yield f"{check.metric}: {check.lost} lost, {check.won} won, exact McNemar {texts.p_value(check.mcnemar_p)}"


def _level(finding: GateFinding) -> str:
    return f"{100 * (1 - finding.tolerances.alpha):g} %"


def _is_rate(check: GateCheck) -> bool:
    return check.metric not in (MARGIN, DISTANCE)


def _value(check: GateCheck, value: float) -> str:
    return texts.percent(value) if _is_rate(check) else _number(value)


def _amount(check: GateCheck, value: float, unit: bool = True) -> str:
    return f"{_points(value)}{' points' if unit else ''}" if _is_rate(check) else _number(value)


def _signed(check: GateCheck, value: float) -> str:
    text = _amount(check, abs(value), unit=False)
    return (
        text
        if not float(text.replace("inf", "1").replace("nan", "0"))
        else f"{'-' if value < 0 else '+'}{text}"
    )


def _points(rate: float) -> str:
    return f"{100 * rate:.1f}" if 100 * rate >= 0.95 or rate == 0 else f"{100 * rate:.2f}"


def _number(value: float) -> str:
    return texts.digits(value) if math.isfinite(value) else str(value)


def _rounded(count: int) -> str:
    """Two digits are all such a number is worth, upwards."""
    step = int(10 ** max(0, math.floor(math.log10(count)) - 1))
    return f"{-(-count // step) * step:,}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(markdown(cell) for cell in cells)} |"


def _clean(text: str) -> str:
    """Without control characters, which XML has no way to write."""
    return "".join(sign if sign in "\t\n" or sign.isprintable() else " " for sign in text)
