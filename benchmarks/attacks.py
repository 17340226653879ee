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

With --own-share no peer runs: it shows how much of our CPU time is spent outside the model's
forwards and backwards: by the start, the engine and the attack (least of the rounds).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from robbench.core.reproducible import prepare

prepare()  # before torch is loaded

import torch
from own_share import show_own_share
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sides import SETTINGS, Case, Reference, Side, judge, ours, theirs, trained

from robbench.catalogue.builtins import ATTACKS
from robbench.core.device import deterministic, find_device
from robbench.core.errors import RobbenchError
from robbench.core.freeze import frozen
from robbench.core.spec import finite
from robbench.data.load import load
from robbench.models.create import create
from robbench.statistics.proportions import mcnemar_exact
from robbench.store.provenance import provenance
from robbench.threat.model import ThreatModel, parse_threat

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
    parser.add_argument(
        "--own-share", action="store_true", help="of our CPU time, what is spent outside the model"
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
            trained(setting, args.cache, args.data_dir, device)
            if setting.epochs
            else create("pyautoattack-resnet18", split.info())
        )
        case = Case(setting, model.to(device).eval(), split)
        with frozen(case.model), deterministic():
            case.model(case.split.pixels(slice(0, 64)).requires_grad_()).sum().backward()  # warm up
            if args.own_share:
                specs = dict.fromkeys(duel.ours for duel in duels if duel.norm is None)
                show_own_share(case, specs, args.rounds, args.precision)
                continue
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
