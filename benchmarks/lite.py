"""`autoattack-lite --audit N` against the whole AutoAttack: cost and verdicts.

    python benchmarks/lite.py MODELS.toml --out DIR [--cascade autoattack-lite] [--audit 300]
    [--against pyautoattack|autoattack] [--data-dir DIR] [--cache DIR]

A file of models has `[[models]]` with name, model (a folder of `robbench train`, a spec, or
`case:b` of `attacks.py`), data, threat and samples. Each ends as DIR/NAME.json; one that is there
is not run again, so a stopped benchmark goes on.

`--against pyautoattack` is its standard version with 5,000 queries of Square, on the samples that
the model gets right; `autoattack` is our own full cascade. Both sides run on one thread with full
float32 kernels, one after the other. Queries are rows that pass the model, counted by the same
wrapper on both sides: ours once without padding, as verdicts count them, and once with it. Ours
include the audit. Every point of either side is judged again in float32 by the model.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from robbench.core.reproducible import prepare

prepare()  # before torch is loaded

import torch
from rich.console import Console
from rich.table import Table
from sides import (
    SETTINGS,
    Case,
    Reference,
    Setting,
    entries_of,
    judge,
    keep,
    search,
    theirs,
    trained,
)
from torch import Tensor

from robbench.catalogue.cascades import expand
from robbench.core.device import deterministic
from robbench.core.freeze import frozen
from robbench.data.load import load
from robbench.engine.audit import draw
from robbench.statistics.proportions import mcnemar_exact, most_in_population
from robbench.store.provenance import provenance
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.subject import find_subject
from robbench.threat.model import ThreatModel, parse_threat

CPU = torch.device("cpu")
SQUARE_QUERIES = 5000


class Half(NamedTuple):
    """One side's run. Queries are F and B without padding, rows with it; audit: what it found."""

    cpu_seconds: float
    wall_seconds: float
    queries: tuple[int, int]
    rows: tuple[int, int]
    points: Tensor
    audit: dict[str, Any]


def ours(cascade: str, audit: int, case: Case, threat: ThreatModel) -> Half:
    """A cascade, then the attacks of `autoattack` that it does not have on some survivors."""
    own = entries_of(" + ".join(expand(cascade, threat.norm_name)))
    names = {entry.spec for entry in own}
    full = entries_of(" + ".join(expand("autoattack", threat.norm_name)))
    wall, cpu = time.perf_counter(), time.process_time()
    first = search(own, case, threat, "fp32")
    found = {sample: x for (sample, _), x in first.found.points.items()}
    left = [v.sample for v in first.found.verdicts if not v.adversarial]
    parts, said = [first], dict[str, Any]()
    drawn = draw(left, audit, case.split, 0) if audit else []
    if drawn:
        part = case._replace(split=case.split.take(torch.tensor(drawn)))
        second = search([e for e in full if e.spec not in names], part, threat, "fp32")
        found |= {drawn[place]: x for (place, _), x in second.found.points.items()}
        broken = sum(v.adversarial for v in second.found.verdicts)
        said = {
            "survivors": len(left),
            "audited": len(drawn),
            "broken": broken,
            "robust_at_least": len(left) - most_in_population(broken, len(drawn), len(left)),
        }
        parts.append(second)
    verdicts = [v for part in parts for v in part.found.verdicts]
    clean = case.split.pixels(slice(None))
    return Half(
        time.process_time() - cpu,
        time.perf_counter() - wall,
        (sum(v.n_forward for v in verdicts), sum(v.n_backward for v in verdicts)),
        (sum(p.n_forward for p in parts), sum(p.n_backward for p in parts)),
        torch.stack([found.get(i, clean[i]) for i in range(len(clean))]),
        said,
    )


def reference(against: str, case: Case, threat: ThreatModel) -> Half:
    if against == "autoattack":
        return ours("autoattack", 0, case, threat)
    wall, cpu = time.perf_counter(), time.process_time()
    side = theirs(Reference("standard", SQUARE_QUERIES), case, threat)
    rows = side.n_forward, side.n_backward
    return Half(time.process_time() - cpu, time.perf_counter() - wall, rows, rows, side.points, {})


