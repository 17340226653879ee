"""The warnings of a gate in words."""

from __future__ import annotations

from robbench.analysis.gate import GateFinding, NoteName
from robbench.reports.audit import audit

_TEXTS: dict[NoteName, str] = {
    "same-weights": "both runs are of the same weights",
    "unfinished": "time or queries ran out on {n} samples of the {which}, which count as robust",
    "flag": "{which}: {name}: {text}",
    "edited": "{which}: {text}",
    "replayed": "the {which} was tried with stored points first, the {other} was not",
    "audited-differently": "audited differently: baseline {baseline}, candidate {candidate}; "
    "samples that only an audit breaks count as adversarial where there is one",
    "seeds": "the attacks' seeds differ: {baseline} and {candidate}",
    "trained-since": "model {model} was trained again after this run, which is of other weights: "
    "give it as --model, or attack it again",
    "out-of-time": "time was up; what was decided is kept, and the same command goes on",
    "fewer-runs": "there are {found} comparable runs before it, not {asked}",
    "unreadable": "an earlier run is left out: {text}",
    "unknown-run": "left out is a file that may be of an earlier run: {text}",
    "own-weights": "{n} of the {of} runs are of the candidate's own weights, which cannot have "
    "dropped since",
    "stopped-early": "stopped after {seen} of {total} samples in random order: that was enough",
}


def notes(finding: GateFinding) -> list[str]:
    """A sentence for each audit and each warning."""
    audits: dict[str, list[str]] = {}
    for which in ("baseline", "candidate"):
        audits.setdefault(audit(getattr(finding, which)), []).append(which)
    said = [f"{' and '.join(runs)}: {text}" for text, runs in audits.items() if text]
    return [*said, *(_TEXTS[note.name].format(**note.facts) for note in finding.notes)]
