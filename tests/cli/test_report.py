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
