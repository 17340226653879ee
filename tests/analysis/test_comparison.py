"""`robbench compare` on handmade runs: refusals, marks, exit codes and every output format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest

from robbench.store.run import Run
from robbench.store.schema import SCHEMA_VERSION
from robbench.store.store import Store

Stored = Callable[..., Run]
Cli = Callable[..., Any]


@pytest.fixture
def three(tmp_path: Path, stored: Stored, make_samples: Callable[..., Any]) -> Path:
    """ce, at (much better) and trades (a little worse than at), on the same 300 samples."""
    for run_id, model, share in (
        ("aaaa", "ce", 0.7),
        ("bbbb", "at", 0.1),
        ("cccc", "trades", 0.11),
    ):
        stored(run_id * 3, make_samples(300, 5, share), model=model, age=ord(run_id[0]))
    return tmp_path


class TestMixtures:
    """Runs that do not belong together."""

    @pytest.mark.parametrize(
        ("changes", "kind", "phrase"),
        [
            ({"data": "mnist", "data_hash": "y"}, "data", "data: mnist and digits"),
            ({"split": "train", "data_hash": "y"}, "split", "split: train and test"),
            ({"subset": "first=10", "data_hash": "y"}, "subset", "subset: first=10 and all"),
            ({"data_hash": "y"}, "samples", "samples: digits has changed in between"),
            (
                {"attack": "fgsm", "attack_params": '["fgsm"]'},
                "attack",
                "attack: fgsm and pgd:steps=10",
            ),
            ({"max_time_s": 90.0}, "limits", "limits: 90s and none"),
        ],
        ids=lambda value: value if isinstance(value, str) and ":" not in value else "",
    )
    def test_are_refused_by_name_and_shown_marked_on_request(
        self, cli: Cli, three: Path, stored: Stored, changes: dict[str, Any], kind: str, phrase: str
    ) -> None:
        """Exit 2 says what differs, in which run, and both ways out; each of them works."""
        stored("dddd11111111", None, model="new", age=200, **changes)
        done = cli("compare", "--out", three)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert phrase in done.err
        assert "new dddd" in done.err
        assert f"--allow {kind}" in done.err
        choice = done.err.partition("or choose with ")[2].rstrip()
        chosen = cli(f"compare --json {choice} --out", three)
        assert [row["model"] for row in chosen.json["rows"]] == ["ce", "at", "trades"]
        allowed = cli("compare", "--json", "--allow", kind, "--out", three)
        assert [row["differs"] for row in allowed.json["rows"]] == [[], [], [], [kind]]
        shown = cli("compare", "--allow", kind, "--out", three)
        assert "new !" in shown.out
        assert f"other runs of its table in {kind}." in " ".join(shown.out.split())

    def test_the_choice_is_one_that_all_models_have(
        self, cli: Cli, three: Path, stored: Stored
    ) -> None:
        """The advice works when copied, also where another model has no run like the first one."""
        stored("0000aaaa1111", model="ce", age=-900, attack="fgsm", attack_params='["fgsm"]')
        done = cli("compare ce at --out", three)
        choice = done.err.partition("or choose with ")[2].rstrip()
        assert choice == "--where attack=pgd:steps=10"
        assert [
            row["model"] for row in cli(f"compare ce at --json {choice} --out", three).json["rows"]
        ] == ["ce", "at"]

    def test_several_differences_are_all_said(self, cli: Cli, three: Path, stored: Stored) -> None:
        """One --allow is not enough for two differences, and the choice names both."""
        stored(
            "dddd11111111",
            age=200,
            max_queries=7,
            attack="fgsm",
            attack_params='["fgsm"]',
        )
        done = cli("compare", "--out", three, "--allow", "limits")
        assert done.code == 2
        assert "limits:" not in done.err
        assert "--where attack=pgd:steps=10" in done.err
        assert cli("compare", "--out", three, "--allow", "limits", "--allow", "attack").code == 0
        done = cli("compare", "--out", three)
        assert "--where attack=pgd:steps=10 --where max_time_s=none" in done.err

    def test_no_common_samples(
        self, cli: Cli, three: Path, stored: Stored, make_samples: Callable[..., Any]
    ) -> None:
        """Nothing to pair is exit 2 with the next step; on request both are shown."""
        stored("dddd11111111", make_samples(20, first=5000), age=200, model="new")
        done = cli("compare", "--out", three)
        assert (done.code, done.out) == (2, "")
        assert "no sample in common with aaaaaaaaaaaa" in done.err
        assert "--allow samples" in done.err
        assert len(cli("compare", "--out", three, "--allow", "samples", "--json").json["rows"]) == 4

    def test_seeds_of_the_attack_and_the_order_of_a_cascade_do_not_count(
        self, cli: Cli, three: Path, stored: Stored
    ) -> None:
        """What changes no meaning is no difference."""
        stored(
            "dddd11111111", age=200, seed=7, batch_size=3, precision="bf16", eps=0.15 * (1 + 1e-9)
        )
        done = cli("compare", "--out", three, "--json")
        assert done.code == 0
        assert [(row["n_common"], row["differs"]) for row in done.json["rows"]][-1] == (20, [])


class TestThreatModels:
    """Runs under several threat models."""

    L2 = {"norm": "l2", "eps": 1.0, "threat": "l2:1", "attack": "fgsm", "attack_params": '["fgsm"]'}

    @pytest.fixture
    def several(self, three: Path, stored: Stored, make_samples: Callable[..., Any]) -> Path:
        """Three models at linf:0.15; two of them, at and ce, at l2:1 too, attacked otherwise."""
        stored("dddd11111111", make_samples(300, 5, 0.2), model="at", age=200, **self.L2)
        stored("eeee11111111", make_samples(300, 5, 0.6), model="ce", age=201, **self.L2)
        return three

    def test_are_a_table_each_with_tests_of_their_own(self, cli: Cli, several: Path) -> None:
        """Pairs, Holm's correction and the best are those of each threat model compared alone."""
        rows = cli("compare --json --out", several).json["rows"]
        apart = [
            cli(f"compare --where threat={threat} --json --out", several).json["rows"]
            for threat in ("linf:0.15", "l2:1")
        ]
        assert [len(found) for found in apart] == [3, 2]
        assert rows == [*apart[0], *apart[1]]
        assert apart[1][1]["baseline"] == "dddd11111111"
        shown = cli("compare --out", several)
        assert shown.code == 0
        titles = [line for line in shown.out.splitlines() if line.startswith("digits test, ")]
        assert [title.split(", ")[1] for title in titles] == ["linf:0.15", "l2:1"]

    def test_a_model_attacked_under_several_is_compared_by_its_name(
        self, cli: Cli, several: Path
    ) -> None:
        """One table for each, of one run."""
        rows = cli("compare ce --json --out", several).json["rows"]
        assert [(row["threat"], row["baseline"]) for row in rows] == [
            ("linf:0.15", None),
            ("l2:1", None),
        ]

    def test_other_samples_are_refused_across_threat_models_too(
        self, cli: Cli, several: Path, stored: Stored
    ) -> None:
        """The data is one for all tables, the attack for each."""
        stored(
            "ffff11111111",
            model="new",
            age=300,
            threat="l1:9",
            norm="l1",
            eps=9.0,
            data="mnist",
            data_hash="y",
        )
        done = cli("compare --out", several)
        assert (done.code, done.out) == (2, "")
        assert "data: mnist and digits (new ffff against ce aaaa)" in done.err
        assert "threat:" not in done.err
        stored("9999aaaa1111", model="new", age=400, **(self.L2 | {"attack_params": '["pgd"]'}))
        done = cli("compare at ce new --where data=digits --out", several)
        assert done.code == 2
        assert "(new 9999 against at dddd)" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--where treat=linf:0.15", "did you mean threat"),
        ("--where threat", "write COLUMN=VALUE"),
        ("--where model=nobody", "no run has model=nobody; there is model=at, ce, trades"),
        ("--allow limit", "did you mean limits"),
        ("--columns robust_acuracy", "did you mean robust_accuracy"),
        ("--columns ,", "names no column"),
        ("--sort robust_acuracy", "did you mean robust_accuracy"),
        ("--sort flags", "unknown column to sort by"),
        (
            "--sort robust_accuracy:up",
            "write robust_accuracy, robust_accuracy:asc or robust_accuracy:desc",
        ),
        ("--fail-on robust_acuracy:-1pp", "did you mean robust_accuracy"),
        ("at --fail-on robust_accuracy:-1pp", "name the baseline first"),
        ("--json --latex", "choose one"),
        ("--over-seeds", "does not say how it was trained"),
    ],
)
def test_bad_options(cli: Cli, three: Path, words: str, message: str) -> None:
    """One line, exit 2, nothing on stdout, and the next step."""
    done = cli(f"compare {words} --out", three)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert message in done.err


