"""Which cluster is meant, and how it is said that none answers."""

import socket
import sys

import pytest

from robbench.core.errors import RunError, UserError
from robbench.execution import ray_connect
from robbench.execution.engines import engine_for

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def _no_address(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def connected(tmp_path, address=None, **more):
    return engine_for("ray", address=address, logs=tmp_path / "logs", **more)


@pytest.mark.parametrize("address", ["localhost:1", "ray://localhost:1", "nowhere.invalid:6379"])
def test_a_cluster_that_does_not_answer_is_one_line(tmp_path, address):
    pytest.importorskip("ray")
    with pytest.raises(RunError, match=f"no Ray cluster answers at {address}"):
        connected(tmp_path, address).__enter__()


@pytest.mark.parametrize("address", ["localhost", "localhost:port", "http://localhost:1", ":1"])
def test_what_is_no_address_is_bad_input(tmp_path, monkeypatch, address):
    """Before anything is started, wherever it comes from."""
    with pytest.raises(UserError, match=r"auto, HOST:PORT or ray://HOST:PORT"):
        connected(tmp_path, address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=r"auto, HOST:PORT or ray://HOST:PORT"):
        connected(tmp_path)


def test_the_address_of_the_environment_is_used(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "localhost:1")
    with pytest.raises(RunError, match="localhost:1"):
        connected(tmp_path).__enter__()
    with pytest.raises(RunError, match="localhost:2"):
        connected(tmp_path, "localhost:2").__enter__()


def test_ray_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"robbench\[ray\]"):
        connected(tmp_path).__enter__()


def test_something_else_that_answers_is_no_cluster(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_connect, "PROBE", 0.5)
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(RunError, match="nothing came in"):
            connected(tmp_path, f"localhost:{port}").__enter__()
