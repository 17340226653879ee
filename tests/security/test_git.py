"""The folder's git settings may name programs: recording the commit runs none of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from robbench.store.provenance import provenance


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit of a file to be checked, and a program that leaves a mark."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init")
    (folder / "file").write_text("1")
    git(folder, "add", "file")
    git(folder, "commit", "-m", "first")
    os.utime(folder / "file", (1, 1))  # its time has changed: content decides whether it has
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    program.chmod(0o755)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "setting",
    [
        "[core]\nfsmonitor = {program}",
        "[core]\nhooksPath = {folder}",
        "[core]\npager = {program}\n[pager]\nstatus = true\nrev-parse = true",
        '[filter "mine"]\nclean = {program}\nrequired = true',
        '[filter "mine"]\nprocess = {program}',
        '[filter "a=b"]\nclean = {program}',
        "[diff]\nexternal = {program}",
    ],
)
def test_no_program_of_a_setting_runs(checkout, tmp_path, setting):
    """The commit is recorded all the same."""
    program = tmp_path / "program"
    for hook in ("post-index-change", "fsmonitor-watchman"):
        (tmp_path / hook).symlink_to(program)
    with (checkout / ".git" / "config").open("a") as file:
        file.write(setting.format(program=program, folder=tmp_path))
    (checkout / ".git" / "info" / "attributes").write_text(
        f"* filter={'a=b' if 'a=b' in setting else 'mine'}\n"
    )
    facts = provenance()
    assert not (tmp_path / "ran").exists()
    assert len(facts["git_sha"]) == 40
    assert facts["git_dirty"] is (None if "a=b" in setting else False)


@pytest.mark.parametrize("setting", ["core.fsmonitor", "filter.mine.clean"])
def test_those_settings_would_run(checkout, tmp_path, setting):
    """The trap works: git by itself runs the monitor and the filter."""
    (checkout / ".git" / "info" / "attributes").write_text("* filter=mine\n")
    git(checkout, "-c", f"{setting}={tmp_path}/program", "status")
    assert (tmp_path / "ran").exists()


def test_a_submodules_settings(checkout, tmp_path):
    """Nor those of a repository inside."""
    inner = checkout / "inner"
    inner.mkdir()
    git(inner, "init")
    (inner / "file").write_text("1")
    git(inner, "add", "file")
    git(inner, "commit", "-m", "first")
    git(checkout, "add", "inner")
    git(checkout, "commit", "-m", "second")
    with (inner / ".git" / "config").open("a") as file:
        file.write(f"[core]\nfsmonitor = {tmp_path}/program\n")
    assert provenance()["git_dirty"] is False
    assert not (tmp_path / "ran").exists()
