"""Any words, store or environment: a documented exit code and one line.

Inputs come from hypothesis, the same at every run; a hundred here, a few thousand with `-m slow`.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robbench.cli.app import run
from robbench.core.errors import UserError
from robbench.reports.html.view import Pictures

from .fuzzing import DAMAGES, ENVIRONMENTS, READERS, TOML_ODD, Damage, damage, lines

REACHED = "as far as this test goes"


class Place(NamedTuple):
    """A store to try things on, a whole copy of it, and a working folder."""

    store: Path
    whole: Path
    here: Path
    runs: list[str]


@pytest.fixture(scope="module")
def place(
    attacked: Path, cli: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Place:
    """Two models, each with a run, its points, checks and measures, certificates, a baseline."""
    folder = tmp_path_factory.mktemp("fuzz")
    whole, here = folder / "whole", folder / "here"
    shutil.copytree(attacked, whole)
    for line in (
        "attack ce --attack fgsm --limit 9 --threat linf:0.2 --measure --quiet",
        "certify ce --method ibp --threat linf:0.2 --limit 9 --quiet",
        "baseline set {R}",
    ):
        done = cli(line.replace("{R}", _ids(whole)[0]), "--out", whole)
        assert done.code == 0, done.err
    (here / "folder").mkdir(parents=True)
    (here / "a file").write_text("mine")
    (here / "deep.toml").write_text("a = " + "[" * 20_000)
    for name in ("pipe", "pipe.toml", "pipe.parquet"):
        os.mkfifo(here / name)
    shutil.copytree(whole, folder / "store")
    return Place(folder / "store", whole, here, _ids(whole))


def _ids(store: Path) -> list[str]:
    """Of all runs, those that were measured first."""
    measured = {path.stem for path in (store / "results" / "measures").glob("*.parquet")}
    return sorted(
        (path.stem for path in (store / "results" / "runs").glob("*.parquet")),
        key=lambda name: (name not in measured, name),
    )


@pytest.fixture(autouse=True)
def _no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where minutes of computing would begin, a command has understood all it was given."""

    def reached(*_: Any, **__: Any) -> None:
        raise UserError(REACHED)

    for name in (
        "certify._prove_all",
        "check.run.check_rows",
        "gate.candidate.GateJob",
        "inspect.run.outputs_of",
        "measure.observer.Observer.clean",
        "train.listen.train",
        "attack.run.attack",
    ):
        monkeypatch.setattr(f"robbench.tasks.{name}", reached)
    monkeypatch.setattr("robbench.tasks.report._examples", lambda *_: ([], []))
    monkeypatch.setattr("robbench.tasks.view.run._pictures", lambda *_: (Pictures(), []))


def tried(
    place: Place, words: list[str], environment: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """The exit code and both streams of a command, in the working folder."""
    out, err = io.StringIO(), io.StringIO()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ROBBENCH_", "GITHUB_"))
    }
    variables = kept | {"COLUMNS": "80", "TERM": "dumb"} | (environment or {})
    with (
        mock.patch.dict(os.environ, variables, clear=True),
        mock.patch("sys.argv", ["robbench", *words]),
        contextlib.chdir(place.here),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = run(
            [word.replace("{S}", str(place.store)).replace("{R}", place.runs[0]) for word in words]
        )
    return code, out.getvalue(), err.getvalue()


def require_clear(code: int, out: str, err: str) -> None:
    """The property: a code that is one of ours, no traceback, no bug, and of bad input one line."""
    assert code in (0, 1, 2, 3, 4), (code, err)
    assert "Traceback" not in out + err, err
    assert "internal error" not in err, err
    if code == 2:
        told = (
            err.splitlines()[-1:] if REACHED in err else err.splitlines()
        )  # on the way there something may be noted
        assert [line[:6] for line in told] == ["error:"], err
    if code == 3:
        assert err.splitlines()[-1].startswith("error:"), err


@contextlib.contextmanager
def unchanged(
    place: Place, snapshot: Callable[[Path], dict[str, Any]]
) -> Iterator[Callable[[int], None]]:
    """Hand out a check that nothing has changed since; the store is whole again afterwards."""

    def now() -> dict[str, Any]:
        return {
            name: seen for name, seen in snapshot(place.store).items() if name != "results/locks"
        }  # locks come and go

    before = now()

    def check(code: int) -> None:
        if code == 2:
            assert now() == before

    try:
        yield check
    finally:
        if _contents(place.store) != _contents(place.whole):
            shutil.rmtree(place.store)
            shutil.copytree(place.whole, place.store)


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def amount(few: int, many: int) -> Callable[[Any], Any]:
    """Runs a property on few examples, and on many behind the slow mark; always the same ones."""
    checks = [
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ]
    fixed = {
        "derandomize": True,
        "database": None,
        "deadline": None,
        "suppress_health_check": checks,
    }

    def decorate(test: Any) -> Any:
        return pytest.mark.parametrize(
            "most",
            [few, pytest.param(many, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])],
            ids=["few", "many"],
        )(_sized(test, fixed))

    return decorate


