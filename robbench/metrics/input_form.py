"""In which form a model seems to expect its inputs: other forms are tried on labelled samples.

A model that was trained on inputs in another scale or order of channels still answers, only worse.
So each usual form is tried, and one is reported where the model is right on clearly more samples:
by GAIN of them, by an exact McNemar test corrected for the number of forms, and far above chance,
as random weights can be right more often by luck.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robbench.statistics.proportions import mcnemar_exact, wilson

GAIN = 0.05  # share of samples by which another form has to be better
ALPHA = 1e-3
ABOVE_CHANCE = 1 / 3  # of the way from chance to 1
AS_GIVEN = "as given"

Predict = Callable[[Tensor], Tensor]  # [n,*] -> class of each [n]
Statistics = tuple[tuple[float, ...], tuple[float, ...]]

USUAL: dict[int, dict[str, Statistics]] = {
    3: {
        "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    },
    1: {"MNIST": ((0.1307,), (0.3081,))},
}
"""By the number of channels: mean and deviation as their models are published with."""


class Form(NamedTuple):
    """A form of inputs. mean, std: values in [0,1] become (x - mean) / std; order: of channels."""

    name: str
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: str = "RGB"  # BGR; NHWC: channels last

    def apply(self, x: Tensor, front: Statistics | None) -> Tensor:
        """Images x [n,C,*] in [0,1] in this form; `front`: a normalisation it comes instead of."""
        if self.order == "BGR":
            x = x.flip(1)
        x = (x - _channels(self.mean, x)) / _channels(self.std, x)
        if front is not None:
            x = x * _channels(front[1], x) + _channels(front[0], x)
        return x.movedim(1, -1).contiguous() if self.order == "NHWC" else x


class BetterForm(NamedTuple):
    """A form in which a model is right on clearly more of n samples: `after` instead of `before`.

    p: of an exact McNemar test, times the number of forms tried. others: forms in which it is right
    nearly as often, by GAIN of the samples, and how often.
    """

    form: Form
    before: int
    after: int
    n: int
    p: float
    others: tuple[tuple[Form, int], ...] = ()


def better_form(
    predict: Predict,
    x: Tensor,
    y: Tensor,
    right: Tensor,
    *,
    front: Statistics | None = None,
) -> BetterForm | None:
    """The form in which a model is clearly right more often than with images x as they are.

    x: [n,C,*] in [0,1]. y: [n] labels. right: [n] bool, its verdicts on x. front: mean and
    deviation of a normalisation in front of the model, which other forms come instead of. None
    where no form is clearly better; nothing is tried where the model is right so often that none
    can be.
    """
    n = len(y)
    if n - int(right.sum()) < GAIN * n:
        return None
    scales = _scales(x, front)
    asked = {form: _right(predict, form, front, x, y) for form in scales}
    best = _best(scales, asked)
    own = Form(AS_GIVEN, *(front or ()))
    groups = [scales]
    for base in (own, best):
        groups.append([base._replace(order=order) for order in _orders(x)])
        asked |= {form: _right(predict, form, front, x, y) for form in groups[-1]}
    chosen, chosen_right = None, right
    for group in filter(None, groups):  # the simplest first: the next has to be clearly better
        form = _best(group, asked)
        if _p(asked[form], chosen_right, len(asked)) <= ALPHA:
            chosen, chosen_right = form, asked[form]
    if chosen is None or not far_above_chance(chosen_right, y):
        return None
    before, after = int(right.sum()), int(chosen_right.sum())
    counts = ((form, int(found.sum())) for form, found in asked.items() if form != chosen)
    return BetterForm(
        chosen,
        before,
        after,
        n,
        _p(chosen_right, right, len(asked)),
        tuple((form, count) for form, count in counts if after - count < GAIN * n),
    )


def _best(forms: Sequence[Form], asked: Mapping[Form, Tensor]) -> Form:
    """The form in which most are right; images as they are if that is nearly as often."""
    return max(
        forms,
        key=lambda form: int(asked[form].sum()) + (form.name == "0..1") * GAIN * len(asked[form]),
    )


def _orders(x: Tensor) -> list[str]:
    if x.ndim != 4 or x.shape[1] == 1:
        return []
    return ["BGR", "NHWC"] if x.shape[1] == 3 else ["NHWC"]


def _p(after: Tensor, before: Tensor, tried: int) -> float:
    """The p value that `after` [n] is right more often, times `tried`; 1 below a gain of GAIN."""
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    if won - lost < GAIN * len(after):
        return 1.0
    return min(1.0, mcnemar_exact(won, lost) * tried)


def far_above_chance(right: Tensor, y: Tensor) -> bool:
    """Whether verdicts [n] on labels y [n] are far better than always naming one class."""
    chance = int(torch.bincount(y).max()) / len(y)
    return wilson(int(right.sum()), len(y))[0] > chance + ABOVE_CHANCE * (1 - chance)


def _scales(x: Tensor, front: Statistics | None) -> list[Form]:
    axes = (0, *range(2, x.ndim))
    mean, std = x.mean(axes).tolist(), x.std(axes, correction=0).clamp(min=1e-3).tolist()
    found = [
        Form("0..255", std=(1 / 255,)),
        *(Form(name, *values) for name, values in USUAL.get(x.shape[1], {}).items()),
        Form("-1..1", mean=(0.5,), std=(0.5,)),
        Form("the data", tuple(mean), tuple(std)),
    ]
    return found if front is None else [Form("0..1"), *found]


def _right(predict: Predict, form: Form, front: Statistics | None, x: Tensor, y: Tensor) -> Tensor:
    """[n] bool; all False where the model does not take the form."""
    try:
        return predict(form.apply(x, front)) == y
    except (RuntimeError, ValueError, TypeError, IndexError):  # of another shape than it can take
        return torch.zeros_like(y, dtype=torch.bool)


def _channels(values: tuple[float, ...], x: Tensor) -> Tensor:
    return torch.tensor(values, device=x.device).reshape(1, -1, *[1] * (x.ndim - 2))
