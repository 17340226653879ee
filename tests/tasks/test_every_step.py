"""SIGKILL before every file operation of an attack or a training: slow, and complete."""

import os
import shutil
import signal
import sys

import pytest

ATTACK = (
    "attack at --attack pgd:steps=2 --threat linf:0.1,0.2 --limit 48 --batch-size 16 --store-points"
)
EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.scandir"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def died(cli, words, out, number):
    """Run a command in a fork that kills itself before that step; False when it ended."""
    child = os.fork()
    if child == 0:
        left = [number]

        def deadly(event, args):
            if event not in EVENTS and not (
                event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
            ):
                return
            if (
                args
                and isinstance(args[0], str | os.PathLike)
                and str(args[0]).startswith(str(out))
            ):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(deadly)
        os._exit(cli(*words, "-q", "--out", out).code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def steps(cli, words, fresh):
    """The output folder after a death at each step, and the same command again."""
    number = 0
    while True:
        number += 1
        out = fresh(number)
        if not died(cli, words, out, number):
            return
        again = cli(*words, "--out", out)
        assert again.code == 0, (number, again.err)
        assert not list(out.rglob("*.tmp")), number
        yield number, out
        shutil.rmtree(out)


def sorted_rows(rows_of, path):
    return sorted(
        rows_of(path, "checked_at"), key=lambda row: str(row.get("sample_id", row.get("check")))
    )


def test_every_step_of_an_attack(cli, trained, tmp_path, rows_of, monkeypatch):
    """Rows, points and checks are those of an undisturbed attack, nothing unfinished is left."""
    monkeypatch.setattr("robbench.tasks.attack.shard_writer.FLUSH_SECONDS", 0)
    whole = shutil.copytree(trained, tmp_path / "whole")
    assert cli(*ATTACK.split(), "--out", whole).code == 0
    kinds = ("samples", "points", "checks")
    expected = {kind: sorted((whole / "results" / kind).iterdir()) for kind in kinds}
    count = 0
    for number, out in steps(
        cli, ATTACK.split(), lambda n: shutil.copytree(trained, tmp_path / f"S{n}")
    ):
        for kind in kinds:
            for path in expected[kind]:
                ours = out / "results" / kind / path.name
                assert sorted_rows(rows_of, ours) == sorted_rows(rows_of, path), (number, kind)
        assert not list((out / "results" / "partial").glob("*")), number
        count += 1
    assert count > 50


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_every_step_of_a_training(cli, tiny, tmp_path, force):
    """The weights are those of an undisturbed training, also where it replaces another one."""
    words = [*tiny, *force]
    assert cli(*tiny, "--out", tmp_path / "whole").code == 0
    assert cli(*tiny, "--seed", "1", "--out", tmp_path / "other").code == 0
    theirs = tmp_path / "whole" / "models" / "m"

    def fresh(number):
        out = tmp_path / f"S{number}"
        return shutil.copytree(tmp_path / "other", out) if force else out

    count = 0
    for number, out in steps(cli, words, fresh):
        ours = out / "models" / "m"
        assert sorted(path.name for path in ours.iterdir()) == sorted(
            path.name for path in theirs.iterdir()
        ), number
        assert (ours / "model.safetensors").read_bytes() == (
            theirs / "model.safetensors"
        ).read_bytes(), number
        count += 1
    assert count > 20
