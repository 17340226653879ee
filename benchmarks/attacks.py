"""Our attacks against four other packages': time, queries and verdicts, in alternation.

    python benchmarks/attacks.py [--data-dir DIR] [--cache DIR] [--cases a,b,c,d] [--duels
    pgd,foolbox] [--json FILE] ...

Cases: (a) an undefended small CNN on CIFAR-10; (b) the same, adversarially trained; (c)
pyautoattack-resnet18, undefended, where nothing holds at 8/255, so also at 0.5/255; (d) an
adversarially trained binary classifier, airplane against horse.

Both sides have the same settings, frozen model, threads and full float32 kernels. Our side is what
`robbench attack` runs, all in all. The peers are handed the samples that the model gets right, in
batches of 250 (512 on a GPU); to know these costs them nothing. Rows through the model are counted
by a wrapper around it, padding included, and shown per sample of the case. Every point of either
side is judged again in float32: inside the box, inside the budget, misclassified. Where the
smallest perturbation is sought, a sample is robust if none was found within the budget in the
table; medians are over the samples that the model gets right. Only ratios of times within one run
mean anything: median and range over the rounds, ours / peer.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from robbench.core.reproducible import prepare

prepare()  # before torch is loaded

import torch
from pyautoattack import AutoAttack
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor, nn

from robbench.attacks.base import AttackEntry
from robbench.attacks.package import alone
from robbench.attacks.pgd import PGD
from robbench.attacks.pyautoattack import NORM_NAMES, PyAutoAttack
from robbench.catalogue.builtins import ATTACKS
from robbench.core.device import default_batch_size, deterministic, find_device
from robbench.core.errors import RobbenchError
from robbench.core.freeze import frozen
from robbench.core.spec import finite, short_hash
from robbench.core.tiles import Tiles, largest_tile
from robbench.data.base import Split
from robbench.data.load import load
from robbench.engine.counter import Counter
from robbench.engine.evaluate import evaluate
from robbench.engine.fast_model import fast_model
from robbench.engine.oracle import forward_tiles
from robbench.engine.pool import Pool
from robbench.engine.shapes import tiles_of
from robbench.losses.cross_entropy import CrossEntropy
from robbench.models.create import create
from robbench.statistics.proportions import mcnemar_exact
from robbench.store.provenance import provenance
from robbench.threat.model import ThreatModel, parse_threat
from robbench.threat.problem import Problem, size_and_fits
from robbench.training.inner import Inner
from robbench.training.recipe import Recipe
from robbench.training.trainer import Trainer

WITHIN = {
    "linf": 8 / 255,
    "l2": 0.5,
    "l1": 12.0,
    "l0": 24.0,
}  # where a smallest perturbation counts as a broken sample
PACKAGES = {
    "pyautoattack": "pyautoattack",
    "torchattacks": "torchattacks",
    "foolbox": "foolbox",
    "adv-lib": "adv_lib",
}


class Duel(NamedTuple):
    """Our specs, joined by +, and a peer's. `norm`: minimum-norm. {alpha} is eps / 10."""

    name: str
    ours: str
    package: str
    peer: str
    norm: str | None = None


AA = [
    "apgd-ce:steps=100",
    "apgd-t:steps=100,targets=9",
    "fab-t:iterations=100,targets=9",
    "square:steps={queries}",
]
PGD_20, CW_9 = "pgd:steps=20,rate=0.1", "cw:search_steps=9,iterations=100,rate=0.01,c=0.001"
DUELS = [
    *(Duel(name, spec, "pyautoattack", name) for spec in AA for name in [spec.partition(":")[0]]),
    Duel("autoattack", " + ".join(AA), "pyautoattack", "standard"),
    Duel("pgd", PGD_20, "torchattacks", "PGD,options=(steps=20,alpha={alpha})"),
    Duel("pgd", PGD_20, "foolbox", "LinfPGD,options=(steps=20,rel_stepsize=0.1)"),
    Duel("deepfool", "deepfool:steps=50", "torchattacks", "DeepFool,options=(steps=50)", "l2"),
    Duel("deepfool", "deepfool:steps=50", "foolbox", "L2DeepFoolAttack,options=(steps=50)", "l2"),
    Duel(
        "deepfool", "deepfool:steps=50", "foolbox", "LinfDeepFoolAttack,options=(steps=50)", "linf"
    ),
    Duel(
        "cw",
        "cw:search_steps=1,iterations=100,rate=0.01,c=1",
        "torchattacks",
        "CW,options=(steps=100,lr=0.01,c=1)",
        "l2",
    ),
    Duel("cw", CW_9, "foolbox", "L2CarliniWagnerAttack,options=(steps=100)", "l2"),
    Duel("cw", CW_9, "adv-lib", "carlini_wagner_l2,options=(max_iterations=100)", "l2"),
    Duel("ddn", "ddn:steps=100", "adv-lib", "ddn,options=(steps=100,levels=none)", "l2"),
    *(
        Duel("fmn", "fmn:steps=100", "adv-lib", "fmn,options=(steps=100)", norm)
        for norm in ("l2", "linf", "l1", "l0")
    ),
]


