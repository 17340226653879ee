"""`robbench attack`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_rich, reported

if TYPE_CHECKING:
    from robbench.results.store import Run, Store
    from robbench.runs.attack import Plan

WHAT = "What to attack, and how"
Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="A name in the output folder (NAME@last or NAME@best for a checkpoint), the folder of a saved model, or a spec.",
    ),
]
Attacks = Annotated[
    list[str] | None,
    option("-a", "--attack", panel=WHAT, metavar="SPEC",
           help="Attack, such as apgd:steps=50; several form one worst case per sample (default: apgd)."),
]  # fmt: skip
Threat = Annotated[
    list[str] | None,
    option("--threat", panel=WHAT, metavar="NORM:EPS",
           help="Threat model; several, or linf:2/255,8/255, give one run each (default: the data set's)."),
]  # fmt: skip
Data = Annotated[
    str | None, option("--data", panel=WHAT, metavar="SPEC", help="Data set (default: what the model was trained on).")
]
Split = Annotated[str | None, option("--split", panel=WHAT, help="train or test (default: test).")]
BatchSize = Annotated[
    str | None, option("-b", "--batch-size", panel=o.RUN, metavar="N|auto", help="Samples in flight; no verdict depends on it.")
]


@reported
def attack(
    models: Models,
    attacks: Attacks = None,
    threat: Threat = None,
    data: Data = None,
    split: Split = None,
    batch_size: BatchSize = None,
    out: o.Out = Path("runs"),
    seed: o.Seed = None,
    device: o.Device = "auto",
    limit: o.Limit = None,
    config: o.Config = None,
    sets: o.Set = None,
    data_dir: o.DataDir = None,
    download: o.Download = False,
    force: o.Force = False,
    dry_run: o.DryRun = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Attack models and write a verdict for every sample.

    Example: robbench attack ce at --attack pgd:steps=10 --attack apgd --threat linf:0.15
    """
    from robbench.core.config import AttackConfig, load_config
    from robbench.results.compare import compare
    from robbench.results.store import Store
    from robbench.runs.attack import plan_attacks

    flags = {
        "attack": attacks,
        "threat": threat,
        "data": data,
        "split": split,
        "batch_size": batch_size,
        "seed": seed,
        "limit": limit,
    }
    settings = load_config(AttackConfig, "attack", file=config, sets=sets or [], flags=flags)
    reporter, store = Reporter(quiet=quiet, verbose=verbose), Store(out)
    # All plans first: a mistake in the last model must not cost the first one's hours.
    plans = list(plan_attacks(models, settings, out=out, device=device, data_dir=data_dir, download=download))
    if dry_run:
        print_json("robbench.attack.plan/1", runs=[describe(plan, store) for plan in plans])
        return
    runs = [run_attack(plan, store, reporter, force=force) for plan in plans]
    rows = compare(runs)
    if as_json:
        print_json("robbench.attack/1", rows=rows)
    else:
        from robbench.report.terminal import comparison_table

        print_rich(comparison_table(rows))
        reporter.say(f"per-sample results: {store.root / 'results' / 'samples'}")


def describe(plan: Plan, store: Store) -> dict[str, object]:
    """A plan as plain values, for --dry-run."""
    return {
        "run_id": plan.run_id, "model": plan.subject.name, "data": plan.data, "samples": len(plan.subject.split),
        "threat": plan.threat.text, "attack": plan.attack, "split": plan.config.split, "seed": plan.config.seed,
        "batch_size": plan.config.batch_size or "auto", "device": str(plan.device), "done": store.has(plan.run_id),
    }  # fmt: skip


def run_attack(plan: Plan, store: Store, reporter: Reporter, *, force: bool) -> Run:
    """Run one plan under a progress bar. Raises Stopped when a signal came first."""
    from robbench.core.errors import Stopped
    from robbench.runs.attack import Progress, attack
    from robbench.runs.signals import stop_flag

    title = f"{plan.subject.name} {plan.threat.text}"
    reporter.detail(f"run {plan.run_id}: {plan.subject.name} on {len(plan.subject.split)} of {plan.data}, {plan.attack}")
    began = time.monotonic()
    with stop_flag(reporter.say) as stop, reporter.progress(title) as bar:

        def watch(p: Progress) -> None:
            rate = p.samples / max(time.monotonic() - began, 1e-9)
            # Broken samples are decided first, so the share of robust ones so far is only known from above.
            bar.update(p.share, f"{p.samples}/{p.total} decided, robust at most {1 - p.broken / p.total:.1%}, {rate:.1f}/s")

        def resumed(decided: int) -> None:
            reporter.say(f"going on with {title}: {decided} of {len(plan.subject.split)} samples are decided already")

        outcome = attack(plan, store=store, force=force, resumed=resumed, watch=watch, stop=stop)
    if outcome.run is None or stop:
        raise Stopped(stop.exit_code)
    if not outcome.fresh:
        reporter.say(f"run {plan.run_id} ({title}) is in the store already; nothing to do (--force runs it again)")
    if bad := outcome.run.info["n_unconfirmed"]:
        reporter.say(f"warning: {bad} successes of {title} did not survive the re-check; is the model random?")
    return outcome.run
