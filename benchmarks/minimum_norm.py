"""Who finds the smallest perturbations: our attacks, adv-lib's or foolbox's, as AttackBench does.

    python benchmarks/minimum_norm.py FOLDER... [--norms l0,l1,l2,linf]
    [--samples 64] [--only ddn,fmn] [--out DIR]

FOLDER: model folders that robbench train wrote. Each attack may ask the model 1,000 forwards and
1,000 backwards per sample. On the peers' side a wrapper around the model counts them per sample,
and what a sample asks beyond its budget counts for nothing; a peer's result is the nearest
adversarial point among all it asked about inside the budget, its own answer included. Rows that a
peer picked from its batch are known by their nearest input. On our side the engine stops a sample
at its 1,000th forward, and its books give the backwards; an attack with more is marked. Every point
is judged in float32, inside the box, by the model itself.

Optimality (`robbench/analysis/optimality.py`) is relative to the best distances of all attacks in
the folder of results, one JSON file per model, norm and attack; what is there is not run again.
Packages that are not installed are named and left out. One thread.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from robbench.core.reproducible import prepare

prepare()  # before torch is loaded

import numpy as np
import torch
from minimum_norm_attacks import OURS, PEERS, Peer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from robbench.analysis.optimality import optimality
from robbench.attacks.base import AttackEntry
from robbench.attacks.package import alone
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import RobbenchError, text_of
from robbench.core.files import atomic_write
from robbench.core.freeze import frozen
from robbench.core.spec import short_hash
from robbench.data.base import Split
from robbench.data.load import load
from robbench.engine.evaluate import evaluate
from robbench.models.weights import load_model
from robbench.threat.model import parse_threat
from robbench.threat.norms import find_norm

BUDGET = 1000  # forwards, and backwards, per sample


class Budgeted(nn.Module):
    """A model that counts per sample what it is asked, and keeps the nearest adversarial points."""

    def __init__(self, model: nn.Module, x0: Tensor, y: Tensor, norm: str) -> None:
        super().__init__()
        self.model, self.x0, self.y, self.norm = model, x0, y, find_norm(norm)
        self.train(model.training)
        self.forwards = torch.zeros(len(y), dtype=torch.int64)
        self.backwards = torch.zeros_like(self.forwards)
        self.nearest = torch.full((len(y),), torch.inf)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        with torch.no_grad():
            sample = self._samples(x.detach())
            self.forwards += sample.bincount(minlength=len(self.y))
            wrong = logits.argmax(1) != self.y[sample]
            boxed = ((x >= 0) & (x <= 1)).flatten(1).all(1)
            paid = torch.maximum(self.forwards, self.backwards)[sample] <= BUDGET
            size = self.norm.size(x.detach() - self.x0[sample])
            size = torch.where(wrong & boxed & paid, size, torch.inf)
            self.nearest.scatter_reduce_(0, sample, size, "amin")
        if logits.requires_grad:
            logits.register_hook(lambda _: self._backward(sample))  # type: ignore[no-untyped-call]
        return logits

    def _samples(self, x: Tensor) -> Tensor:
        """[B]: whose rows they are. A full batch is in order."""
        if len(x) == len(self.y):
            return torch.arange(len(x))
        return torch.cdist(x.flatten(1), self.x0.flatten(1)).argmin(1)

    def _backward(self, sample: Tensor) -> None:
        self.backwards += sample.bincount(minlength=len(self.y))


def ours(spec: str, model: nn.Module, split: Split, norm: str) -> dict[str, Any]:
    """Distances and queries of our specs, joined by +, of which each sample tries all."""
    names = spec.split(" + ")
    entries = [AttackEntry(ATTACKS.canonical(name), ATTACKS.build(name)) for name in names]
    threat = parse_threat(f"{norm}:inf")[0]
    # The clean input is asked about before the attacks; it is part of the budget.
    verdicts = evaluate(
        model, split, threat, entries, seed=0, width=len(split), queries=BUDGET - 1, thorough=False
    ).verdicts
    return {
        "distances": [getattr(v, norm) if v.adversarial else math.inf for v in verdicts],
        "forwards": [v.n_forward for v in verdicts],
        "backwards": [v.n_backward for v in verdicts],
    }


def theirs(peer: Peer, model: nn.Module, split: Split, norm: str) -> dict[str, Any]:
    """Distances and queries of a peer, on the samples that the model gets right."""
    x, y = split.pixels(slice(None)), split.labels
    right = model(x).argmax(1) == y
    counted = Budgeted(model, x[right], y[right], norm)
    with alone(model, 0, peer.name), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = peer.run(counted, x[right].clone(), y[right].clone(), norm)
    with torch.no_grad():
        counted(found.detach().to(x))
    filled = {"distances": counted.nearest, "forwards": counted.forwards}
    result: dict[str, Any] = {}
    for name, values in (filled | {"backwards": counted.backwards}).items():
        whole = torch.zeros(len(y), dtype=values.dtype)
        whole[right] = values
        result[name] = whole.tolist()
    return result


def contests(
    norm: str, also: list[str]
) -> Iterator[tuple[str, str, Callable[..., dict[str, Any]]]]:
    """(side, name, how to run it on model, split and norm)."""
    for spec in OURS[norm] + also:
        yield "robbench", spec, lambda *case, spec=spec: ours(spec, *case)
    for peer in PEERS[norm]:
        yield peer.package, peer.name, lambda *case, peer=peer: theirs(peer, *case)


def missing_packages() -> set[str]:
    """Peers that are not installed; said on stdout."""
    if importlib.util.find_spec("visdom") is None:
        sys.modules["visdom"] = mock.MagicMock()  # adv-lib plots with it in callbacks only
    absent = {name for name in ("adv_lib", "foolbox") if importlib.util.find_spec(name) is None}
    print("".join(f"{name} is missing: left out\n" for name in sorted(absent)), end="")
    return absent


def attacked(result: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Distances of the samples that the model gets right."""
    found = np.array(result["distances"], float)
    return found[found > 0]


