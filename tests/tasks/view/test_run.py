"""The page of real runs: its rows and pictures are those attacked, and what is missing is said."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from robbench.core.errors import UserError
from robbench.data.load import load
from robbench.store.store import Store
from robbench.store.tables import write_table
from robbench.tasks.view.run import view


def _content(path):
    """What the page holds: its data, and its pictures decoded by another library."""
    page = path.read_text(encoding="utf-8")
    texts = re.findall(r'<script type="application/json" id="\w+">(.*?)</script>', page, re.DOTALL)
    content, files = map(json.loads, texts)
    return content, [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in files]


def _rows(out, kind, norm):
    """The rows of the run in this norm, read without the package."""
    runs = [pq.read_table(path).to_pylist()[0] for path in (out / "results/runs").glob("*.parquet")]
    (run_id,) = [run["run_id"] for run in runs if run["norm"] == norm]
    return pq.read_table(out / "results" / kind / f"{run_id}.parquet").to_pylist()


def test_numbers_and_pictures_are_those_of_the_rows_and_the_data(looked_at, tmp_path):
    """Clean pictures are the images, worst ones the images with the stored difference."""
    made = view([], looked_at, tmp_path / "v.html")
    assert (len(made.runs), made.n_samples, made.n_pictures) == (2, 30, 30)
    assert made.notes == ["No worst points of m, l2:0.5: attack with --store-points to see them."]
    content, files = _content(made.path)
    split = load("digits", "test", limit=30)
    assert content["ids"] == [str(one) for one in split.ids.tolist()]
    assert content["label"] == split.labels.tolist()
    clean = dict(zip(content["ids"], split.pixels(slice(None)).numpy(), strict=True))
    run = next(run for run in content["runs"] if run["norm"] == "linf")
    points = {str(row["sample_id"]): row for row in _rows(looked_at, "points", "linf")}
    assert len(points) > 5
    for sample, at, pictures in zip(content["ids"], content["clean"], run["pictures"], strict=True):
        assert np.array_equal(files[at], np.round(clean[sample][0] * 255))
        assert (pictures is not None) == (sample in points)
        if pictures:
            row = points[sample]
            delta = np.frombuffer(row["delta"], row["encoding"]).astype(np.float32)
            worst = np.clip(clean[sample][0] + delta.reshape(8, 8), 0, 1)
            assert np.abs(files[pictures[0]] - 255 * worst).max() <= 0.51
            assert pictures[2] == pytest.approx(np.abs(worst - clean[sample][0]).max(), rel=1e-3)
    rows = {str(row["sample_id"]): row for row in _rows(looked_at, "samples", "linf")}
    for name, column in (("advMargin", "adv_margin"), ("cleanPred", "clean_pred")):
        wanted = [rows[sample][column] for sample in content["ids"]]
        assert run["columns"][name] == pytest.approx(wanted, rel=1e-4)


def test_a_limit_takes_the_first_and_says_so(looked_at, tmp_path):
    """In the order of the data."""
    made = view(["m"], looked_at, tmp_path / "v.html", limit=7, where=["norm=linf"])
    assert made.notes[0] == "The first 7 of 30 samples: --limit 30 shows all."
    content, _ = _content(made.path)
    assert content["ids"] == [str(one) for one in load("digits", "test", limit=7).ids.tolist()]


def test_samples_without_a_trace_are_not_called_traced(looked_at, tmp_path):
    """Where the model is there they are traced; where it is gone a line says so, and none is."""
    there = view(["m"], looked_at, tmp_path / "v.html", trace=2, where=["norm=linf"])
    assert len(there.traced) == 2
    out = shutil.copytree(looked_at, tmp_path / "S")
    shutil.rmtree(out / "models")
    gone = view(["m"], out, tmp_path / "v.html", trace=2, where=["norm=linf"])
    assert gone.traced == []
    assert gone.notes[-1].startswith("No trace of m, linf:0.2: ")
    assert "--model" not in gone.notes[-1]  # `view` has no such option


def test_other_data_under_the_same_name_cost_only_the_pictures(looked_at, tmp_path):
    """The numbers are there, and one line says why no pictures are."""
    out = shutil.copytree(looked_at, tmp_path / "S")
    for kind in ("samples", "points"):
        for file in (out / "results" / kind).glob("*.parquet"):
            table = pq.read_table(file)
            at = table.schema.get_field_index("sample_id")
            other = pa.array([sample + 1 for sample in table["sample_id"].to_pylist()], pa.int64())
            write_table(file, table.set_column(at, table.schema.field(at), other), file.stem)
    made = view([], out, tmp_path / "v.html")
    (why,) = made.notes
    assert "not the ones that were attacked" in why
    assert html.escape(why, quote=True).replace("&#x27;", "&#39;") in made.path.read_text("utf-8")
    content, files = _content(made.path)
    assert (len(content["ids"]), files) == (30, [])


def test_what_cannot_be_shown_is_refused_before_anything_is_written(looked_at, cli, tmp_path):
    """Runs of two splits, no run, a file that is no page, numbers out of range."""
    out = shutil.copytree(looked_at, tmp_path / "S")
    line = "attack m --attack fgsm --threat linf:0.1 --split train --limit 9 --quiet --out"
    assert cli(line, out).code == 0
    file = tmp_path / "v.html"
    for names, changes, words in (
        ([], {}, "digits test, digits train: name runs of one, or choose with --where split=t"),
        (["nobody"], {}, "nobody"),
        (["m"], {"where": ["split=test"], "limit": 0}, "--limit"),
        (["m"], {"where": ["split=test"], "trace": -1}, "--trace"),
    ):
        with pytest.raises(UserError, match=words):
            view(names, out, file, **changes)
    with pytest.raises(UserError, match=r"\.html"):
        view(["m"], out, tmp_path / "v.txt", where=["split=test"])
    assert not file.exists()
    assert len(Store(out).find([])) == 3
