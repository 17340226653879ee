"""What the measurements of an inspection mean, and what to do: one finding each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from robbench.analysis.inspected import Finding
from robbench.core.status import NOTICES
from robbench.engine.flags import Flag
from robbench.metrics.input_form import AS_GIVEN, BetterForm, Form
from robbench.models.input_shapes import Shape
from robbench.models.normalisation import Normalisation

SHOWN = 5  # classes whose outputs are named
_SCALES = {
    AS_GIVEN: "",
    "0..1": "values in [0,1], not normalised",
    "0..255": "values from 0 to 255",
    "-1..1": "values from -1 to 1",
    "the data": "values normalised by mean and deviation of the data",
}
_ORDERS = {"RGB": "", "BGR": "channels in the order BGR", "NHWC": "channels last (NHWC)"}


def refused(refusal: str, shape: Shape, taken: Sequence[Shape] = ()) -> Finding:
    """Attacks refuse the model; `taken`: what it would take where images of `shape` are why."""
    remedy = ""
    if taken and taken[0] == channels_last(shape):
        remedy = (
            f"it takes {shape_text(taken[0])}, channels last (NHWC): move the channels inside the "
            "model, x.movedim(1, -1)"
        )
    elif taken:
        remedy = (
            f"it takes {', '.join(map(shape_text, taken))}: give data of such a shape, or resize "
            "inside the model, with torch.nn.Upsample in front"
        )
    return Finding("refused", "error", refusal, remedy, {"shapes_taken": list(taken)})


def other_form(better: BetterForm, front: Normalisation | None) -> Finding:
    """The model is right more often with inputs in another form."""
    form, n = better.form, better.n
    others = ", ".join(f"{_form_text(other)}: {count}" for other, count in better.others)
    return Finding(
        "input-form",
        "error",
        f"the model seems to expect {_form_text(form)}: it is right on {better.after} of {n} "
        f"samples in that form, on {better.before} as attacks give them (p {better.p:.0e})"
        + (f"; nearly as often with {others}" if others else ""),
        "; ".join(_remedies(form, front)),
        {
            "form": form._asdict(),
            "correct": better.before,
            "correct_in_that_form": better.after,
            "samples": n,
            "p": better.p,
        },
    )


def _form_text(form: Form) -> str:
    scale = _SCALES.get(form.name, f"values normalised as for {form.name}")
    return " and ".join(filter(None, (scale, _ORDERS[form.order])))


def _remedies(form: Form, front: Normalisation | None) -> list[str]:
    statistics = f"mean={_tuple(form.mean)}, std={_tuple(form.std)}"
    found = []
    if form.name == "0..1" and front is not None:
        found.append(f"leave out the normalisation in front ({_place(front)})")
    elif form.name != AS_GIVEN and front is not None:
        found.append(f"give the normalisation in front ({_place(front)}) {statistics}")
    elif form.name != AS_GIVEN:
        found.append(
            f"normalise inside the model, x -> (x - mean) / std, with {statistics} "
            "(robbench.models.base.Normalize in front, or the options mean and std)"
        )
    if form.order != "RGB":
        move = "x.flip(1)" if form.order == "BGR" else "x.movedim(1, -1)"
        found.append(f"reorder the channels inside the model, {move}")
    return found


def class_order(outputs: Sequence[int], classes: Sequence[str], right: int, n: int) -> Finding:
    """The outputs are the classes in another order; outputs: that of each class."""
    moved = [(classes[k], output) for k, output in enumerate(outputs) if k != output]
    some = ", ".join(f"'{name}' is output {output}" for name, output in moved[:SHOWN])
    more = f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
    return Finding(
        "class-order",
        "error",
        f"the outputs seem to be the classes in another order: {some}{more}; so the model would be "
        f"right on {right} of {n} samples",
        f"give the outputs in the order of the data's classes, outputs=({_joined(outputs)}), or "
        "reorder them inside the model",
        {"outputs": list(outputs), "correct_in_that_order": right, "samples": n},
    )


def from_flags(flags: Iterable[Flag]) -> list[Finding]:
    """Flags that a run would have; they keep no attack from running."""
    return [
        Finding(
            flag.name,
            "note" if flag.name in NOTICES else "warning",
            flag.text,
            figures={"samples": flag.count} if flag.count else {},
        )
        for flag in flags
    ]


def channels_last(shape: Shape) -> Shape:
    """(H,W,C) of (C,H,W)."""
    return (*shape[1:], shape[0])


def shape_text(shape: Shape) -> str:
    """`3x224x224`."""
    return "x".join(map(str, shape))


def _place(front: Normalisation) -> str:
    return f"'{front.module}', {front.kind}" if front.module else front.kind


def _tuple(values: Sequence[float]) -> str:
    return f"({_joined(f'{value:.4g}' for value in values)})"


def _joined(values: Iterable[object]) -> str:
    return ",".join(map(str, values))
