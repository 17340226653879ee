"""What a job that asks a model so many times will take here."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from robbench.analysis.forecast import Forecast, Part
from robbench.core.device import deterministic
from robbench.core.freeze import frozen
from robbench.data.base import Split
from robbench.engine.stopwatch import measure_pace
from robbench.tasks.subject import Subject


def forecast_queries(
    model: nn.Module, split: Split, queries: Mapping[str, tuple[float, float]]
) -> Forecast:
    """From the forwards and backwards of each part of the job; the model is left as it was."""
    with frozen(model), deterministic():
        pace = measure_pace(model, split, [], [], seed=0, width=len(split))
    parts = [
        Part(name, f + b, (f * pace.forward + b * pace.backward) / (f + b))
        for name, (f, b) in queries.items()
    ]
    return Forecast(1, tuple(parts), (), device_text(split.labels.device), alone=True)


def forecast_measures(subject: Subject, train_samples: int, *, points: bool) -> Forecast:
    """A forward and two backwards at each point; fitting an SVM to features is not in it."""
    split, n = subject.split, len(subject.split)
    train = 0 if split.split == "train" else train_samples
    costs = {"clean inputs": n, "training data": train, "worst inputs": 2 * n * points}
    queries = {name: (float(k), 2.0 * k) for name, k in costs.items() if k}
    return forecast_queries(subject.model, split, queries)


def device_text(device: torch.device) -> str:
    """`cpu (2 threads)`, or the name of the accelerator."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'s' * (threads > 1)})" if device.type == "cpu" else str(device)
