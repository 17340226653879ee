"""The page to look at samples: one of them, on any screen, on paper and by ear."""

from __future__ import annotations

import pytest

from robbench.reports.html.view import COLUMNS, Pictures, ViewData
from robbench.store.run import read_run

from .browser import show, wait
from .view_page import CLASSES, set_value, write


def test_paper_has_all_of_the_open_sample(page):
    """Not what is for the screen: no list of which a part is drawn, no window that scrolls."""
    page.find_element("css selector", "[role=option]").click()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        pane = page.find_element("id", "sample")
        assert pane.is_displayed()
        assert not page.find_element("id", "list").is_displayed()
        assert not page.find_element("css selector", ".filters").is_displayed()
        high = "return [arguments[0].scrollHeight, arguments[0].clientHeight]"
        whole, seen = page.execute_script(high, pane)
        assert 0 < whole <= seen
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_sample_shows_its_pictures_and_its_trace(page):
    """At their own size, with texts; a run without points and one without the sample say so."""
    set_value(page, "id", "1001")
    page.find_element("css selector", "[role=option]").click()
    wait(page, "return [...document.querySelectorAll('#detail img')].every((i) => i.complete)")
    found = page.execute_script(
        "return [...document.querySelectorAll('#detail img')].map((i) => [i.naturalWidth, i.alt])"
    )
    assert [width for width, _ in found] == [5] * 4
    assert [alt.partition(", ")[2][:10] for _, alt in found] == [
        "clean",
        "worst poin",
        "difference",
        "clean",
    ]
    assert "10 times: full colour is 0.1" in found[2][1]
    texts = page.find_element("id", "detail").text
    assert "attack with --store-points" in texts
    trace = page.find_element("css selector", "svg.trace").get_attribute("aria-label")
    assert trace == (
        "Margin along 2 steps of pgd:steps=2: from 2 to -1, lowest -1; below 0 from step 2"
    )
    set_value(page, "id", "1035")
    page.find_element("css selector", "[role=option]").click()
    assert "The run has no such sample." in page.find_element("id", "detail").text


def test_what_a_screen_reader_hears(page):
    """Each control has a name, options their place, and the count is announced."""
    page.find_element("css selector", "[role=option]").click()
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]

    def named(role: str) -> list[str]:
        return [
            node["name"].get("value", "")
            for node in nodes
            if not node["ignored"] and node["role"]["value"] == role
        ]

    for role in ("combobox", "spinbutton", "searchbox", "checkbox", "button", "listbox"):
        assert named(role), role
        assert all(named(role)), role
    assert named("listbox") == ["Samples"]
    assert {"Worst margin from", "Distance to"} <= set(named("spinbutton"))
    assert named("option")
    assert any(name.startswith("Sample 00000000, class cat; A ") for name in named("option"))
    assert all(named("image"))
    statuses = [node for node in nodes if node["role"]["value"] == "status"]
    assert [
        each["value"]["value"]
        for status in statuses
        for each in status["properties"]
        if each["name"] == "live"
    ] == ["polite", "polite"]
    place = page.execute_script(
        "const o = document.querySelector('[role=option]'); return [o.ariaSetSize, o.ariaPosInSet]"
    )
    assert place == ["40", "1"]


def test_it_fits_a_phone_and_the_dark(chromium, material, tmp_path):
    """At 360 pixels it does not scroll sideways, also with an open sample; the paper is dark."""
    show(chromium, 360, "dark")
    chromium.get("about:blank")
    chromium.get(write(tmp_path, material))
    chromium.find_element("css selector", "[role=option]").click()
    wide = "return Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
    assert chromium.execute_script(wide) <= 360
    assert not chromium.find_element("id", "list").is_displayed()
    paper = "return getComputedStyle(document.body).backgroundColor"
    assert chromium.execute_script(paper) == "rgb(20, 23, 27)"


def test_features_stand_where_there_are_no_pictures(chromium, material, tmp_path):
    """A table of the features of the clean input, the worst point and their difference."""
    pictures = Pictures(features={1001: [0.25, 0.5]}, moved={"a" * 12: {1001: [0.5, 0.5]}})
    changed = ViewData(material.runs, material.samples, CLASSES, pictures, points=material.points)
    show(chromium, 1300, "light")
    chromium.get("about:blank")
    chromium.get(f"{write(tmp_path, changed)}#sample={1001:016x}")
    cells = chromium.execute_script(
        "return [...document.querySelectorAll('.one tbody')].map((b) => "
        "[...b.rows].map((r) => [...r.cells].map((c) => c.textContent)))"
    )
    assert cells == [
        [["0", "0.25", "0.5", "0.25"], ["1", "0.5", "0.5", "0"]],
        [["0", "0.25"], ["1", "0.5"]],
    ]


@pytest.mark.parametrize("width", [360, 1300])
def test_the_results_of_many_runs_fit_their_row(chromium, add_run, handmade_rows, tmp_path, width):
    """Of seven runs that all broke it; runs alike in all else have their ids."""
    rows = [
        row | {"broken_by": "pgd", "adversarial": True, "clean_correct": True, "dist_linf": 0.031}
        for row in handmade_rows(3)
    ]
    runs = [read_run(add_run(letter * 12, rows)[0], COLUMNS) for letter in "abcdef0"]
    show(chromium, width, "light")
    chromium.get("about:blank")
    chromium.get(write(tmp_path, ViewData(runs, [1000, 1001, 1002], ["0", "1", "2"])))
    inside = (
        "return [...document.querySelectorAll('[role=option]')].map((o) => {"
        "const [a, b] = [o, o.querySelector('.marks')].map((e) => e.getBoundingClientRect());"
        "return a.height > 30 && b.bottom <= a.bottom && b.right <= a.right; })"
    )
    assert chromium.execute_script(inside) == [True] * 3
    named = chromium.find_elements("css selector", "#runs tbody th")
    assert [cell.text.split()[-1] for cell in named] == [letter * 12 for letter in "abcdef0"]
