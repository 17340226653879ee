"""The comparison: grouped, bold where the test is sure, no robust accuracy without a budget."""

from __future__ import annotations

import json
import math

from robbench.analysis.certified import Proofs
from robbench.analysis.compare import compare
from robbench.reports.html.data import ReportData
from robbench.reports.html.page import Notes, Plot, Table
from robbench.reports.html.render import page_sections
from robbench.reports.html.sections.comparison import comparison


def _tables(material: ReportData) -> list[Table]:
    return [block for block in comparison(material).blocks if isinstance(block, Table)]


def test_each_threat_model_is_a_group_and_robust_accuracy_is_beside_the_name(add_run):
    """Groups in the order of the runs; what all have in common is in the caption only."""
    runs = [
        add_run(f"{i:012x}", eps=eps, model=model, model_hash=model, threat=f"linf:{eps}")[1]
        for i, (eps, model) in enumerate((e, m) for e in (0.05, 0.1) for m in ("ce", "at"))
    ]
    (table,) = _tables(ReportData(runs))
    assert [title for title, _ in table.groups] == ["linf:0.05", "linf:0.1"]
    assert [head.text for head in table.heads[:6]] == [
        *("model", "robust accuracy", "clean acc.", "adv. ratio", "clean margin", "worst margin")
    ]
    assert "digits test" in table.caption
    for row, run in zip(table.rows, runs, strict=True):
        assert row[1].key == run.info["robust_accuracy"]
        assert row[1].small == (
            f"{100 * run.info['robust_accuracy_low']:.1f}-"
            f"{100 * run.info['robust_accuracy_high']:.1f}"
        )
        assert row[3].key == run.info["adversarial_ratio"]


def test_data_and_split_are_each_in_the_caption_or_above_a_group(add_run):
    """What is common in the caption, what differs above: of two splits, of two sets of a split."""

    def shown(*pairs: tuple[str, str]) -> tuple[str, list[str]]:
        runs = [
            add_run(f"{i:012x}", data=data, split=split, data_hash=f"{data}{split}")[1]
            for i, (data, split) in enumerate(pairs)
        ]
        (table,) = _tables(ReportData(runs))
        return table.caption, [title for title, _ in table.groups]

    caption, groups = shown(("digits", "test"), ("digits", "train"))
    assert (groups, "digits;" in caption, "test" in caption) == (["test", "train"], True, False)
    caption, groups = shown(("digits", "train"), ("digits[0,1]", "train"))
    assert (groups, "; train;" in caption) == (["digits", "digits[0,1]"], True)


def test_without_a_budget_the_median_distance_is_shown_in_a_table_of_its_own(add_run):
    """No robust accuracy, no ratio."""
    budget = add_run("a" * 12)[1]
    endless = add_run("b" * 12, eps=math.inf, threat="l2:inf", norm="l2", distance_p50=0.42)[1]
    first, second = _tables(ReportData([budget, endless]))
    assert len(first.rows) == 1
    assert "robust accuracy" not in [head.text for head in second.heads]
    assert (second.heads[1].text, second.rows[0][1].text) == ("median distance", "0.42")
    assert second.caption.startswith("l2, no budget")


def test_bold_is_what_the_test_calls_best(add_run, handmade_rows):
    """The mark is that of `compare`, and the page says what it means."""
    rows = handmade_rows()
    kept = [
        {**row, "robust": row["clean_correct"], "adversarial": not row["clean_correct"]}
        for row in rows
    ]
    runs = [add_run("a" * 12)[1], add_run("b" * 12, kept, model="at", model_hash="at")[1]]
    (table,) = _tables(ReportData(runs))
    marks = [row[1].mark == "best" for row in table.rows]
    assert marks == [row["best"] for row in compare(runs)] == [False, True]
    notes = [block for block in comparison(ReportData(runs)).blocks if isinstance(block, Notes)]
    assert any(line.startswith("Bold: best") for line in notes[-1].lines)


def test_over_seeds_the_standard_deviation_is_beside_the_mean(add_run, handmade_rows):
    """Of 8 and 12 robust samples in 40: 25 %, and 7.07 points; one seed has none."""

    def run(seed, robust):
        rows = [
            {**row, "clean_correct": True, "robust": i < robust, "adversarial": i >= robust}
            for i, row in enumerate(handmade_rows())
        ]
        config = json.dumps({"loss": "ce", "seed": seed})
        name = f"ce-s{seed}"
        facts = {"model": name, "model_hash": name, "train_seed": seed, "train_config": config}
        return add_run(f"{seed}".ljust(12, "0"), rows, **facts)[1]

    (table,) = _tables(ReportData([run(0, 8), run(1, 12)], over_seeds=True))
    assert table.rows[0][1].text == "25.0%"
    assert table.rows[0][1].small.endswith(", sd 7.1")
    (table,) = _tables(ReportData([run(2, 8)], over_seeds=True))
    assert "sd" not in table.rows[0][1].small


