"""Sweeps from Python: the command's results, objects as values, failures as rows."""

import pytest

import robbench

SMALL = {"model": "mlp:width=4,depth=1", "epochs": 1, "limit": 40}


def run(tmp_path, grid, **more):
    given = {"train": SMALL, "attack": {"attack": "fgsm", "limit": 40}, "name": "s"}
    return robbench.sweep(grid, out=tmp_path, device="cpu", **{**given, **more})


def test_a_sweep_is_that_of_the_command(tmp_path, cli):
    seen = []
    found = run(tmp_path / "a", {"seed": range(2)}, progress=lambda *said: seen.append(said))
    done = cli(
        "sweep --name s --grid seed=0..1 --epochs 1 --limit 40 --attack fgsm "
        "--set model=mlp:width=4,depth=1 --json --out",
        tmp_path / "b",
    )
    assert done.code == 0, done.err
    assert list(found.runs["run_id"]) == done.json["run_ids"]
    assert list(found.tasks["status"]) == ["done"] * 4
    assert seen[-1] == (1.0, "attack cross-entropy-s1")
    (row,) = found.compare().to_dict("records")
    assert row["robust_accuracy"] == done.json["rows"][0]["robust_accuracy"]
    assert len(found.compare(over_seeds=False)) == 2
    assert str(found) == "sweep s: 4 done"
    assert not found.failed


def test_objects_are_values(tmp_path):
    from robbench.attacks.fgsm import FGSM
    from robbench.losses.label_smoothing import LabelSmoothing

    found = run(
        tmp_path,
        {"loss": ["cross-entropy", LabelSmoothing(smoothing=0.2)]},
        attack={"attack": FGSM(), "limit": 40},
    )
    assert list(found.tasks["model"].unique()) == ["cross-entropy", "label-smoothing-smoothing-0.2"]


def test_models_that_are_there(tmp_path):
    run(tmp_path, {"seed": [0]}, steps="train")
    attacked = robbench.sweep(
        {"eps": [0.05, 0.1]},
        models="cross-entropy-s0",
        attack={"attack": "fgsm", "limit": 40},
        name="t",
        out=tmp_path,
        device="cpu",
    )
    assert list(attacked.tasks["kind"]) == ["attack"] * 2
    assert list(attacked.runs["eps"]) == [0.05, 0.1]


def test_a_failure_is_a_row(tmp_path):
    run(tmp_path, {"seed": [0]}, steps="train")
    (tmp_path / "models" / "cross-entropy-s0" / "model.safetensors").write_bytes(b"x")
    found = robbench.sweep(
        models=["cross-entropy-s0", "mlp"],
        attack={"attack": "fgsm", "limit": 40, "data": "digits"},
        name="t",
        out=tmp_path,
        device="cpu",
    )
    assert found.failed
    assert list(found.tasks["status"]) == ["failed", "done"]
    assert "1 of 2 tasks failed" in str(found)
    assert len(found.runs) == 1


@pytest.mark.parametrize(
    ("grid", "said"),
    [({"loss": "ce"}, "list of values"), ({"seed": []}, "list of values"), ({"sead": [1]}, "seed")],
)
def test_bad_input(tmp_path, grid, said):
    with pytest.raises(robbench.UserError, match=said):
        run(tmp_path, grid)
    assert list(tmp_path.iterdir()) == []
