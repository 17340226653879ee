"""What is measured at one point per sample, in one forward and two backwards (three if moved)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robbench.core.access import access_of
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
    """A model's last layer, or the reason why features cannot be compared with it."""

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
    """Measurements of N samples at one point each.

    columns: by name, [N] each: correct, margin, cross_entropy, confidence, logit_norm,
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

    The model must be frozen. It sees tiles of one shape, so no sample's numbers depend on the
    others. `watch` is called with the number of samples done.
    """

    def compute(index: Tensor) -> dict[str, Tensor]:
        index = index.to(split.labels.device)
        clean, y = split.pixels(index), split.labels[index]
        split.ahead(slice(int(index.max()) + 1, int(index.max()) + 1 + tile))
        x = clean if moved is None else moved(index, clean)
        out, found = known(x, y)
        columns = _gradient_columns(found) | _output_columns(out, y)
        columns["cross_entropy"] = found["cross_entropy"][0]
        if moved is not None:
            before, grad = known(clean, y)[1]["cross_entropy"]
            after = found["cross_entropy"][0]
            columns["local_linearity"] = local_linearity(before, grad, after, x - clean)
        return columns if head.module is None else columns | _head_columns(head.module, out, y)

    def known(x: Tensor, y: Tensor) -> tuple[Output, dict[str, tuple[Tensor, Tensor]]]:
        """As `slopes`, with NaN for the gradients of a model that shows none."""
        out, found = slopes(forward, x, y)
        if access_of(model) != "white-box":
            found = {name: (value, grad * torch.nan) for name, (value, grad) in found.items()}
        return out, found

    def forward(x: Tensor) -> Output:
        if head.module is not None and isinstance(model, Classifier):
            return model.output(x)
        logits = model(x)
        return Output(logits, logits)

    columns = in_tiles(len(split), tile, compute, watch)
    columns["logit_norm"] = logit_norms(columns.pop("logits").astype(np.float64))
    features, distances, curves = (
        columns.pop(name, None) for name in ("features", "distances", "curve")
    )
    labels, curve = split.labels.cpu().numpy(), _mean_curve(curves)
    return Observations(labels, columns, head, features, distances, curve)  # type: ignore[arg-type]


def _gradient_columns(slopes: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    return {
        f"{name}_gradient_{norm}": length
        for name, (_, grad) in slopes.items()
        for norm, length in lengths(grad).items()
    }


def _output_columns(out: Output, y: Tensor) -> dict[str, Tensor]:
    predicted, margin, _ = judge_logits(out.logits, y)
    return {
        "correct": predicted == y,
        "margin": margin,
        "confidence": _confidence(out.logits),
        "logits": out.logits,
    }


def _head_columns(head: nn.Module, out: Output, y: Tensor) -> dict[str, Tensor]:
    distances = boundary_distances(head, out.features, y)
    return {
        "feature_margin": feature_margins(distances),
        "distances": distances,
        "features": out.features,
        "n_features_90": features_needed(head, out.features, y),
        "n_features_90_predicted": features_needed(head, out.features, None),
        "curve": contribution_curve(head, out.features, y),
    }


def _mean_curve(curves: NDArray[np.generic] | None) -> NDArray[np.floating] | None:
    """Mean [D] of the contribution curves [N,D] that are known; None where none is."""
    if curves is None:
        return None
    known = ~np.isnan(curves.astype(np.float64)).any(1)
    return curves[known].mean(0, dtype=np.float64) if known.any() else None


def _confidence(logits: Tensor) -> Tensor:
    """[B] largest softmax probability."""
    return (logits - logits.logsumexp(1, keepdim=True)).amax(1).exp()