def test_the_bound_of_an_audit_is_below_robust_accuracy(add_run, handmade_rows):
    """And a note has the whole line; a cheap run without one is named."""
    rows = handmade_rows()
    for row in rows:
        row["audited"] = row["robust"]  # all of them, so the bound is robust accuracy itself
    known = sum(row["robust"] for row in rows)
    said = {
        "audit_attack": "autoattack",
        "n_survivors": known,
        "n_audited": known,
        "n_audit_broken": 0,
    }
    said |= {"audit_missed_high": 0.0, "robust_accuracy_audited": known / len(rows)}
    cheap = {"attack": "autoattack-fast"}
    runs = [
        add_run("a" * 12, rows, **cheap, **said)[1],
        add_run("b" * 12, model="at", model_hash="at", **cheap)[1],
    ]
    (table,) = _tables(ReportData(runs))
    share = f"{100 * known / len(rows):.1f}%"
    assert table.rows[0][1].small.endswith(f", at least {share}")
    assert "at least" not in table.rows[1][1].small
    notes = "\n".join(
        text
        for block in comparison(ReportData(runs)).blocks
        if isinstance(block, Notes)
        for text in block.lines
    )
    assert f"ce linf:0.1: audit: autoattack on all {known} survivors broke 0" in notes
    assert "Not audited: at; autoattack may break more than autoattack-fast" in notes
    assert f"audited differently: no audit here, autoattack on {known} there" in notes


def test_certificates_are_a_column_and_a_sentence(add_run):
    """A dash for a run without; neither where no run has one."""
    runs = [add_run(f"{i:012x}", model=f"m{i}", model_hash=f"m{i}")[1] for i in range(2)]
    for material, shown in (
        (ReportData(runs), False),
        (ReportData(runs, certified={runs[0].info["run_id"]: Proofs(0.125)}), True),
        (ReportData(runs[:1], certified={runs[0].info["run_id"]: Proofs(0.125)}), True),
    ):
        (table,) = _tables(material)
        heads = [head.text for head in table.heads]
        assert ("certified" in heads) is shown
        assert all(len(row) == len(heads) for row in table.rows)
        notes = [
            line for b in comparison(material).blocks if isinstance(b, Notes) for line in b.lines
        ]
        assert any(line.startswith("Certified: ") for line in notes) is shown
        if shown:
            cells = [row[heads.index("certified")].text for row in table.rows]
            assert cells == ["12.5%", "-"][: len(cells)]
            assert table.rows[0][heads.index("clean acc.")].key == runs[0].info["clean_accuracy"]


def test_models_under_corruptions_have_means_in_place_of_their_runs(add_run):
    """As compare has it, with each severity, and no figures of them; not over seeds."""
    runs = [
        add_run(
            f"{severity}" * 12,
            norm="corruption:fog",
            eps=float(severity),
            threat=f"corruption:fog@{severity}",
            attack="none",
            train_seed=0,
            train_config=json.dumps({"loss": "ce", "seed": 0}),
        )[1]
        for severity in (1, 5)
    ]
    in_all, by_severity = _tables(ReportData(runs))
    mean = 50 * sum(run.info["robust_accuracy"] for run in runs)
    assert in_all.rows[0][2].text.startswith(f"{mean:.1f}%")
    assert [head.text for head in by_severity.heads] == ["corruption", "1", "5", "mean"]
    rates = [f"{100 * run.info['robust_accuracy']:.1f}%" for run in runs]
    assert [cell.text for cell in by_severity.rows[0]] == ["fog", *rates, f"{mean:.1f}%"]
    empty = {one.id for one in page_sections(ReportData(runs)) if not one.blocks}
    assert empty >= {"curves", "logit-margins", "input-margins", "classes", "over-time", "cost"}
    mixed = page_sections(ReportData([add_run("b" * 12)[1], *runs]))
    drawn = [one for section in mixed for one in section.blocks if isinstance(one, Plot)]
    assert drawn
    assert not any("fog" in plot.alt or "fog" in plot.title for plot in drawn)
    notes = comparison(ReportData(runs)).blocks[-1]
    assert notes.lines[-1].startswith("mean: over all of them")
    assert len(_tables(ReportData(runs, over_seeds=True))) == 1
