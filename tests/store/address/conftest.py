"""Addresses to write to: memory, a local folder, and a real S3 server."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from robbench.store.address.mirror import Mirror
from robbench.store.address.place import Place

_number = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of an S3 server in this process."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment that leads to the server, and BUCKET, the address of a new bucket."""
    import s3fs

    env = {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "user",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"bucket{next(_number)}"
    s3fs.S3FileSystem().mkdir(bucket)
    yield env | {"BUCKET": f"s3://{bucket}"}
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(params=["memory", "file", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty address of each kind."""
    if request.param == "memory":
        return f"memory://runs{next(_number)}"
    if request.param == "file":
        return f"file://{tmp_path / 'there'}"
    return f"{request.getfixturevalue('s3')['BUCKET']}/a/runs"


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Callable[..., Mirror]]:
    """`at("A", place)`: the opened mirror of a machine's working copy; it pushes when asked to."""
    opened: list[Mirror] = []

    def make(machine: str, place: Place, pause: float = 1000.0) -> Mirror:
        mirror = Mirror(place, tmp_path / machine, lambda text: None)
        mirror.open()
        opened.append(mirror)
        return mirror

    from robbench.store.address import mirror as module

    before, module.PAUSE = module.PAUSE, 1000.0
    yield make
    module.PAUSE = before
    for mirror in opened:
        mirror._ended.set()
        mirror._thread.join()
