"""JUnit XML, which CI systems read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from robbench.reports.gate.notes import notes
from robbench.reports.gate.words import HEADLINES, sentence, sentences

if TYPE_CHECKING:
    from robbench.analysis.gate import GateFinding


def to_junit(finding: GateFinding, seconds: float) -> str:
    """One test suite, a test case for each check.

    A regression is a failure, too little evidence an error, or skipped where that passes.
    """
    info = finding.baseline
    checks = [check for check in finding.checks if check.tolerance is not None]
    decisions = [check.decision for check in checks]
    undecided = "skipped" if finding.passes_undecided else "error"
    counts = {"tests": len(checks) or 1, "failures": decisions.count("regression")}
    counts |= {"errors": 0, "skipped": 0}
    counts["skipped" if finding.passes_undecided else "errors"] = decisions.count("undecided") + (
        not checks
    )
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
                "name": _clean(
                    check.metric if check.back is None else f"{check.metric}, {check.back} back"
                ),
                "time": f"{seconds / len(checks):.3f}",
            },
        )
        if check.decision in ("regression", "undecided"):
            kind = "failure" if check.decision == "regression" else undecided
            said = {"type": HEADLINES[check.decision], "message": _clean(sentence(check))}
            ET.SubElement(case, kind, said).text = _clean(
                "\n".join([sentence(check), *notes(finding)])
            )
        else:
            ET.SubElement(case, "system-out").text = _clean(sentence(check))
    if not checks:
        case = ET.SubElement(
            suite, "testcase", {"classname": place, "name": "samples", "time": f"{seconds:.3f}"}
        )
        ET.SubElement(
            case,
            undecided,
            {"type": HEADLINES["undecided"], "message": _clean(sentences(finding)[0])},
        )
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    """Without control characters, which XML has no way to write."""
    return "".join(sign if sign in "\t\n" or sign.isprintable() else " " for sign in text)
