"""`robbench demo`: the main job from end to end on the embedded digits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robbench.cli import options as o
from robbench.cli.reporter import Reporter, print_result, print_rich, reported
from robbench.reports.texts import percent
from robbench.store.hints import command

THREAT = "linf:0.15"
MODELS = {"demo-ce": None, "demo-at": "pgd:steps=7"}  # name -> inner attack


@reported
def demo(
    out: o.Out = Path("runs"),
    device: o.Device = "auto",
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Train a plain and an adversarially trained model on digits, attack and compare them.

    It takes about a minute on two cores.

    Example: robbench demo
    """
    import torch

    from robbench.analysis.comparison import compare_runs
    from robbench.reports.terminal.compare import comparison_table
    from robbench.store.address.copies import shown
    from robbench.store.store import Store
    from robbench.tasks.attack.config import AttackConfig
    from robbench.tasks.attack.plan import plan_attacks
    from robbench.tasks.attack.run import attack
    from robbench.tasks.train.config import TrainConfig
    from robbench.tasks.train.listen import run_training
    from robbench.tasks.train.plan import plan_training

    # A model this small is as fast on one thread, and needs no second free core.
    torch.set_num_threads(1)
    reporter, store = Reporter(quiet=quiet, verbose=verbose), Store(out)
    places: dict[str, Any] = {"out": out, "device": device, "data_dir": None, "download": False}
    for name, inner in MODELS.items():
        reporter.say(
            f"training {name}: cross-entropy on digits" + (f" against {inner}" if inner else "")
        )
        # A loss without an inner attack has no threat model: the data set's is the same.
        plan = plan_training(TrainConfig(threat=inner and THREAT, inner=inner), name=name, **places)
        run_training(plan, reporter, force=force)
    config = AttackConfig(attack=("apgd", "apgd-t"), threat=(THREAT,), store_points=True)
    reporter.say(f"attacking both: {' + '.join(config.attack)}, {THREAT}, the 597 test digits")
    plans = list(plan_attacks(list(MODELS), config, **places))
    found = attack(plans, store, force=force, listener=reporter)
    ids = [one.run.info["run_id"] for one in found]
    print_rich(comparison_table(compare_runs(ids, out).rows))
    for line in what_it_means(found[0].run.info, found[1].run.info, out):
        print_result(line)
    print_result(
        f"results:  {shown(store.root / 'results')} (one row per sample), {shown(store.models)}"
    )
    print_result(f"the page: {command('report', *MODELS, '--open', out=out)}")


def what_it_means(plain: Mapping[str, Any], hardened: Mapping[str, Any], out: Path) -> list[str]:
    """Two lines about two runs, of the models trained without and with an inner attack."""
    before, after = (percent(info["adversarial_ratio"]) for info in (plain, hardened))
    return [
        f"Within {plain['threat']} the attack makes {plain['model']} wrong on {before} of the "
        f"digits, {hardened['model']} on {after}: that is the adversarial ratio.",
        "Robust accuracy is the rest, and at most that: a stronger attack may find more "
        f"({command('check', hardened['model'], out=out)} looks for signs).",
    ]
