"""LaTeX tables: well formed, the rows' numbers, and what all rows share in the caption."""

from __future__ import annotations

import json

import pytest

from robbench.analysis.compare import compare
from robbench.analysis.pivot import pivot
from robbench.analysis.seeds import over_training_seeds
from robbench.reports.latex.table import pivot_to_latex, to_latex


@pytest.fixture
def runs(stored, make_samples):
    """Ce and at under two budgets of linf, and at under one of l2."""
    small, l2 = (
        {"eps": 8 / 255, "threat": "linf:8/255"},
        {"norm": "l2", "eps": 0.5, "threat": "l2:0.5"},
    )
    facts = [
        ("ce", 0.7, {}),
        ("at", 0.1, {}),
        ("ce", 0.5, small),
        ("at", 0.05, small),
        ("at", 0.2, l2),
    ]
    return [
        stored(f"{i}" * 12, make_samples(300, 5, share), model=model, age=i, **more)
        for i, (model, share, more) in enumerate(facts)
    ]


@pytest.fixture
def seeds(stored, make_samples):
    """Two recipes with three training seeds each, two budgets."""
    return [
        stored(
            f"{i:012d}",
            make_samples(200, i, share + 0.02 * seed),
            model=f"{loss}-s{seed}",
            loss=loss,
            age=i,
            train_seed=seed,
            train_config=json.dumps({"loss": loss, "seed": seed}),
            threat=f"linf:{eps}",
            eps=eps,
        )
        for i, (loss, share, seed, eps) in enumerate(
            (loss, share, seed, eps)
            for loss, share in (("ce", 0.8), ("trades", 0.2))
            for seed in range(3)
            for eps in (0.1, 0.2)
        )
    ]


def test_cells_are_the_rows_numbers(runs, parse):
    """Percents with Wilson's bounds in brackets, margins, paired difference with p, cost."""
    rows = compare(runs[:2])
    table = parse(to_latex(rows))
    assert table.lines[0] == [
        "Model",
        r"Clean (\%)",
        r"Robust (\%)",
        r"Adv.\ ratio (\%)",
        "Median margin",
        "Difference",
        "F+B",
    ]
    for cells, row in zip(table.lines[1:], rows, strict=True):
        robust = f"{100 * row['robust_accuracy']:.1f}"
        bounds = (
            f"[{100 * row['robust_accuracy_low']:.1f}, {100 * row['robust_accuracy_high']:.1f}]"
        )
        number = rf"$\mathbf{{{robust}}}$" if row["best"] else f"${robust}$"
        assert cells[0] == row["model"]
        assert cells[1] == f"${100 * row['clean_accuracy']:.1f}$"
        assert cells[2] == rf"{number} {{\scriptsize ${bounds}$}}"
        assert cells[3] == f"${100 * row['adversarial_ratio']:.1f}$"
        assert cells[4].count(r"\rightarrow") == 1
    assert table.lines[1][5] == "--"
    assert table.lines[2][5] == f"$+{100 * rows[1]['robust_difference']:.1f}$ ($p<0.001$)"
    assert table.kinds == "lrrrrrr"


def test_what_all_rows_share_is_said_once(runs, parse):
    """Data, samples, threat model and attack; the packages that are needed stand on top."""
    table = parse(to_latex(compare(runs[2:4])))
    assert table.caption.startswith(
        r"Robustness on digits test (300 samples) under $\ell_\infty$, $\varepsilon = 8/255$ by "
        r"\texttt{pgd:steps=10}. Brackets: Wilson interval, 95\,\%. Difference: in points, "
        r"to the first row, "
    )
    assert table.caption.endswith(
        r"Bold: the best, where the exact McNemar test (Holm) tells it from every other, "
        r"$p \leq 0.05$."
    )
    assert table.comments == ["% needs in the preamble:", r"% \usepackage{booktabs}"]


def test_what_differs_is_a_column_and_blocks_are_ruled_off(runs, parse):
    """Threat models in blocks, whatever the order of the rows; bold is of a block."""
    text = to_latex(compare(runs))
    table = parse(text)
    threats = [cells[1] for cells in table.lines]
    assert threats == [
        "Threat model",
        *[r"$\ell_\infty$, $\varepsilon = 0.15$"] * 2,
        *[r"$\ell_\infty$, $\varepsilon = 8/255$"] * 2,
        r"$\ell_2$, $\varepsilon = 0.5$",
    ]
    assert text.count(r"\midrule") == 3
    assert "Bold: the best of its block" in table.caption
    assert to_latex([compare(runs)[i] for i in (0, 2, 4, 1, 3)]).count(r"\midrule") == 3


