"""The functions behind the commands: the same results on disk, and nothing is printed."""

import json

import pytest

import robbench

pytestmark = pytest.mark.usefixtures("silent")


def test_training_gives_the_weights_of_the_command(trained_here, settings, cli, tmp_path):
    """Byte by byte; a second call finds it done; progress ends at 1."""
    line = "train --loss cross-entropy --data digits --name m --model mlp:width=16,depth=1"
    done = cli(f"{line} --limit 150 --epochs 3 --inner pgd:steps=2 --out", tmp_path)
    assert done.code == 0, done.err
    ours, theirs = (
        (folder / "models" / "m" / "model.safetensors").read_bytes()
        for folder in (trained_here, tmp_path)
    )
    assert ours == theirs
    seen = []
    again = robbench.train(
        "cross-entropy", data="digits", name="m", out=trained_here, **settings, progress=seen.append
    )
    assert not again.fresh
    assert again.folder == trained_here / "models" / "m"
    shares = []
    robbench.train(
        "cross-entropy",
        data="digits",
        out=tmp_path,
        name="other",
        lr=0.01,
        progress=lambda share, text: shares.append(share),
        **settings,
    )
    assert shares[-1] == 1
    with pytest.raises(robbench.UserError, match="did you mean epochs"):
        robbench.train("cross-entropy", epoch=3)


def test_a_gate_holds_a_model_or_a_run_against_a_baseline(trained_here, cli):
    """As the command: the same verdict and checks."""
    (run,) = robbench.attack(
        "m", "pgd:steps=3", "linf:0.12", limit=60, store_points=True, out=trained_here
    )
    run_id = run.info["run_id"]
    found = robbench.gate(
        candidate=run_id, baseline=run_id, max_drop=20, out=trained_here, these_samples=True
    )
    assert found.verdict == "pass"
    words = f"gate --candidate {run_id} --baseline {run_id} --max-drop 20 --these-samples --json"
    done = cli(f"{words} --out", trained_here)
    assert json.loads(done.out)["verdict"] == "pass"
    runs = {"candidate": run_id, "baseline": run_id, "max_drop": 0.01, "out": trained_here}
    codes = {robbench.gate(**runs, undecided=which).exit_code for which in ("fail", "pass")}
    assert (robbench.gate(**runs).exit_code, codes) == (4, {4, 0})
    with pytest.raises(robbench.UserError, match="should be 'fail' or 'pass'"):
        robbench.gate(**runs, undecided="maybe")
    shares = []
    found = robbench.gate(
        "m",
        baseline=run_id,
        max_drop=30,
        max_time="5m",
        out=trained_here,
        progress=lambda share, text: shares.append(share),
    )
    assert found.verdict in ("pass", "undecided")
    assert shares
    with pytest.raises(robbench.UserError, match="either a candidate"):
        robbench.gate(out=trained_here)
    with pytest.raises(robbench.UserError, match="max_time"):
        robbench.gate("m", baseline=run_id, max_time="soon", out=trained_here)
