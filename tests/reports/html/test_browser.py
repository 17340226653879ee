"""The page in a browser: silent load, sorting by mouse and keyboard, figures, phones."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from robbench.analysis.answer import answers
from robbench.reports.html.data import ReportData
from robbench.reports.html.render import page_sections, render

from .browser import requests, show, wait


@pytest.fixture
def file(add_run, handmade_rows, tmp_path) -> Path:
    """A page of two models at three budgets, one of them none."""
    runs = [
        add_run(
            f"{place:012x}",
            handmade_rows(eps=eps, seed=place),
            eps=eps,
            model=model,
            model_hash=model,
            threat=f"linf:{eps:g}",
        )[1]
        for place, (eps, model) in enumerate(
            (e, m) for e in (0.05, 0.1, math.inf) for m in ("ce", "at")
        )
    ]
    material = ReportData(runs)
    path = tmp_path / "report.html"
    said = answers(material.runs)
    page = render(material, said, page_sections(material), "Report")
    path.write_text(page, encoding="utf-8")
    return path


@pytest.fixture
def page(chromium, file):
    """The page opened from disk, 1200 pixels wide, in light, all visible figures drawn."""
    show(chromium, 1200, "light")
    chromium.get_log("browser")
    chromium.get_log("performance")
    chromium.get(file.as_uri())
    wait(
        chromium,
        "return [...document.querySelectorAll('.plot')].filter((p) => "
        "!p.closest('details:not([open])'))"
        ".every((p) => p.querySelector('.main-svg[aria-hidden]'))",
    )
    return chromium


def _column(driver: Any, title: str) -> list[list[str]]:
    """The texts of a column of the comparison, top to bottom, of each of its groups."""
    return driver.execute_script(
        "const t = document.querySelector('table.sortable');"
        "const at = [...t.tHead.rows[0].cells].findIndex((c) => "
        "c.querySelector('button').textContent === arguments[0]);"
        "return [...t.tBodies].map((b) => [...b.querySelectorAll('tr:not(.group)')]"
        ".map((r) => r.cells[at].textContent))",
        title,
    )


def _button(driver: Any, title: str) -> Any:
    return driver.find_element(
        "xpath", f"//table[contains(@class,'sortable')]//button[normalize-space()='{title}']"
    )


def test_it_loads_without_an_error_or_a_request(page, file):
    """The console is empty; only the file was requested; the toolbar sends nothing."""
    assert page.get_log("browser") == []
    asked = requests(page)
    assert [url for url in asked if url.startswith(("http", "ws", "ftp"))] == []
    assert file.as_uri() in asked
    # Without a mouse there is no toolbar, so one is asked for, with the page's own configuration.
    toolbar = page.execute_async_script(
        "const config = JSON.parse(document.getElementById('plotly-config').textContent), "
        "div = document.createElement('div');"
        "document.body.append(div);"
        "Plotly.newPlot(div, [{y: [1, 2]}], {}, {...config, displayModeBar: true})"
        ".then(() => arguments[0](div.querySelector('.modebar').outerHTML.toLowerCase()))"
    )
    assert "zoom" in toolbar
    assert not [word for word in ("cloud", "logo", "plotly.com", "href") if word in toolbar]
    assert page.title == "Report"


def test_a_press_on_a_title_sorts_and_another_turns_it_round(page):
    """Within each threat model: from the largest down, then up; the state is in aria-sort."""
    _button(page, "worst margin").click()
    falling = _column(page, "worst margin")
    assert [sorted(group, key=float, reverse=True) for group in falling] == falling
    assert [len(set(group)) for group in falling] == [2, 2]
    _button(page, "worst margin").click()
    assert _column(page, "worst margin") == [group[::-1] for group in falling]
    states = page.execute_script(
        "return [...document.querySelectorAll('.sortable [aria-sort]')].map((h) => h.ariaSort)"
    )
    assert states == ["ascending"]
    titles = page.execute_script(
        "return [...document.querySelectorAll('.sortable .group')].map((r) => r.textContent.trim())"
    )
    assert titles == ["linf:0.05", "linf:0.1"]
    for _ in range(2):  # what has no value stays last
        _button(page, "to the first").click()
        assert [group[-1] for group in _column(page, "to the first")] == ["first", "first"]


def test_sorting_works_from_the_keyboard(page):
    """Tab reaches a title, Enter and Space press it; the text column sorts by its letters."""
    from selenium.webdriver.common.keys import Keys

    button = _button(page, "model")
    page.execute_script("arguments[0].focus()", button)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert _column(page, "model") == [["at", "ce"]] * 2
    page.switch_to.active_element.send_keys(Keys.SPACE)
    assert _column(page, "model") == [["ce", "at"]] * 2
    page.switch_to.active_element.send_keys(Keys.TAB)
    assert page.switch_to.active_element.text.startswith("robust accuracy")


def test_everything_can_be_reached_by_tab(page):
    """Links, titles, tables, details and the buttons for SVG, in the order of the page."""
    from selenium.webdriver.common.keys import Keys

    page.execute_script("document.activeElement.blur()")
    wanted = page.execute_script(
        "return [...document.querySelectorAll('a[href], button, summary, [tabindex=\"0\"]')]"
        ".filter((e) => e.checkVisibility()).map((e) => e.outerHTML)"
    )
    reached = []
    for _ in wanted:
        page.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(page.execute_script("return document.activeElement.outerHTML"))
    assert reached == wanted


def test_a_figure_is_saved_as_svg_in_the_colours_of_paper(page):
    """Also from the dark page; the figure on the page stays as it is."""
    show(page, 1200, "dark")
    page.execute_script(
        "Plotly.downloadImage = (figure, options) => { window.saved = [figure, options]; }"
    )
    page.find_element("css selector", "button.save").click()
    figure, options = page.execute_script("return window.saved")
    assert (options["format"], options["filename"]) == ("svg", "curves-1")
    assert figure["layout"]["font"]["color"] == "#1b1f24"
    drawn = page.execute_script("return document.getElementById('curves-1').layout.font.color")
    assert drawn == "#e6e9ed"
    svg = page.execute_async_script(
        "const done = arguments[1]; Plotly.toImage(arguments[0], {format: 'svg', width: 600, "
        "height: 300}).then((found) => done(found.slice(0, 40)))",
        figure,
    )
    assert svg.startswith("data:image/svg+xml")


def test_without_its_library_the_numbers_are_there(chromium, add_run, tmp_path):
    """A page that could not load it says so once for each figure, and opens the tables."""
    material = ReportData([add_run("a" * 12)[1]])
    html = render(material, answers(material.runs), page_sections(material), "Report", cdn=True)
    path = tmp_path / "small.html"
    path.write_text(html.replace("https://cdn.plot.ly/", "file:///nowhere/"), encoding="utf-8")
    show(chromium, 1200, "light")
    chromium.get(path.as_uri())
    count = "return document.querySelectorAll(arguments[0]).length"
    assert chromium.execute_script(count, ".plot") == 0
    n_tables = chromium.execute_script(count, "details.data[open] table")
    assert chromium.execute_script(count, "figure .missing") == n_tables > 3
    assert chromium.execute_script(count, "button.save:not([hidden])") == 0


def test_a_figure_tells_its_values_and_hides_a_line(page):
    """The mouse over a curve shows numbers; a click on the legend takes that model's line away."""
    from selenium.webdriver.common.action_chains import ActionChains

    plot = page.find_element("id", "curves-1")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    ActionChains(page).move_to_element(plot.find_element("css selector", ".nsewdrag")).perform()
    wait(page, "return document.querySelector('#curves-1 .hoverlayer').textContent.includes('%')")
    toggle = plot.find_element("css selector", ".legendtoggle")
    ActionChains(page).move_to_element(toggle).click().perform()
    wait(
        page,
        "return document.getElementById('curves-1').data.some((t) => t.visible === 'legendonly')",
    )


