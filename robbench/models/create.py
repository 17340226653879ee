"""From a model spec to a classifier that is known to return logits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from robbench.core.builtins import MODELS
from robbench.core.errors import RobbenchError, UserError
from robbench.core.registry import import_target
from robbench.core.spec import build, option_names, parse_spec
from robbench.data.base import DataInfo, reason
from robbench.models.base import Architecture, Classifier
from robbench.models.external import call_factory
from robbench.models.factories import require_factory

_TOLERANCE = 1e-4
_MOST_WEIGHTS = 1_000_000_000


def create(spec: str, info: DataInfo) -> Classifier:
    """A classifier for some data, from a registered name or `module:factory[:key=value]`, checked with one small forward pass.

    Initial weights come from torch's global generator. Raises UserError when the spec is wrong, the model does not fit the
    data, or `check_logits` objects to it; RunError when a private factory raises.
    """
    model = _build(spec, info)
    parameter = next(model.parameters(), None)
    x = torch.full((2, *info.shape), 0.5, device=parameter.device if parameter is not None else "cpu")
    try:
        check_logits(model, x, len(info.classes))
    except UserError as error:
        raise UserError(f"model '{spec}': {error}") from error
    return model


def check_logits(model: nn.Module, x: Tensor, classes: int) -> None:
    """Raise UserError unless `model` maps x [B,...] to finite logits [B,classes]; it is run once, in evaluation mode.

    Rows that all look like probabilities (not negative, sum 1) or log-probabilities (sum of exponentials 1) are refused:
    attacks built on logits lose their gradients behind a softmax.
    """
    with _evaluating(model), torch.no_grad():
        try:
            logits = model(x)
        except RobbenchError:
            raise
        except Exception as error:
            raise UserError(f"it cannot process images of shape {tuple(x.shape[1:])} ({reason(error)})") from error
    if not isinstance(logits, Tensor):
        raise UserError(f"it returns {type(logits).__name__}; it should return one tensor of logits [B,K]")
    if logits.ndim != 2 or len(logits) != len(x):
        raise UserError(f"it returns shape {tuple(logits.shape)} for {len(x)} images; should be ({len(x)}, {classes})")
    if logits.shape[1] != classes:
        raise UserError(f"it has {logits.shape[1]} outputs, the data have {classes} classes")
    if not logits.is_floating_point() or not torch.isfinite(logits).all():
        raise UserError("its outputs are not finite numbers; check its weights")
    rows = logits.cpu().double()
    if (rows >= 0).all() and ((rows.sum(1) - 1).abs() < _TOLERANCE).all():
        raise UserError("its outputs look like probabilities; return logits, without the softmax")
    if (torch.logsumexp(rows, 1).expm1().abs() < _TOLERANCE).all():
        raise UserError("its outputs look like log-probabilities; return logits, without the log-softmax")


def _build(spec: str, info: DataInfo) -> Classifier:
    name, _, rest = spec.strip().partition(":")
    if name in MODELS.entries or not rest:
        architecture = MODELS.build(spec.strip())
        if name in MODELS.entries and MODELS.entries[name].package == "robbench" and option_names(type(architecture)):
            _require_size(architecture, info, spec)
        return architecture.build(info)
    attribute, _, options = rest.partition(":")
    parsed = parse_spec(f"_:{options}" if options else "_")
    found = import_target(f"{name}:{attribute}", f"model '{spec}'")
    if isinstance(found, type) and issubclass(found, Architecture):
        return build(found, parsed, f"model {name}:{attribute}").build(info)
    if parsed.argument is not None:
        raise UserError(f"model '{spec}': '{parsed.argument}' is not key=value")
    require_factory(found, f"{name}:{attribute}", f"model '{spec}'")
    return call_factory(found, spec, parsed.options, len(info.classes))


def _require_size(architecture: Architecture, info: DataInfo, spec: str) -> None:
    """Raise UserError for a model beyond reason, before any of it is allocated: on the meta device only its shapes are made."""
    with torch.device("meta"):
        size = sum(weight.numel() for weight in architecture.build(info).parameters())
    if size > _MOST_WEIGHTS:
        raise UserError(
            f"model '{spec}' would have {size:.1e} weights; {_MOST_WEIGHTS:.0e} are the most: take fewer or narrower layers"
        )


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    # Module by module: model.train() would also wake layers that were frozen on purpose.
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
