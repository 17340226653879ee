"""What is measured at one point per sample, in one forward and two backwards (three if moved)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robbench.core.errors import UserError
from robbench.data.base import Split
from robbench.engine.verify import judge_logits
from robbench.metrics.calibration import logit_norms
from robbench.metrics.contribution import contribution_curve, features_needed
from robbench.metrics.feature_margin import boundary_distances, feature_margins, is_affine
from robbench.metrics.gradients import lengths, local_linearity, slopes
from robbench.metrics.tiles import Columns, in_tiles
from robbench.models.base import Classifier, Output

_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Head:
    """A model's last layer, or why there is none that features could be held against."""

    module: nn.Module | None
    reason: str | None = None

    @property
    def kind(self) -> str:
        """Whether distances to its boundaries are exact or first-order."""
        return "exact" if self.module is not None and is_affine(self.module) else "first-order"


def find_head(model: nn.Module, x: Tensor) -> Head:
    """The layer that maps a model's features to its logits, tried on inputs [B,*]."""
    if not isinstance(model, Classifier):
        return Head(None, "the model has no features of its own")
    with torch.no_grad():
        try:
            out, features = model.output(x), model.features(x)
            logits = model.head(features)
        except (UserError, RuntimeError) as error:
            lines = str(error).splitlines()
            return Head(
                None,
                lines[0]
                if isinstance(error, UserError)
                else "the model's last nn.Linear reads no [B,D] features",
            )
    if logits.shape != out.logits.shape or not torch.allclose(
        logits, out.logits, rtol=_TOLERANCE, atol=_TOLERANCE
    ):
        return Head(None, "the model's logits are not the outputs of its last nn.Linear")
    return Head(model.head)


@dataclasses.dataclass(frozen=True)
class Observations:
    """N samples seen at one point each.

    columns: by name, [N] each: correct, margin, confidence, logit_norm,
    {margin,cross_entropy}_gradient_{l1,l2,linf}, local_linearity (of moved points); of a known head
    also feature_margin, n_features_90, n_features_90_predicted. features [N,D], distances [N,K] to
    the boundaries, curve [D] (mean contribution curve of the true logit): None without head.
    """

    labels: NDArray[np.int64]
    columns: Columns
    head: Head
    features: NDArray[np.floating] | None = None
    distances: NDArray[np.floating] | None = None
    curve: NDArray[np.floating] | None = None


def inspect_model(
    model: nn.Module,
    head: Head,
    split: Split,
    tile: int,
    moved: Callable[[Tensor, Tensor], Tensor] | None = None,
    watch: Callable[[int], None] = lambda done: None,
) -> Observations:
    """Measure samples at their clean inputs, or where `moved(index [B], clean [B,*])` puts them.

    The model must be frozen. No sample's numbers depend on the others: the model sees tiles of one
    shape.
    """

    def forward(x: Tensor) -> Output:
        if head.module is not None and isinstance(model, Classifier):
            return model.output(x)
        logits = model(x)
        return Output(logits, logits)

    def compute(index: Tensor) -> dict[str, Tensor]:
        index = index.to(split.labels.device)
        clean, y = split.pixels(index), split.labels[index]
        x = clean if moved is None else moved(index, clean)
        out, found = slopes(forward, x, y)
        columns = {
            f"{name}_gradient_{norm}": v
            for name, (_, grad) in found.items()
            for norm, v in lengths(grad).items()
        }
        if moved is not None:
            before, grad = slopes(forward, clean, y)[1]["cross_entropy"]
            columns["local_linearity"] = local_linearity(
                before, grad, found["cross_entropy"][0], x - clean
            )
        predicted, margin, _ = judge_logits(out.logits, y)
        columns |= {
            "correct": predicted == y,
            "margin": margin,
            "confidence": _confidence(out.logits),
            "logits": out.logits,
        }
        if head.module is not None:
            distances = boundary_distances(head.module, out.features, y)
            columns |= {
                "feature_margin": feature_margins(distances),
                "distances": distances,
                "features": out.features,
                "n_features_90": features_needed(head.module, out.features, y),
                "n_features_90_predicted": features_needed(head.module, out.features, None),
                "curve": contribution_curve(head.module, out.features, y),
            }
        return columns

    columns = in_tiles(len(split), tile, compute, watch)
    columns["logit_norm"] = logit_norms(columns.pop("logits").astype(np.float64))
    features, distances, curves = (
        columns.pop(name, None) for name in ("features", "distances", "curve")
    )
    curve = None
    if curves is not None and (spoken := ~np.isnan(curves.astype(np.float64)).any(1)).any():
        curve = curves[spoken].mean(0, dtype=np.float64)
    labels = split.labels.cpu().numpy()
    return Observations(labels, columns, head, features, distances, curve)  # type: ignore[arg-type]


def _confidence(logits: Tensor) -> Tensor:
    """[B] largest softmax probability."""
    return (logits - logits.logsumexp(1, keepdim=True)).amax(1).exp()
