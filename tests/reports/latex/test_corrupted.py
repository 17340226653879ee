"""Models under corruptions in LaTeX."""

from __future__ import annotations

from robbench.analysis.compare import compare
from robbench.analysis.corrupted import under_corruptions
from robbench.reports.latex.corrupted import corrupted_to_latex


def test_two_tables_with_the_means(stored, make_samples, parse):
    """Names are text, differences mathematics; what a run warns of is a comment."""
    runs = [
        stored(
            f"{model}{n}".ljust(12, "0"),
            make_samples(50, 1, broken + n / 10),
            model=f"{model}_x",
            model_hash=model,
            norm="corruption:fog",
            eps=float(n),
            threat=f"corruption:fog@{n}",
            attack="none",
        )
        for model, broken in (("a", 0.1), ("b", 0.3))
        for n in (1, 2)
    ]
    found, rows = under_corruptions(runs), compare(runs)
    in_all, by_corruption = corrupted_to_latex(found, rows).split("\n\n")
    table = parse(in_all)
    assert table.kinds == "lrrrlr"
    means = [line[2].partition("\\")[0] for line in table.lines[1:]]
    assert means == [f"{100 * row['mean_accuracy']:.1f}" for row in found]
    assert [line[0] for line in table.lines[1:]] == [r"a\_x", r"b\_x"]
    assert table.lines[1][5].startswith("--")
    moved = 100 * (found[1]["mean_accuracy"] - found[0]["mean_accuracy"])
    assert table.lines[2][5].startswith(rf"${moved:+.1f} \pm ")
    each = parse(by_corruption)
    assert [line[0] for line in each.lines] == ["corruption", "fog"]