def _sized(test: Any, fixed: dict[str, Any]) -> Any:
    def sized(most: int, place: Place, snapshot: Any) -> None:
        strategy, body = test
        settings(max_examples=most, **fixed)(
            given(strategy)(lambda example: body(place, snapshot, example))
        )()

    return sized


def words(place: Place, snapshot: Any, line: list[str]) -> None:
    """A line of words that its parser knows and values it may not expect."""
    with unchanged(place, snapshot) as check:
        code, out, err = tried(place, line)
        require_clear(code, out, err)
        check(code)


def tampered(place: Place, snapshot: Any, example: tuple[Damage, int]) -> None:
    """A command on a store of which one file is not what was written."""
    what, reader = example
    file, told = damage(place.store, what)
    with unchanged(place, snapshot) as check:
        line = (
            READERS[reader]
            .replace("{R}", file.stem if file.stem in place.runs else place.runs[0])
            .replace("{Q}", place.runs[-1])
        )
        code, out, err = tried(place, [*line.split(), "--out", "{S}"])
        try:
            require_clear(code, out, err)
            check(code)
        except AssertionError as error:
            raise AssertionError(f"{line}: {file.parent.name}/{file.name} {told}") from error


def variables(place: Place, snapshot: Any, example: tuple[dict[str, str], str]) -> None:
    """A plain command in an environment that somebody has left behind."""
    environment, line = example
    environment = {name: value for name, value in environment.items() if name != "ROBBENCH_DEBUG"}
    with unchanged(place, snapshot) as check:
        code, out, err = tried(
            place,
            line.split(),
            {name: value.replace("\udcff", "") for name, value in environment.items()},
        )
        require_clear(code, out, err)
        check(code)


def documents(place: Place, snapshot: Any, example: tuple[bytes, str]) -> None:
    """A TOML file, as settings and as a cascade."""
    content, line = example
    (place.here / "x.toml").write_bytes(content)
    with unchanged(place, snapshot) as check:
        code, out, err = tried(place, [*line.split(), "--dry-run", "--out", "{S}"])
        require_clear(code, out, err)
        check(code)


PLAIN = [
    "compare --out {S}",
    "runs --out {S}",
    "train --dry-run --out {S}",
    "attack ce --dry-run --limit 9 --out {S}",
    "list losses",
    "gate --candidate ce --out {S}",
    "explain trades",
    "report --html page.html --out {S}",
    "view -o page.html --out {S}",
    "runs",
]
DOCUMENTS = [
    "train -c x.toml",
    "attack ce --limit 9 -c x.toml",
    "attack ce --limit 9 --attack x.toml",
    "attack mlp --limit 9 -c x.toml",
]

test_words = amount(45, 3000)((lines(), words))
test_tampered_files = amount(40, 3000)(
    (st.tuples(DAMAGES, st.integers(0, len(READERS) - 1)), tampered)
)
test_variables = amount(12, 500)((st.tuples(ENVIRONMENTS, st.sampled_from(PLAIN)), variables))
test_documents = amount(12, 300)(
    (st.tuples(st.sampled_from(TOML_ODD), st.sampled_from(DOCUMENTS)), documents)
)
