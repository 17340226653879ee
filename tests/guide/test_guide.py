"""The pages of the manual: complete, in order, and linked from the README."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from robbench.catalogue.builtins import REGISTRIES
from robbench.catalogue.cascades import cascades
from robbench.catalogue.recipes import recipes
from robbench.core.errors import UserError
from robbench.guide import FOLDER, TOPICS, read_page

ROOT = Path(__file__).parents[2]
PAGES = sorted(FOLDER.glob("*.md"))


def test_every_page_has_its_place():
    """The order names each page once."""
    assert sorted(TOPICS) == [page.stem for page in PAGES]


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page(topic):
    """A title, a first sentence that says what it is about, and no marks of generated parts."""
    page = read_page(topic)
    assert page.title
    assert page.text.startswith(f"# {page.title}\n")
    assert 20 < len(page.summary) < 160
    assert page.summary.endswith(".")
    assert "<!--" not in page.text


def test_an_unknown_topic():
    """The nearest topics are named."""
    with pytest.raises(UserError, match="vocabulary"):
        read_page("vocabulry")


def test_topics_hide_no_name():
    """No topic has the name of something registered, of a cascade or of a recipe."""
    names = {name for registry in REGISTRIES.values() for name in registry.entries}
    assert not set(TOPICS) & (names | set(cascades()) | set(recipes()) | {"train", "attack"})


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md"], ids=lambda path: path.name)
def test_links(path):
    """Links between pages, and to files of the tree, lead somewhere."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (path.parent / target).exists(), target


def test_the_picture_of_the_tree():
    """The architecture shows the layers that import-linter checks, and every package and module."""
    picture = read_page("architecture").text.split("```")[1]
    shown = [set(re.findall(r"^(\w+)", layer, re.MULTILINE)) for layer in picture.split("-----\n")]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    assert shown == [set(re.findall(r"robbench\.(\w+)", layer)) for layer in layers]
    packages = {path.parent.name for path in (ROOT / "robbench").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "robbench").glob("[!_]*.py")}
    assert set().union(*shown) == packages | modules


def test_pages_are_packaged():
    """An installed robbench has every page."""
    packaged = {item.distribution_path for item in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"robbench/guide/{page.name}" for page in PAGES} <= packaged
