"""Our APGD-CE against pyautoattack's: time, forwards, backwards and verdicts, side by side in one process, alternating.

    python benchmarks/apgd.py [--data-dir DIR] [--rounds 3] [--skip-resnet]

(a) an undefended small CNN, 1,000 test samples; (b) pyautoattack-resnet18, 64 samples, and (c) the same at 0.5/255, where many
samples survive all steps and early exit cannot help. CIFAR-10 when it is found, else (a) on digits only. Both sides run 100
steps from one random start on the same samples, in the same process and threads; the peer in its default batches of 250.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robbench.attacks.apgd import APGD
from robbench.core.config import TrainConfig
from robbench.core.device import deterministic
from robbench.core.errors import UserError
from robbench.data.base import Split
from robbench.data.load import default_threat, load
from robbench.engine.cascade import Cascade, Entry
from robbench.engine.counter import Counter
from robbench.engine.guard import frozen
from robbench.losses.cross_entropy import CrossEntropy
from robbench.models.create import create
from robbench.results.statistics import mcnemar_exact
from robbench.threat.model import ThreatModel, parse_threat
from robbench.training.trainer import Recipe, Trainer


class Result(NamedTuple):
    """One side's run: seconds, rows through the model, and which samples are still classified right."""

    seconds: float
    forwards: int
    backwards: int
    robust: list[bool]


def ours(model: Any, split: Split, threat: ThreatModel) -> Result:
    counter = Counter(model)
    began = time.perf_counter()
    with frozen(model), deterministic():
        cascade = Cascade(counter, split, threat, [Entry("apgd", APGD())], seed=0, width=128)
        verdicts = sorted(v for tick in cascade.run() for v in tick.verdicts)
    return Result(time.perf_counter() - began, counter.forwards, counter.backwards, [not v.adversarial for v in verdicts])


def theirs(model: Any, split: Split, threat: ThreatModel, batch: int = 250) -> Result:
    from pyautoattack.autopgd_base import APGDAttack

    counter = Counter(model)
    points: list[Tensor] = []
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attack = APGDAttack(counter, n_iter=100, norm="Linf", n_restarts=1, eps=threat.eps, seed=0, loss="ce", device="cpu")
        for start in range(0, len(split), batch):
            rows = slice(start, start + batch)
            points.append(attack.perturb(split.pixels(rows), split.labels[rows]))
    with torch.no_grad():
        robust = torch.cat([model(x).argmax(1) for x in torch.cat(points).split(batch)]) == split.labels
    return Result(time.perf_counter() - began, counter.forwards, counter.backwards, robust.tolist())


def compare(title: str, model: Any, split: Split, threat: ThreatModel, rounds: int) -> None:
    sides = {"robbench": ours, "pyautoattack": theirs}
    for run in sides.values():
        run(model, split.take(torch.arange(min(64, len(split)))), threat) if len(split) > 64 else None  # warm-up
    results: dict[str, list[Result]] = {name: [] for name in sides}
    for round_ in range(rounds):
        for name in sides if round_ % 2 == 0 else reversed(sides):
            results[name].append(sides[name](model, split, threat))
    print(f"\n{title}: {len(split)} samples, {threat.text}, {rounds} alternating rounds")
    for name, runs in results.items():
        times = [run.seconds for run in runs]
        print(f"  {name:13} {statistics.median(times):8.2f} s ({min(times):.2f} to {max(times):.2f})  "
              f"forwards {runs[0].forwards:8d}  backwards {runs[0].backwards:8d}  robust {sum(runs[0].robust)}")  # fmt: skip
    ratios = [a.seconds / b.seconds for a, b in zip(*results.values(), strict=True)]
    print(
        f"  time ratio robbench / pyautoattack: median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    )
    mine, peer = results["robbench"][0].robust, results["pyautoattack"][0].robust
    only_mine = sum(b and not a for a, b in zip(mine, peer, strict=True))
    only_peer = sum(a and not b for a, b in zip(mine, peer, strict=True))
    print(f"  verdicts differ on {only_mine + only_peer} samples: {only_mine} broken only by robbench, {only_peer} only by "
          f"pyautoattack (McNemar p = {mcnemar_exact(only_mine, only_peer):.2f})")  # fmt: skip


def undefended(data: str, data_dir: Path | None) -> tuple[Any, Split]:
    """A small CNN trained with cross-entropy on 10,000 samples for 5 epochs, and 1,000 test samples."""
    train, test = (load(data, split, data_dir=data_dir, limit=n) for split, n in (("train", 10_000), ("test", 1_000)))
    defaults = TrainConfig()
    recipe = Recipe(epochs=5, batch_size=128, optimizer="adam", lr=defaults.lr, momentum=0.9, weight_decay=0.0,
                    schedule="one-cycle", augment="none", seed=0)  # fmt: skip
    torch.manual_seed(0)
    info = train.info()
    model = create("small-cnn", info)
    threat = parse_threat(str(default_threat(data)))[0]
    trainer = Trainer(model, CrossEntropy(), train, train.take(torch.arange(0)), recipe, inner=None, threat=threat)
    for _ in range(recipe.epochs):
        trainer.run_epoch(lambda progress: None)
    return model.eval(), test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-resnet", action="store_true")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    data = "cifar10"
    try:
        model, test = undefended(data, args.data_dir)
    except UserError as error:
        print(f"{error}\nusing digits instead")
        data = "digits"
        model, test = undefended(data, None)
    threat = parse_threat(str(default_threat(data)))[0]
    compare(f"(a) undefended small-cnn on {data}", model, test, threat, args.rounds)
    if data == "cifar10" and not args.skip_resnet:
        test = test.take(torch.arange(64))
        resnet = create("pyautoattack-resnet18", test.info()).eval()
        compare("(b) pyautoattack-resnet18", resnet, test, threat, args.rounds)
        compare("(c) pyautoattack-resnet18", resnet, test, parse_threat("linf:0.5/255")[0], args.rounds)


if __name__ == "__main__":
    main()
