"""What `robbench inspect` found, in words."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from robbench.analysis.inspected import Finding, Inspected
from robbench.reports import texts
from robbench.reports.terminal.fitted import cell
from robbench.reports.terminal.forecast import forecast_line

STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
SHOWN = 5  # classes that are named
ACCESS = {
    "white-box": "logits and gradients",
    "score-based": "logits without gradients",
    "decision-based": "predicted classes only",
}


def inspected_card(found: Inspected) -> RenderableType:
    """Labels on the left, then the findings, in 80 columns."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in lines(found):
        table.add_row(label, cell(text))
    notes = [Text(finding_text(one), style=STYLES[one.severity]) for one in found.findings]
    return Group(cell(title(found)), Text(), table, *([Text(), *notes] if notes else []))


def title(found: Inspected) -> str:
    """The model, and whether it can be attacked."""
    severities = [finding.severity for finding in found.findings]
    errors, warnings = severities.count("error"), severities.count("warning")
    counts = [texts.plural(n, name) for n, name in ((errors, "error"), (warnings, "warning")) if n]
    return f"{found.model}: {', '.join(counts) or 'nothing that does not fit'}"


def lines(found: Inspected) -> list[tuple[str, str]]:
    """What is known, a label and a text each."""
    known = [
        ("images", f"{'x'.join(map(str, found.shape))}, values in [0,1]"),
        ("classes", _classes(found.classes)),
        ("parameters", _parameters(found)),
        ("normalisation", _normalisation(found)),
        ("gives", f"{ACCESS[found.access]} ({found.access})"),
        ("clean accuracy", _accuracy(found)),
    ]
    if found.seconds_forward is not None:
        known += [("time", _time(found.seconds_forward, found)), ("memory", _memory(found))]
    if found.forecast is not None:
        size = f"{found.forecast.samples:,} samples"
        known.append(
            (
                "attack",
                f"{found.attack} under {found.threat} on {size}, {found.width} in flight: "
                f"{forecast_line(found.forecast)}",
            )
        )
    return known


def finding_text(finding: Finding) -> str:
    """One line: severity, name, what was found, what to do."""
    remedy = f". To do: {finding.remedy}" if finding.remedy else ""
    return cell(f"{finding.severity}: {finding.name}: {finding.text}{remedy}").plain


def _classes(classes: tuple[str, ...]) -> str:
    named = ", ".join(classes[:SHOWN]) + ", ..." * (len(classes) > SHOWN)
    return f"{len(classes)}: {named}"


def _parameters(found: Inspected) -> str:
    if not found.parameters:
        return "none that torch sees"
    kinds = " and ".join(found.dtypes)
    return f"{found.parameters:,}, {size(found.weight_bytes)} of {kinds}"


def _normalisation(found: Inspected) -> str:
    if not found.normalisation:
        return "none found (arithmetic in a function is not seen)"
    return "; then ".join(
        f"mean {_numbers(one['mean'])}, std {_numbers(one['std'])} in "
        + (f"'{one['module']}' ({one['kind']})" if one["module"] else one["kind"])
        + ("" if one["front"] else ", not of the images themselves")
        for one in found.normalisation
    )


def _accuracy(found: Inspected) -> str:
    if found.correct is None:
        why = "give --data" if found.data is None else "see the error below"
        return f"not known: {why}"
    interval = texts.bounds(found.clean_accuracy_low, found.clean_accuracy_high)
    of = f", of {found.of:,}" if found.of > found.samples else ""
    return (
        f"{texts.percent(found.clean_accuracy)} {interval} ({found.correct} of {found.samples} "
        f"samples{of}; {found.data} {found.split})"
    )


def _time(forward: float, found: Inspected) -> str:
    text = f"forward {small_time(forward)}"
    if found.seconds_backward is not None:
        text += f", with backward {small_time(forward + found.seconds_backward)}"
    return f"{text} per sample, in batches of {found.rows} on {found.device}"


def _memory(found: Inspected) -> str:
    counted = found.memory_counted
    names = (
        ("largest layer", "kept for a backward")
        if counted
        else ("at its peak in a forward", "with backward")
    )
    values = (found.memory_forward, found.memory_backward)
    parts = [f"{n} {size(v)}" for n, v in zip(names, values, strict=True) if v is not None]
    return ", ".join(["per sample", *(parts or ["not known"])])


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"


def small_time(seconds: float) -> str:
    """`12 us`, `3.4 ms`, `1.2 s`: two digits."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1 or unit == "us":
            value = seconds * factor
            return f"{value:.0f} {unit}" if value >= 9.95 else f"{value:.1f} {unit}"
    raise AssertionError("the last unit fits every number")


def size(n: float) -> str:
    """`120 B`, `3.4 kB`, `1.2 GB`: powers of a thousand, two digits."""
    units = ("B", "kB", "MB", "GB", "TB")
    place = 0
    while n >= 999.5 and place < len(units) - 1:
        n, place = n / 1000, place + 1
    return f"{n:.0f} {units[place]}" if n >= 9.95 or place == 0 else f"{n:.1f} {units[place]}"
