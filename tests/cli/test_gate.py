"""`robbench gate` and `baseline` as a build calls them: exit codes, streams and files."""

from __future__ import annotations

import datetime
import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from robbench.store.store import Store


@pytest.fixture(scope="module")
def compared(attacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store made from a run of `at`, 500 samples: candidates better, worse, equal and others."""
    source = next(path for path in Store(attacked).find(["at"]))
    row = pq.read_table(source).to_pylist()[0]
    kept = pq.read_table(source.parents[1] / "samples" / source.name).to_pylist()[0]
    out = tmp_path_factory.mktemp("compared") / "S"
    stands = np.random.default_rng(0).random(500) < 0.6

    def add(run_id: str, robust: Any, n: int = 500, **changes: Any) -> None:
        samples = [
            {
                **kept,
                "run_id": run_id,
                "sample_id": i,
                "sample_index": i,
                "clean_correct": True,
                "robust": bool(r),
                "adversarial": not r,
            }
            for i, r in enumerate(robust[:n])
        ]
        Store(out).write(
            {
                **row,
                "run_id": run_id,
                "model": run_id[:-4],
                "n_samples": n,
                "flags": "[]",
                **changes,
            },
            samples,
        )

    order = np.flatnonzero(stands)
    add("base0000", stands)
    add("same0000", stands)
    add("worse0000", np.where(np.isin(np.arange(500), order[:60]), False, stands))
    add("doubt0000", np.where(np.isin(np.arange(500), order[:8]), False, stands))
    add("better0000", True | stands)
    add("few0000", stands, n=50, data_hash="50")
    add("other0000", stands, threat="linf:0.3", eps=0.3)
    add("fgsm0000", stands, attack="fgsm", attack_params='["fgsm"]')
    add("mnist0000", stands, data="mnist", data_hash="m")
    return out


@pytest.mark.parametrize(
    ("candidate", "code", "last", "said"),
    [
        ("same", 0, "PASS", "did not change"),
        ("better", 0, "PASS", "rose by"),
        ("worse", 1, "REGRESSION", "fell by 12.0 points"),
        ("doubt", 4, "NOT ENOUGH EVIDENCE", "samples are needed"),
    ],
)
def test_exit_codes(
    cli: Callable, compared: Path, candidate: str, code: int, last: str, said: str
) -> None:
    """Pass, regression, not enough evidence: table and verdict on stdout, 80 columns, no colour."""
    done = cli("gate --baseline base --candidate", candidate, "--out", compared)
    assert (done.code, done.err) == (code, "")
    assert done.out.splitlines()[-1] == last
    assert said in " ".join(done.out.split())
    assert max(map(len, done.out.splitlines())) <= 80
    assert "\x1b" not in done.out
    read = cli("gate --json --baseline base --candidate", candidate, "--out", compared)
    assert (read.code, read.json["schema"], read.json["exit_code"]) == (
        code,
        "robbench.gate/1",
        code,
    )
    assert {"PASS": "pass", "REGRESSION": "regression"}.get(last, "undecided") == read.json[
        "verdict"
    ]


def test_undecided_may_pass(cli: Callable[..., Any], compared: Path) -> None:
    """Exit 0 with the same verdict; a regression still fails."""
    for name, code in (("doubt", 0), ("worse", 1)):
        line = f"gate --baseline base --candidate {name} --undecided pass --json --out"
        done = cli(line, compared)
        assert (done.code, done.json["exit_code"]) == (code, code)
    assert cli("gate --baseline base --candidate doubt --json --out", compared).code == 4


def test_no_sample_says_more_than_it_is_asked(cli: Callable, compared: Path) -> None:
    """The same runs with more tolerance, or for these samples only: what was unclear is decided."""
    words = ("gate --baseline base --candidate doubt --out", compared)
    assert cli(*words, "--max-drop", "4").code == 0
    assert cli(*words, "--these-samples").code == 1
    assert cli(*words, "--these-samples", "--max-drop", "1.6").code == 0
    assert (
        cli(
            "gate --baseline base --candidate worse --max-drop 20 --max-class-drop 5 --out",
            compared,
        ).code
        == 1
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--baseline base --candidate other", r"threat: linf:0.15 and linf:0.3"),
        ("--baseline base --candidate fgsm", r"attack: pgd:steps=10 \+ apgd and fgsm"),
        ("--baseline base --candidate mnist", r"data: digits and mnist"),
        ("--baseline base --candidate few", r"samples: .*fingerprint"),
        ("--baseline base --candidate nobody", "unknown"),
        ("--baseline nobody --candidate base", "unknown"),
        ("--candidate base", "no baseline is set .*robbench baseline set RUN"),
        ("--baseline base", "--candidate RUN.*--model MODEL"),
        ("--baseline base --candidate same --model at", "--candidate RUN.*--model MODEL"),
        ("--baseline base --candidate same --max-drop -1", "at least 0"),
        ("--baseline base --candidate same --max-drop 100", "below 100"),
        ("--baseline base --candidate same --alpha 0.9", "alpha"),
        ("--baseline base --candidate same --max-drop much", "max-drop"),
        ("--baseline base --candidate same --junit-xml .", "no place for a file"),
        ("--baseline base --model mlp --max-time soon", "90s"),
        ("--baseline base --model mlp --max-time 50q", "time"),
        ("--baseline base --model mlp", "not those of the baseline"),
        ("--baseline base --model nobody", "nobody"),
        ("--baseline base --model mlp --max-margin-drop 1", "every sample"),
    ],
)
def test_bad_input(
    cli: Callable, compared: Path, snapshot: Callable, words: str, message: str
) -> None:
    """Exit 2, one line that says what is wrong, and nothing touched."""
    before = snapshot(compared)
    done = cli("gate", *words.split(), "--out", compared)
    assert done.code == 2, done.err
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert done.err.startswith("error: ")
    assert re.search(message, done.err), done.err
    assert snapshot(compared) == before


def test_weights_that_are_newer_than_the_run(cli: Callable, compared: Path, tmp_path: Path) -> None:
    """A model trained again after its attack: the verdict is of the old weights, and says so."""
    out = shutil.copytree(compared, tmp_path / "S")
    words = "gate --baseline base --candidate same --json --out"
    assert not [note for note in cli(words, out).json["notes"] if "trained again" in note]
    (out / "models" / "same").mkdir(parents=True)
    (out / "models" / "same" / "model.safetensors").touch()
    assert [note for note in cli(words, out).json["notes"] if "same was trained again" in note]


def test_damaged_files(cli: Callable, compared: Path, tmp_path: Path) -> None:
    """A half-written file of either run is bad input, named."""
    out = shutil.copytree(compared, tmp_path / "S")
    file = out / "results" / "samples" / "same0000.parquet"
    file.write_bytes(file.read_bytes()[:300])
    done = cli("gate --baseline base --candidate same --out", out)
    assert done.code == 2
    assert str(file) in done.err


def test_what_ci_reads(cli: Callable, compared: Path, tmp_path: Path) -> None:
    """JUnit XML, Markdown, GitHub's summary (appended) and annotations, all of one verdict."""
    junit, markdown, summary = (
        tmp_path / "deep" / "junit.xml",
        tmp_path / "gate.md",
        tmp_path / "summary.md",
    )
    summary.write_text("# before\n")
    env = {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_ACTIONS": "true"}
    words = ("--out", compared, "--junit-xml", junit, "--markdown", markdown, "--json")
    done = cli("gate --baseline base --candidate worse", *words, env=env)
    assert done.code == 1
    assert done.json["verdict"] == "regression"
    suite = ET.parse(junit).getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "1", "0")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == done.json["messages"][0]
    assert markdown.read_text().startswith("### robbench gate: regression")
    assert summary.read_text() == "# before\n" + markdown.read_text()
    assert done.err.startswith(
        "::error title=robbench gate%3A regression::worse: robust accuracy fell"
    )
    fine = cli("gate --baseline base --candidate better", *words, env=env)
    assert (fine.code, fine.err.partition(" ")[0]) == (0, "::notice")
    assert ET.parse(junit).getroot()[0].get("failures") == "0"
    assert summary.read_text().count("### robbench gate") == 2


def test_a_summary_that_cannot_be_written(cli: Callable, compared: Path, tmp_path: Path) -> None:
    """Exit 3 and why; the verdict is said all the same."""
    env = {"GITHUB_STEP_SUMMARY": str(tmp_path / "nowhere" / "summary.md")}
    done = cli("gate --baseline base --candidate worse --out", compared, env=env)
    assert (done.code, done.out.splitlines()[-1]) == (3, "REGRESSION")
    assert "GITHUB_STEP_SUMMARY" in done.err


def test_a_baseline_is_set_shown_and_guarded(cli: Callable, compared: Path, tmp_path: Path) -> None:
    """set, show, gate without naming it; once its samples changed, exit 2 from both."""
    out = shutil.copytree(compared, tmp_path / "S")
    assert cli("baseline show --out", out).code == 2
    done = cli("baseline set base --out", out)
    assert done.code == 0
    assert "base0000" in done.out
    shown = cli("baseline show --json --out", out).json
    assert (shown["schema"], shown["run_id"], set(shown["sha256"])) == (
        "robbench.baseline/1",
        "base0000",
        {"runs", "samples"},
    )
    assert cli("gate --candidate same --out", out).code == 0
    file = out / "results" / "samples" / "base0000.parquet"
    pq.write_table(pq.read_table(file), file, compression="none")
    for line in ("gate --candidate same --out", "baseline show --out"):
        changed = cli(line, out)
        assert (changed.code, changed.out) == (2, "")
        assert "was changed since run base0000 was set" in changed.err
    assert cli("baseline set base --out", out).code == 0
    assert cli("gate --candidate same --out", out).code == 0
    for words in ("baseline set", "baseline show base", "baseline drop"):
        assert cli(words, "--out", out).code == 2


def test_a_baseline_whose_row_claims_more_than_its_samples(
    cli: Callable, compared: Path, tmp_path: Path
) -> None:
    """The samples count; the fixture's rows are handmade, of 41 % robust."""
    out = shutil.copytree(compared, tmp_path / "S")
    done = cli("baseline set base --out", out)
    assert "robust accuracy 56.6%, clean 100.0%" in done.out
    assert "warning: the row of the run claims clean accuracy 80.0%" in done.err
    shown = cli("baseline show --json --out", out).json
    assert (shown["robust_accuracy"], shown["clean_accuracy"]) == (0.566, 1.0)


def test_two_results_in_one_file(cli: Callable, compared: Path, tmp_path: Path) -> None:
    """The second would replace the first."""
    words = "gate --baseline base --candidate same --junit-xml a --markdown ./b/../a --out"
    done = cli(words, compared, cwd=tmp_path)
    assert (done.code, done.err) == (2, "error: a cannot hold two results: name two files\n")
    assert not (tmp_path / "a").exists()


def test_two_runs_are_judged_without_torch(spawn: Callable, compared: Path) -> None:
    """The comparison of finished runs starts at once."""
    code = """
import sys
from robbench.cli.app import main
try:
    main()
except SystemExit as end:
    print(end.code, *{"torch", "pandas", "sklearn"} & {*sys.modules}, file=sys.stderr)
"""
    done = spawn("gate", "--baseline", "base", "--candidate", "worse", "--out", compared, code=code)
    assert done.err == "1\n"


def test_the_example_of_the_help_page(cli: Callable, attacked: Path) -> None:
    """It runs as it stands there."""
    assert "robbench gate --baseline ce --candidate at --max-drop 2" in " ".join(
        cli("gate --help").out.split()
    )
    done = cli("gate --baseline ce --candidate at --max-drop 2 --out", attacked)
    assert done.code == 0, done.err
    assert (
        json.loads(cli("gate --baseline at --candidate ce --json --out", attacked).out)["verdict"]
        == "regression"
    )


@pytest.fixture(scope="module")
def nights(compared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one model on four days, each of which loses 6 points more."""
    out = tmp_path_factory.mktemp("nights") / "S"
    row = pq.read_table(next(iter(Store(compared).find(["base0000"])))).to_pylist()[0]
    path = compared / "results" / "samples" / "base0000.parquet"
    kept = pq.read_table(path).to_pylist()
    for i in range(4):
        samples = [
            each | {"run_id": f"night{i}", "robust": k >= 30 * i, "adversarial": k < 30 * i}
            for k, each in enumerate(kept)
        ]
        day = row["started_at"] + datetime.timedelta(days=i)
        changes = {"run_id": f"night{i}", "model": "nightly", "started_at": day}
        Store(out).write(row | changes | {"model_hash": f"w{i}"}, samples)
    return out


def test_small_drops_add_up_against_the_last_runs(cli: Callable, nights: Path) -> None:
    """With 10 points tolerated it passes against the run before, and not against three."""
    words = "--candidate nightly@latest --max-drop 10 --out"
    assert cli(f"gate --baseline night2 {words}", nights).code == 0
    done = cli(f"gate --against last:3 {words}", nights)
    assert (done.code, done.out.split()[-1]) == (1, "REGRESSION")
    assert "each of 3 runs of nightly since" in done.out
    assert "fell by 18.0 points" in " ".join(done.out.split())
    newest = cli("gate --against last:3 --max-drop 10 --json --out", nights)
    found = newest.json
    assert (newest.code, found["candidate"]["run_id"]) == (1, "night3")
    assert found["against"] == ["night0", "night1", "night2"]
    decided = [check["decision"] for check in found["checks"]]
    assert decided == ["regression", "undecided", "pass"]


def test_all_that_a_build_reads_of_it(cli: Callable, nights: Path, tmp_path: Path) -> None:
    """JUnit has a case for each run it was held against, Markdown a row."""
    files = ("--junit-xml", tmp_path / "x.xml", "--markdown", tmp_path / "x.md")
    assert cli("gate --against last:2 --max-drop 30 --out", nights, *files).code == 0
    cases = ET.parse(tmp_path / "x.xml").getroot().findall(".//testcase")
    assert len({case.get("name") for case in cases}) == 2
    text = (tmp_path / "x.md").read_text()
    assert len(re.findall(r"^\| robust accuracy since ", text, re.MULTILINE)) == 2
    assert "1 more of these checks say the same" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--against last:0", "write last:N"),
        ("--against last:x", "write last:N"),
        ("--against last:3 --model ce", "not --model"),
        ("--against last:3 --branch main", "not --branch"),
        ("--against last:3 --candidate night1", "there is 1"),
        ("--against last:3 --candidate nightly", "nightly@latest is the last of them"),
        ("--against last:3 --max-margin-drop 1", "judged against one run"),
        ("--against last:3 --max-time 2m", "are of an attack on --model"),
        ("--candidate night1 --baseline night0 --max-time 2m", "are of an attack on --model"),
        ("--candidate night1 --baseline night0 --batch-size 8", "are of an attack on --model"),
        ("--candidate night1 --baseline night0 --branch main", "leave out one of them"),
    ],
)
def test_bad_input_for_finished_runs(cli: Callable, nights: Path, words: str, said: str) -> None:
    """One line, exit 2."""
    done = cli(f"gate {words} --out", nights)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err
