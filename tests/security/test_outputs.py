"""What commands write where the user says: pipes get the content, links keep pointing."""

from __future__ import annotations

import os
import stat

import pytest


@pytest.mark.parametrize("option", ["--parquet", "--html", "--junit-xml", "--markdown"])
def test_links_and_pipes(cli, attacked, row_of, tmp_path, option):
    """Every option that names a file to write."""
    run = row_of(attacked)
    gate = f"gate --baseline {run} --candidate {run} --these-samples --max-drop 50"
    command = {"--parquet": f"compare {run}", "--html": f"report {run}"}.get(option, gate)
    (tmp_path / "target.html").write_text("old")
    (tmp_path / "link.html").symlink_to("target.html")
    done = cli(command, option, tmp_path / "link.html")
    assert done.code == 0, done.err
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "target.html").read_bytes()[:3] != b"old"
    pipe = tmp_path / "pipe.html"
    os.mkfifo(pipe)
    done = cli(command, option, pipe)
    assert (done.code, "no process reads this pipe" in done.err) == (3, True), done
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    (tmp_path / "folder.html").mkdir()
    done = cli(command, option, tmp_path / "folder.html")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done


def test_standard_output_of_a_command(spawn, attacked, row_of):
    """/dev/stdout is where results go, although models print elsewhere."""
    run = row_of(attacked)
    words = (
        "gate",
        "--baseline",
        run,
        "--candidate",
        run,
        "--these-samples",
        "--json",
        "--markdown",
    )
    done = spawn(*words, "/dev/stdout")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("### robbench gate: pass")
    assert done.out.endswith("}\n")
