"""A cheap cascade and its audit on the broken defences of the self-test.

    python benchmarks/masked.py --out DIR [--cascade autoattack-lite] [--audit 30] [--samples 100]

The audit or the flags have to say that the cheap number is not to be believed; the exit status is 1
where neither does and not all survivors were audited. Each defence ends as a file in DIR; one that
is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from robbench.core.reproducible import prepare

prepare()  # before torch is loaded

import torch
from rich.console import Console
from rich.table import Table
from sides import keep
from torch import nn

import robbench
from robbench.checks.broken_defences import DEFENCES
from robbench.core.errors import RobbenchError
from robbench.data.base import Split
from robbench.data.load import load
from robbench.tasks.self_test import THREAT, cases

REMARKS = ("interface", "loaded", "few-classes", "rounding", "one-class")


def specimen(model: nn.Module, test: Split, args: argparse.Namespace) -> dict[str, Any]:
    """What a run of the cascade says of a broken defence; a refusal says enough."""
    columns = (
        "clean_accuracy",
        "robust_accuracy",
        "n_survivors",
        "n_audited",
        "n_audit_broken",
        "audit_missed_high",
        "robust_accuracy_audited",
    )
    try:
        run = robbench.evaluate(
            model,
            test.pixels(slice(None)),
            test.labels,
            THREAT,
            args.cascade,
            audit=args.audit,
            classes=test.classes,
        )
    except RobbenchError as error:
        return dict.fromkeys(columns) | {"flags": {"refused": str(error)}}
    return {name: run.info[name] for name in columns} | {"flags": run.flags}


def specimens(args: argparse.Namespace) -> int:
    """The broken defences of the self-test: how many are not seen through."""
    train, test = load("digits", "train"), load("digits", "test", limit=args.samples)
    files = {name: args.out / f"specimen-{n}.json" for n, name in enumerate(DEFENCES)}
    todo = [name for name, file in files.items() if not file.is_file()]
    with torch.random.fork_rng():
        found = cases(train, lambda name: name in todo) if todo else []
    for case in found:
        keep(files[case.name], {"name": case.name, **specimen(case.model, test, args)})
    names = "defence|clean|robust|audit broke|missed at most|robust at least|flags|believed"
    table = Table(*names.split("|"), title=f"{args.cascade}, audit {args.audit}, {THREAT}")
    missed = 0
    for file in files.values():
        row = json.loads(file.read_text(encoding="utf-8"))
        # Nothing left to overstate, or something said.
        warned = bool(row["n_audit_broken"] or warnings(row["flags"])) or not row["robust_accuracy"]
        whole = row["n_audited"] == row["n_survivors"]  # so the number is the full attack's
        missed += not (warned or whole)
        table.add_row(
            row["name"],
            share(row["clean_accuracy"]),
            share(row["robust_accuracy"]),
            "-" if row["n_audited"] is None else f"{row['n_audit_broken']} of {row['n_audited']}",
            share(row["audit_missed_high"]),
            share(row["robust_accuracy_audited"]),
            " ".join(warnings(row["flags"])),
            "no" if warned else "yes, all audited" if whole else "YES",
        )
    Console(width=None if sys.stdout.isatty() else 180).print(table)
    return missed


def share(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"


def warnings(flags: dict[str, str]) -> list[str]:
    """Flags that doubt the number, without remarks on the model, the data or the machine."""
    return [name for name in flags if name not in REMARKS]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--cascade", default="autoattack-lite")
    parser.add_argument("--audit", type=int, default=30, help="survivors to audit")
    parser.add_argument("--samples", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sys.exit(1 if specimens(args) else 0)


if __name__ == "__main__":
    main()
