"""Names of the models of a sweep: the loss, and what else the grid has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robbench.core.spec import short_hash
from robbench.tasks.sweep.axes import Values, value_text
from robbench.tasks.train.config import TrainConfig
from robbench.tasks.train.naming import slug

_ALONE = ("data", "model", "recipe", "from_model")
"""Settings whose values say enough by themselves."""
_LONGEST = 100


def model_name_at(
    prefix: str, axes: Sequence[Values], point: Sequence[int], settings: Mapping[str, Any]
) -> str:
    """The name of the model of a point: `trades-beta-6-s0` of a grid of losses and seeds.

    An axis of one value counts too: it may get more, and models keep their names then.

    axes: of the training, in their order; settings: all of the training. A long name is cut, and
    ends with a hash of its settings.
    """
    parts = [slug(str(settings.get("loss", TrainConfig.loss)))]
    for axis, n in zip(axes, point, strict=True):
        for name, values in axis.of("train").items():
            if name != "loss":
                parts.append(_part(name, value_text(values[n])))
    whole = "-".join([*([prefix] if prefix else []), *filter(None, parts)])
    return whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]}-{short_hash(settings, 8)}"


def _part(name: str, text: str) -> str:
    if name == "seed":
        return f"s{text}"
    return slug(text) if name in _ALONE else f"{name.replace('_', '-')}-{slug(text)}"