class Setting(NamedTuple):
    """A case; `queries` is the limit of Square. A small CNN is trained for `epochs`, if any."""

    name: str
    title: str
    data: str
    samples: int
    queries: int
    threats: tuple[str, ...] = ("linf:8/255",)
    epochs: int = 0
    robust: bool = False


SETTINGS = {
    "a": Setting("a", "undefended small-cnn", "cifar10", 1000, 1000, epochs=5),
    "b": Setting(
        "b", "adversarially trained small-cnn", "cifar10", 500, 1000, epochs=10, robust=True
    ),
    "c": Setting("c", "pyautoattack-resnet18", "cifar10", 16, 100, ("linf:8/255", "linf:0.5/255")),
    "d": Setting(
        "d",
        "adversarially trained small-cnn",
        "cifar10[airplane,horse]",
        500,
        1000,
        epochs=10,
        robust=True,
    ),
}


class Case(NamedTuple):
    """A model and the samples it is attacked on."""

    setting: Setting
    model: Any
    split: Split

    def pool(self, threat: ThreatModel) -> Pool:
        return Pool.of(self.split, [threat], self.model, seed=0, tiles=self.tiles)

    @property
    def tiles(self) -> Tiles:
        return tiles_of([self.model], self.split.pixels(slice(0, 256)))


class Side(NamedTuple):
    """One side's run: seconds, rows through the model, and a point for each sample."""

    seconds: float
    n_forward: int
    n_backward: int
    points: Tensor


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def ours(specs: str, case: Case, threat: ThreatModel, precision: str) -> Side:
    """As `robbench attack`: a model with folded batch norms searches, the model confirms."""
    clean, device = case.split.pixels(slice(None)), case.split.labels.device
    entries = [
        AttackEntry(ATTACKS.canonical(spec), ATTACKS.build(spec)) for spec in specs.split(" + ")
    ]
    began = now(device)
    tile = largest_tile(device, clean.shape[1:]).rows
    fast = fast_model(case.model, clean[:8], precision=precision, compiled=False, tile=tile)
    counters = Counter(case.model), Counter(fast.model)
    points_at = evaluate(
        counters[0],
        case.split,
        threat,
        entries,
        seed=0,
        width=default_batch_size(device),
        thorough=False,
        keep_points=True,
        fast=counters[1],
        recheck=fast.recheck,
    ).points
    seconds = now(device) - began
    points = torch.stack([points_at.get((i, 0), clean[i]) for i in range(len(clean))])
    return Side(
        seconds, sum(c.n_forward for c in counters), sum(c.n_backward for c in counters), points
    )


class Reference(NamedTuple):
    """One attack of pyautoattack's standard version, or all of it; targets are cut to K-1."""

    version: str
    queries: int

    def run(self, model: nn.Module, p: Problem, *, seed: int) -> Tensor:
        classes = p.logits0.shape[1]
        with alone(model, seed, f"pyautoattack:{self.version}"):
            peer: Any = AutoAttack(
                model,
                norm=NORM_NAMES[p.norm.name],
                eps=float(p.eps[0]),
                seed=seed,
                device=p.x0.device,
            )
            peer.apgd_targeted.n_target_classes = peer.fab.n_target_classes = min(9, classes - 1)
            peer.square.n_queries, peer.fab.targeted = self.queries, True
            peer.attacks_to_run = PyAutoAttack().attacks(
                classes
            )  # no DLR where there are too few classes for it
            one = {
                "apgd-ce": peer.apgd,
                "apgd-t": peer.apgd_targeted,
                "fab-t": peer.fab,
                "square": peer.square,
            }.get(self.version)
            points: Tensor = (
                one.perturb(p.x0, p.y)
                if one
                else peer.run_standard_evaluation(p.x0, p.y, batch_size=len(p))[0]
            )
        return points


