"""One HTML page to look at samples across runs: their numbers, pictures and traces."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

import robbench
from robbench.analysis.series import model_names, name_of
from robbench.core.corruptions import is_corruption, size_norm
from robbench.core.status import NON_FINITE, UNCONFIRMED, UNFINISHED
from robbench.reports import texts
from robbench.reports.html.templates import environment, read_file, source_hash
from robbench.store.run import Run
from robbench.store.schema import DISTANCES

COLUMNS = (
    *("sample_id", "sample_index", "label", "target", "clean_pred", "adv_pred", "clean_correct"),
    *("clean_margin", "adv_margin", "adversarial", "clean_rejected", "adv_rejected", "status"),
    *("broken_by", "broken_variant", "first_success_step", "n_forward", "n_backward", *DISTANCES),
)
"""The sample columns that the page needs."""

STATES = ("robust", "broken", "misclassified", "rejected", "unfinished")
_NOTES = {
    NON_FINITE: "a logit or gradient was not finite",
    UNCONFIRMED: "a claimed success did not survive the re-check",
    UNFINISHED: "time or queries ran out",
}


class Seen(NamedTuple):
    """A worst point: its picture, that of the difference, and the largest change of an entry."""

    worst: str
    difference: str
    largest: float


@dataclasses.dataclass
class Pictures:
    """PNG files in base64, by sample id; worst points by run id and sample id."""

    clean: dict[int, str] = dataclasses.field(default_factory=dict)
    worst: dict[str, dict[int, Seen]] = dataclasses.field(default_factory=dict)
    features: dict[int, Sequence[float]] = dataclasses.field(default_factory=dict)
    moved: dict[str, dict[int, Sequence[float]]] = dataclasses.field(default_factory=dict)


class MarginTrace(NamedTuple):
    """The margin at each step of an attack on one sample, the clean input first or near it."""

    attack: str
    margins: Sequence[float]


@dataclasses.dataclass(frozen=True)
class ViewData:
    """What the page shows.

    samples: ids, in their order. classes: names, empty where these are numbers. traces: by run id
    and sample id. notes: what is left out and why, a sentence each. points: ids of the runs that
    kept worst points.
    """

    runs: Sequence[Run]
    samples: Sequence[int]
    classes: Sequence[str] = ()
    pictures: Pictures = dataclasses.field(default_factory=Pictures)
    traces: Mapping[str, Mapping[int, MarginTrace]] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()
    points: frozenset[str] = frozenset()


def render_view(material: ViewData, title: str) -> str:
    """The page. Its policy allows its own script and style only, and pictures inside of it."""
    pages = environment()
    pages.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    style, script = read_file("page.css") + read_file("view.css"), read_file("view.js")
    content, files = contents(material)
    found = content["runs"]
    return pages.get_template("view.html").render(
        title=title,
        version=robbench.__version__,
        data=f"{material.runs[0].info['data']} {material.runs[0].info['split']}",
        runs=found,
        attacks=content["attacks"],
        named=[(str(n), name) for n, name in enumerate(content["classes"])],
        lettered=[(one["id"], f"{one['letter']}: {one['name']}, {one['threat']}") for one in found],
        zip=zip,
        states=STATES,
        notes=material.notes,
        traced=any(material.traces.values()),
        content=content,
        files=files,
        style=Markup(style),
        script=Markup(script),
        hashes={"style": source_hash(style), "script": source_hash(script)},
    )


def contents(material: ViewData) -> tuple[dict[str, Any], list[str]]:
    """What the page's script reads, columns in the order of the samples; and all picture files."""
    names, files = model_names(material.runs), dict[str, int]()

    def place(file: str) -> int:
        return files.setdefault(file, len(files))

    rows = {run.info["run_id"]: _by_id(run) for run in material.runs}
    one = [next(found[i] for found in rows.values() if i in found) for i in material.samples]
    attacks = sorted(
        {row["broken_by"] for found in rows.values() for row in found.values()} - {None, "clean"}
    )
    most = 1 + max(
        (
            max(row["label"], row["clean_pred"], row["adv_pred"])
            for found in rows.values()
            for row in found.values()
        ),
        default=0,
    )
    classes = [*material.classes] or [str(number) for number in range(most)]
    classes += ["(outside)"] * (most - len(classes))
    runs = [
        {
            "letter": _letter(n),
            "name": name_of(run, names),
            "columns": _columns(run, rows[run.info["run_id"]], material.samples, attacks),
            **_of_run(run, material, place),
        }
        for n, run in enumerate(material.runs)
    ]
    clean = [material.pictures.clean.get(i) for i in material.samples]
    content = {
        "ids": [str(i) for i in material.samples],
        "index": [row["sample_index"] for row in one],
        "label": [row["label"] for row in one],
        "clean": [None if file is None else place(file) for file in clean],
        "features": _features(material.pictures.features, material),
        "classes": classes,
        "attacks": attacks,
        "runs": runs,
        "states": STATES,
    }
    return content, list(files)


