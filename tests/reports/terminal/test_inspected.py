"""What `robbench inspect` prints."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from robbench.analysis.forecast import Forecast, Part
from robbench.analysis.inspected import Finding, Inspected
from robbench.reports.terminal.inspected import inspected_card, lines, size, small_time

FOUND = Inspected(
    model="mine",
    data="digits",
    split="test",
    shape=(1, 8, 8),
    classes=tuple("0123456789"),
    samples=128,
    of=597,
    parameters=89_930,
    weight_bytes=359_720,
    dtypes=("float32",),
    normalisation=(
        {
            "module": "normalize",
            "kind": "Normalize",
            "mean": (0.306,),
            "std": (0.376,),
            "front": True,
        },
    ),
    access="white-box",
    correct=111,
    clean_accuracy=111 / 128,
    clean_accuracy_low=0.7976,
    clean_accuracy_high=0.9154,
    device="cpu (2 threads)",
    rows=32,
    width=128,
    seconds_forward=8e-6,
    seconds_backward=15e-6,
    memory_forward=4096.0,
    memory_backward=4900.0,
    memory_counted=True,
    threat="linf:0.15",
    attack="apgd",
    forecast=Forecast(597, (Part("apgd", 200.0, 2e-5),), (), "cpu (2 threads)"),
    findings=(
        Finding("input-form", "error", "the model seems to expect values from 0 to 255", "mend it"),
        Finding("at-chance", "warning", "clean accuracy is at chance"),
    ),
)

CARD = """\
mine: 1 error, 1 warning

images          1x8x8, values in [0,1]
classes         10: 0, 1, 2, 3, 4, ...
parameters      89,930, 360 kB of float32
normalisation   mean (0.306), std (0.376) in 'normalize' (Normalize)
gives           logits and gradients (white-box)
clean accuracy  86.7% 79.8-91.5 (111 of 128 samples, of 597; digits test)
time            forward 8.0 us, with backward 23 us per sample, in batches of 32
                on cpu (2 threads)
memory          per sample, largest layer 4.1 kB, kept for a backward 4.9 kB
attack          apgd under linf:0.15 on 597 samples, 128 in flight: at most
                120,000 queries in about 2 s on cpu (2 threads): apgd 100% (no
                earlier run to estimate from)

error: input-form: the model seems to expect values from 0 to 255. To do: mend
it
warning: at-chance: clean accuracy is at chance
"""


def printed(found: Inspected) -> str:
    stream = io.StringIO()
    Console(file=stream, width=80, no_color=True).print(inspected_card(found))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def test_the_card() -> None:
    """All lines in 80 columns."""
    assert printed(FOUND) == CARD


def test_what_is_not_known() -> None:
    """No data, no answers, no normalisation: said in words, and nothing is left empty."""
    bare = dataclasses.replace(
        FOUND,
        data=None,
        split=None,
        normalisation=(),
        correct=None,
        clean_accuracy=None,
        seconds_forward=None,
        seconds_backward=None,
        forecast=None,
        findings=(),
    )
    known = dict(lines(bare))
    assert known["clean accuracy"] == "not known: give --data"
    assert known["normalisation"].startswith("none found")
    assert not {"time", "memory", "attack"} & known.keys()
    assert printed(bare).startswith("mine: nothing that does not fit\n")


def test_a_model_without_gradients() -> None:
    """No time and memory of a backward; weights that torch does not see."""
    scores = dataclasses.replace(
        FOUND, access="score-based", seconds_backward=None, memory_backward=None, parameters=0
    )
    known = dict(lines(scores))
    assert known["gives"] == "logits without gradients (score-based)"
    assert known["parameters"] == "none that torch sees"
    assert "backward" not in known["time"] + known["memory"]
    assert known["memory"] == "per sample, largest layer 4.1 kB"


def test_memory_of_an_allocator() -> None:
    """Peaks, where a device counts them."""
    text = dict(lines(dataclasses.replace(FOUND, memory_counted=False)))["memory"]
    assert text == "per sample, at its peak in a forward 4.1 kB, with backward 4.9 kB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2e-7, "0.2 us"), (9.97e-6, "10 us"), (3.44e-3, "3.4 ms"), (0.0345, "34 ms"), (2.0, "2.0 s")],
)
def test_small_times(seconds: float, text: str) -> None:
    """Two digits in the largest unit that fits."""
    assert small_time(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_600, "1.0 MB"),
        (45e6, "45 MB"),
        (3e15, "3000 TB"),
    ],
)
def test_sizes(count: float, text: str) -> None:
    """Powers of a thousand."""
    assert size(count) == text