class TestFailOn:
    """The gate of a comparison."""

    def test_a_regression_is_exit_1_and_says_which_and_by_how_much(
        self, cli: Cli, three: Path
    ) -> None:
        """The table still comes, and each failure is a line of its own, quiet or not."""
        words = (
            "--fail-on robust_accuracy:-1pp --fail-on clean_accuracy:-1pp "
            "--fail-on adversarial_ratio:+2pp"
        )
        done = cli(f"compare at trades ce {words} --quiet --out", three)
        rows = {
            row["model"]: row
            for row in cli("compare at trades ce --json --out", three).json["rows"]
        }
        assert done.code == 1
        fallen = 100 * (rows["at"]["robust_accuracy"] - rows["ce"]["robust_accuracy"])
        assert f"failed: ce against at: robust_accuracy fell by {fallen:.2f}pp" in done.err
        assert f"failed: ce against at: adversarial_ratio rose by {fallen:.2f}pp" in done.err
        assert "clean_accuracy" not in done.err
        assert "trades" in done.out

    def test_json_has_the_failures(self, cli: Cli, three: Path) -> None:
        """The same for machines, on stdout; without --fail-on there is no such key."""
        done = cli("compare at ce --fail-on robust_accuracy:-1pp --json --out", three)
        (failure,) = done.json["failed"]
        assert (done.code, failure["model"], failure["metric"], failure["limit"]) == (
            1,
            "ce",
            "robust_accuracy",
            -1.0,
        )
        passed = cli("compare ce at --fail-on robust_accuracy:-1pp --json --out", three)
        assert (passed.code, passed.json["failed"]) == (0, [])
        assert "failed" not in cli("compare ce at --json --out", three).json

    def test_a_model_without_a_pair_does_not_pass(
        self, cli: Cli, three: Path, stored: Stored
    ) -> None:
        """Exit 2 and no table, whichever place it has, until it is left out."""
        stored("dddd11111111", None, model="new", age=200, threat="linf:0.2", eps=0.2)
        words = "--fail-on robust_accuracy:-1pp --out"
        for models in ("ce at new", "new ce at"):
            done = cli(f"compare {models} {words}", three)
            assert (done.code, done.out) == (2, "")
            assert done.err.count("\n") == 1
            assert "cannot judge new (dddd11111111, linf:0.2): nothing to pair" in done.err
        assert cli("compare ce at new --out", three).code == 0
        assert cli(f"compare ce at {words}", three).code == 0

    @pytest.mark.parametrize(("models", "code"), [("ce at", 0), ("at ce", 1)])
    def test_other_runs_of_a_judged_model_are_said_not_to_be(
        self, cli: Cli, three: Path, stored: Stored, models: str, code: int
    ) -> None:
        """On stderr, quiet or not, and for machines; the exit code is that of the judged ones."""
        other = {"model": "at", "age": 200, "threat": "linf:0.2", "eps": 0.2}
        endless = {"model": "ce", "age": 300, "threat": "linf:inf", "eps": float("inf")}
        stored("dddd11111111", None, **other)
        stored("eeee11111111", None, **endless)
        done = cli(f"compare {models} --fail-on robust_accuracy:-1pp --quiet --json --out", three)
        assert done.code == code
        assert "not judged: at (dddd11111111, linf:0.2): nothing to pair: no other" in done.err
        assert "not judged: ce (eeee11111111, linf:inf): without a budget" in done.err
        rows = {row["run_id"]: row for row in done.json["unjudged"]}
        assert rows.keys() == {"dddd11111111", "eeee11111111"}
        assert (rows["dddd11111111"]["model"], rows["dddd11111111"]["threat"]) == ("at", "linf:0.2")
        assert "unjudged" not in cli(f"compare {models} --json --out", three).json

    def test_runs_without_a_sample_in_common_are_not_judged(
        self, cli: Cli, three: Path, stored: Stored, make_samples: Callable[..., Any]
    ) -> None:
        """Also where --allow samples shows them."""
        rows = [row | {"sample_id": row["sample_id"] + 1000} for row in make_samples(300, 6)]
        stored("dddd11111111", rows, model="new", age=200, data_hash="y")
        words = "--allow samples --fail-on robust_accuracy:-1pp"
        done = cli(f"compare ce at new {words} --out", three)
        assert (done.code, done.out) == (2, "")
        assert "cannot judge new (dddd11111111" in done.err

    def test_only_common_samples_decide(
        self, cli: Cli, three: Path, stored: Stored, make_samples: Callable[..., Any]
    ) -> None:
        """A run on fewer, harder samples is not worse for that: shared samples decide."""
        rows = make_samples(300, 5, 0.1)
        hard = [row for row in rows if not row["robust"]] + [row for row in rows if row["robust"]][
            :5
        ]
        stored("dddd11111111", hard, model="same", age=200)
        done = cli("compare at same --fail-on robust_accuracy:-1pp --json --out", three)
        by = {row["model"]: row["robust_accuracy"] for row in done.json["rows"]}
        assert by["same"] < by["at"] - 0.3
        assert (done.code, done.json["failed"]) == (0, [])


