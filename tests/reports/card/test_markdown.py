"""The model card: the Hub's own reader gives the numbers again; the table is what was measured."""

from __future__ import annotations

import re

import pytest
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results

from robbench.reports.card.markdown import BEGIN, END, results, section
from robbench.reports.card.readme import into_readme


@pytest.fixture
def written(subject, tmp_path):
    """A new README.md, and the subject it is about."""
    one = subject(certified=0.25)
    path = tmp_path / "README.md"
    path.write_text(into_readme("", section(one), results(one), one.name, "README.md"))
    return path, one


def test_the_hub_reads_our_numbers(written):
    """ModelCard.load, metadata_load and model_index_to_eval_results: every digit."""
    path, one = written
    expected = [metric.value for each in one.evaluations for metric in each.metrics]
    card = ModelCard.load(path)
    assert card.data.model_name == "at"
    assert [found.metric_value for found in card.data.eval_results] == expected
    name, found = model_index_to_eval_results(metadata_load(path)["model-index"])
    assert (name, [each.metric_value for each in found]) == ("at", expected)
    robust = found[1]
    assert (robust.metric_type, robust.task_type) == ("robust_accuracy", "image-classification")
    metric = one.evaluations[0].metrics[1]
    assert robust.metric_args["interval_95"] == [metric.low, metric.high]
    assert robust.metric_args["threat"] == "linf:0.15"


def test_what_the_hub_writes_is_replaced_too(written):
    """A card that the Hub's library loaded and saved again still has our results as ours."""
    path, one = written
    ModelCard.load(path).save(path)
    text = into_readme(path.read_text(), section(one), results(one), one.name, "README.md")
    path.write_text(text)
    assert len(ModelCard.load(path).data.eval_results) == 5
    assert text.count(BEGIN) == text.count(END) == 1


@pytest.mark.parametrize(
    "data", ["digits[3,8][first=9]", "csv:t.csv,label=ill", "parquet:a/b", "ü"]
)
def test_data_are_identifiers_for_the_hub(subject, data):
    """It takes one slash at most, and letters, digits, dots, hyphens."""
    (found, _) = results(subject(data=data))
    assert re.fullmatch(r"(?:[\w-]+/)?[\w.-]+", found["dataset"]["type"])
    assert found["dataset"]["name"] == data
    assert found["task"]["type"].startswith("tabular" if data.startswith("csv") else "image")


def test_the_table_has_a_row_for_each_run(subject):
    """Rates in percent with intervals, a distance, the hash of weights, and how to verify."""
    one = subject(certified=0.25)
    rows = [line for line in section(one).splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    assert len(cells) == 4
    assert len({len(row) for row in cells}) == 1
    first, second = (dict(zip(cells[0], row, strict=True)) for row in cells[2:])
    metric = one.evaluations[0].metrics[1]
    percents = [f"{100 * x:.1f}" for x in metric[1:]]
    assert first["robust accuracy"] == f"{percents[0]}% ({percents[1]}-{percents[2]})"
    assert first["certified accuracy"].startswith("25.0%")
    assert (second["robust accuracy"], second["median l2 distance"]) == ("-", "0.531")
    assert one.weights.sha256 in section(one)
    assert "robbench verify" in section(one)


def test_names_cannot_end_the_section(subject):
    """A model's name with a marker, a pipe or HTML is text."""
    one = subject()._replace(name=f"{END}|<b>`x`")
    text = section(one)
    assert text.count(END) == 1
    assert "<b>" not in text
