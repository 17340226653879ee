"""Axes of the margins' figure."""

from __future__ import annotations

from robbench.reports.figures.plot import draw


def test_clean_stands_above_worst_and_zero_is_marked(numbers):
    """One axis of margins for both, a line at 0 in each, shares in percent."""
    made = draw(numbers("margins", [-2, 1, 3], [0.2, 0.5, 1], ("clean", "worst")))
    clean, worst = made.figure.axes
    assert (clean.get_ylabel(), worst.get_ylabel()) == ("clean inputs (%)", "worst points (%)")
    assert clean.get_xlim() == worst.get_xlim() == (-2, 3)
    for ax in (clean, worst):
        _, zero = ax.get_lines()
        assert list(zero.get_xdata()) == [0, 0]
        made.figure.draw_without_rendering()
        assert [text.get_text() for text in ax.get_yticklabels()] == ["0", "25", "50", "75", "100"]
