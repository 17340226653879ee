"""Axes of the training's figure."""

from __future__ import annotations

import pytest

from robbench.reports.figures.plot import draw

PANELS = ("clean accuracy", "robust accuracy", "training loss")


@pytest.mark.parametrize("n", [1, 2, 3, 200])
def test_epochs_are_whole(numbers, n):
    """One axis of epochs for all panels, without fractions, named below the last."""
    made = draw(numbers("training", list(range(1, n + 1)), [0.5] * n, PANELS))
    made.figure.draw_without_rendering()
    assert [ax.get_xlabel() for ax in made.figure.axes] == ["", "", "epoch"]
    ticks = [text.get_text() for text in made.figure.axes[-1].get_xticklabels()]
    assert ticks
    assert all("." not in tick for tick in ticks)


def test_loss_has_its_own_scale(numbers):
    """From 0, while accuracies have that of percents."""
    clean, loss = draw(
        numbers("training", [1, 2], [3.0, 2.5], ("clean accuracy", "training loss"))
    ).figure.axes
    assert clean.get_ylim() == (-0.02, 1.02)
    assert loss.get_ylim()[0] == 0
    assert loss.get_ylim()[1] > 3
