"""Which files of a working copy go to its address."""

from __future__ import annotations

from robbench.store.address.changes import local_files


def test_no_locks_and_nothing_of_this_moment_goes_to_the_address(tmp_path):
    """They are about processes of this machine; a lock would stop others until it is stale."""
    kept = {"models/at/config.json", "results/runs/a.parquet", "results/sweeps/s/logs/t.log"}
    left = {
        "results/locks/a.lock.1.host.alone",
        "results/sweeps/s/.lock.1.host.alone",
        "results/sweeps/s/logs/t.progress",
        "results/.runs.parquet",
        "other/file",
    }
    for name in kept | left:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert set(local_files(tmp_path)) == kept


def test_the_locks_of_a_sweep_are_hidden(tmp_path):
    """Of the whole, of a part, and of its table."""
    from robbench.core.part import WHOLE, Part
    from robbench.tasks.sweep.state import SweepState

    state = SweepState(tmp_path, "s")
    for part in (WHOLE, Part(1, 2)):
        with state.locked(part, print), state.writing():
            assert list(state.folder.iterdir())
            assert not local_files(tmp_path)