def duel(case: Case, threat: ThreatModel, args: argparse.Namespace) -> dict[str, Any]:
    """Both sides on one model, as the JSON that is kept."""
    halves = {
        "ours": ours(args.cascade, args.audit, case, threat),
        "theirs": reference(args.against, case, threat),
    }
    broken = {
        name: judge(case, threat, threat.eps, half.points)[0] for name, half in halves.items()
    }
    only = [
        int((broken[one] & ~broken[other]).sum())
        for one, other in (("ours", "theirs"), ("theirs", "ours"))
    ]
    n = len(case.split)
    row: dict[str, Any] = {
        "name": case.setting.name,
        "data": case.setting.data,
        "threat": threat.text,
        "samples": n,
        "cascade": args.cascade,
        "against": args.against,
        "only_ours": only[0],
        "only_theirs": only[1],
        "p": mcnemar_exact(*only),
    }
    for name, half in halves.items():
        row[name] = half._replace(points=torch.zeros(0))._asdict() | {
            "robust": int((~broken[name]).sum()),
            "robust_accuracy": float((~broken[name]).float().mean()),
        }
        del row[name]["points"]
    mine, peer = halves["ours"], halves["theirs"]
    row["ratios"] = {
        "cpu": mine.cpu_seconds / peer.cpu_seconds,
        "wall": mine.wall_seconds / peer.wall_seconds,
        "queries": sum(mine.queries) / sum(peer.queries),
        "rows": sum(mine.rows) / sum(peer.rows),
    }
    return row


def case_of(entry: dict[str, Any], args: argparse.Namespace) -> Case:
    name, text, samples = entry["name"], entry["model"], args.samples or entry["samples"]
    setting = Setting(name, name, entry["data"], samples, SQUARE_QUERIES)
    if text.startswith("case:"):
        model: Any = trained(SETTINGS[text.removeprefix("case:")], args.cache, args.data_dir, CPU)
        split = load(entry["data"], "test", data_dir=args.data_dir, limit=samples)
    else:
        config = AttackConfig(data=entry["data"], limit=samples)
        subject, _ = find_subject(text, config, Store(args.out), CPU, args.data_dir, False)
        model, split = subject.model, subject.split
    return Case(setting, model.eval(), split)


def models(args: argparse.Namespace) -> None:
    rows = []
    for entry in tomllib.loads(args.models.read_text(encoding="utf-8"))["models"]:
        file = args.out / f"{entry['name']}.json"
        if not file.is_file():
            case, threat = case_of(entry, args), parse_threat(entry["threat"])[0]
            with frozen(case.model), deterministic():
                case.model(case.split.pixels(slice(0, 64)).requires_grad_()).sum().backward()
                keep(file, duel(case, threat, args) | {"facts": provenance()})
            print(f"{entry['name']}: done", file=sys.stderr)
        rows.append(json.loads(file.read_text(encoding="utf-8")))
    names = (
        "model|threat|samples|robust|broken by one only (p)|audit: broken / audited / survivors|"
        "robust at least|CPU s|ratio|F|B|F+B ratio (with padding)"
    )
    table = Table(*names.split("|"), title="ours / reference", title_justify="left")
    for row in rows:
        mine, peer, audit, ratios = row["ours"], row["theirs"], row["ours"]["audit"], row["ratios"]
        table.add_row(
            row["name"],
            row["threat"],
            f"{row['samples']}",
            f"{mine['robust_accuracy']:.2%} / {peer['robust_accuracy']:.2%}",
            f"{row['only_ours']} / {row['only_theirs']} ({row['p']:.2g})",
            f"{audit['broken']} / {audit['audited']} / {audit['survivors']}" if audit else "",
            f"{audit['robust_at_least'] / row['samples']:.2%}" if audit else "",
            f"{mine['cpu_seconds']:.1f} / {peer['cpu_seconds']:.1f}",
            f"{ratios['cpu']:.3f} (wall {ratios['wall']:.3f})",
            *(f"{mine['queries'][i]:,} / {peer['queries'][i]:,}" for i in (0, 1)),
            f"{ratios['queries']:.4f} ({ratios['rows']:.4f})",
        )
    Console(width=None if sys.stdout.isatty() else 220).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, help="TOML file of models")
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--cascade", default="autoattack-lite")
    parser.add_argument("--audit", type=int, default=300, help="survivors to audit, 0 for none")
    parser.add_argument("--against", choices=("pyautoattack", "autoattack"), default="pyautoattack")
    parser.add_argument("--samples", type=int, help="of each model, instead of its own number")
    parser.add_argument("--data-dir", type=Path, help="default as for robbench")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "robbench-benchmark",
        help="trained weights of cases",
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    models(args)


if __name__ == "__main__":
    main()
