"""Material of the fuzz test: words for every command from its parser, and tampered files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import typer
from hypothesis import strategies as st

from robbench.catalogue.builtins import REGISTRIES
from robbench.cli.app import app
from robbench.core.spec import option_names
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.train.config import TrainConfig

_COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
_CASCADE: dict[str, Any] = _COMMANDS.pop("cascade").commands
COMMANDS: dict[str, Any] = {
    name: command
    for name, command in (
        *_COMMANDS.items(),
        *((f"cascade {name}", command) for name, command in _CASCADE.items()),
    )
    if name not in ("demo", "doctor")  # minutes of work, with no words of their own
}
DRY = {"train", "attack", "sweep"}  # what these begin takes long
NEVER = {"--download", "--self-test", "--help", "--install-completion", "--show-completion"}
"""The network, minutes of work, and what ends before anything is read."""

ODD = [
    "", " ", "-", "--", "-1", "0", "1", "3", "0.5", "nan", "inf", "-inf", "1e999", "1/0",
    "4294967296", "9" * 25, "9" * 5000, "²", "none", "auto", "true", "null", "=", "=3", "a=", ":",
    "a:", ":a", ",", "[", "]", "[]", "(", "((((", "a[1]", "*", "?", "[!a]", "**/x", "..", "./",
    "nowhere/x", "x" * 300, "x/" * 3000, "é", "\udcff", "\x1b[31mred", "a\nb", "\u202e", "'", '"',
    "%s", "{}", "pipe", "pipe.toml", "pipe.parquet", "folder", "a file", "page.html", "x.toml",
    "deep.toml", "x.json", "x.parquet", "/dev/zero", "/dev/null", "/dev/null/x",
    "memory://nowhere", "nothing://x", "://", "ce", "at", "c", "ce@last", "ce@best", "ce@x", "@",
    "CE", "digits", "digits[3,8]", "digits[first=3]", "digits[first=99999999999]", "digits[" * 50,
    "npz:a file", "npz:x.parquet", "npy:pipe,labels=pipe", "csv:x.toml,label=x", "csv:pipe,label=a",
    "parquet:nowhere", "folder:nowhere", "parquet:pipe", "folder:a file", "linf:0.1", "linf:",
    "linf:1e-320", "linf:0.1 -> 3", "linf:0.1 ->", "->", "least-likely", "random", "column:",
    "l2:inf", "l0:1", "l7:1", "linf:0.1,0.1", "cpu", "cuda:99", "cuda:x", "fgsm",
    "pgd:steps=1", "pgd:steps=0", "autoattack", "minimal:attack=(pgd:steps=1)",
    "minimal:attack=(minimal)", "transfer:source=ce", "transfer:source=(transfer:source=ce)",
    "foolbox:attack=x", "mlp:depth=0", "mlp:depth=99999", "mlp:width=1", "trades:beta=2",
    "trades:beta=x", "os:system", "json:JSONDecoder", "nowhere:Thing", "robust_accuracy:-1pp",
    "n_forward:+10%", "threat=linf:0.15", "threat", "robust_accuracy", "robust_accuracy:up",
    "SELECT 1", "SELECT * FROM runs", "SELECT", "DROP TABLE runs",
    "SELECT * FROM read_text('/etc/hostname')", "set", "show", "losses", "mnist-linf", "5", "2m",
    "0s", "fp32", "bf16", "fp64", "test",
]  # fmt: skip
SETTINGS = sorted({*option_names(TrainConfig), *option_names(AttackConfig)})
NAMES = sorted({name for registry in REGISTRIES.values() for name in registry.entries})
VALUES = st.one_of(
    st.sampled_from(ODD),
    st.sampled_from(NAMES),
    st.builds("{}={}".format, st.sampled_from(SETTINGS), st.sampled_from(ODD)),
    st.builds(
        "{}:{}={}".format,
        st.sampled_from(NAMES),
        st.sampled_from(["steps", "beta", "depth", "x"]),
        st.sampled_from(ODD),
    ),
    st.text(st.characters(exclude_characters="\0"), max_size=12),
)


GOOD = {
    "loss": ["trades:beta=2", "mart"], "data": ["digits", "digits[3,8]"],
    "inner": ["pgd:steps=1"], "threat": ["linf:0.1", "l2:0.5"],
    "attacks": ["fgsm", "apgd:steps=2"], "models": ["ce", "mlp", "at@last"],
    "model": ["ce", "mlp:depth=1", "at@last"], "shape": ["1x8x8", "3x32x32"],
    "runs": ["ce", "at", "{R}"], "run": ["{R}", "at"],
    "target": ["{R}", "ce", "3", "least-likely", "random", "column:x"],
    "limit": ["3", "20"], "seed": ["1"], "device": ["cpu"], "sets": ["epochs=3", "seed=2"],
    "split": ["test"], "epochs": ["2"], "batch_size": ["8"], "lr": ["0.1"], "optimizer": ["sgd"],
    "columns": ["model,robust_accuracy", "difference"], "sort": ["robust_accuracy", "model:desc"],
    "where": ["threat=linf:0.15", "model=ce"], "allow": ["attack,limits,samples"],
    "fail_on": ["robust_accuracy:-1pp"], "candidate": ["{R}"], "baseline": ["{R}"],
    "alpha": ["0.1"], "max_drop": ["2"], "max_clean_drop": ["1"], "max_margin_drop": ["0.5"],
    "max_class_drop": ["9"], "max_time": ["2m"], "max_queries": ["5"], "replay": ["{R}"],
    "sql": ["SELECT * FROM runs", "SELECT count(*) FROM samples"], "html": ["page.html"],
    "kind": ["attacks", "curves", "cost"], "figure": ["f.svg"], "width": ["3"],
    "name": ["apgd", "new"], "tag": ["nightly", "a=b"], "pivot": ["threat"],
    "action": ["set", "show"], "recipe": ["digits-smoke"], "teacher": ["ce", "average"],
    "train_samples": ["9"], "precision": ["fp32", "bf16", "fp64"], "title": ["A & B"],
    "junit_xml": ["j.xml"], "markdown": ["m.md"], "parquet": ["p.parquet"], "folder": ["{S}"],
    "config": ["x.toml"], "toml": ["new.toml"], "file": ["x.toml"], "prefix": ["p"],
    "grid": ["loss=mart", "seed=0..1", "models=ce,at", "eps=0.1"], "steps": ["attack", "train"],
    "to": ["bencher", "bencher:b.json", "tensorboard:tb"],
    "targets": ["{R}", "{S}", "b.zip"], "bundle_file": ["b.zip"],
    "form": ["in-toto", "cyclonedx"], "card_file": ["c.md"], "into": ["README.md", "a file"],
    "method": ["ibp", "crown-ibp"], "jobs": ["1"], "retries": ["1"], "latest": ["2", "all"],
}  # fmt: skip
"""What is meant by most people, by the parameter's name."""


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A command with options it has and options it has not, and values; `{S}` is a store."""
    name = draw(st.sampled_from(sorted(COMMANDS)))
    words, places = name.split(), list[str]()
    for parameter in COMMANDS[name].params:
        often = parameter.param_type_name == "argument" or "--model" in parameter.opts
        if NEVER & {*parameter.opts} or draw(st.integers(0, 9)) > (8 if often else 1):
            continue
        value = draw(
            VALUES
            if draw(st.integers(0, 3)) == 0
            else st.sampled_from(GOOD.get(parameter.name, ODD))
        )
        if parameter.param_type_name == "argument":
            places.append(value)
        else:
            flag = draw(st.sampled_from(parameter.opts))
            words += [flag] if parameter.is_flag else [flag, value]
    words += draw(st.sampled_from([[]] * 9 + [["--unknown"], ["-x", "1"]]))
    words += ["--dry-run"] if name in DRY else []
    words += (
        [] if name in ("list", "explain") or "--out" in words or "-o" in words else ["--out", "{S}"]
    )
    return [*words, *(place if not place.startswith("-") else f"x{place}" for place in places)]


JSON_ODD: list[Any] = [
    None, True, 0, -1, 3, 0.5, 1e300, 10**30, "", "x", "x" * 300, "\x1b[31m", "digits", [], [1],
    [None], ["x"], [[]], {}, {"a": 1}, {"a": None}, [["x"] * 3] * 3, {"data": 3},
    json.loads("[" * 60 + "]" * 60), [{"name": 1, "text": None}], {"limit": "x"}, {"argv": 3},
    {"argv": [1]}, {"env": ["x"]}, {"env": {"A": 1}}, {"packages": []}, {"limit": 10**12},
    ["pgd:steps=x"], ["os:system"],
]  # fmt: skip
BYTES_ODD = [
    b"",
    b"{",
    b"[" * 100_000,
    b"\xff\xfe\0",
    b"9" * 5000,
    b"null",
    b"[]",
    b'{"schema": 1}',
    b"PAR1",
    b"\0" * 100,
]
TOML_ODD = [
    b"", b"a", b"[train]\nepochs = 'x'", b"epochs = 3", b"[attack]\nattack = 3", b"attack = [3]",
    b"attack = [['x']]", b"attacks = []", b"attacks = ['fgsm']", b"attacks = 'fgsm'",
    b"attacks = [1]", b"[linf]\nattacks = ['x']", b"linf = 3", b"threat = {a = 1}",
    b"seed = 99999999999999999999", b"seed = " + b"9" * 5000, b"a = " + b"[" * 10_000,
    b"loss = 1979-05-27", b"lr = nan", b"lr = inf", b"data = 'a\\u0000b'", b"model = ''",
    b"train = 3", b"[train.x]\na = 1", b"\xff", b"attacks = ['x.toml']", b"inner = ['pgd']",
    b"limit = true", b"limit = -1", b"max_time = 3", b"batch_size = 'auto'", b"batch_size = 0.5",
    b"precision = 16", b"replay = ['ce']",
]  # fmt: skip


class Damage(NamedTuple):
    """What is done to which file, chosen by numbers and put down in a few words."""

    file: str
    pick: int
    value: int
    how: int


DAMAGES = st.builds(
    Damage,
    st.sampled_from(["config", "baseline", *["runs"] * 6, "samples", "samples", "points", "checks",
                     "measures", "epochs", "sample_measures", "certificates"]),
    st.integers(0, 999), st.integers(0, 999), st.integers(0, 9),
)  # fmt: skip


def damage(store: Path, what: Damage) -> tuple[Path, str]:
    """Do it; gives back the file and what was done."""
    if what.file in ("config", "baseline"):
        path = (
            store / "models/ce/config.json"
            if what.file == "config"
            else store / "results/baseline.json"
        )
        return path, _bytes(path, what) if what.how == 0 else _document(path, what)
    folder = store / "models" / "ce" if what.file == "epochs" else store / "results" / what.file
    path = sorted(folder.glob("*.parquet"))[0]
    return path, _bytes(path, what) if what.how == 0 else _table(path, what)


def _bytes(path: Path, what: Damage) -> str:
    content, odd = path.read_bytes(), BYTES_ODD[what.value % len(BYTES_ODD)]
    path.write_bytes(
        [odd, content[: len(content) * (what.pick % 100) // 100], content + odd, odd + content][
            what.pick % 4
        ]
    )
    return f"bytes {what.pick % 4} {odd[:20]!r}"


def _document(path: Path, what: Damage) -> str:
    content = json.loads(path.read_text())
    places: list[tuple[Any, Any]] = []

    def walk(inside: Any) -> None:
        for key in inside if isinstance(inside, dict) else range(len(inside)):
            places.append((inside, key))
            if isinstance(inside[key], dict | list):
                walk(inside[key])

    walk(content)
    holder, key = places[what.pick % len(places)]
    value = JSON_ODD[what.value % len(JSON_ODD)]
    if what.how == 1:
        del holder[key]
    else:
        holder[key] = value
    path.write_text(json.dumps(content))
    return f"{key} {'removed' if what.how == 1 else str(value)[:60]}"


def _table(path: Path, what: Damage) -> str:
    table = pq.read_table(path)
    place = what.pick % table.num_columns
    field = table.schema.field(place)
    if what.how == 1:
        changed, told = table.remove_column(place), "removed"
    elif what.how == 2:
        changed, told = (
            [table.slice(0, 0), pa.concat_tables([table] * 2), table.slice(1)][what.value % 3],
            "rows",
        )
    elif what.how == 3:
        facts = dict(table.schema.metadata or {})
        key = [b"robbench.schema_version", b"robbench.table", b"robbench.run"][what.pick % 3]
        facts[key] = [b"", b"x", b"99", b"-1", b"9" * 5000, b"\xff", b"points", b"../x"][
            what.value % 8
        ]
        changed, told = table.replace_schema_metadata(facts), f"{key!r} = {facts[key][:20]!r}"
    else:
        values, told = _column(table.column(place), field.type, what)
        kept = pa.field(field.name, values.type, metadata=field.metadata)
        changed = table.set_column(place, kept, values)
    pq.write_table(changed, path)
    return f"column {field.name}: {told}"


def _column(column: Any, kind: pa.DataType, what: Damage) -> tuple[Any, str]:
    """Another column in its place: of another type, or of the same with values that cannot be."""
    n = len(column)
    texts = [json.dumps(value) for value in JSON_ODD] + [
        "",
        "{",
        "[" * 5000,
        "9" * 5000,
        "NaN",
        "\x1b[31m",
        "../../x",
        "linf:x",
        "x" * 300,
    ]
    ways: list[Callable[[], Any]] = [
        lambda: pa.nulls(n, kind if not pa.types.is_dictionary(kind) else pa.string()),
        lambda: pa.array([texts[what.value % len(texts)]] * n),
        lambda: pa.array([[-1, 0, 2**40, -(2**62), 10**6][what.value % 5]] * n, pa.int64()),
        lambda: pa.array(
            [[float("nan"), float("inf"), -1.0, 1e300, 0.5, 0.0][what.value % 6]] * n, pa.float64()
        ),
        lambda: pa.array([[[1, 2], [], [None]][what.value % 3]] * n, pa.list_(pa.int64())),
        lambda: pa.array([b"\xff\0"] * n, pa.binary()),
        lambda: pa.Array.from_buffers(
            pa.string(), n, pa.array([b"\xff\xfe"] * n, pa.binary()).buffers()
        ),
        lambda: pa.array([[-(2**62), 2**62, 0][what.value % 3]] * n, pa.timestamp("us")),
    ]
    same = [0]
    if pa.types.is_string(kind):
        same = [1] * 3
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        same = [2 if pa.types.is_integer(kind) else 3]
    way = ways[(same * 2 + list(range(len(ways))))[what.how * 7 % (2 * len(same) + len(ways))]]
    values = way()
    nested = pa.types.is_nested(values.type)
    return values, f"{values.type}" + (f" {str(values)[:80]}" if nested else f", {what.value}")


READERS = [
    "compare --json", "compare", "runs", "runs --json", "show {R}", "show {R} --json",
    "report --html page.html", "gate --candidate {R}", "gate --baseline {R} --candidate {Q}",
    "gate --model ce", "baseline show", "baseline set {R}", "check {R}", "check ce",
    "card {R}", "card {R} --format in-toto", "card ce --format cyclonedx --json",
    "certify ce --method ibp --threat linf:0.2 --limit 9",
    "certify ce --method ibp --threat linf:inf --limit 9",
    "measure {R}", "attack ce --replay {R} --dry-run --limit 9", "attack ce --dry-run --limit 9",
    "compare ce at --csv", "compare --over-seeds --json",
    "compare --columns model,flags --sort robust_accuracy", "compare --markdown",
    "compare --latex", "plot curves -o f.svg", "plot training -o f.svg",
    "attack ce@last --dry-run --limit 9", "check ce --threat linf:0.1 --limit 9",
    "history ce", "history ce --json --last all",
    "train --name ce --dry-run --epochs 2", "export --to bencher", "query SELECT*FROM(runs)",
]  # fmt: skip
"""Commands that read what was damaged; {R} and {Q} stand for the ids of two runs."""

VARIABLES = [
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "COLUMNS", "LINES", "TERM", "TERMINAL_WIDTH", "NO_COLOR",
    "FORCE_COLOR", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "ROBBENCH_OUT", "ROBBENCH_DEVICE",
    "ROBBENCH_DATA_DIR", "LANG",
]  # fmt: skip
ENVIRONMENTS = st.dictionaries(
    st.one_of(
        st.sampled_from(VARIABLES),
        st.sampled_from(SETTINGS).map(lambda name: f"ROBBENCH_{name.upper()}"),
    ),
    st.sampled_from([value for value in ODD if len(value) < 2000]),
    min_size=1, max_size=3,
)  # fmt: skip
