"""Other libraries: what is missing or broken says what to do; quiet, and offline unless asked."""

import logging
import os
import socket
import sys
import urllib.request
import warnings

import pytest
import torch

from robbench.core.errors import RunError, UserError
from robbench.models.sources.libraries import library, other_code


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a package `nets` that can be imported."""

    def write(source):
        (tmp_path / "nets.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "nets", raising=False)

    yield write
    sys.modules.pop("nets", None)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, r"this model needs the package nets: pip install 'robbench\[extra\]'"),
        ("import none_such", "it needs the module 'none_such': pip install none_such"),
        ("1 / 0", r"is installed but cannot be imported \(ZeroDivisionError: division by zero\)$"),
        (
            "raise RuntimeError('operator torchvision::nms does not exist')",
            "may be no pair: pip install --force-reinstall torch torchvision",
        ),
        ("import sys; sys.exit(3)", "importing nets ended the program"),
    ],
)
def test_a_package_that_cannot_be_imported(source, words, package):
    if source is not None:
        package(source)
    with pytest.raises(UserError, match=words) as caught:
        library("nets", "extra")
    assert "\n" not in str(caught.value)


def test_a_module_of_a_missing_package_names_the_extra():
    with pytest.raises(UserError, match=r"the package none_such: pip install 'robbench\[extra\]'"):
        library("none_such.utils", "extra")


def test_an_import_reaches_neither_the_terminal_nor_the_results(package, capfd):
    package(
        "import logging, warnings; warnings.warn('old', FutureWarning); print('hello')\n"
        "logging.getLogger('nets').warning('beware')"
    )
    library("nets", "extra")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "hello\n")
    assert logging.root.manager.disable == logging.NOTSET


def asks(download):
    """A library that looks up a host and connects to a port where nobody is."""
    with other_code("model x", download):
        urllib.request.urlopen("http://localhost:1/x")


def test_hosts_are_found_only_with_download():
    """Without it the error says so, with it the network is there, and afterwards in any case."""
    before = socket.getaddrinfo
    with pytest.raises(UserError, match=r"model x: its weights are in no cache here: add --downl"):
        asks(download=False)
    assert socket.getaddrinfo is before
    with pytest.raises(RunError, match=r"model x: the download failed \(URLError"):
        asks(download=True)


def test_what_a_library_raises_is_one_line():
    def fails():
        with other_code("model x", download=True):
            warnings.warn("never seen", stacklevel=1)
            raise ValueError("first\nsecond")

    with pytest.raises(UserError, match=r"^model x: ValueError: first$"):
        fails()


class Runs:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("variable", [None, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
def test_a_library_unpickles_nothing_whatever_it_asks_for(variable, tmp_path, monkeypatch):
    if variable:
        monkeypatch.setenv(variable, "1")
    before = dict(os.environ)
    torch.save({"weight": torch.ones(2)}, tmp_path / "weights.pt")
    torch.save(Runs(tmp_path / "ran"), tmp_path / "code.pt")
    with other_code("model x", download=False):
        assert torch.load(tmp_path / "weights.pt", weights_only=False)["weight"].sum() == 2
    with (
        pytest.raises(UserError, match="model x: its file of weights is damaged, or holds obj"),
        other_code("model x", download=False),
    ):
        torch.load(tmp_path / "code.pt", weights_only=False)
    assert not (tmp_path / "ran").exists()
    assert dict(os.environ) == before
