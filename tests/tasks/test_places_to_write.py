"""Output folders: tried before the work, found from anywhere, and full or read-only."""

import errno
import os
import resource
import shutil
import tempfile
from unittest import mock

import pytest

ATTACK = "attack at --attack pgd:steps=2 --threat linf:0.1 --limit 40 --store-points"


@pytest.mark.parametrize("name", ["~/S", "a:b", "ü/ß", "a b"])
def test_any_name_of_a_folder(cli, trained, tmp_path, name):
    """A literal tilde, a colon like an address's: the results are where they should be."""
    meant = tmp_path / name.replace("~", "home")
    shutil.copytree(trained, meant)
    done = cli(
        *ATTACK.split(), "--json", "--out", name, cwd=tmp_path, env={"HOME": str(tmp_path / "home")}
    )
    assert done.code == 0, done.err
    assert (meant / "results" / "points" / f"{done.json['rows'][0]['run_id']}.parquet").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        meant.relative_to(tmp_path).parts[0]
    ]


def test_a_model_that_changes_the_working_folder(cli, private, tmp_path):
    """A relative output folder is where it was when the command began."""
    source = "import os\nfrom torch import nn\ndef make():\n    os.chdir('/')\n"
    folder = private(
        "wanders", source + "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    done = cli(
        "attack wanders:make --data digits --attack fgsm --threat linf:0.1 --limit 9 --out S",
        cwd=folder,
    )
    assert done.code == 0, done.err
    assert list((folder / "S" / "results" / "samples").glob("*.parquet"))


def test_nobody_of_that_name(cli):
    """One line."""
    done = cli("train --epochs 1 --out ~nobody-of-this-name/S")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "write the folder in full" in done.err


@pytest.mark.parametrize(
    "line",
    [
        ATTACK,
        "train --epochs 1 --limit 150",
        "check at --threat linf:0.1 --limit 8",
        "measure ce --train-samples 0",
        "gate --baseline ce --model at",
    ],
)
def test_a_folder_that_may_not_be_written_to(cli, readable, monkeypatch, snapshot, line):
    """One exit code and one line, before any work, and no file is touched."""
    before = {name: held for name, held in snapshot(readable).items() if held[1]}
    refused = OSError(errno.EROFS, os.strerror(errno.EROFS))
    monkeypatch.setattr(tempfile, "TemporaryFile", mock.Mock(side_effect=refused))
    done = cli(line, "-q", "--out", readable)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert done.err.startswith(f"error: cannot write to {readable}")
    assert done.err.endswith("Read-only file system; choose another --out\n")
    assert {name: held for name, held in snapshot(readable).items() if held[1]} == before


@pytest.fixture
def readable(cli, store):
    """The models, and a run of one of them."""
    assert cli("attack ce --attack fgsm --threat linf:0.1 --limit 20 --out", store).code == 0
    return store


@pytest.mark.parametrize("limit", [500, 6000, 12000])
def test_a_disk_that_is_full_during_an_attack(cli, store, tmp_path, rows_of, limit):
    """One line, exit 3, whole tables; with room again the same command completes them."""
    other = shutil.copytree(store, tmp_path / "T")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        full = cli(ATTACK, "-q", "--out", store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert full.code == 3, full.err
    assert full.err.count("\n") == 1
    assert full.err.startswith(f"error: cannot write {store}/results/")
    assert full.err.endswith(
        "File too large; make room and give the same command again, what was finished is kept\n"
    )
    assert not list(store.rglob("*.tmp"))
    assert not list((store / "results" / "runs").glob("*"))
    assert cli(ATTACK, "--out", store).code == cli(ATTACK, "--out", other).code == 0
    (samples,) = (store / "results" / "samples").iterdir()
    for path in (f"samples/{samples.name}", f"points/{samples.name}"):
        assert rows_of(store / "results" / path) == rows_of(other / "results" / path)
