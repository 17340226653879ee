"""Exit codes with a closed or full stream: a verdict stays, and none is invented."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from robbench.store.store import Store

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
GATE, SAME, WORSE = "gate --baseline base --candidate", "same", "worse"
COMPARE = "compare base {} --fail-on robust_accuracy:-1pp"
VERDICTS = pytest.mark.parametrize(
    ("line", "code"),
    [
        (f"{GATE} {SAME}", 0),
        (f"{GATE} {WORSE} --json", 1),
        (COMPARE.format(SAME), 0),
        (COMPARE.format(WORSE), 1),
    ],
)


@pytest.fixture(scope="module")
def held(attacked, tmp_path_factory):
    """Three runs of 500 samples, of which 300 stand in two and 240 in the third."""
    source = next(path for path in Store(attacked).find(["at"]))
    row = pq.read_table(source).to_pylist()[0]
    kept = pq.read_table(source.parents[1] / "samples" / source.name).to_pylist()[0]
    out = tmp_path_factory.mktemp("held") / "S"
    for model, stand in (("base", 300), ("same", 300), ("worse", 240)):
        run_id = f"{model}00000000"
        samples = [
            {
                **kept,
                "run_id": run_id,
                "sample_id": i,
                "sample_index": i,
                "clean_correct": True,
                "robust": i < stand,
                "adversarial": i >= stand,
            }
            for i in range(500)
        ]
        Store(out).write(
            {**row, "run_id": run_id, "model": model, "n_samples": 500, "flags": "[]"}, samples
        )
    return out


@pytest.fixture
def start(held, environment):
    """Runs a command with these streams; returns its exit code and its stderr, a pipe."""

    def run(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE):
        done = subprocess.run(
            [sys.executable, "-m", "robbench", *line.split(), "--out", str(held)],
            env=environment(),
            stdout=stdout,
            stderr=stderr,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stderr

    return run


@pytest.fixture
def unread():
    """A pipe whose reader has gone, as `head -0` leaves it."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.few(3)
@VERDICTS
def test_a_reader_that_has_gone_changes_no_verdict(start, unread, line, code):
    """`| head -0`: what is decided is decided."""
    found, said = start(line, stdout=unread)
    assert found == code, said
    assert "Broken" not in said


def test_other_commands_end_as_by_the_signal(start, unread):
    """As other tools do."""
    assert start("runs --json", stdout=unread)[0] == 141


@needs_full
@pytest.mark.parametrize("line", [f"{GATE} {SAME}", COMPARE.format(WORSE), "runs"])
def test_a_result_that_cannot_be_written(start, line):
    """Neither passed nor failed."""
    with FULL.open("w") as full:
        code, said = start(line, stdout=full)
    assert code == 3
    assert [text for text in said.splitlines() if text.startswith("error: ")]
    assert "No space left on device" in said


@needs_full
@pytest.mark.parametrize(
    ("line", "code"), [(f"{GATE} {SAME}", 0), (COMPARE.format(WORSE), 1), (f"{GATE} nobody", 2)]
)
def test_a_full_stderr_changes_no_verdict(start, line, code):
    """Messages are lost, nothing else."""
    with FULL.open("w") as full:
        assert start(line, stderr=full)[0] == code


def test_a_stderr_that_nobody_reads(start, unread):
    """Nor does that."""
    assert start(f"{GATE} {WORSE}", stderr=unread)[0] == 1


def test_closed_streams(held, environment):
    """What goes there is lost, the verdict is not."""
    words = f"-m robbench {GATE} {WORSE} --out".split()
    code = (
        "import os, sys; os.close(1); os.close(2); os.execv(sys.executable, [sys.executable, "
        "*sys.argv[1:]])"
    )
    closed = subprocess.run(
        [sys.executable, "-c", code, *words, str(held)], env=environment(), timeout=120, check=False
    )
    assert closed.returncode == 1
