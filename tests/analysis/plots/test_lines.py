"""Means over training seeds, and what is refused, against plain NumPy on a few numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robbench.analysis.plots.lines import (
    MOST_LINES,
    MOST_POINTS,
    Line,
    Plotted,
    Training,
    mean_over_seeds,
    require_few,
    thinned,
    training_of,
)
from robbench.core.errors import UserError


def line(x, y, seed=0, recipe="r", model=None, **more):
    x, y = np.array(x, float), np.array(y, float)
    nothing = np.full(len(x), math.nan)
    training = Training(model or f"at-s{seed}", "ce", seed, recipe)
    return Line(training.model, x, y, nothing, nothing, count=10, training=training, **more)


def plotted(*lines):
    return Plotted("curves", lines, "eps", "robust_accuracy", "About", band="intervals")


def test_nothing_to_draw_is_refused():
    with pytest.raises(UserError, match="no robust_accuracy of these runs is known"):
        require_few(plotted(line([], [])))
    require_few(plotted(line([], []), line([1], [0.5])))


def test_a_seed_without_a_step_has_a_share_of_nothing():
    """Such as one whose attack shows no margins."""
    both = plotted(line([1, 2], [0.5, 1], steps=True), line([], [], seed=1, steps=True))
    (mean,) = mean_over_seeds(both).lines
    assert mean.y.tolist() == [0.25, 0.5]


def test_points_are_averaged_where_all_seeds_have_one():
    """Mean and sample standard deviation at the common x; the name is what the names share."""
    values = [[0.9, 0.5, 0.1], [0.8, 0.6, 0.4]]
    both = plotted(line([0, 1, 2], values[0]), line([0, 1, 2, 3], [*values[1], 0.0], seed=1))
    made = mean_over_seeds(both)
    (mean,) = made.lines
    assert mean.x.tolist() == [0, 1, 2]
    np.testing.assert_allclose(mean.y, np.mean(values, 0))
    np.testing.assert_allclose(mean.high - mean.y, np.std(values, 0, ddof=1))
    np.testing.assert_allclose(mean.y - mean.low, np.std(values, 0, ddof=1))
    assert (mean.name, mean.count) == ("at (2 seeds)", 2)
    assert "means over training seeds; bands: one standard deviation" in made.caption
    assert [row["n_seeds"] for row in made.rows()] == [2, 2, 2]


def test_steps_are_averaged_at_every_step_of_any_seed():
    """Each seed's value from its last step on, 0 before its first."""
    made = mean_over_seeds(
        plotted(line([1, 3], [0.5, 1.0], steps=True), line([2], [1.0], seed=1, steps=True))
    )
    (mean,) = made.lines
    assert (mean.x.tolist(), mean.y.tolist()) == ([1, 2, 3], [0.25, 0.75, 1.0])


def test_one_seed_has_no_band():
    """Nothing is known of the spread; the caption speaks of no band."""
    made = mean_over_seeds(plotted(line([0, 1], [1, 0])))
    assert np.isnan(made.lines[0].low).all()
    assert "bands" not in made.caption
    assert [row["low"] for row in made.rows()] == [None, None]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([line([0], [1]), line([0], [1])], "two runs of one recipe and seed"),
        ([line([0], [1]), line([1], [1], seed=1)], "nothing in common"),
    ],
)
def test_seeds_that_cannot_be_averaged(lines, said):
    """The same seed twice, and seeds without a common budget."""
    with pytest.raises(UserError, match=said):
        mean_over_seeds(plotted(*lines))


def test_more_lines_than_colours_are_refused():
    """Eight can be told apart; panels count by themselves."""
    one = [line([0], [1], seed=seed) for seed in range(MOST_LINES)]
    other = [line([0], [1], seed=seed, panel="b") for seed in range(MOST_LINES)]
    require_few(plotted(*one, *other))
    with pytest.raises(UserError, match=f"{MOST_LINES + 1} lines in one figure"):
        require_few(plotted(*one, line([0], [1], seed=99)))


def test_a_long_line_is_thinned_to_some_of_its_own_points():
    """Both ends stay, and every point that stays is one of the line."""
    whole = line(range(5000), np.linspace(1, 0, 5000), steps=True)
    short = thinned(whole)
    assert len(short.x) == MOST_POINTS
    assert (short.x[0], short.x[-1]) == (0, 4999)
    assert set(zip(short.x, short.y, strict=True)) <= set(zip(whole.x, whole.y, strict=True))


def test_trainings_that_differ_in_their_seed_only_are_one_recipe():
    """Any other setting and the architecture distinguish them; a run without is refused."""
    info = {"run_id": "a", "model": "m", "loss": "ce", "train_seed": 1, "model_arch": "cnn"}
    one = training_of(info | {"train_config": '{"lr": 1, "seed": 1}'})
    same = training_of(info | {"train_config": '{"lr": 1, "seed": 2}', "train_seed": 2})
    others = [
        training_of(info | {"train_config": '{"lr": 2, "seed": 1}'}),
        training_of(info | {"train_config": '{"lr": 1, "seed": 1}', "model_arch": "mlp"}),
    ]
    assert (one.recipe, one.seed, same.seed) == (same.recipe, 1, 2)
    assert one.recipe not in {other.recipe for other in others}
    with pytest.raises(UserError, match="does not say how it was trained"):
        training_of(info | {"train_config": None})
