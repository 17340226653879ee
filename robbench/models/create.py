"""From a model spec to a classifier that is known to return logits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robbench.catalogue.builtins import MODELS
from robbench.core.errors import RobbenchError, UserError
from robbench.core.freeze import modes_kept
from robbench.core.imports import import_target
from robbench.core.spec import build, option_names, parse_spec
from robbench.data.base import DataInfo, reason
from robbench.models.base import Architecture, Classifier, Loading, interface_of
from robbench.models.external import External, require_logits
from robbench.models.factories import require_factory
from robbench.models.outputs.scales import probabilities, squashed
from robbench.models.private import call_factory
from robbench.models.sources.base import Source

_MOST_WEIGHTS = 1_000_000_000
_SCALE_BEHIND = {"softmax": "probs", "log-softmax": "log-probs", "sigmoid": "sigmoid"}


class UnfitError(UserError):
    """A model was built and does not fit the data, or its outputs are no logits.

    model: that model, for `robbench inspect`.
    """

    def __init__(self, text: str, model: Classifier) -> None:
        super().__init__(text)
        self.model = model


def create(
    spec: str,
    info: DataInfo,
    *,
    of: Sequence[str] | None = None,
    weights: bool = True,
    download: bool = False,
) -> Classifier:
    """A classifier for some data, checked with one small forward pass.

    spec: a registered name or `module:factory[:key=value]`. of: all classes of the data, of which
    `info` has some or all; given where a private model is to be judged, not trained: of a model for
    all classes only those at hand are looked at, and one output more is a rejection. weights,
    download: as of `models.sources.base.Loading`, for models of other libraries and files. Initial
    weights come from torch's global generator. Raises UserError when the spec is wrong or a private
    factory raises; UnfitError when the model does not fit the data or `check_logits` objects to it.
    """
    model = unchecked(spec, Loading(info, weights, download, judged=of is not None))
    parameter = next(model.parameters(), None)
    # No even grey: a model that standardises each image has no answer for that.
    x = torch.linspace(
        0, 1, 2 * math.prod(info.shape), device=parameter.device if parameter is not None else "cpu"
    )
    x = x.reshape(2, *info.shape)
    try:
        if isinstance(model, External):
            model.take_units(info.units, x.device)
            with modes_kept(model):
                model.eval()
                model.fit_interface(
                    x, None if of is None else {len(of): [of.index(name) for name in info.classes]}
                )
            if of is None and (model.interface.reject or model.interface.outside):
                raise UserError("outside=wrong and reject=last are for judging, not for training")
        check_logits(model, x, len(info.classes))
    except UserError as error:
        raise UnfitError(f"model '{spec}': {error}", model) from error
    return model


def check_logits(model: nn.Module, x: Tensor, classes: int) -> None:
    """Raise UserError unless `model` maps x [B,...] to logits [B,classes], in evaluation mode.

    A model whose outputs beyond the classes count (`Classifier.width`) has as many more.

    Rows that all look like probabilities (not negative, sum 1) or log-probabilities (sum of
    exponentials 1) are refused, and so are outputs in [-1,1] that a sigmoid or softmax made:
    attacks built on logits lose their gradients behind it. At least one row should have an answer
    (`objectives.answered`: NaN and +inf are none, -inf rules a class out).
    """
    foreign, interface = isinstance(model, External), interface_of(model)
    before = x.clone()
    with modes_kept(model), torch.no_grad():
        model.eval()
        try:
            answer = model(x)
        except RobbenchError:
            raise
        except Exception as error:
            raise UserError(
                f"it cannot process images of shape {tuple(x.shape[1:])} ({reason(error)})"
            ) from error
    if not torch.equal(x, before):
        raise UserError("it changes its input in place; let it work on a copy")
    logits = require_logits(answer, len(x), classes)
    if logits.shape[1] != classes + interface.outside:
        more = _too_many(logits.shape[1], classes) if foreign else ""
        raise UserError(f"it has {logits.shape[1]} outputs, the data have {classes} classes{more}")
    if isinstance(model, External):
        model.checked = True
    if not logits.is_floating_point():
        kind = str(logits.dtype).removeprefix("torch.")
        raise UserError(f"its outputs are of type {kind}; logits should be floats, such as float32")
    known = ~(logits.isnan() | (logits == torch.inf)).any(1)
    if not (known.any() or interface.reject):
        raise UserError("its outputs are not finite numbers; check its weights")
    if interface.scale != "logits":
        return
    rows = logits[known].cpu()
    found = probabilities(rows)
    if found is None and len(rows) and bool((rows.abs() <= 1).all()):
        found = _squashed(model, x)
    if found is not None:
        instead = _SCALE_BEHIND.get(found[1]) if foreign else None
        instead = "probs" if interface.binary else instead
        raise UserError(
            f"its outputs look like {found[0]}; return logits, without the {found[1]}"
            + (f", or say what they are: outputs={instead}" if instead else "")
        )


def _too_many(outputs: int, classes: int) -> str:
    """What to write for a model of more outputs than classes; empty for one of fewer."""
    if outputs <= classes:
        return ""
    last = ", or reject=last where the last one means no answer" * (outputs == classes + 1)
    return (
        f"; say which are the classes, in their order: outputs=0-{classes - 1} or outputs=(3,8), "
        f"or the class of each output: classes=FILE{last}"
    )


def _squashed(model: nn.Module, x: Tensor) -> tuple[str, str] | None:
    try:
        with modes_kept(model), torch.enable_grad():
            model.eval()
            found = squashed(model(x.clone().requires_grad_()))
    except Exception:  # it has no gradient; what it returns is known to be well-formed
        return None
    return None if found is None else (f"probabilities {found[0]}", found[1])


def unchecked(spec: str, loading: Loading) -> Classifier:
    """As `create`, before any forward pass: a foreign module may still not fit the data."""
    info = loading.info
    name, _, rest = spec.strip().partition(":")
    if name in MODELS.entries or not rest:
        architecture = MODELS.build(spec.strip())
        if (
            name in MODELS.entries
            and MODELS.entries[name].package == "robbench"
            and option_names(type(architecture))
            and not isinstance(architecture, Source)
        ):
            _require_size(architecture, info, spec)
        return architecture.build_from(loading)
    attribute, _, options = rest.partition(":")
    parsed = parse_spec(f"{attribute}:{options}" if options else attribute)
    found = import_target(f"{name}:{attribute}", f"model '{spec}'")
    if isinstance(found, type) and issubclass(found, Architecture):
        return build(found, parsed, f"model {name}:{attribute}").build_from(loading)
    if parsed.argument is not None:
        raise UserError(f"model '{spec}': '{parsed.argument}' is not key=value")
    require_factory(found, f"{name}:{attribute}", f"model '{spec}'")
    return call_factory(found, spec, parsed.options, info.classes)


def _require_size(architecture: Architecture, info: DataInfo, spec: str) -> None:
    """Raise UserError for a model of too many weights, before any of them is allocated."""
    with torch.device("meta"):
        size = sum(weight.numel() for weight in architecture.build(info).parameters())
    if size > _MOST_WEIGHTS:
        raise UserError(
            f"model '{spec}' would have {size:.1e} weights; {_MOST_WEIGHTS:.0e} are the most: "
            "take fewer or narrower layers"
        )
