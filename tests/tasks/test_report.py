"""A report of a real run: its tables are found, its pictures are those attacked."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robbench.core.errors import UserError
from robbench.data.load import load
from robbench.reports.html.data import CHECKS, COLUMNS, MEASURES
from robbench.store import schema
from robbench.store.run import Run, read_run
from robbench.store.store import Store
from robbench.store.tables import write_table
from robbench.tasks.gallery import examples
from robbench.tasks.report import gather, report

BESIDE = {"measures": MEASURES, "checks": CHECKS}


def _table(kind: str) -> pa.Table:
    """A table of one row with the columns that a report needs."""
    fields = {"measures": schema.MEASURES, "checks": schema.CHECKS}[kind]
    row = {
        "verdict": "pass",
        "evidence": [7],
        "automatic": False,
        "class": None,
        "value": 0.5,
        "figure": 0.5,
        "threshold": None,
        "detail": "{}",
    }
    one = pa.schema([fields.field(name) for name in BESIDE[kind]], {"robbench.table": kind})
    return pa.Table.from_pylist([{name: row.get(name, "x") for name in BESIDE[kind]}], schema=one)


@pytest.fixture(scope="module")
def attacked(tiny, cli, for_all, tmp_path_factory) -> Iterator[Path]:
    """A store with a tiny model, attacked with and without points. Not to be written to."""
    out = tmp_path_factory.mktemp("report") / "S"
    for line in (
        "attack m --attack pgd:steps=5 --threat linf:0.05,0.2 --limit 40 --store-points --out",
        "attack m --attack fgsm --threat l2:0.5 --limit 20 --out",
    ):
        if not out.exists():
            assert cli("", *tiny, "--out", out).code == 0
        assert cli(line, out).code == 0
    with for_all(out):
        yield out


def _runs(out: Path):
    return [(path, read_run(path, COLUMNS)) for path in Store(out).find([])]


def test_pictures_of_a_targeted_run_are_those_it_attacked(tiny, cli, tmp_path):
    """Samples of their target class are left out: the others keep their pictures."""
    out = tmp_path / "S"
    assert cli("", *tiny, "--out", out).code == 0
    line = "attack m --attack pgd:steps=5 --threat linf:0.2 --target 0 --limit 40 --store-points"
    assert cli(line, "--out", out).code == 0
    shown, reasons = examples(_runs(out), None)
    assert reasons == []
    split = load("digits", "test", limit=40)
    clean = {
        sample: split.pixels(slice(i, i + 1))[0].numpy()
        for i, sample in enumerate(split.ids.tolist())
    }
    assert len(shown) > 3
    for example in shown:
        assert np.array_equal(example.clean, clean[example.sample_id])


def test_pictures_are_the_attacked_images_with_the_smallest_perturbations(attacked):
    """Six samples of a model and norm, nearest first; images and sizes as in data and rows."""
    runs = [(path, run) for path, run in _runs(attacked) if run.info["norm"] == "linf"]
    shown, reasons = examples(runs, None)
    split = load("digits", "test", limit=40)
    assert (len(shown), reasons) == (6, [])
    (run_id,) = {example.run_id for example in shown}
    rows = {
        row["sample_id"]: row
        for path, run in runs
        if run.info["run_id"] == run_id
        for row in run.samples.to_pylist()
    }
    fallen = sorted(
        row["dist_linf"] for row in rows.values() if row["adversarial"] and row["clean_correct"]
    )
    assert [example.size for example in shown] == fallen[:6]
    for example in shown:
        row = rows[example.sample_id]
        image = split.pixels(slice(None))[split.ids.tolist().index(example.sample_id)].numpy()
        assert np.array_equal(example.clean, image)
        assert float(np.abs(example.worst - example.clean).max()) == pytest.approx(
            example.size, abs=2e-4
        )
        assert (example.label, example.worst_prediction) == (
            str(row["label"]),
            str(row["adv_pred"]),
        )


def test_other_data_under_the_same_name_are_noticed(attacked, tmp_path):
    """Pictures appear only if their content has the recorded id; else a line says so."""
    out = shutil.copytree(attacked, tmp_path / "S")
    path = next(path for path, run in _runs(out) if run.info["norm"] == "linf")
    for kind in ("samples", "points"):
        file = path.parent.parent / kind / path.name
        table = pq.read_table(file)
        at = table.schema.get_field_index("sample_id")
        other = pa.array([sample + 1 for sample in table["sample_id"].to_pylist()], pa.int64())
        write_table(file, table.set_column(at, table.schema.field(at), other), path.stem)
    made = report([str(path)], out, tmp_path / "r.html")
    assert "not the ones that were attacked" in made.path.read_text(encoding="utf-8")


def test_data_that_are_gone_cost_only_the_pictures(attacked, tmp_path):
    """One line in the gallery names what is missing; all else is there."""
    path, run = next((path, run) for path, run in _runs(attacked) if run.info["norm"] == "linf")
    gone = Run({**run.info, "data": "folder:/nowhere"}, run.samples)
    shown, (why,) = examples([(path, gone)], None)
    assert shown == []
    assert "No pictures of m, linf:" in why
    assert "/nowhere" in why


def test_what_lies_beside_runs_is_gathered(attacked, tmp_path):
    """Epochs, class names and training command of the model; measures and checks by run."""
    out = shutil.copytree(attacked, tmp_path / "S")
    shutil.rmtree(out / "results" / "checks")
    runs = _runs(out)
    path = runs[0][0]
    for kind in BESIDE:
        write_table(path.parent.parent / kind / path.name, _table(kind), path.stem)
    found = gather(runs, None, command="")
    assert len(found.trainings["m"].epochs) == 3
    assert found.trainings["m"].command.line.startswith(
        "robbench train --data digits --model mlp:width=16,depth=1 --limit 150"
    )
    assert found.classes == {"m": [str(digit) for digit in range(10)]}
    for rows in (found.measures, found.checks):
        assert [len(rows[run.info["run_id"]]) for _, run in runs] == [1, 0, 0]


def test_a_damaged_or_foreign_table_beside_a_run_is_an_error(attacked, tmp_path):
    """It is named, and no page is written."""
    out = shutil.copytree(attacked, tmp_path / "S")
    path = _runs(out)[0][0]
    beside = path.parent.parent / "checks" / path.name
    write_table(beside, _table("checks").drop_columns(["verdict"]), path.stem)
    narrow = beside.read_bytes()
    for content, message in (
        (b"PAR1 half", "damaged"),
        (path.read_bytes(), "holds runs, not checks"),
        (narrow, "lacks the columns verdict"),
    ):
        beside.write_bytes(content)
        with pytest.raises(UserError, match=message):
            report([], out, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_the_command_writes_one_page_and_says_where(attacked, cli, tmp_path, snapshot):
    """Stdout names the file; --json has the sections; an older page is replaced."""
    before = snapshot(attacked)
    for _ in range(2):
        done = cli(
            "report m --out",
            attacked,
            "--html",
            tmp_path / "deep" / "r.html",
            "--title",
            "A <title>",
        )
        assert done.code == 0, done.err
        *answer, last = done.out.splitlines()
        assert re.fullmatch(r"report of 3 runs: .*r\.html \(\d\.\d MB\)", last)
        assert answer[0].startswith("m keeps ")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["r.html"]
    assert "<h1>A &lt;title&gt;</h1>" in (tmp_path / "deep" / "r.html").read_text(encoding="utf-8")
    facts = cli("report --json --out", attacked, "--html", tmp_path / "r.html").json
    assert (facts["schema"], len(facts["runs"]), facts["size"]) == (
        "robbench.report/1",
        3,
        (tmp_path / "r.html").stat().st_size,
    )
    assert facts["sections"]["gallery"]
    assert [answer["text"] for answer in facts["answers"]] == answer[::2]
    assert facts["sections"]["checks"]  # attack writes them
    assert snapshot(attacked) == before


def test_the_command_says_why_a_section_is_empty(attacked, cli, tmp_path):
    """And what fills it: for the spectrum the command that measures these runs, which it does."""
    out = shutil.copytree(attacked, tmp_path / "S")
    run = Store(out).find_local(["m"])[0].stem
    done = cli("report", run, "--out", out, "--html", tmp_path / "r.html")
    command = f"robbench measure {run} --out {out}"
    line = f"Feature spectrum: nothing to show. Nothing was measured: {command}"
    assert line in done.err.splitlines()
    assert "Smallest perturbations" not in done.err
    assert cli(command.removeprefix("robbench "), "--train-samples", "0").code == 0
    again = cli("report", run, "--out", out, "--html", tmp_path / "r.html")
    assert "spectrum" not in again.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nobody --html r.html", "nobody"),
        ("m --html .", "folder"),
        ("m --html m/model.safetensors", r"\.html"),
        ("m --html taken/r.html", "not a folder"),
        ("m --html", "argument"),
    ],
)
def test_bad_input(attacked, cli, tmp_path, words, message):
    """Exit 2, one line, nothing written: a slip of the pen costs no model."""
    (tmp_path / "taken").write_text("a file")
    done = cli(f"report --out {attacked} {words}", cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert re.search(message, done.err), done.err
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_report_without_pictures_never_imports_torch(attacked, spawn, tmp_path):
    """Reading results starts at once; plotly and jinja2 are not imported for --help either."""
    code = (
        "import sys; from robbench.cli.app import app; assert not {{'plotly', 'jinja2', "
        "'torch'}} & set(sys.modules)\n"
        "sys.argv[1:] = {words}\ntry:\n    app(sys.argv[1:], standalone_mode=False)\n"
        "except SystemExit: pass\n"
        "assert 'plotly' in sys.modules and 'torch' not in sys.modules"
    )
    run = next(path.stem for path, run in _runs(attacked) if run.info["norm"] == "l2")
    words = ["report", run, "--out", str(attacked), "--html", str(tmp_path / "r.html")]
    done = spawn(code=code.format(words=words))
    assert done.code == 0, done.err
    assert (tmp_path / "r.html").exists()


def test_the_digests_are_those_of_the_files(attacked, tmp_path):
    """Every table of every run, its path and SHA-256 as `sha256sum --check` reads them."""
    material = gather(_runs(attacked), None, command="")
    tables = {path.parent.name for path in attacked.glob("results/*/*.parquet")}
    assert {line.split("/")[1] for line in material.digests} == tables >= {"runs", "samples"}
    assert len(material.digests) == len(list(attacked.glob("results/*/*.parquet")))
    lines = "".join(f"{digest}  {path}\n" for path, digest in material.digests.items())
    done = subprocess.run(
        ["sha256sum", "--check", "--strict"], input=lines, cwd=attacked, text=True, check=False
    )
    assert done.returncode == 0


def test_a_model_that_began_with_anothers_weights_has_that_ones_command_too(
    attacked, cli, tmp_path
):
    """First the start's command, then its own; a start that is gone costs only its line."""
    out = shutil.copytree(attacked, tmp_path / "S")
    assert cli(f"train --from m --name tuned --epochs 1 --limit 60 --out {out}").code == 0
    assert cli(f"attack tuned --attack fgsm --threat linf:0.1 --limit 20 --out {out}").code == 0
    runs = [(path, run) for path, run in _runs(out) if run.info["model"] == "tuned"]
    training = gather(runs, None, command="").trainings["tuned"]
    (start,) = training.starts
    assert start.line.startswith("robbench train --data digits --model mlp")
    assert "--from m" in training.command.line
    assert training.code["loss"].startswith("robbench ")
    shutil.rmtree(out / "models" / "m")
    assert not gather(runs, None, command="").trainings["tuned"].starts


