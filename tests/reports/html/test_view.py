"""The page to look at samples: its content, and what it does in a browser."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import pytest

from robbench.reports.html.sections.gallery import png, signed
from robbench.reports.html.view import (
    COLUMNS,
    MarginTrace,
    Pictures,
    Seen,
    ViewData,
    contents,
    render_view,
    state,
)
from robbench.store.run import read_run

from .browser import requests, show, wait

EVIL = "</script><script>document.title='taken'</script>"
CLASSES = ("cat", EVIL, "<img src=x onerror=alert(1)>", "dog & \u2028 'cow'")


def _png(seed: int, size: int = 5) -> tuple[np.ndarray, str]:
    image = np.random.default_rng(seed).random((3, size, size))
    return image, png(image, largest=None).partition(",")[2]


@pytest.fixture
def material(add_run, handmade_rows) -> ViewData:
    """Two models, the second without points and with fewer samples; four samples with pictures."""
    pairs = [
        add_run("a" * 12, handmade_rows(seed=0), model="ce", model_hash="ce"),
        add_run("b" * 12, handmade_rows(30, seed=1), model=EVIL, model_hash="at"),
    ]
    runs = [read_run(path, COLUMNS) for path, _ in pairs]
    pictures = Pictures(worst={"a" * 12: {}})
    for i in (1001, 1002, 1003, 1004):
        clean, file = _png(i)
        moved = np.clip(clean + 0.1, 0, 1)
        pictures.clean[i] = file
        pictures.worst["a" * 12][i] = Seen(
            png(moved, largest=None).partition(",")[2],
            png(signed(moved - clean), largest=None).partition(",")[2],
            0.1,
        )
    return ViewData(
        runs=runs,
        samples=range(1000, 1040),
        classes=CLASSES,
        pictures=pictures,
        traces={"a" * 12: {1001: MarginTrace("pgd:steps=2", [2.0, 0.5, -1.0])}},
        notes=[f"A note {EVIL}"],
        points=frozenset({"a" * 12}),
    )


def _write(folder: Any, material: ViewData) -> str:
    path = folder / "view.html"
    path.write_text(render_view(material, f"Samples {EVIL}"), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(chromium, material, tmp_path):
    """The page opened from disk, 1300 pixels wide, in light."""
    show(chromium, 1300, "light")
    chromium.get("about:blank")
    chromium.get_log("browser")
    chromium.get_log("performance")
    chromium.get(_write(tmp_path, material))
    return chromium


def _set(driver: Any, name: str, value: str) -> None:
    driver.execute_script(
        "const c = document.getElementById(arguments[0]); c.value = arguments[1];"
        "c.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        value,
    )


def _count(driver: Any) -> str:
    return driver.find_element("id", "count").text


def _heads(driver: Any) -> list[str]:
    """The starts of the ids of the samples that are drawn."""
    return driver.execute_script(
        "return [...document.querySelectorAll('[role=option] code')].map((c) => c.textContent)"
    )


def _broken(run: Any) -> set[int]:
    rows = run.samples.to_pylist()
    return {row["sample_id"] for row in rows if row["adversarial"] and row["clean_correct"]}


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
    chromium.get(_write(tmp_path, ViewData([run], [1000, 1001, 1002], ["cat", "dog"])))
    chromium.find_element("css selector", "[role=option]").click()
    texts = chromium.find_element("id", "detail").text
    assert "rejected without an attack" in texts
    assert texts.count("no answer") == 2
    assert "cat" not in texts
    places = "return [...document.querySelectorAll('[role=option]')].map((o) => o.id)"
    for prediction, wanted in (("0", ["o2"]), ("1", ["o1"])):
        _set(chromium, "pred", prediction)
        assert chromium.execute_script(places) == wanted


def test_no_text_of_others_is_markup(page):
    """Names of models, classes and notes are texts; nothing ran; nothing left the machine."""
    _set(page, "label", "1")
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


def test_filters_count_as_the_rows_do(page, material):
    """Result, class, broken in one run and not in the other, distance, id; counts of each run."""
    first, second = material.runs
    held = {row["sample_id"] for row in second.samples.to_pylist()}
    assert _count(page) == "40 of 40 samples"
    _set(page, "broken", "a" * 12)
    _set(page, "kept", "b" * 12)
    wanted = (_broken(first) & held) - _broken(second)
    assert len(wanted) > 2
    assert _count(page) == f"{len(wanted)} of 40 samples"
    cells = page.execute_script(
        "return [...document.querySelectorAll('#runs tbody tr:first-child td.number')]"
        ".map((c) => c.textContent)"
    )
    assert cells == ["0", str(len(wanted)), "0", "0", "0"]
    page.find_element("css selector", "button[type=reset]").click()
    wait(page, "return document.getElementById('count').textContent === '40 of 40 samples'")
    _set(page, "run", "a" * 12)
    _set(page, "state", "broken")
    _set(page, "distanceTo", "0.05")
    rows = [row for row in first.samples.to_pylist() if row["sample_id"] in _broken(first)]
    near = sorted((row["dist_linf"], row["sample_id"]) for row in rows if row["dist_linf"] <= 0.05)
    assert len(near) > 2
    assert _count(page) == f"{len(near)} of 40 samples"
    _set(page, "sort", "distance")
    shown = page.execute_script(
        "return [...document.querySelectorAll('[role=option] code')].map((c) => c.textContent)"
    )
    assert shown == [f"{sample:016x}"[:8] for _, sample in near]
    _set(page, "id", str(near[0][1]))
    assert _count(page) == "1 of 40 samples"


def test_the_address_shows_the_same_view(page):
    """Filters, order and the open sample are in it; what a page does not have is passed over."""
    _set(page, "state", "broken")
    _set(page, "sort", "advMargin")
    page.find_element("css selector", "[role=option]").click()
    address, count = page.current_url, _count(page)
    head = page.find_element("id", "sample-head").text
    page.get("about:blank")
    page.get(address)
    assert (_count(page), page.find_element("id", "sample-head").text) == (count, head)
    page.get("about:blank")
    page.get(f"{address.partition('#')[0]}#run=nobody&label=77&sample=zz")
    assert _count(page) == "40 of 40 samples"
    assert page.get_log("browser") == []


def test_the_list_works_from_the_keyboard(page):
    """Arrows move, Enter opens and focuses the sample, Escape closes and gives the focus back."""
    from selenium.webdriver.common.keys import Keys

    box = page.find_element("id", "list")
    selected = "return document.querySelector('[aria-selected=true]').getAttribute('aria-posinset')"
    box.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP)
    assert page.execute_script(selected) == "2"
    box.send_keys(Keys.END)
    assert page.execute_script(selected) == "40"
    active = (
        "const box = document.getElementById('list');"
        "const option = document.getElementById(box.getAttribute('aria-activedescendant'));"
        "return option.getAttribute('aria-selected')"
    )
    assert page.execute_script(active) == "true"  # in one step: scrolling draws the options anew
    box.send_keys(Keys.HOME, Keys.ARROW_DOWN, Keys.ENTER)
    assert page.switch_to.active_element.get_attribute("id") == "sample-head"
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert page.switch_to.active_element.get_attribute("id") == "list"
    assert not page.find_element("id", "sample").is_displayed()
    assert page.execute_script(selected) == "2"


def test_the_next_sample_is_announced(page):
    """Previous and Next keep the focus, and a live region names the sample they show."""
    page.find_element("css selector", "[role=option]").click()
    button = page.find_element("id", "after")
    button.click()
    head = page.find_element("id", "sample-head").text
    assert head == f"Sample 00000000: class {EVIL}"
    assert page.find_element("id", "said").get_attribute("textContent") == head
    assert page.switch_to.active_element == button


def test_next_of_a_sample_that_the_filters_leave_out_is_the_first(page):
    """None of the samples found is passed over."""
    _set(page, "state", "broken")
    first = _heads(page)[0]
    _set(page, "state", "misclassified")
    page.find_element("css selector", "[role=option]").click()
    _set(page, "state", "broken")
    page.find_element("id", "after").click()
    assert page.find_element("id", "sample-head").text.startswith(f"Sample {first}:")
    page.find_element("id", "after").click()
    selected = page.find_element("css selector", "[aria-selected=true]")
    assert selected.get_attribute("aria-posinset") == "2"


def test_the_order_is_of_the_runs_that_meet_the_filters(chromium, add_run, handmade_rows, tmp_path):
    """What another run misclassifies at distance 0 does not come first among the broken."""
    broken = {"broken_by": "pgd", "adversarial": True, "clean_correct": True}
    wrong = {"broken_by": "clean", "adversarial": True, "clean_correct": False, "dist_linf": 0.0}
    changes = {
        "a": [{"dist_linf": 0.05}, {"dist_linf": 0.01}, {"dist_linf": 0.03}],
        "b": [{"dist_linf": 0.04}, {"dist_linf": 0.02}, wrong],
    }
    runs = []
    for letter, each in changes.items():
        rows = [row | broken | new for row, new in zip(handmade_rows(len(each)), each, strict=True)]
        path, _ = add_run(letter * 12, rows, model=letter, model_hash=letter)
        runs.append(read_run(path, COLUMNS))
    show(chromium, 1300, "light")
    chromium.get("about:blank")
    chromium.get(_write(tmp_path, ViewData(runs, [1000, 1001, 1002], ["0", "1", "2"])))
    place = "return [...document.querySelectorAll('[role=option]')].map((o) => o.id.slice(1))"
    _set(chromium, "sort", "distance")
    assert chromium.execute_script(place) == ["2", "1", "0"]  # 0, 0.01, 0.04
    _set(chromium, "state", "broken")
    assert chromium.execute_script(place) == ["1", "2", "0"]  # 0.01, 0.03, 0.04
    _set(chromium, "broken", "b" * 12)
    assert chromium.execute_script(place) == ["1", "0"]  # 0.02, 0.04
    _set(chromium, "broken", "a" * 12)
    assert chromium.execute_script(place) == ["1", "2", "0"]  # 0.01, 0.03, 0.05


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
    chromium.get(_write(tmp_path, ViewData(runs, [1000, 1001, 1002], ["0", "1", "2"])))
    inside = (
        "return [...document.querySelectorAll('[role=option]')].map((o) => {"
        "const [a, b] = [o, o.querySelector('.marks')].map((e) => e.getBoundingClientRect());"
        "return a.height > 30 && b.bottom <= a.bottom && b.right <= a.right; })"
    )
    assert chromium.execute_script(inside) == [True] * 3
    named = chromium.find_elements("css selector", "#runs tbody th")
    assert [cell.text.split()[-1] for cell in named] == [letter * 12 for letter in "abcdef0"]


def test_the_skip_link_keeps_the_view(page):
    """It leads to the samples, and the filters stay."""
    from selenium.webdriver.common.keys import Keys

    _set(page, "state", "broken")
    address, count = page.current_url, _count(page)
    page.find_element("css selector", "a.skip").send_keys(Keys.ENTER)
    assert page.switch_to.active_element.get_attribute("id") == "list"
    assert (page.current_url, _count(page)) == (address, count)


def test_escape_in_a_filter_leaves_the_sample_open(page):
    """There it clears a field."""
    from selenium.webdriver.common.keys import Keys

    page.find_element("css selector", "[role=option]").click()
    box = page.find_element("id", "id")
    box.send_keys("0", Keys.ESCAPE)
    assert box.get_attribute("value") == ""
    assert page.find_element("id", "sample").is_displayed()


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
    _set(page, "id", "1001")
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
    _set(page, "id", "1035")
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


def test_ten_thousand_samples_draw_only_what_is_seen(chromium, add_run, handmade_rows, tmp_path):
    """Rows are drawn as they come into view."""
    path, _ = add_run("c" * 12, handmade_rows(10_000))
    material = ViewData([read_run(path, COLUMNS)], range(1000, 11_000))
    show(chromium, 1300, "light")
    chromium.get(_write(tmp_path, material))
    drawn = "return document.querySelectorAll('[role=option]').length"
    assert _count(chromium) == "10000 of 10000 samples"
    assert 5 < chromium.execute_script(drawn) < 60
    from selenium.webdriver.common.keys import Keys

    chromium.find_element("id", "list").send_keys(Keys.END)
    wait(chromium, "return document.querySelector('[aria-posinset=\"10000\"]') !== null")
    assert chromium.execute_script(drawn) < 60


def test_nothing_is_by_no_attack(chromium, add_run, handmade_rows, tmp_path):
    """As under a corruption: the queries alone."""
    path, _ = add_run("c" * 12, handmade_rows(2, eps=0.0), attack="none")
    row = read_run(path, COLUMNS)
    show(chromium, 1300, "light")
    chromium.get("about:blank")
    chromium.get(_write(tmp_path, ViewData([row], [1001])) + f"#sample={1001:016x}")
    robust = row.samples.to_pylist()[1]
    assert not robust["adversarial"]
    result = chromium.find_element("css selector", ".one p").text
    assert result.endswith("robust after 11 forwards and 10 backwards")


def test_it_fits_a_phone_and_the_dark(chromium, material, tmp_path):
    """At 360 pixels it does not scroll sideways, also with an open sample; the paper is dark."""
    show(chromium, 360, "dark")
    chromium.get("about:blank")
    chromium.get(_write(tmp_path, material))
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
    chromium.get(f"{_write(tmp_path, changed)}#sample={1001:016x}")
    cells = chromium.execute_script(
        "return [...document.querySelectorAll('.one tbody')].map((b) => "
        "[...b.rows].map((r) => [...r.cells].map((c) => c.textContent)))"
    )
    assert cells == [
        [["0", "0.25", "0.5", "0.25"], ["1", "0.5", "0.5", "0"]],
        [["0", "0.25"], ["1", "0.5"]],
    ]


def test_pictures_are_png_files_of_the_pixels():
    """Decoded again by another library: the same pixels at the same size."""
    import io

    from PIL import Image

    image, file = _png(0, size=150)
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(file))))
    assert np.array_equal(back, np.moveaxis(np.round(image * 255).astype(np.uint8), 0, -1))
