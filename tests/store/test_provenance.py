"""What is recorded about a run's origin, and what never is."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import robbench
from robbench.store.provenance import PACKAGES, provenance


def _git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_versions_and_machine_are_plain_json() -> None:
    """Versions, machine and command line, as JSON."""
    facts = provenance()
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["packages"]["robbench"], facts["python"]) == (
        robbench.__version__,
        platform.python_version(),
    )
    assert set(facts["packages"]) == {"robbench", *PACKAGES}
    assert facts["packages"]["pyarrow"].count(".") >= 1
    assert facts["cpu"]
    assert facts["cpu_count"] >= 1
    assert facts["argv"] == sys.argv


def test_git_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's commit; changed files make it dirty, new ones (our output) do not."""
    monkeypatch.chdir(tmp_path)
    _git(tmp_path, "init")
    assert provenance()["git_sha"] is None
    (tmp_path / "a").write_text("1")
    _git(tmp_path, "add", "a")
    _git(tmp_path, "commit", "-m", "first")
    (tmp_path / "runs").touch()
    facts = provenance()
    assert len(facts["git_sha"]) == 40
    assert facts["git_dirty"] is False
    (tmp_path / "a").write_text("2")
    assert provenance()["git_dirty"] is True


def test_no_checkout_or_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a checkout, and without git, there is simply no commit."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert (provenance()["git_sha"], provenance()["git_dirty"]) == (None, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance()["git_sha"] is None


def test_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment only our and threading variables are kept, no passwords."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("ROBBENCH_HUB_TOKEN", "hunter2")
    monkeypatch.setenv("ROBBENCH_OUT", "s3://me:hunter2@host/runs")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(sys, "argv", ["robbench", "--data-dir", "https://me:hunter2@host/x"])
    facts = provenance()
    assert "hunter2" not in json.dumps(facts)
    assert facts["env"]["OMP_NUM_THREADS"] == "2"
    assert facts["env"]["ROBBENCH_OUT"] == "s3://***@host/runs"
