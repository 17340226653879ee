"""Margins along the steps, against PGD written down once more."""

from __future__ import annotations

import shutil

import pytest
import torch

from robbench.reports.html.view import COLUMNS
from robbench.store.run import read_run
from robbench.store.store import Store
from robbench.tasks.rebuild import rebuild
from robbench.tasks.view.traces import drawn, traces_of


def _margins(model, x0, label, eps, steps, sign=1):
    """Logit margins at the steps of PGD on the margin from the clean input, in linf.

    sign: -1 where the label is a target to reach.
    """
    x, found = x0.clone(), []
    for _ in range(steps + 1):
        x.requires_grad_()
        logits = model(x[None])[0]
        others = torch.cat([logits[:label], logits[label + 1 :]])
        margin = sign * (logits[label] - others.max())
        found.append(margin.item())
        (gradient,) = torch.autograd.grad(-margin, x)
        moved = x.detach() + 2.5 / steps * eps * gradient.sign()
        x = torch.minimum(torch.maximum(moved, x0 - eps), x0 + eps).clamp(0, 1)
    return found


def test_a_trace_is_the_run_s_own_attack(looked_at):
    """PGD with the options of the run, past its first success; FGSM in the other run."""
    store = Store(looked_at)
    runs = [(path, read_run(path, COLUMNS)) for path in store.find([])]
    path, run = next((path, run) for path, run in runs if run.info["norm"] == "linf")
    cpu = torch.device("cpu")
    subject = rebuild(path, run, store, device=cpu)
    ids = subject.split.ids.tolist()
    chosen = drawn(ids, 4, seed=3)
    found, notes = traces_of(runs, chosen, looked_at, device=cpu, data_dir=None, download=False)
    assert notes == []
    mine = found[run.info["run_id"]]
    assert set(mine) == set(chosen)
    model = subject.model.eval()
    for sample, path_ in mine.items():
        i = ids.index(sample)
        x0 = subject.split.pixels(slice(i, i + 1))[0]
        wanted = _margins(model, x0, int(subject.split.labels[i]), 0.2, 4)
        assert list(path_.margins) == pytest.approx(wanted, abs=1e-3)
        assert path_.attack.startswith("pgd:")
    (other,) = [traces for run_id, traces in found.items() if run_id != run.info["run_id"]]
    assert all(len(one.margins) == 2 for one in other.values())


def test_a_trace_of_a_targeted_run_seeks_its_targets(looked_at, cli, tmp_path):
    """Largest other logit minus that of the sample's own target, as in the rows of the run."""
    out = shutil.copytree(looked_at, tmp_path / "S")
    line = "attack m --attack pgd:steps=4,init=clean,objective=margin --threat linf:0.1"
    assert cli(f"{line} --target random --limit 12 --quiet --out", out).code == 0
    store, cpu = Store(out), torch.device("cpu")
    ((path, run),) = (
        (path, run)
        for path in store.find([])
        if (run := read_run(path, COLUMNS)).info["target"] == "random"
    )
    rows = {row["sample_id"]: row for row in run.samples.to_pylist()}
    found, notes = traces_of(
        [(path, run)], list(rows), out, device=cpu, data_dir=None, download=False
    )
    assert notes == []
    subject = rebuild(path, run, store, device=cpu)
    model = subject.model.eval()
    (mine,) = found.values()
    assert len(mine) == len(rows) == 12
    for i, sample in enumerate(subject.split.ids.tolist()):
        target = rows[sample]["target"]
        assert target != rows[sample]["label"]
        x0 = subject.split.pixels(slice(i, i + 1))[0]
        wanted = _margins(model, x0, target, 0.1, 4, sign=-1)
        assert list(mine[sample].margins) == pytest.approx(wanted, abs=1e-3)
        assert mine[sample].margins[0] == pytest.approx(rows[sample]["clean_margin"], abs=1e-4)


def test_a_model_that_is_gone_costs_only_its_traces(looked_at, tmp_path):
    """A line for each run says why."""
    runs = [(path, read_run(path, COLUMNS)) for path in Store(looked_at).find([])]
    gone = [(path, run) for path, run in runs]
    for _, run in gone:
        run.info["model"] = "gone"
    found, notes = traces_of(
        gone, [1], tmp_path, device=torch.device("cpu"), data_dir=None, download=False
    )
    assert found == {}
    assert [note.partition(":")[0] for note in notes] == [
        f"No trace of gone, {norm}"
        for norm in (*(run.info["threat"].partition(":")[0] for _, run in gone),)
    ]


def test_samples_are_drawn_by_the_seed_alone():
    """In whatever order they are given; another seed draws others; never more than there are."""
    first = drawn(range(100), 5, seed=0)
    assert first == drawn(list(range(100))[::-1], 5, seed=0)
    assert first != drawn(range(100), 5, seed=1)
    assert len(set(first)) == 5
    assert sorted(drawn(range(3), 5, seed=0)) == [0, 1, 2]
