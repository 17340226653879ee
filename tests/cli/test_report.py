"""`robbench report --open`: the page that was written, in a browser if there is one."""

from __future__ import annotations

import webbrowser

import pytest


@pytest.mark.parametrize("there", [True, False])
def test_open_shows_the_page_that_was_written(cli, attacked, tmp_path, monkeypatch, there):
    shown = []

    def browser(address):
        shown.append(address)
        return there

    monkeypatch.setattr(webbrowser, "open", browser)
    page = tmp_path / "a page.html"
    done = cli("report ce --open --out", attacked, "--html", page)
    assert done.code == 0, done.err
    assert shown == [page.as_uri()]
    assert page.is_file()
    assert (f"no browser here: open {page}" in done.err) is not there


def test_without_open_no_browser_is_asked(cli, attacked, tmp_path, monkeypatch):
    def browser(address):
        raise AssertionError("a browser was opened")

    monkeypatch.setattr(webbrowser, "open", browser)
    assert cli("report ce --out", attacked, "--html", tmp_path / "r.html").code == 0


@pytest.mark.parametrize("there", [True, False])
def test_a_page_given_as_the_output_folder_is_refused(cli, attacked, tmp_path, there):
    """`-o page.html`, whether the page is there or not: the line says --html."""
    page = tmp_path / "page.html"
    if there:
        page.write_text("x")
    done = cli("report ce -o", page)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert f"the page goes to --html {page}" in done.err
    assert page.exists() is there
