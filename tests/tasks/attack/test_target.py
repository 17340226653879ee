"""A run with a target: what its rows say, by the model's own answers at the stored points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import robbench
from robbench.api.evaluation import Evaluation
from robbench.store.run import read_run
from robbench.store.store import Store

Cli = Callable[..., Any]

CLASSES, ENTRIES, N = 4, 8, 60
EPS = 0.12
TARGETS: list[Any] = ["2", 2, "least-likely", "random", "array"]


class Net(nn.Module):
    """A small network of fixed weights, that is wrong on some samples."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(ENTRIES, 16), nn.ReLU(), nn.Linear(16, CLASSES))
        with torch.no_grad():
            for weight in self.parameters():
                weight.mul_(3)
            self.layers[2].bias.sub_(self(torch.rand(500, ENTRIES)).mean(0))  # all classes occur

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,K] logits."""
        return self.layers(x.flatten(1))


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Small models only."""


@pytest.fixture(scope="module")
def samples() -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs, and labels that the network has mostly right."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(N, ENTRIES, generator=generator)
    y = Net()(x).argmax(1)
    y[::3] = (y[::3] + 1) % CLASSES
    return x, y


def _evaluate(samples: tuple[torch.Tensor, torch.Tensor], **more: Any) -> Evaluation:
    x, y = samples
    settings = {"threat": f"linf:{EPS}", "attack": "pgd:steps=20", **more}
    return robbench.evaluate(Net(), x, y, classes=CLASSES, **settings)


