"""`robbench gate`: fail a build when robustness dropped.

Two finished runs are compared without torch.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_rich, reported
from robbench.core.errors import RunError

if TYPE_CHECKING:
    from robbench.analysis.gate import GateFinding

WHO, LIMITS, ATTACK = "What to hold against what", "What is tolerated", "With --model"
Baseline = Annotated[
    str | None,
    option(
        "--baseline",
        panel=WHO,
        metavar="RUN",
        help="Reference run, such as NAME@latest (default: that of robbench baseline set).",
    ),
]
Candidate = Annotated[
    str | None, option("--candidate", panel=WHO, metavar="RUN", help="A finished run to judge.")
]
Model = Annotated[
    str | None,
    option(
        "--model",
        panel=WHO,
        metavar="MODEL",
        help="Instead: a model, attacked as the baseline was until that has decided.",
    ),
]
Branch = Annotated[
    str | None,
    option(
        "--branch",
        panel=WHO,
        metavar="BRANCH",
        help="Take the baseline that was set for this branch.",
    ),
]
Against = Annotated[
    str | None,
    option(
        "--against",
        panel=WHO,
        metavar="last:N",
        help="Instead: each of the last N comparable runs of the candidate's name (or of "
        "--baseline NAME), so that small drops add up; without --candidate of the newest run.",
    ),
]
MaxDrop = Annotated[
    float,
    option(
        "--max-drop",
        panel=LIMITS,
        metavar="POINTS",
        help="Of robust accuracy, in percentage points.",
    ),
]
MaxClean = Annotated[
    float | None,
    option(
        "--max-clean-drop", panel=LIMITS, metavar="POINTS", help="Of clean accuracy (default: any)."
    ),
]
MaxMargin = Annotated[
    float | None,
    option(
        "--max-margin-drop",
        panel=LIMITS,
        metavar="SIZE",
        help="Of the median worst logit margin; of runs without a budget, of the median "
        "distance (default: any).",
    ),
]
MaxClass = Annotated[
    float | None,
    option(
        "--max-class-drop",
        panel=LIMITS,
        metavar="POINTS",
        help="Of robust accuracy in any class; fails where that is shown (default: any).",
    ),
]
Alpha = Annotated[float, option("--alpha", panel=LIMITS, help="Probability of a wrong answer.")]
These = Annotated[
    bool,
    option(
        "--these-samples",
        panel=LIMITS,
        help="Decide for these very samples, not for images like them: less evidence needed.",
    ),
]
Undecided = Annotated[
    Literal["fail", "pass"],
    option("--undecided", panel=LIMITS, help="Whether too few samples to tell end with 4 or 0."),
]
Order = Annotated[
    int,
    option(
        "--seed",
        panel=ATTACK,
        min=0,
        max=2**32 - 1,
        help="Of the samples' random order; the attacks keep the baseline's.",
    ),
]
MaxTime = Annotated[
    str | None,
    option(
        "--max-time", panel=ATTACK, metavar="TIME", help="Give up after 90s, 2m or 1h (exit 4)."
    ),
]
Width = Annotated[
    int | None,
    option(
        "-b",
        "--batch-size",
        panel=ATTACK,
        metavar="N",
        min=1,
        max=999_999_999,
        help="Samples in flight.",
    ),
]
Junit = Annotated[
    Path | None, option("--junit-xml", panel=o.SHOW, metavar="FILE", help="Write JUnit XML.")
]
Markdown = Annotated[
    Path | None,
    option("--markdown", panel=o.SHOW, metavar="FILE", help="Write a Markdown summary."),
]


@reported
def gate(
    baseline: Baseline = None,
    candidate: Candidate = None,
    model: Model = None,
    branch: Branch = None,
    against: Against = None,
    max_drop: MaxDrop = 1.0,
    max_clean_drop: MaxClean = None,
    max_margin_drop: MaxMargin = None,
    max_class_drop: MaxClass = None,
    alpha: Alpha = 0.05,
    these_samples: These = False,
    undecided: Undecided = "fail",
    seed: Order = 0,
    max_time: MaxTime = None,
    batch_size: Width = None,
    junit_xml: Junit = None,
    markdown: Markdown = None,
    out: o.Out = Path("runs"),
    data_dir: o.DataDir = None,
    download: o.Download = False,
    trust_code: o.TrustCode = False,
    device: o.Device = "auto",
    force: o.Force = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Did robustness drop? Exit 0: no more than is tolerated; 1: yes; 4: the samples do not tell.

    2: bad input.

    Example: robbench gate --baseline ce --candidate at --max-drop 2
    """
    from robbench.analysis.gate_checks import Tolerances
    from robbench.core.files import require_output
    from robbench.tasks.gate.run import gate as decide

    began = time.monotonic()
    tolerances = Tolerances.in_points(
        robust=max_drop,
        clean=max_clean_drop,
        per_class=max_class_drop,
        margin=max_margin_drop,
        alpha=alpha,
        these_samples=these_samples,
        undecided_passes=undecided == "pass",
    )
    require_output(*filter(None, (junit_xml, markdown)))
    finding = decide(
        tolerances,
        candidate=candidate,
        model=model,
        baseline=baseline,
        branch=branch,
        against=against,
        out=out,
        seed=seed,
        batch_size=batch_size,
        max_time=max_time,
        device=device,
        data_dir=data_dir,
        download=download,
        force=force,
        listener=Reporter(quiet=quiet, verbose=verbose),
    )
    _tell(finding, time.monotonic() - began, as_json, junit_xml, markdown)


def _tell(
    finding: GateFinding,
    seconds: float,
    as_json: bool,
    junit_xml: Path | None,
    markdown: Path | None,
) -> None:
    """Write what was asked for, say it, and end with the verdict's exit code."""
    from robbench.cli.streams import result_of_a_verdict
    from robbench.reports.gate.json import to_json
    from robbench.reports.gate.table import gate_table

    try:
        _write(finding, seconds, junit_xml, markdown)
    finally:  # a full disk does not take the verdict with it
        with result_of_a_verdict():
            if as_json:
                print_json("robbench.gate/1", **to_json(finding), seconds=seconds)
            else:
                print_rich(gate_table(finding))
    raise typer.Exit(finding.exit_code)


def _write(
    finding: GateFinding, seconds: float, junit_xml: Path | None, markdown: Path | None
) -> None:
    from robbench.core.files import write_output
    from robbench.reports.gate.github import github_lines
    from robbench.reports.gate.junit import to_junit
    from robbench.reports.gate.markdown import to_markdown

    if os.environ.get("GITHUB_ACTIONS"):
        for line in github_lines(finding):
            print(line, file=sys.stderr)
    text = to_markdown(finding)
    for path, content in ((junit_xml, to_junit(finding, seconds)), (markdown, text)):
        if path is not None:
            write_output(
                path,
                partial(Path.write_text, data=content, encoding="utf-8"),
            )
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            # Other steps have written there too. Without waiting: opening a pipe
            # without a reader would never return.
            # Windows has no such flag.
            waitless = getattr(os, "O_NONBLOCK", 0)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | waitless
            handle = os.open(summary, flags, 0o666)
            with os.fdopen(handle, "a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise RunError(
                f"cannot write {summary} (GITHUB_STEP_SUMMARY): {error.strerror or error}"
            ) from error
