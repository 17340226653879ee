"""load_runs, compare and report: DataFrames and pages of finished runs."""

import pandas as pd
import pytest
from torch import nn

import robbench

pytestmark = pytest.mark.usefixtures("silent")


def test_tables_are_data_frames(trained_here):
    """load_runs and compare agree with the command's JSON; unknown names say what there is."""
    robbench.attack("m", "fgsm", "linf:0.1", limit=40, out=trained_here)
    runs = robbench.load_runs("m", out=trained_here)
    assert isinstance(runs, pd.DataFrame)
    assert (runs["model"] == "m").all()
    samples = robbench.load_runs(out=trained_here, table="samples")
    assert len(samples) == runs["n_samples"].sum()
    rows = robbench.compare(out=trained_here, where=["threat=linf:0.1"], allow="attack")
    assert set(rows["threat"]) == {"linf:0.1"}
    assert rows.sort_values("robust_accuracy").iloc[-1]["robust_accuracy"] <= 1
    best = robbench.compare(
        out=trained_here, where="threat=linf:0.1", allow="attack", sort="robust_accuracy"
    )
    assert best["robust_accuracy"].is_monotonic_decreasing
    with pytest.raises(robbench.UserError, match="unknown table"):
        robbench.load_runs(out=trained_here, table="sample")
    with pytest.raises(robbench.UserError, match="no-such-run"):
        robbench.compare("no-such-run", out=trained_here)


def test_the_report_is_written(trained_here, tmp_path):
    """One page; what it shows is given back."""
    robbench.attack("m", "fgsm", "linf:0.1", limit=40, out=trained_here)
    made = robbench.report("m", html=tmp_path / "r.html", out=trained_here)
    assert made.size == (tmp_path / "r.html").stat().st_size
    for where in ("threat=linf:0.1", ["threat=linf:0.1"]):  # one condition, or several
        same = robbench.report("m", html=tmp_path / "r.html", out=trained_here, where=where)
        assert same.runs == made.runs
    with pytest.raises(robbench.UserError, match=r"\.html"):
        robbench.report("m", html=tmp_path / "r.txt", out=trained_here)


def test_the_page_of_samples_is_written(trained_here, tmp_path):
    """One page, which may trace samples; bad input speaks of parameters and writes nothing."""
    robbench.attack("m", "fgsm", "linf:0.1", limit=40, out=trained_here)
    file = tmp_path / "v.html"
    with pytest.raises(robbench.UserError, match="limit should be"):
        robbench.view("m", html=file, out=trained_here, limit=0)
    assert not file.exists()
    made = robbench.view("m", html=file, out=trained_here, where="threat=linf:0.1", trace=2)
    assert made.size == file.stat().st_size
    assert (made.n_samples, made.n_pictures, len(made.traced)) == (40, 40, 2)


@pytest.mark.parametrize("kind", ["Linear", "Sequential"])
def test_a_module_is_no_name_of_a_model(tmp_path, kind):
    """Also one that can be iterated, and within a list; a run cannot be a module either."""
    model = nn.Linear(2, 2) if kind == "Linear" else nn.Sequential(nn.Linear(2, 2))
    for call in (robbench.attack, robbench.certify):
        for given in (model, [model]):
            with pytest.raises(robbench.UserError, match=f"not {kind}: evaluate takes"):
                call(given, out=tmp_path)
    with pytest.raises(robbench.UserError, match=f"not {kind}: evaluate takes"):
        robbench.check(model, out=tmp_path)
    for call in (robbench.measure, robbench.verify, robbench.load_runs):
        for given in (model, [model]):
            with pytest.raises(robbench.UserError, match=f"names of runs, not {kind}: "):
                call(given, out=tmp_path)


def test_an_evaluation_is_no_name_of_a_run(tmp_path):
    """Tables, pages and figures are made of runs on disk; the error says how to have one."""
    for call in (
        lambda: robbench.load_runs([3], out=tmp_path),
        lambda: robbench.report([3], html=tmp_path / "r.html", out=tmp_path),
        lambda: robbench.plot("curves", [3], out=tmp_path),
    ):
        with pytest.raises(robbench.UserError, match=r"not int: .* \.save\('runs'\)"):
            call()