def test_bold_is_only_what_the_test_tells(runs, parse):
    """Nothing where no run is the best, and then the caption is silent."""
    assert to_latex(compare(runs[:2])).count(r"\mathbf") == 1
    alike = to_latex(compare([runs[0], runs[0]]))
    assert r"\mathbf" not in alike
    assert "Bold" not in parse(alike).caption


def test_seeds_are_mean_and_standard_deviation(seeds, parse):
    """The number of seeds is the caption's; no interval stands beside."""
    chosen = [run for run in seeds if run.info["eps"] == 0.1]
    rows = over_training_seeds(chosen, compare(chosen))
    table = parse(to_latex(rows))
    for cells, row in zip(table.lines[1:], rows, strict=True):
        mean, spread = (100 * row[f"robust_accuracy{end}"] for end in ("", "_sd"))
        assert rf"{mean:.1f} \pm {spread:.1f}" in cells[2]
        assert "[" not in cells[2]
    assert [cells[0] for cells in table.lines[1:]] == ["ce", "trades"]
    assert r"Mean $\pm$ standard deviation over 3 training seeds." in table.caption
    assert "paired $t$ test over the seeds" in table.caption
    assert "Wilson" not in table.caption


def test_budgets_in_columns_stand_below_their_norm(runs, parse):
    """A group for each norm with a rule below; empty cells are dashes; numbers are the runs'."""
    found = pivot(compare(runs))
    text = pivot_to_latex(found)
    table = parse(text)
    assert table.lines[0] == [
        "",
        "",
        *[r"\multicolumn{2}{c}{Robust (\%), $\ell_\infty$}"] * 2,
        r"\multicolumn{1}{c}{Robust (\%), $\ell_2$}",
    ]
    assert r"\cmidrule(lr){3-4} \cmidrule(lr){5-5}" in text
    assert table.lines[1] == ["Model", r"Clean (\%)", "$8/255$", "$0.15$", "$0.5$"]
    assert [cells[0] for cells in table.lines[2:]] == ["ce", "at"]
    assert table.lines[2][4] == "--"
    for cells, row in zip(table.lines[2:], found.flat(), strict=True):
        for cell, threat in zip(cells[2:], found.threats, strict=True):
            if row[threat] is not None:
                number = f"{100 * row[threat]:.1f}"
                number = rf"\mathbf{{{number}}}" if row[f"{threat}_best"] else number
                assert cell.startswith(f"${number}$")
    assert "of its column" in table.caption
    assert "under" not in table.caption


def test_budgets_in_columns_over_seeds(seeds, parse):
    """Mean and standard deviation in each cell."""
    found = pivot(over_training_seeds(seeds, compare(seeds)))
    table = parse(pivot_to_latex(found))
    assert [cells[0] for cells in table.lines[2:]] == ["ce", "trades"]
    assert all(r"\pm" in cell for cells in table.lines[2:] for cell in cells[1:])


def test_other_attacks_and_data_are_said(runs, stored, make_samples, parse):
    """Of a pivot over several attacks all are in the caption; other data are a column."""
    other = stored("9" * 12, make_samples(300, 6, 0.3), model="at", data="mnist", attack="fgsm")
    table = parse(pivot_to_latex(pivot(compare([*runs, other]))))
    assert r"Attacks: \texttt{pgd:steps=10; fgsm}." in table.caption
    assert [cells[1] for cells in table.lines[1:]] == [
        "Data",
        "digits test",
        "digits test",
        "mnist test",
    ]


def test_what_speaks_against_a_number_is_a_comment(stored, make_samples, parse):
    """Warnings of a run, and threat models that have no column; each in one line that TeX skips."""
    rows = make_samples(50, 1)
    for row in rows[:5]:
        row["status"] = 3
    run = stored("a" * 12, rows, model="two\nlines")
    comments = parse(to_latex(compare([run]))).comments
    assert "5 samples unfinished" in comments[2]
    assert comments[2].startswith("% warning: two lines, linf:0.15: ")


