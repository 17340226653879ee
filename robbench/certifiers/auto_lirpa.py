"""Bounds of the package auto_LiRPA: Xu et al. 2020, arXiv:2002.12920."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import io
import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from robbench.certifiers.base import Certificate, Certifier, Prove, Sample
from robbench.certifiers.region import Region
from robbench.certifiers.substitution import margin_weights
from robbench.certifiers.trace import layers_of, require_equal
from robbench.core.errors import UserError, text_of
from robbench.models.base import Classifier

_METHODS = {
    "ibp": "IBP",
    "crown-ibp": "CROWN-IBP",
    "crown": "CROWN",
    "alpha-crown": "alpha-CROWN",
}
_ROUNDING = 1e-6  # of the largest clean logit


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoLiRPA(Certifier):
    """Bounds of auto_LiRPA (Xu et al. 2020), where it is installed: more layers, tighter bounds.

    In float64. The package does not bound what rounding changes, so a margin counts only above
    1e-6 of the largest clean logit. In l2 the ball is not cut by the box.
    """

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2"})

    bounds: Annotated[
        Literal["ibp", "crown-ibp", "crown", "alpha-crown"],
        Field(description="the package's method; alpha-crown optimises its lines"),
    ] = "crown"

    def start(self, model: Classifier, x: Tensor) -> Prove:
        package = _package()
        whole = copy.deepcopy(layers_of(model)).double()
        try:
            with _quiet_float64():
                network = package.BoundedModule(
                    whole, torch.zeros_like(x[:1]).double(), device=str(x.device)
                )
                mine = network(x.double())
        except Exception as error:  # whatever the package raises for a layer that it does not know
            raise UserError(f"auto_LiRPA cannot read this model: {text_of(error)}") from error
        require_equal(mine, model, x)

        def prove(sample: Sample) -> Certificate:
            with torch.no_grad():
                logits = model(sample.x)
            predicted = int(logits.argmax(1))
            if predicted != sample.label:
                return Certificate(predicted, False, None, None, 1)
            low = self._lowest_margin(package, network, sample, logits.shape[1])
            if math.isnan(low):
                return Certificate(predicted, False, None, None, 1)
            low -= _ROUNDING * logits.abs().max().item()
            return Certificate(predicted, low > 0, low, None, 1)

        return prove

    def _lowest_margin(self, package: Any, network: Any, sample: Sample, classes: int) -> float:
        """A lower bound of the smallest z_y - z_k over the region of a sample."""
        region = Region.around(sample.x, sample.eps, sample.norm, sample.free)
        if sample.norm == "linf":
            ball = package.PerturbationLpNorm(norm=math.inf, x_L=region.low, x_U=region.high)
        elif sample.free is None:
            ball = package.PerturbationLpNorm(norm=2, eps=region.eps)
        else:
            raise UserError("auto-lirpa has no fixed entries in l2: take --method crown")
        weights = margin_weights(torch.tensor([sample.label], device=sample.x.device), classes)
        with torch.enable_grad(), _quiet_float64():
            found, _ = network.compute_bounds(
                x=(package.BoundedTensor(region.x0, ball),),
                C=weights,
                method=_METHODS[self.bounds],
                bound_upper=False,
            )
        return float(found.detach().min())


@contextlib.contextmanager
def _quiet_float64() -> Iterator[None]:
    """The package makes tensors of the default type, and prints."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        torch.set_default_dtype(before)


def _package() -> Any:
    try:
        return importlib.import_module("auto_LiRPA")
    except ModuleNotFoundError as error:
        raise UserError(
            f"--method auto-lirpa needs the package auto_LiRPA (no module '{error.name}'): install "
            "it from its repository, or take --method crown"
        ) from error
