"""The page to look at samples: filters, order and the list, in a browser."""

from __future__ import annotations

from robbench.reports.html.view import COLUMNS, ViewData
from robbench.store.run import read_run

from .browser import show, wait
from .view_page import EVIL, broken_ids, found_text, heads, set_value, write


def test_filters_count_as_the_rows_do(page, material):
    """Result, class, broken in one run and not in the other, distance, id; counts of each run."""
    first, second = material.runs
    held = {row["sample_id"] for row in second.samples.to_pylist()}
    assert found_text(page) == "40 of 40 samples"
    set_value(page, "broken", "a" * 12)
    set_value(page, "kept", "b" * 12)
    wanted = (broken_ids(first) & held) - broken_ids(second)
    assert len(wanted) > 2
    assert found_text(page) == f"{len(wanted)} of 40 samples"
    cells = page.execute_script(
        "return [...document.querySelectorAll('#runs tbody tr:first-child td.number')]"
        ".map((c) => c.textContent)"
    )
    assert cells == ["0", str(len(wanted)), "0", "0", "0"]
    page.find_element("css selector", "button[type=reset]").click()
    wait(page, "return document.getElementById('count').textContent === '40 of 40 samples'")
    set_value(page, "run", "a" * 12)
    set_value(page, "state", "broken")
    set_value(page, "distanceTo", "0.05")
    rows = [row for row in first.samples.to_pylist() if row["sample_id"] in broken_ids(first)]
    near = sorted((row["dist_linf"], row["sample_id"]) for row in rows if row["dist_linf"] <= 0.05)
    assert len(near) > 2
    assert found_text(page) == f"{len(near)} of 40 samples"
    set_value(page, "sort", "distance")
    shown = page.execute_script(
        "return [...document.querySelectorAll('[role=option] code')].map((c) => c.textContent)"
    )
    assert shown == [f"{sample:016x}"[:8] for _, sample in near]
    set_value(page, "id", str(near[0][1]))
    assert found_text(page) == "1 of 40 samples"


def test_the_address_shows_the_same_view(page):
    """Filters, order and the open sample are in it; what a page does not have is passed over."""
    set_value(page, "state", "broken")
    set_value(page, "sort", "advMargin")
    page.find_element("css selector", "[role=option]").click()
    address, count = page.current_url, found_text(page)
    head = page.find_element("id", "sample-head").text
    page.get("about:blank")
    page.get(address)
    assert (found_text(page), page.find_element("id", "sample-head").text) == (count, head)
    page.get("about:blank")
    page.get(f"{address.partition('#')[0]}#run=nobody&label=77&sample=zz")
    assert found_text(page) == "40 of 40 samples"
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
    set_value(page, "state", "broken")
    first = heads(page)[0]
    set_value(page, "state", "misclassified")
    page.find_element("css selector", "[role=option]").click()
    set_value(page, "state", "broken")
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
    chromium.get(write(tmp_path, ViewData(runs, [1000, 1001, 1002], ["0", "1", "2"])))
    place = "return [...document.querySelectorAll('[role=option]')].map((o) => o.id.slice(1))"
    set_value(chromium, "sort", "distance")
    assert chromium.execute_script(place) == ["2", "1", "0"]  # 0, 0.01, 0.04
    set_value(chromium, "state", "broken")
    assert chromium.execute_script(place) == ["1", "2", "0"]  # 0.01, 0.03, 0.04
    set_value(chromium, "broken", "b" * 12)
    assert chromium.execute_script(place) == ["1", "0"]  # 0.02, 0.04
    set_value(chromium, "broken", "a" * 12)
    assert chromium.execute_script(place) == ["1", "2", "0"]  # 0.01, 0.03, 0.05


def test_the_skip_link_keeps_the_view(page):
    """It leads to the samples, and the filters stay."""
    from selenium.webdriver.common.keys import Keys

    set_value(page, "state", "broken")
    address, count = page.current_url, found_text(page)
    page.find_element("css selector", "a.skip").send_keys(Keys.ENTER)
    assert page.switch_to.active_element.get_attribute("id") == "list"
    assert (page.current_url, found_text(page)) == (address, count)


def test_escape_in_a_filter_leaves_the_sample_open(page):
    """There it clears a field."""
    from selenium.webdriver.common.keys import Keys

    page.find_element("css selector", "[role=option]").click()
    box = page.find_element("id", "id")
    box.send_keys("0", Keys.ESCAPE)
    assert box.get_attribute("value") == ""
    assert page.find_element("id", "sample").is_displayed()


def test_ten_thousand_samples_draw_only_what_is_seen(chromium, add_run, handmade_rows, tmp_path):
    """Rows are drawn as they come into view."""
    path, _ = add_run("c" * 12, handmade_rows(10_000))
    material = ViewData([read_run(path, COLUMNS)], range(1000, 11_000))
    show(chromium, 1300, "light")
    chromium.get(write(tmp_path, material))
    drawn = "return document.querySelectorAll('[role=option]').length"
    assert found_text(chromium) == "10000 of 10000 samples"
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
    chromium.get(write(tmp_path, ViewData([row], [1001])) + f"#sample={1001:016x}")
    robust = row.samples.to_pylist()[1]
    assert not robust["adversarial"]
    result = chromium.find_element("css selector", ".one p").text
    assert result.endswith("robust after 11 forwards and 10 backwards")