@pytest.mark.parametrize(
    "name", ["a_b%&#~^{x}$", "[x]", "*", "\\", "a--b", "<b>|", "\u00e9\u4e2d", "% x"]
)
def test_names_are_text(name, stored, parse):
    """No sign that LaTeX would take for its own, at the start of a line neither."""
    table = parse(to_latex(compare([stored("a" * 12, model=name), stored("b" * 12, model="z")])))
    assert len(table.lines) == 3
    assert not table.lines[1][0].startswith(("[", "*"))
    parse(to_latex(compare([stored("a" * 12, model=name)]), ("model", "loss", "n_samples")))


def test_an_escaped_name_reads_as_it_is(stored, parse):
    """Sign by sign."""
    (_, cells) = parse(to_latex(compare([stored("a" * 12, model="a_b%&#~^{x}$--")]))).lines
    assert cells[0] == r"a\_b\%\&\#\textasciitilde{}\textasciicircum{}\{x\}\$-{}-"


def test_shown_on_request_is_a_dagger(runs, parse):
    """With what differs in the caption."""
    rows = [row | {"differs": ["attack"]} if i else row for i, row in enumerate(compare(runs[:2]))]
    table = parse(to_latex(rows))
    assert table.lines[2][0] == r"at$^\dagger$"
    assert table.caption.endswith(r"$^\dagger$Differs from the other rows in attack.")


def test_the_bound_of_an_audit_has_a_column_and_a_sentence(runs, parse):
    """Runs without one have a comment where their cascade wants one."""
    rows = [{**row, "attack": "autoattack-fast"} for row in compare(runs[:2])]
    audit = {"audit_attack": "autoattack", "n_survivors": 20, "n_audited": 20, "n_audit_broken": 0}
    rows[0] |= {**audit, "audit_missed_high": 0.1, "robust_accuracy_audited": 0.2349}
    text = to_latex(rows)
    heads, first, second = parse(text).lines
    at = heads.index(r"At least (\%)")
    assert (first[at], second[at]) == ("$23.4$", "--")
    assert r"At least: one-sided 95\,\% bound of an audit (autoattack on 20 survivors)." in text
    assert "% warning: at, linf:0.15: not audited: autoattack may break more" in text
    assert "warning: ce" not in text


def test_the_last_checkpoint_has_a_column_and_a_sentence(runs, parse):
    """`--` for a model without one."""
    rows = compare(runs[:2])
    rows[1]["robust_accuracy_last"] = 0.4
    text = to_latex(rows)
    heads, first, second = parse(text).lines
    at = heads.index(r"Last (\%)")
    assert (first[at], second[at]) == ("--", "$40.0$")
    assert "Last: robust accuracy of the last checkpoint, beside that of the best." in text


@pytest.fixture
def corrupted(stored):
    """One model under two severities of a corruption."""
    return [
        stored(
            f"{n}" * 12,
            attack="none",
            norm="corruption:zoom_blur",
            eps=float(n),
            threat=f"corruption:zoom_blur@{n}",
        )
        for n in (1, 3)
    ]


def test_a_corruption_is_a_name_and_a_severity(corrupted, parse):
    """In the caption, and at the head of a pivot; neither as mathematics nor as epsilon."""
    text = to_latex(compare(corrupted[1:]))
    assert r"under zoom blur, severity $3$ by \texttt{none}." in parse(text).caption
    assert "Under a corruption: adversarial ratio is the share" in parse(text).caption
    table = parse(pivot_to_latex(pivot(compare(corrupted))))
    assert table.lines[0][2] == r"\multicolumn{2}{c}{Robust (\%), zoom blur}"
    assert table.lines[1][2:] == ["severity $1$", "severity $3$"]
    assert "orruption" not in parse(to_latex(compare(corrupted), ("model", "threat"))).caption


def test_a_target_has_the_note_of_other_forms(stored, runs, parse):
    """In a table and in a pivot; not without one."""
    aimed = stored("a" * 12, target="3", threat="linf:0.15 -> 3")
    for made in (to_latex(compare([aimed])), pivot_to_latex(pivot(compare([aimed])))):
        assert r"With a target ($\to$): share of samples for which" in parse(made).caption
    assert "With a target" not in to_latex(compare(runs))