def test_a_model_that_learnt_from_another_has_that_ones_command_too(attacked, cli, tmp_path):
    """The teacher's, and once where it is also the start."""
    out = shutil.copytree(attacked, tmp_path / "S")
    words = "train --loss hat --teacher m --epochs 1 --limit 60"
    for name, more in (("taught", "--model mlp:width=8"), ("both", "--from m")):
        done = cli(f"{words} {more} --name {name} --out {out}")
        assert done.code == 0, done.err
        done = cli(f"attack {name} --attack fgsm --threat linf:0.1 --limit 20 --out {out}")
        assert done.code == 0, done.err
    for name in ("taught", "both"):
        runs = [(path, run) for path, run in _runs(out) if run.info["model"] == name]
        (before,) = gather(runs, None, command="").trainings[name].starts
        assert before.line.startswith("robbench train --data digits --model mlp")


def test_where_and_over_seeds_choose_what_is_shown(attacked, cli, tmp_path):
    """A condition leaves runs out, one that nothing meets is refused; seeds are one row."""
    made = report([], attacked, tmp_path / "r.html", where=["threat=l2:0.5"], over_seeds=True)
    assert len(made.runs) == 1
    assert made.answers[0]["model"] == "m (1 seed)"
    assert "--where threat=l2:0.5 --over-seeds" in made.path.read_text(encoding="utf-8")
    done = cli(f"report --where norm=l7 --out {attacked} --html {tmp_path}/n.html")
    assert (done.code, done.out) == (2, "")
    assert "there is norm=l2, linf" in done.err
    other = next(path.stem for path, run in _runs(attacked) if run.info["norm"] == "linf")
    with pytest.raises(UserError, match=f"no run of '{other}' has norm=l2"):
        report(["m", other], attacked, tmp_path / "n.html", where=["norm=l2"])
    assert not (tmp_path / "n.html").exists()
    small = report([], attacked, tmp_path / "small.html", cdn=True)
    assert small.size < 2e6 < report([], attacked, tmp_path / "large.html").size