def theirs(peer: Any, case: Case, threat: ThreatModel) -> Side:
    pool, points, counter = (
        case.pool(threat),
        case.split.pixels(slice(None)).clone(),
        Counter(case.model),
    )
    began = now(points.device)
    for rows in (~pool.wrong).nonzero()[:, 0].split(512 if points.is_cuda else 250):
        points[rows] = peer.run(counter, pool.problem(rows), seed=0).to(points)
    return Side(now(points.device) - began, counter.n_forward, counter.n_backward, points)


def fight(
    case: Case, duel: Duel, threat: ThreatModel, rounds: int, precision: str
) -> dict[str, Any]:
    """Alternate the two sides, then judge the points of their first rounds: a row of the table."""
    within = WITHIN[duel.norm] if duel.norm else threat.eps
    texts = duel.ours, f"{duel.package}:{duel.peer}"
    specs, opponent = (
        text.format(queries=case.setting.queries, alpha=threat.eps / 10) for text in texts
    )
    row: dict[str, Any] = {
        "case": case.setting.name,
        "duel": duel.name,
        "ours_spec": specs,
        "peer_spec": opponent,
        "threat": threat.text,
        "within": within,
        "samples": len(case.split),
    }
    runs: dict[str, list[Side]] = {"ours": [], "peer": []}
    try:
        peer = (
            Reference(duel.peer, case.setting.queries)
            if duel.package == "pyautoattack"
            else ATTACKS.build(opponent)
        )
        for n in range(rounds):
            for name in ("ours", "peer")[:: 1 if n % 2 == 0 else -1]:
                runs[name].append(
                    ours(specs, case, threat, precision)
                    if name == "ours"
                    else theirs(peer, case, threat)
                )
    except RobbenchError as error:
        row["note"] = f"{'peer cannot' if runs['ours'] else 'missing'}: {error}"
    broken = {}
    for name, done in runs.items():
        if done:
            broken[name], sizes = judge(case, threat, within, done[0].points)
            row[name] = {
                "seconds": (seconds := [run.seconds for run in done]),
                "median_seconds": statistics.median(seconds),
                "robust": int((~broken[name]).sum()),
                "forwards": done[0].n_forward / len(case.split),
                "backwards": done[0].n_backward / len(case.split),
                "median_size": float(sizes.median()) if duel.norm and len(sizes) else None,
            }
    if len(broken) == 2:
        only = [
            int((broken[one] & ~broken[other]).sum())
            for one, other in (("ours", "peer"), ("peer", "ours"))
        ]
        row |= {"only_ours": only[0], "only_peer": only[1], "p": mcnemar_exact(*only)}
        row["ratios"] = [
            a.seconds / b.seconds for a, b in zip(runs["ours"], runs["peer"], strict=False)
        ]
    return row


@torch.no_grad()
def judge(case: Case, threat: ThreatModel, within: float, points: Tensor) -> tuple[Tensor, Tensor]:
    """Broken [N], and of the samples classified correctly the perturbation's size, else inf."""
    pool, y = case.pool(threat), case.split.labels
    logits = forward_tiles(case.model, points, case.tiles)
    size, fits = size_and_fits(points, pool.problem(torch.arange(len(y), device=y.device)))
    size = torch.where(
        fits & (logits.argmax(1) != y) & torch.isfinite(logits).all(1), size, torch.inf
    )
    return pool.wrong | (size <= within * (1 + 1e-5) + 1e-7), size[~pool.wrong]


def show(case: Case, rows: list[dict[str, Any]]) -> None:
    title = (
        f"({case.setting.name}) {case.setting.title} on {case.setting.data}, "
        f"{len(case.split)} samples: ours / peer"
    )
    names = (
        "attack|peer|threat|seconds|ratio (range)|forwards|backwards|robust|broken by one only "
        "(p)|median size"
    )
    table = Table(*names.split("|"), title=escape(title), title_justify="left")
    for row in rows:
        sides = [row[name] for name in ("ours", "peer") if name in row]
        cells = [
            " / ".join(f"{side[name]:{form}}" for side in sides if side[name] is not None)
            for name, form in (
                ("median_seconds", ".2f"),
                ("forwards", ".1f"),
                ("backwards", ".1f"),
                ("robust", "d"),
                ("median_size", ".4g"),
            )
        ]
        note, differ = row.get("note", ""), ""
        if ratios := row.get("ratios"):
            note = f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f}) {note}"
            differ = f"{row['only_ours']} / {row['only_peer']} ({row['p']:.2g})"
        threat = f"{row['threat']}, {row['within']:.3g}" if cells[-1] else row["threat"]
        peer = row["peer_spec"].partition(",")[0]
        table.add_row(
            row["duel"], peer, threat, cells[0], escape(note), *cells[1:4], differ, cells[4]
        )
    Console(width=None if sys.stdout.isatty() else 190).print(table)