def _of_run(run: Run, material: ViewData, place: Callable[[str], int]) -> dict[str, Any]:
    """What a run is, with its pictures and traces. place: the number of a picture file."""
    run_id, samples = run.info["run_id"], material.samples
    worst = material.pictures.worst.get(run_id, {})
    return {
        "id": run_id,
        "threat": texts.threat(run.info["threat"]),
        "attack": run.info["attack"],
        "norm": size_norm(run.info["norm"]),
        "kept": run_id in material.points,
        "pictures": [
            None
            if (seen := worst.get(i)) is None
            else [place(seen.worst), place(seen.difference), _short(seen.largest)]
            for i in samples
        ],
        "moved": _features(material.pictures.moved.get(run_id, {}), material),
        "traces": {
            str(samples.index(i)): [trace.attack, [_short(m) for m in trace.margins]]
            for i, trace in material.traces.get(run_id, {}).items()
        },
    }


def state(row: Mapping[str, Any]) -> str:
    """One of STATES. Under a target `broken` is a sample that reached it.

    Under a corruption what is wrong at the clean input too is misclassified.
    """
    if row["clean_rejected"]:
        return "rejected"
    if row["adversarial"]:
        by = row["broken_by"] or "clean"
        before = by == "clean" or (is_corruption(by) and not row["clean_correct"])
        return "misclassified" if before else "broken"
    return "unfinished" if row["status"] == UNFINISHED else "robust"


def _columns(
    run: Run, rows: Mapping[int, Mapping[str, Any]], samples: Iterable[int], attacks: Sequence[str]
) -> dict[str, list[Any]]:
    """The columns of a run, null where it has no such sample."""
    distance = f"dist_{size_norm(run.info['norm'])}"
    places = {attack: n for n, attack in enumerate(attacks)}

    def values(row: Mapping[str, Any]) -> list[Any]:
        return [
            STATES.index(state(row)),
            _prediction(row["clean_pred"], row["clean_margin"]),
            _short(row["clean_margin"]),
            _prediction(row["adv_pred"], row["adv_margin"]),
            _short(row["adv_margin"]),
            _short(row[distance]),
            places.get(row["broken_by"]),
            row["broken_variant"],
            row["first_success_step"],
            row["n_forward"],
            row["n_backward"],
            row["target"],
            _note(row),
        ]

    names = (
        *("state", "cleanPred", "cleanMargin", "advPred", "advMargin", "distance", "by"),
        *("variant", "step", "forward", "backward", "target", "note"),
    )
    found = [values(rows[i]) if i in rows else [None] * len(names) for i in samples]
    return {name: [row[n] for row in found] for n, name in enumerate(names)}


def _prediction(found: int, margin: float | None) -> int | None:
    """None where the model gave no answer, which has no class: its margin is NaN."""
    return None if margin is not None and math.isnan(margin) else found


def _note(row: Mapping[str, Any]) -> str | None:
    said = [_NOTES[row["status"]]] if row["status"] in _NOTES else []
    said += ["the model rejected a point that was tried"] if row["adv_rejected"] else []
    return "; ".join(said) or None


def _by_id(run: Run) -> dict[int, dict[str, Any]]:
    return {row["sample_id"]: row for row in run.samples.to_pylist()}


def _features(found: Mapping[int, Sequence[float]], material: ViewData) -> dict[str, list[Any]]:
    """Features by the number of their sample."""
    return {
        str(n): [_short(value) for value in found[i]]
        for n, i in enumerate(material.samples)
        if i in found
    }


def _short(value: float | None) -> float | None:
    """Five digits, enough to look at; None for what is no finite number."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


def _letter(n: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    return (_letter(n // 26 - 1) if n >= 26 else "") + chr(ord("A") + n % 26)