def show(results: list[dict[str, Any]], norm: str, samples: int) -> None:
    """One table per norm: optimality per model and mean, the best first."""
    best: dict[str, Any] = {}
    for result in results:
        found = np.array(result["distances"], float)
        best[result["model"]] = np.minimum(best.get(result["model"], math.inf), found)
    models, rows = sorted(best), defaultdict(dict)
    for result in results:
        rows[result["side"], result["attack"]][result["model"]] = result
    title = f"{norm}, {samples} samples, optimality at {BUDGET} forwards + {BUDGET} backwards"
    table = Table("side", "attack", *models, "mean", "median", "F", "B", title=title)
    lines = []
    for (side, attack), found in rows.items():
        marks = {
            name: optimality(np.array(found[name]["distances"], float), best[name])
            for name in models
            if name in found
        }
        middle = [f"{np.median(attacked(found[name])):.3g}" for name in marks]
        most = [max(max(r[key]) for r in found.values()) for key in ("forwards", "backwards")]
        over = "!" if side == "robbench" and max(most) > BUDGET else ""
        mean = sum(marks.values()) / len(marks)
        cells = [f"{marks[name]:.4f}" if name in marks else "" for name in models]
        counts = [str(most[0]), f"{most[1]}{over}"]
        lines.append((mean, [side, attack, *cells, f"{mean:.4f}", " ".join(middle), *counts]))
    for _, line in sorted(lines, key=lambda line: -line[0]):
        table.add_row(*line)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="model folders")
    parser.add_argument("--data-dir", type=Path, help="where it lies; default as for robbench")
    parser.add_argument("--norms", default="l0,l1,l2,linf")
    parser.add_argument("--samples", type=int, default=64, help="the first so many of the test set")
    parser.add_argument("--only", help="run attacks with one of these words in package or name")
    parser.add_argument(
        "--also", action="append", default=[], help="more specs of ours (joined by +), in all norms"
    )
    parser.add_argument("--out", type=Path, default=Path("minimum-norm"), help="folder of results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    absent = missing_packages()
    words = args.only.split(",") if args.only else [""]
    for norm in args.norms.split(","):
        results = []
        for folder in args.folders:
            model, config = load_model(folder)
            split = load(config["data"], "test", data_dir=args.data_dir, limit=args.samples)
            for side, name, run in contests(norm, args.also):
                key = [str(folder.name), norm, side, name, config["data"], args.samples]
                file = args.out / f"{norm}-{folder.name}-{short_hash(key)}.json"
                if file.is_file():
                    results.append(json.loads(file.read_text()))
                    continue
                if side in absent or not any(word in f"{side} {name}" for word in words):
                    continue
                began = time.process_time()
                try:
                    with frozen(model):
                        found = run(model, split, norm)
                except RobbenchError as error:
                    print(f"{side} {name}, {norm}: {text_of(error)}", file=sys.stderr)
                    continue
                facts = {"model": folder.name, "norm": norm, "side": side, "attack": name}
                facts |= {"seconds": time.process_time() - began}
                args.out.mkdir(parents=True, exist_ok=True)
                text = json.dumps(facts | found)
                atomic_write(file, lambda path, text=text: path.write_text(text))
                print(f"{folder.name} {norm} {side} {name}: done", file=sys.stderr)
                results.append(facts | found)
        if results:
            show(results, norm, args.samples)


if __name__ == "__main__":
    main()
