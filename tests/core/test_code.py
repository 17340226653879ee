"""The private code of a module: all that it imports, and nothing of installed packages."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from robbench.core.code import is_private, module_of, private_code

Write = Callable[..., None]

SOURCES = {
    "root": (
        "import side\nfrom pack.inner import deep\nimport numpy\nimport scan\ndef late():\n"
        "    import lazy\n"
    ),
    "side": "from settings import SCALE\n",
    "settings": "SCALE = 0.5\n",
    "lazy": "import importlib\nimportlib.import_module('named')\n",
    "named": "",
    "scan/__init__": "def __getattr__(name):\n    return __import__(f'scan.{name}')\n",
    "scan/found": "",
    "loose": "",
    "pack/__init__": "",
    "pack/inner/__init__": "",
    "pack/inner/deeper": "",
    "pack/inner/deep": "from .. import cousin\nfrom ..other.leaf import *\nimport importlib\n"
    "importlib.import_module('.deeper', __package__)\n",
    "pack/cousin": "import importlib\nfound = importlib.import_module('hid' + 'den').act\n",
    "pack/other/__init__": "",
    "pack/other/leaf": "",
    "pack/unused": "",
    "hidden": "def act(): ...\n",
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules into a folder on the import path; they are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(**sources: str) -> None:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / f"{name}.py").write_text(source)

    put(**SOURCES)
    yield put
    ours = {name.partition("/")[0] for name in SOURCES} | {"bare"}
    for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
        del sys.modules[name]


COVERED = [name for name in SOURCES if name not in ("loose", "pack/unused", "hidden")]


@pytest.mark.parametrize("name", SOURCES)
def test_an_edit_shows_where_the_module_is_imported(write: Write, name: str) -> None:
    before = private_code(["root"])
    write(**{name: SOURCES[name] + "# edited\n"})
    assert (private_code(["root"]) != before) == (name in COVERED)


def test_a_module_that_a_loaded_one_holds_is_covered(write: Write) -> None:
    __import__("pack.cousin")
    before = private_code(["root"])
    write(hidden="def act(): return 1\n")
    assert private_code(["root"]) != before


@pytest.mark.parametrize("what", ["module", "function", "class", "method"])
def test_code_that_was_read_by_path_is_covered(write: Write, tmp_path: Path, what: str) -> None:
    """Its module is not loaded under its name, or another one is."""
    source = "import settings\ndef act(): ...\nclass Act:\n    def act(self): ...\n"
    write(**{"nets/side": source})
    spec = importlib.util.spec_from_file_location("no_such_name", tmp_path / "nets/side.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    name = module_of(
        {"module": module, "function": module.act, "class": module.Act, "method": module.Act().act}[
            what
        ]
    )
    assert is_private(name)
    before = private_code([name])
    write(**{"nets/side": source + "# edited\n"})
    edited = private_code([name])
    write(settings="SCALE = 1\n")
    assert len({"", before, edited, private_code([name])}) == 4


def test_the_folder_of_a_file_is_no_part_of_a_hash(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net.py").write_text("")
    one, two = (private_code([str(tmp_path / name / "net.py")]) for name in ("one", "two"))
    assert one == two != ""


def test_the_hash_is_the_same_before_and_after_anything_is_imported(write: Write) -> None:
    write(**{"pack/cousin": ""})
    before = private_code(["root"])
    for name in ("root", "lazy", "loose", "pack.unused", "pack.other.leaf"):
        __import__(name)
    assert private_code(["root"]) == before


def test_folders_without_an_init_file_are_packages_too(write: Write) -> None:
    write(**{"bare/inner/deep": "from . import beside\n", "bare/inner/beside": ""})
    before = private_code(["bare.inner.deep"])
    write(**{"bare/inner/beside": "# edited\n"})
    after = private_code(["bare.inner.deep"])
    assert before != after
    __import__("bare.inner.deep")
    assert private_code(["bare.inner.deep"]) == after


def test_line_ends_are_no_other_version(write: Write, tmp_path: Path) -> None:
    before = private_code(["root"])
    (tmp_path / "settings.py").write_bytes(b"SCALE = 0.5\r\n")
    assert private_code(["root"]) == before


def test_a_module_that_cannot_be_parsed_still_counts(write: Write) -> None:
    write(settings="print 'old'\n")
    before = private_code(["root"])
    write(settings="print 'older'\n")
    assert private_code(["root"]) != before


def test_installed_packages_and_our_own_are_not_private(write: Write, tmp_path: Path) -> None:
    assert (
        private_code(
            ["json.decoder", "numpy.linalg", "pydantic", "robbench.core.code", "no.such.module", ""]
        )
        == ""
    )
    write(
        **{
            "beside/site-packages/installed": "",
            "target/bought": "",
            "target/bought-1.0.dist-info/METADATA": "",
        }
    )
    for folder, name in (("beside/site-packages", "installed"), ("target", "bought")):
        sys.path.insert(0, str(tmp_path / folder))
        try:
            assert private_code([name]) == ""
        finally:
            del sys.path[0]


def test_private_code_beside_installed_packages_is_private(write: Write, tmp_path: Path) -> None:
    """As after `pip install --target .`: what no package lists as its own is the user's."""
    write(**{"bought/__init__": ""})
    (tmp_path / "bought-1.0.dist-info").mkdir()
    (tmp_path / "bought-1.0.dist-info/RECORD").write_text("bought/__init__.py,,\n")
    assert private_code(["bought"]) == ""
    before = private_code(["root"])
    write(settings="SCALE = 1\n")
    assert private_code(["root"]) != before != ""


def test_private_modules_are_told_from_others(write: Write) -> None:
    __import__("root")
    assert [
        is_private(name)
        for name in ("root", "numpy", "json", "robbench.core.code", "builtins", "lazy")
    ] == [
        True,
        False,
        False,
        False,
        False,
        False,
    ]