@pytest.mark.parametrize("target", TARGETS)
def test_rows_say_what_the_model_answers_at_the_points(
    target: Any, samples: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Adversarial = predicted as the target; margins are to the target; clean accuracy is plain."""
    x, y = samples
    given = (np.arange(N) * 3) % CLASSES if target == "array" else target
    result = _evaluate(samples, target=given)
    rows, clean = result.samples, Net()(x).detach()
    wrong = clean.scatter(1, y[:, None], torch.inf)
    goal = {
        "2": torch.full_like(y, 2),
        "least-likely": wrong.argmin(1),
        "array": torch.arange(N) * 3 % CLASSES,
    }.get(str(target))
    kept = torch.ones(N, dtype=torch.bool) if goal is None else goal != y
    assert len(rows) == int(kept.sum())
    assert rows["label"].tolist() == y[kept].tolist()
    t = torch.tensor(rows["target"].to_numpy(np.int64))
    if goal is not None:
        assert t.tolist() == goal[kept].tolist()
    assert not bool((t == y[kept]).any())

    def left(z: torch.Tensor) -> torch.Tensor:
        others = z.scatter(1, t[:, None], -torch.inf)
        return others.amax(1) - z.gather(1, t[:, None])[:, 0]

    with torch.no_grad():
        worst = Net()(result.points)
    right = clean[kept].argmax(1) == y[kept]
    assert rows["clean_correct"].tolist() == right.tolist()
    assert rows["adversarial"].tolist() == (worst.argmax(1) == t).tolist()
    assert rows["robust"].tolist() == (~torch.tensor(rows["adversarial"])).tolist()
    assert torch.allclose(left(clean[kept]), torch.tensor(rows["clean_margin"]), atol=1e-5)
    assert torch.allclose(left(worst), torch.tensor(rows["adv_margin"]), atol=3e-3)  # float16
    assert float((result.points - x[kept]).abs().max()) <= EPS * (1 + 1e-5) + 1e-7
    assert result.adversarial_ratio == rows["adversarial"].mean()
    assert result.info["target"] == (str(target) if target != "array" else "column:targets")
    assert result.info["threat"] == f"linf:{EPS} -> {result.info['target']}"


def test_a_mistake_is_attacked_on_and_no_success(
    samples: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Some misclassified samples reach their target only under attack, some never."""
    rows = _evaluate(samples, target="random", threat="linf:0.1").samples
    wrong = rows[~rows["clean_correct"]]
    assert len(wrong) > 5
    assert bool(wrong["robust"].any())
    assert bool((wrong["adversarial"] & (wrong["broken_by"] != "clean")).any())
    already = rows["clean_pred"] == rows["target"]
    assert bool(already.any())
    assert (rows["broken_by"] == "clean").tolist() == already.tolist()


@pytest.mark.parametrize(("norm", "name", "eps"), [("linf", "LinfPGD", 0.08), ("l2", "L2PGD", 0.2)])
def test_foolbox_reaches_the_same_targets(
    norm: str, name: str, eps: float, samples: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Its own targeted attack and criterion, on the samples that are right; ours finds no less."""
    foolbox: Any = pytest.importorskip("foolbox")
    x = samples[0]
    rows = _evaluate(samples, target="random", attack="apgd", threat=f"{norm}:{eps}").samples
    right = torch.tensor(rows["clean_correct"].to_numpy())
    t = torch.tensor(rows["target"].to_numpy(np.int64))
    model = foolbox.PyTorchModel(Net().eval(), bounds=(0, 1), device="cpu")
    torch.manual_seed(0)
    attack = getattr(foolbox.attacks, name)(steps=100, rel_stepsize=0.05)
    goal = foolbox.criteria.TargetedMisclassification(t[right])
    _, _, reached = attack(model, x[right], goal, epsilons=eps)
    ours = torch.tensor(rows["adversarial"].to_numpy())[right]
    assert 5 < int(reached.sum()) < len(reached) - 5
    assert not bool((reached & ~ours).any())
    assert int((ours & ~reached).sum()) <= 3


def test_verdicts_do_not_depend_on_width_or_on_other_samples(
    samples: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """One at a time, and half of the samples."""
    x, y = samples
    for target in ("least-likely", "random"):
        whole = _evaluate(samples, target=target).samples
        narrow = _evaluate(samples, target=target, batch_size=8).samples
        half = _evaluate((x[N // 2 :], y[N // 2 :]), target=target).samples
        names = ["target", "adversarial", "adv_margin", "n_forward", "first_success_step"]
        assert whole[names].equals(narrow[names])
        ids = whole.set_index("sample_id").loc[half["sample_id"]].reset_index()
        assert ids[names].equals(half[names])


def test_the_autoattack_cascade_runs_towards_the_target_alone(
    samples: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """One variant of each attack; what survives all has had each step of each, and no more."""
    x, y = samples
    attack = ["apgd-ce:steps=5", "apgd-t:steps=7", "fab-t:iterations=3", "square:steps=11"]
    result = _evaluate((x.reshape(N, 1, 2, 4), y), target="random", attack=attack)
    rows = result.samples
    robust = rows[rows["robust"]]
    assert len(robust) > 10
    assert len(rows[rows["adversarial"]]) > 10
    assert set(rows["broken_variant"].dropna()) == {0}
    assert robust["n_backward"].max() <= 5 + 7 + 2 * 3
    assert robust["n_forward"].max() <= 2 + 6 + 8 + 2 * 3 + 12
    t = torch.tensor(rows["target"].to_numpy(np.int64))
    assert (Net()(result.points).argmax(1) == t).tolist() == rows["adversarial"].tolist()


@pytest.mark.parametrize(
    ("target", "attack", "said"),
    [
        ("2", "deepfool", "attack deepfool cannot seek a target class; these can: apgd, pgd"),
        ("2", "pgd:objective=kl-from-clean", "cannot seek a target class"),
        ("9", "pgd", "target 9 is out of range: the data has 4 classes"),
        ("column:", "pgd", "target 'column:': give a class"),
        ("column:x", "pgd", "has no further columns"),
        (np.zeros(3), "pgd", "targets have shape (3,)"),
        (np.full(N, 0.5), "pgd", "holds 0.5; it should be the name or number of a class"),
    ],
)
def test_what_cannot_work_is_one_line(
    target: Any, attack: str, said: str, samples: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Before anything is attacked."""
    with pytest.raises(robbench.UserError) as error:
        _evaluate(samples, target=target, attack=attack)
    assert said in str(error.value)


ATTACK = "attack mlp:width=8,depth=1 --data digits --limit 40 --attack pgd:steps=3"


def test_the_command_the_threat_s_arrow_and_python_are_one_run(cli: Cli, tmp_path: Path) -> None:
    """Whatever way a target is given, in whatever spelling; another target is another run."""
    one = cli(f"{ATTACK} --threat linf:0.2 --target 3 --json --out {tmp_path}").json["rows"][0]
    assert (one["threat"], one["target"]) == ("linf:0.2 -> 3", "3")
    arrow = cli(f"{ATTACK} --threat 'linf:0.2 -> 3' --json --out {tmp_path}")
    (found,) = robbench.attack(
        "mlp:width=8,depth=1",
        "pgd:steps=3",
        "linf:0.2",
        target=3,
        data="digits",
        limit=40,
        out=tmp_path,
    )
    assert {one["run_id"], arrow.json["rows"][0]["run_id"], found.info["run_id"]} == {one["run_id"]}
    others = [
        cli(f"{ATTACK} --threat linf:0.2 {more} --json --out {tmp_path}").json["rows"][0]["run_id"]
        for more in ("", "--target 4", "--target random", "--target least-likely")
    ]
    assert len({one["run_id"], *others}) == 5


def test_check_and_measure_find_the_samples_and_targets_again(cli: Cli, tmp_path: Path) -> None:
    """Of a run on disk, from the model's name; its checks pass or say why they are skipped."""
    words = f"{ATTACK} --threat linf:0.2 --target 3 --store-points --json --out {tmp_path}"
    run_id = cli(words).json["rows"][0]["run_id"]
    checks = cli(f"check {run_id} --limit 20 --json --out {tmp_path}").json["rows"]
    verdicts = {check["check"]: check["verdict"] for check in checks}
    assert verdicts["constraints"] == "pass"
    assert verdicts["huge-eps"] == "skipped"
    assert verdicts["labels-only"] == "skipped"
    assert cli(f"measure {run_id} --train-samples 0 --json --out {tmp_path}").code == 0


def test_a_gate_attacks_as_its_baseline_was_and_a_figure_has_one_target(
    cli: Cli, tmp_path: Path
) -> None:
    """The candidate has the same samples and target; runs without one are in another table."""
    words = f"{ATTACK} --threat linf:0.2 --json --out {tmp_path}"
    (row,) = cli(f"{words} --target 3").json["rows"]
    (free,) = cli(words).json["rows"]
    assert cli(f"baseline set {row['run_id']} --out {tmp_path}").code == 0
    gated = cli(f"gate --model mlp:width=8,depth=1 --max-drop 50 --json --out {tmp_path}")
    assert gated.code == 0, gated.err
    assert "linf:0.2 -> 3" in gated.out
    refused = cli(f"gate --candidate {free['run_id']} --out {tmp_path}")
    assert refused.code == 2
    assert "linf:0.2 -> 3" in refused.err
    rows = cli(f"compare {row['run_id']} {free['run_id']} --json --out {tmp_path}").json["rows"]
    assert [one["baseline"] for one in rows] == [None, None]
    table = cli(f"compare {row['run_id']} {free['run_id']} --out {tmp_path}").out
    assert "linf:0.2 -> 3" in table
    assert "not reached" in table
    plot = (
        f"plot curves {row['run_id']} {free['run_id']} --figure {tmp_path}/c.svg --out {tmp_path}"
    )
    assert "one figure has one target, the runs have 3, none" in cli(plot).err
    assert cli(f"report --html {tmp_path}/r.html --out {tmp_path}").code == 0
    assert "-&gt; 3" in (tmp_path / "r.html").read_text()


def test_a_stopped_run_goes_on_with_the_same_targets(
    samples: tuple[torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    """Half of its rows kept as a stopped process leaves them, the rest is decided as before."""
    result = _evaluate(samples, target="random", out=tmp_path)
    run_id = result.info["run_id"]
    before = read_run(Store(tmp_path).run_path(run_id)).samples.to_pylist()
    for path in (tmp_path / "results").rglob(f"{run_id}*.parquet"):
        path.unlink()
    Store(tmp_path).partial(run_id).append(before[::2])
    again = _evaluate(samples, target="random", out=tmp_path)
    assert again.info["run_id"] == run_id
    assert again.run.samples.to_pylist() == before
