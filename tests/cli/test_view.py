"""`robbench view`: what it prints, and how it ends."""

from __future__ import annotations

import webbrowser

import pytest


def test_what_it_prints(cli, attacked, tmp_path):
    """One line, or one object; notes go to stderr."""
    page = tmp_path / "a page.html"
    done = cli("view ce at --out", attacked, "-o", page)
    assert done.code == 0, done.err
    assert done.out.startswith(f"100 samples of 2 runs: {page} (")
    assert "attack with --store-points" in done.err
    found = cli("view at --json --out", attacked, "-o", page)
    assert found.json["schema"] == "robbench.view/1"
    assert (found.json["n_samples"], found.json["size"]) == (100, page.stat().st_size)


def test_bad_input_is_one_line(cli, attacked, tmp_path):
    """Exit code 2, and no file."""
    for words in ("nobody", "ce --limit 0", "ce --trace -1", "ce --seed -1"):
        done = cli(f"view {words} --out", attacked, "-o", tmp_path / "v.html")
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    assert not (tmp_path / "v.html").exists()


@pytest.mark.parametrize("there", [True, False])
def test_open_shows_the_page(cli, attacked, tmp_path, monkeypatch, there):
    """In a browser, if there is one."""
    shown = []
    monkeypatch.setattr(webbrowser, "open", lambda address: shown.append(address) or there)
    page = tmp_path / "v.html"
    done = cli("view ce --limit 5 --open --out", attacked, "-o", page)
    assert (done.code, shown) == (0, [page.as_uri()])
    assert ("no browser here" in done.err) is not there