def test_dark_and_light_change_paper_and_figures(page):
    """Without loading anew; in print the page is light again."""
    read = (
        "return [getComputedStyle(document.body).backgroundColor,"
        "document.querySelector('#curves-1 .xtick text').style.fill]"
    )
    light = page.execute_script(read)
    show(page, 1200, "dark")
    wait(
        page, f"return document.querySelector('#curves-1 .xtick text').style.fill !== '{light[1]}'"
    )
    dark = page.execute_script(read)
    assert light == ["rgb(255, 255, 255)", "rgb(27, 31, 36)"]
    assert dark == ["rgb(20, 23, 27)", "rgb(230, 233, 237)"]
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    wait(
        page, f"return document.querySelector('#curves-1 .xtick text').style.fill === '{light[1]}'"
    )
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    wait(page, f"return document.querySelector('#curves-1 .xtick text').style.fill === '{dark[1]}'")


def test_a_folded_figure_is_drawn_when_it_is_opened(page):
    """Logit margins of other budgets wait until they are asked for."""
    drawn = "return document.querySelectorAll('#logit-margins .plot .main-svg').length"
    before = page.execute_script(drawn)
    page.find_element("css selector", "#logit-margins > details > summary").click()
    wait(page, f"{drawn} > {before}")


def test_it_fits_a_phone(chromium, file):
    """At 360 pixels the page does not scroll sideways; wide tables scroll; figures shrink."""
    show(chromium, 360, "light")
    chromium.get(file.as_uri())
    wait(chromium, "return document.querySelectorAll('.plot .main-svg').length > 0")
    widest = chromium.execute_script(
        "return Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
    )
    assert widest <= 360
    assert chromium.execute_script("return window.innerWidth") == 360
    table = chromium.execute_script(
        "const s = document.querySelector('.scroll'); return [s.scrollWidth, s.clientWidth]"
    )
    assert table[0] > table[1]
    assert (
        chromium.execute_script("return document.querySelector('#curves-1 .main-svg').clientWidth")
        <= 360
    )