def _check(run_id: str, verdict: str, severity: str, automatic: bool) -> dict[str, Any]:
    """A row of the checks table."""
    words = dict.fromkeys(("model", "model_hash", "data", "split", "threat", "text", "source"), "x")
    return words | {
        "subject": run_id,
        "run_id": run_id,
        "check": "eps",
        "family": "rows",
        "severity": severity,
        "verdict": verdict,
        "automatic": automatic,
        "checked_at": datetime(2026, 1, 1),
        "evidence": [],
        "n_samples": 1,
        "n_forward": 0,
        "n_backward": 0,
    }


class TestForms:
    """Columns, order and the forms of output."""

    def test_columns_in_every_form(self, cli: Cli, three: Path, tmp_path: Path) -> None:
        """Exactly the chosen columns, in order; composed ones are their values for machines."""
        words = "--columns model,margins,won --out"
        read = cli("compare --json", *words.split(), three).json["rows"]
        assert list(read[0]) == ["model", "clean_margin_p50", "adv_margin_p50", "won"]
        lines = list(csv.reader(io.StringIO(cli("compare --csv", *words.split(), three).out)))
        assert lines[0] == list(read[0])
        table = cli("compare --markdown", *words.split(), three).out.splitlines()[0]
        assert table == "| model | median logit margin, clean -\\> worst | won |"
        assert cli("compare --latex", *words.split(), three).out.count(" & ") == 2 * 4
        assert "clean -> worst" in cli("compare", *words.split(), three).out

    def test_every_value_can_be_shown_in_80_columns_apiece(self, cli: Cli, three: Path) -> None:
        """Each key of --json is a column of the terminal's table."""
        for name in cli("compare --json --out", three).json["rows"][0]:
            done = cli(f"compare --columns model,{name} --out", three)
            assert done.code == 0, done.err
            assert max(map(len, done.out.splitlines())) <= 80

    def test_no_number_is_ever_cut(self, cli: Cli, three: Path) -> None:
        """All columns do not fit in 80: the table grows, and every number is complete."""
        rows = cli("compare --json --out", three).json["rows"]
        names = [
            name
            for name in rows[0]
            if name not in ("model", "loss", "data", "split", "threat", "attack")
        ]
        text = cli("compare --columns", ",".join(["model", *names]), "--out", three).out
        for name in names:
            alone = cli(f"compare --columns model,{name} --out", three).out
            value = (
                next(line for line in alone.splitlines() if line.startswith("at "))
                .removeprefix("at ")
                .strip()
            )
            assert value in text, name

    def test_a_setting_is_a_column_where_rows_differ(
        self, cli: Cli, three: Path, stored: Stored, make_samples: Callable[..., Any]
    ) -> None:
        """What has a column is not said again behind the name."""
        plain = cli("compare --out", three).out
        assert not any(word in plain for word in ("prec", "seed", "checks"))
        stored("dddd11111111", make_samples(300, 5, 0.1), model="new", age=200, precision="bf16")
        store = Store(three)
        checks = {
            "aaaaaaaaaaaa": ("pass", "error", False),
            "bbbbbbbbbbbb": ("pass", "error", True),
            "cccccccccccc": ("fail", "info", False),
            "dddd11111111": ("fail", "error", True),
        }
        for run_id, (verdict, severity, automatic) in checks.items():
            store.write_checks(run_id, [_check(run_id, verdict, severity, automatic)])
        rows = cli("compare --json --out", three).json["rows"]
        assert [row["checks"] for row in rows] == ["pass", "not checked", "pass", "fail"]
        shown = cli("compare --markdown --out", three).out.splitlines()
        cells = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in shown[2:6]]
        heads = [cell.strip() for cell in shown[0].split("|")[1:-1]]
        of = {name: [row[heads.index(name)] for row in cells] for name in heads[:7]}
        assert of["precision"] == ["fp32", "fp32", "fp32", "bf16"]
        assert of["checks"] == [row["checks"] for row in rows]
        assert of["model"] == ["ce", "at", "trades", "new"]
        assert "seed" not in heads
        only = cli("compare --columns model,seed --out", three).out
        assert "new (bf16)" in only
        assert "new (bf16)" not in cli("compare --columns model,precision --out", three).out

    @pytest.mark.parametrize(
        ("sort", "order"),
        [
            ("robust_accuracy", ["at", "trades", "ce"]),
            ("robust-accuracy:asc", ["ce", "trades", "at"]),
            ("adversarial_ratio", ["at", "trades", "ce"]),
            ("adversarial_ratio:desc", ["ce", "trades", "at"]),
            ("model", ["at", "ce", "trades"]),
            ("robust_difference", ["at", "trades", "ce"]),
        ],
    )
    def test_sorting_changes_the_order_and_nothing_else(
        self, cli: Cli, three: Path, sort: str, order: list[str]
    ) -> None:
        """Best first, missing last; the baseline stays the first run named, and a line names it."""
        done = cli("compare ce at trades --json --sort", sort, "--out", three)
        assert [row["model"] for row in done.json["rows"]] == order
        plain = cli("compare ce at trades --json --out", three).json["rows"]
        assert sorted(done.json["rows"], key=str) == sorted(plain, key=str)
        shown = cli("compare ce at trades --sort", sort, "--out", three).out
        assert ("differences are to ce aaaa" in shown) is (order[0] != "ce")

    def test_the_best_is_marked_only_where_the_test_tells(self, cli: Cli, three: Path) -> None:
        """The winner beats ce beyond doubt, but not trades."""
        assert "at *" in cli("compare ce at --out", three).out
        assert "**at \\***" in cli("compare ce at --markdown --out", three).out
        assert cli("compare ce at --latex --out", three).out.count(r"$\mathbf{") == 1
        assert [
            row["best"] for row in cli("compare ce at trades --json --out", three).json["rows"]
        ] == [False] * 3
        assert "*" not in cli("compare ce at trades --out", three).out

    def test_parquet_has_what_json_has(self, cli: Cli, three: Path, tmp_path: Path) -> None:
        """The same rows with types, lists as JSON, beside other output; an old file is replaced."""
        target = tmp_path / "new" / "table.parquet"
        for _ in range(2):
            done = cli("compare --json --out", three, "--parquet", target)
            assert f"3 rows written to {target}" in done.err
        rows = pq.read_table(target).to_pylist()
        for row, line in zip(done.json["rows"], rows, strict=True):
            assert {
                name: json.loads(v) if name in ("flags", "differs", "tags") else v
                for name, v in line.items()
            } == row

    def test_quiet_and_verbose(self, cli: Cli, three: Path, tmp_path: Path) -> None:
        """Notes go to stderr, are silenced by --quiet, and --verbose says more."""
        plain = cli("compare --out", three)
        assert (plain.code, plain.err) == (0, "")
        assert cli("compare --quiet --out", three, "--parquet", tmp_path / "x.parquet").err == ""
        assert cli("compare --verbose --out", three).err.count("\n") == 3
        assert cli("compare --verbose --out", three).out == plain.out


