"""Which engine a command's words give, and what fits none."""

import pytest

from robbench.core.errors import UserError
from robbench.execution.engines import engine_for, gpus
from robbench.execution.inline import Inline


def test_one_task_at_a_time_runs_here(tmp_path):
    assert isinstance(engine_for(logs=tmp_path), Inline)
    assert isinstance(engine_for("local", jobs=1, logs=tmp_path), Inline)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"engine": "dask"}, "unknown engine 'dask'"),
        ({"jobs": 0}, "1 or more"),
        ({"jobs": -1}, "1 or more"),
        ({"address": "auto"}, "engine ray"),
        ({"engine": "local:cpus=2"}, "engine local: unknown option 'cpus'"),
        ({"engine": "ray:cpu=2"}, "did you mean cpus"),
        ({"engine": "ray:cpus=0"}, "engine ray: cpus='0'"),
        ({"engine": "ray:gpus=-1"}, "engine ray: gpus='-1'"),
        ({"engine": "ray:gpus=nan"}, "engine ray: gpus"),
        ({"engine": "ray:gpus=1.5"}, "whole or a part of one"),
        ({"engine": "ray:2"}, "not key=value"),
        ({"engine": "", "jobs": 2}, "malformed"),
        ({"engine": "ray", "device": "cuda:1"}, "use device cuda"),
    ],
)
def test_what_fits_no_engine_is_said(words, said, tmp_path):
    with pytest.raises(UserError, match=said):
        engine_for(**words, logs=tmp_path)


def test_an_engine_that_is_not_entered_starts_nothing(tmp_path):
    for words in ({"jobs": 3}, {"engine": "ray", "address": "nowhere.invalid:1"}):
        engine_for(**words, logs=tmp_path / "logs")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("visible", "found"),
    [("0,1", ["0", "1"]), ("GPU-a, 3", ["GPU-a", "3"]), ("", []), ("-1", [])],
)
def test_the_gpus_that_may_be_used(monkeypatch, visible, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == found


def test_all_gpus_of_the_machine(monkeypatch, tmp_path):
    """As nvidia-smi lists them, MIG parts aside; none where it is missing or fails."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == []
    listed = "GPU 0: H200 (UUID: GPU-a)\n  MIG 1g Device 0: (UUID: MIG-b)\nGPU 1: H200\n"
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n/bin/cat <<END\n{listed}END\n")
    program.chmod(0o755)
    assert gpus() == ["0", "1"]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert gpus() == []
