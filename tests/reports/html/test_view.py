"""The page to look at samples: its content, in which no text of others is code."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest

from robbench.reports.html.view import COLUMNS, ViewData, contents, state
from robbench.store.run import read_run

from .browser import requests, show
from .view_page import EVIL, picture, set_value, write


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({}, "robust"),
        ({"adversarial": True, "broken_by": "pgd"}, "broken"),
        ({"adversarial": True, "broken_by": "clean"}, "misclassified"),
        ({"adversarial": True, "broken_by": "clean", "clean_rejected": True}, "rejected"),
        ({"status": 3}, "unfinished"),
        ({"adversarial": True, "broken_by": "pgd", "status": 1}, "broken"),
        ({"adversarial": True, "broken_by": "corruption:fog"}, "broken"),
        (
            {"adversarial": True, "broken_by": "corruption:fog", "clean_correct": False},
            "misclassified",
        ),
    ],
)
def test_the_result_of_a_sample(row, wanted):
    """One word for each row of the samples table."""
    robust = {"adversarial": False, "broken_by": None, "clean_rejected": None, "status": 0}
    robust["clean_correct"] = True
    assert state(robust | row) == wanted


def test_columns_follow_the_samples_and_files_are_there_once(material):
    """Null where a run has no such sample; equal pictures have one file."""
    twice = material.pictures.clean
    twice[1005] = twice[1001]
    content, files = contents(material)
    first, second = content["runs"]
    rows = {row["sample_id"]: row for row in material.runs[1].samples.to_pylist()}
    assert second["columns"]["distance"] == [
        pytest.approx(rows[i]["dist_linf"], rel=1e-4)
        if i in rows and rows[i]["dist_linf"] is not None
        else None
        for i in material.samples
    ]
    assert second["columns"]["state"][30:] == [None] * 10
    assert len(files) == len(set(files)) == 9  # 4 clean, 4 worst, one difference
    assert content["clean"][1] == content["clean"][5]
    assert files[content["clean"][2]] == twice[1002]
    assert (first["letter"], second["letter"]) == ("A", "B")
    assert first["traces"] == {"1": ["pgd:steps=2", [2.0, 0.5, -1.0]]}


def test_what_the_model_does_not_answer_has_no_prediction(
    chromium, add_run, handmade_rows, tmp_path
):
    """NaN logits have no class: none is shown, and the filter of predictions passes them over."""
    rows = handmade_rows(3, labels=2)
    nothing = {"clean_margin": math.nan, "adv_margin": math.nan, "clean_pred": 0, "adv_pred": 0}
    rows[0] |= nothing | {"broken_by": "clean", "adversarial": True, "clean_rejected": True}
    rows[1] |= {"adv_margin": None, "adv_pred": 1}  # an attack that does not report its attempts
    rows[2] |= {"adv_pred": 0}
    run = read_run(add_run("a" * 12, rows)[0], COLUMNS)
    show(chromium, 1300, "light")
    chromium.get("about:blank")
    chromium.get(write(tmp_path, ViewData([run], [1000, 1001, 1002], ["cat", "dog"])))
    chromium.find_element("css selector", "[role=option]").click()
    texts = chromium.find_element("id", "detail").text
    assert "rejected without an attack" in texts
    assert texts.count("no answer") == 2
    assert "cat" not in texts
    places = "return [...document.querySelectorAll('[role=option]')].map((o) => o.id)"
    for prediction, wanted in (("0", ["o2"]), ("1", ["o1"])):
        set_value(chromium, "pred", prediction)
        assert chromium.execute_script(places) == wanted


def test_no_text_of_others_is_markup(page):
    """Names of models, classes and notes are texts; nothing ran; nothing left the machine."""
    set_value(page, "label", "1")
    page.find_element("css selector", "[role=option]").click()
    assert page.title == f"Samples {EVIL}"
    assert f"class {EVIL}" in page.find_element("id", "sample-head").text
    assert EVIL in page.find_element("css selector", ".notes").text
    assert page.find_elements("css selector", "img[src='x']") == []
    assert page.get_log("browser") == []
    assert [url for url in requests(page) if not url.startswith(("file:", "data:"))] == []


def test_the_policy_stops_scripts_that_are_not_the_page_s(page):
    """Its hash allows the page's own script only."""
    page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        "document.body.append(s)"
    )
    assert page.execute_script("return window.ran") is None
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_pictures_are_png_files_of_the_pixels():
    """Decoded again by another library: the same pixels at the same size."""
    import io

    from PIL import Image

    image, file = picture(0, size=150)
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(file))))
    assert np.array_equal(back, np.moveaxis(np.round(image * 255).astype(np.uint8), 0, -1))