def trained(s: Setting, args: argparse.Namespace, device: torch.device) -> nn.Module:
    """A small CNN trained on up to 15,000 samples, from the cache if it is there."""
    train = load(s.data, "train", data_dir=args.data_dir, limit=15_000).to(device)
    torch.manual_seed(0)
    model = create("small-cnn", train.info()).to(device)
    recipe = Recipe(
        epochs=s.epochs,
        batch_size=128,
        optimizer="adam",
        lr=0.003,
        momentum=0.9,
        weight_decay=0.0,
        schedule="one-cycle",
        augment="none",
        seed=0,
    )
    threat = parse_threat("linf:8/255")[0]
    inner = Inner(PGD(steps=7), threat) if s.robust else None
    file = args.cache / f"small-cnn-{short_hash([train.fingerprint(), str(recipe), s.robust])}.pt"
    if not file.is_file():
        print(
            f"training: {s.title} on {s.data}, {len(train)} samples, {s.epochs} epochs",
            file=sys.stderr,
        )
        trainer = Trainer(
            model,
            CrossEntropy(),
            train,
            train.take(torch.arange(0)),
            recipe,
            inner=inner,
            threat=threat,
        )
        for _ in range(recipe.epochs):
            trainer.run_epoch(lambda progress: None)
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), file)
    model.load_state_dict(torch.load(file, map_location=device, weights_only=True))
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data-dir", type=Path, help="where CIFAR-10 lies; default as for robbench"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "robbench-benchmark",
        help="trained weights",
    )
    parser.add_argument("--cases", default="a,b,c,d")
    parser.add_argument("--duels", help="names of attacks or packages, with commas; default all")
    parser.add_argument("--samples", type=int, help="per case, instead of its own number")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16"),
        default="fp32",
        help="of our search; peers run in float32",
    )
    parser.add_argument("--json", type=Path, help="file for all rows, written anew after each")
    args = parser.parse_args()
    device, rows = find_device(args.device), []
    chosen = set(args.duels.split(",")) if args.duels else set(PACKAGES)
    missing = [
        name for name, module in PACKAGES.items() if importlib.util.find_spec(module) is None
    ]
    print("".join(f"{name} not installed: left out\n" for name in missing), end="")
    duels = [
        duel
        for duel in DUELS
        if duel.package not in missing and not chosen.isdisjoint((duel.name, duel.package))
    ]
    if (
        importlib.util.find_spec("visdom") is None
    ):  # adv-lib imports this plotting client, and uses it in callbacks only
        sys.modules["visdom"] = mock.MagicMock()
    print(
        f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, "
        f"{args.rounds} alternating rounds"
    )
    facts = provenance() | {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "precision": args.precision,
    }
    for setting in (SETTINGS[name] for name in args.cases.split(",")):
        split = load(
            setting.data, "test", data_dir=args.data_dir, limit=args.samples or setting.samples
        ).to(device)
        model = (
            trained(setting, args, device)
            if setting.epochs
            else create("pyautoattack-resnet18", split.info())
        )
        case = Case(setting, model.to(device).eval(), split)
        with frozen(case.model), deterministic():
            case.model(case.split.pixels(slice(0, 64)).requires_grad_()).sum().backward()  # warm up
            for duel in duels:
                for text in [f"{duel.norm}:inf"] if duel.norm else case.setting.threats:
                    rows.append(
                        fight(case, duel, parse_threat(text)[0], args.rounds, args.precision)
                    )
                    print(
                        f"({case.setting.name}) {duel.name} against {duel.package}, {text}: done",
                        file=sys.stderr,
                    )
                    if args.json:
                        args.json.write_text(
                            json.dumps(
                                finite({"facts": facts, "rows": rows}), indent=1, allow_nan=False
                            )
                        )
        show(case, [row for row in rows if row["case"] == case.setting.name])


if __name__ == "__main__":
    main()
