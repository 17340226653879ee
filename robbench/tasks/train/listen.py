"""A training whose progress a listener follows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from robbench.analysis.overfitting import catastrophic_overfitting
from robbench.analysis.stalled import stalled
from robbench.reports.terminal.training import training_line
from robbench.tasks.listener import Bar, Listener
from robbench.tasks.signals import stop_flag
from robbench.tasks.train.forecast import StepTimer
from robbench.tasks.train.plan import TrainPlan
from robbench.tasks.train.run import Trained, train

REDRAW_SECONDS = 0.2


def run_training(plan: TrainPlan, listener: Listener, *, force: bool) -> Trained:
    """Train a plan, with its progress; raises Stopped after a signal."""
    with stop_flag(listener.say) as stop, listener.progress(f"train {plan.name}") as bar:
        done = train(plan, force=force, watcher=BarWatcher(bar, listener, plan), stop=stop)
        stop.check()
    if not done.fresh:
        listener.say(
            f"model {plan.name} is there already, from the same settings; "
            "nothing to do (--force trains again)"
        )
    return done


class BarWatcher:
    """Shows batches on the bar and epochs as lines."""

    def __init__(self, bar: Bar, listener: Listener, plan: TrainPlan) -> None:
        self.bar = bar
        self.listener = listener
        self.epochs = plan.config.epochs
        self.title = f"train {plan.name}"
        self.timer = StepTimer(plan)
        self.inner_steps = plan.inner.attack.steps if plan.inner else 0
        self.warmup = plan.config.eps_warmup
        self.steps = 0
        self.sound = True  # no epoch so far has overfitted or stalled
        self.last = ""  # accuracies of the last epoch
        self.drawn = 0.0
        self.began = time.monotonic()

    def begins(self, notes: Sequence[str]) -> None:
        for note in notes:
            self.listener.say(note)

    def batch(self, progress: Any) -> None:
        self.steps += 1
        if forecast := self.timer.step(progress):
            self.listener.say(f"{self.title}: {training_line(forecast)}")
        now = time.monotonic()
        if now - self.drawn > REDRAW_SECONDS:
            self.drawn = now
            rate = progress.samples / max(now - self.began, 1e-9)
            self.bar.update(
                (progress.epoch + progress.samples / progress.total) / self.epochs,
                f"epoch {progress.epoch + 1}/{self.epochs}, loss {float(progress.loss):.3f}, "
                f"{rate:.0f}/s{self.last}",
            )

    def epoch(self, row: dict[str, Any]) -> None:
        self.last = f", val {row['clean_accuracy']:.1%} clean {row['robust_accuracy']:.1%} robust"
        self.began = time.monotonic()
        self.bar.update(row["epoch"] / self.epochs, f"epoch {row['epoch']}{self.last}")
        self.listener.detail(
            f"epoch {row['epoch']}: loss {row['train_loss']:.4f}{self.last}, {row['seconds']:.1f} s"
        )
        found = catastrophic_overfitting(row, self.inner_steps) or stalled(
            row, self.steps, self.warmup
        )
        if self.sound and found:
            self.sound = False
            self.listener.say(found)

    def resumed(self, epoch: int) -> None:
        self.bar.resume(epoch / self.epochs)
        self.listener.say(f"going on after epoch {epoch}")

    def waits(self, text: str) -> None:
        self.listener.say(text)