def test_runs_at_an_address_are_compared(cli: Cli, three: Path) -> None:
    """The whole command over another file system of fsspec, mixed with local names."""
    system = fsspec.filesystem("memory")
    system.put(str(three / "results"), "/far/results", recursive=True)
    try:
        here = cli("compare --json --out", three).json["rows"]
        assert cli("compare memory://far --json --out", three / "none").json["rows"] == here
        assert (
            cli("compare memory://far/results/runs/b* --json --out", three / "none").json["rows"][
                0
            ]["model"]
            == "at"
        )
        assert (
            len(
                cli(
                    "compare ce memory://far/results/runs/bbbbbbbbbbbb.parquet --json --out", three
                ).json["rows"]
            )
            == 2
        )
    finally:
        system.rm("/far", recursive=True)


class TestOlderAndBroken:
    """Files of another age, or half of them."""

    def _rewrite(
        self, file: Path, version: str = str(SCHEMA_VERSION), drop: tuple[str, ...] = ()
    ) -> None:
        table = pq.read_table(file).drop_columns(list(drop))
        pq.write_table(
            table.replace_schema_metadata(
                {**table.schema.metadata, b"robbench.schema_version": version.encode()}
            ),
            file,
        )

    def test_an_older_schema_is_read_with_a_message(self, cli: Cli, three: Path) -> None:
        """Version 0 gives the numbers it has, and one line that says so; --quiet silences it."""
        before = cli("compare --json --out", three)
        for kind in ("runs", "samples"):
            self._rewrite(three / "results" / kind / "bbbbbbbbbbbb.parquet", "0")
        done = cli("compare --json --out", three)
        assert done.json == before.json
        assert done.err.strip() == (
            "1 of 3 runs were written by an older robbench (schema version 0): read, "
            "and what they lack counts as unknown"
        )
        assert cli("compare --json --quiet --out", three).err == ""

    def test_columns_added_later_are_read_as_unknown_with_a_message(
        self, cli: Cli, three: Path
    ) -> None:
        """A run without flags and limits says so once; uninformative columns take no line."""
        self._rewrite(
            three / "results/runs/bbbbbbbbbbbb.parquet",
            drop=("flags", "max_time_s", "max_queries", "train_config"),
        )
        self._rewrite(three / "results/runs/cccccccccccc.parquet", drop=("train_config",))
        done = cli("compare --out", three)
        assert done.code == 0
        assert done.err.startswith(
            "1 of 3 runs were written by an older robbench (no flags, max_time_s, max_queries)"
        )
        assert done.err.count("\n") == 1

    @pytest.mark.parametrize("kind", ["runs", "samples"])
    def test_a_newer_schema_is_refused(self, cli: Cli, three: Path, kind: str) -> None:
        """Exit 2: upgrade."""
        self._rewrite(three / "results" / kind / "bbbbbbbbbbbb.parquet", str(SCHEMA_VERSION + 1))
        done = cli("compare --out", three)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert f"bbbbbbbbbbbb.parquet has schema version {SCHEMA_VERSION + 1}" in done.err
        assert "upgrade robbench" in done.err

    def test_missing_columns_and_half_a_run(self, cli: Cli, three: Path) -> None:
        """A missing column, a truncated file, no samples: exit 2, the file, the next step."""
        samples = three / "results/samples/bbbbbbbbbbbb.parquet"
        whole = samples.read_bytes()
        self._rewrite(samples, drop=("robust",))
        lacking = cli("compare --out", three)
        samples.write_bytes(whole[: len(whole) // 2])
        half = cli("compare --out", three)
        samples.unlink()
        gone = cli("compare --out", three)
        again = "run again what wrote it"
        for done, message, advice in (
            (lacking, "lacks the columns robust", again),
            (half, "is damaged", again),
            (gone, "does not exist", "again with --force"),
        ):
            assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
            assert message in done.err
            assert "bbbbbbbbbbbb.parquet" in done.err
            assert advice in done.err
