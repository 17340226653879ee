"""`robbench check`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_rich, reported
from robbench.cli.streams import result_of_a_verdict
from robbench.core.errors import UserError

WHAT = "What to check"
Target = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN|MODEL]",
        help="A run id, the file of a run, or a model: its latest run; "
        "the model alone with --threat, --data, --split, --seed.",
    ),
]
SelfTest = Annotated[
    bool,
    option(
        "--self-test",
        panel=WHAT,
        help="Try the checks on good models and on broken defences made for it (a minute).",
    ),
]
Source = Annotated[
    str | None,
    option(
        "--source",
        panel=WHAT,
        metavar="MODEL",
        help="To transfer from (default: a small one trained for it).",
    ),
]
Model = Annotated[
    str | None,
    option(
        "--model",
        panel=WHAT,
        metavar="NAME|PATH",
        help="The run's model, if it is no longer under its name in the output folder.",
    ),
]
Threat = Annotated[
    list[str] | None,
    option(
        "--threat", panel=WHAT, metavar="NORM:EPS", help="Threat model (default: the data set's)."
    ),
]
Data = Annotated[
    str | None,
    option(
        "--data",
        panel=WHAT,
        metavar="SPEC",
        help="Data set (default: what the model was trained on).",
    ),
]
Split = Annotated[str | None, o.split(WHAT)]

_OF_SELF_TEST = {"self_test", "as_json", "quiet", "verbose"}


@reported
def check(
    context: typer.Context,
    target: Target = None,
    self_test: SelfTest = False,
    source: Source = None,
    model: Model = None,
    threat: Threat = None,
    data: Data = None,
    split: Split = None,
    out: o.Out = Path("runs"),
    seed: o.Seed = None,
    device: o.Device = "auto",
    limit: o.Limit = None,
    data_dir: o.DataDir = None,
    download: o.Download = False,
    trust_code: o.TrustCode = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Check a robust accuracy for masked gradients and weak attacks. Exit 1 = error found.

    Example: robbench check at --limit 100
    """
    reporter = Reporter(quiet=quiet, verbose=verbose)
    if self_test:
        sources = {name: context.get_parameter_source(name) for name in context.params}
        if {
            name for name, of in sources.items() if of and of.name == "COMMANDLINE"
        } - _OF_SELF_TEST:
            raise UserError(
                "--self-test makes its own models and takes the embedded digits: give it alone"
            )
        _self_test(reporter, as_json)
        return
    if target is None:
        raise UserError("check what? Give a run id or a model, or --self-test")
    from robbench.store.store import Store
    from robbench.tasks.check.target import require_target

    require_target(target, Store(out))  # before torch, which takes seconds to load
    from robbench.reports.terminal.checks import checks_table
    from robbench.store.address.copies import shown
    from robbench.tasks.check.run import check as check_target

    given = {"threat": threat, "data": data, "split": split, "seed": seed, "limit": limit}
    done = check_target(
        target,
        {name: value for name, value in given.items() if value not in (None, [])},
        source=source,
        model=model,
        out=out,
        device=device,
        data_dir=data_dir,
        download=download,
        listener=reporter,
    )
    plan = done.plan
    run = plan.run
    about = f"run {plan.name} of {run.info['model']}" if run else plan.subject.label
    title = f"{about}: {plan.data} {plan.subject.split.split}, {plan.threat.text}"
    with result_of_a_verdict():
        if as_json:
            rows = [_plain(row) for row in done.rows]
            print_json("robbench.check/1", subject=plan.name, rows=rows, edited=done.edited)
        else:
            print_rich(checks_table(title, done.rows))
            for text in done.edited:
                print_rich(f"edited: {text}")
    if not as_json:
        reporter.say(f"checks: {shown(done.path)}")
    if done.failed:
        raise typer.Exit(1)


def _self_test(reporter: Reporter, as_json: bool) -> None:
    from robbench.tasks.self_test import self_test

    with reporter.progress("self-test") as bar:
        results = self_test(bar.update)
    rows: list[dict[str, Any]] = [
        {
            "case": e.name,
            "bad": e.bad,
            "as_expected": e.as_expected,
            "flagged_by": e.flagged_by,
            "findings": [_plain(dataclasses.asdict(finding)) for finding in e.findings],
        }
        for e in results
    ]
    from robbench.reports.terminal.checks import self_test_table

    with result_of_a_verdict():
        if as_json:
            print_json("robbench.check.self-test/1", rows=rows)
        else:
            print_rich(self_test_table(rows))
    if not all(row["as_expected"] for row in rows):
        raise typer.Exit(1)


def _plain(finding: dict[str, Any]) -> dict[str, Any]:
    """As JSON takes it: ids as text, because not every reader has 63-bit numbers.

    NaN, where there is no figure, as null.
    """
    plain = {name: None if value != value else value for name, value in finding.items()}
    return {**plain, "evidence": [f"{sample:016x}" for sample in finding["evidence"]]}
