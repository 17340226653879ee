"""A cascade suggested from finished runs: reads them, and asks their attacks what they cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robbench.analysis.candidates import Candidate, Price
from robbench.analysis.choose import choose
from robbench.analysis.suggest import Suggestion, suggest
from robbench.analysis.tried import COLUMNS, fitting, lists_of, tried
from robbench.attacks.base import AnyAttack, Attack
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.core.files import require_output, write_output
from robbench.core.spec import Spec
from robbench.core.trust import own_code, refuse_private
from robbench.reports.suggestion import cascade_file, command_of
from robbench.store.row import in_threads
from robbench.store.run import Run, read_run
from robbench.store.store import Store

LENGTHS = (*range(1, 11), *(20, 50, 100, 200, 500, 1000, 2000, 5000))
"""Restarts, targets, rounds or steps that an attack is cut to."""


class Suggested(NamedTuple):
    """A suggestion, the runs it rests on, remarks, and the command that uses it."""

    found: Suggestion
    runs: tuple[Run, ...]
    notes: tuple[str, ...]
    command: str

    def fields(self) -> dict[str, Any]:
        """The suggestion as plain values, with the ids of its runs."""
        plain = self.found._asdict()
        lists = {name: [each._asdict() for each in plain[name]] for name in _ROWS}
        alone = {name: plain[name]._asdict() for name in ("it", "union")}
        return {**plain, **lists, **alone, "run_ids": [run.info["run_id"] for run in self.runs]}


_ROWS = ("entries", "candidates", "originals")


def suggest_cascade(
    names: Sequence[str],
    out: Path,
    *,
    where: Sequence[str] = (),
    max_queries: int | None = None,
    seed: int = 0,
    file: Path | None = None,
    force: bool = False,
) -> Suggested:
    """The cascade that breaks most per query by the runs that `names` select, as a file if asked.

    Runs that say nothing of the others' attacks, such as those of minimum norm, are left out.
    Raises UserError as `Store.find` does; for runs of several norms, too few samples or attacks;
    and, before the work, for a file that exists, unless `force`.
    """
    if file is not None:
        require_output(file)
        if file.is_file() and not force:
            raise UserError(f"{file} exists: choose another name, or give --force to replace it")
    store = Store(out)
    paths = choose(store, names, where)
    runs, notes = fitting(list(in_threads(lambda path: read_run(path, COLUMNS), paths)))
    full = dict.fromkeys(spec for run in runs for part in lists_of(run.info) for spec in part)
    refuse_private(out, "attacks", list(full))
    built, unbuilt = _build(full)
    notes += unbuilt
    known = tried(runs, {spec: ATTACKS.canonical(spec) for spec in built})
    if known.left_out:
        notes.append(
            f"{known.left_out} samples say nothing of the attacks and are left out: a limit ended "
            "them, or a smaller budget of their run broke them"
        )
    norm, classes = str(runs[0].info["norm"]), sorted(set(known.classes.tolist()))
    candidates = [
        each
        for spec, attack in built.items()
        if isinstance(attack, Attack) and norm in attack.norms
        for each in _candidates(spec, attack, classes)
    ]
    notes += [
        f"{ATTACKS.canonical(spec)} is another package's attack, whose verdicts may depend on the "
        "batch: no candidate"
        for spec, attack in built.items()
        if not isinstance(attack, Attack)
    ]
    if len(candidates) < 2:
        raise UserError(
            f"these runs have {len(candidates)} attack to choose from: attack with several, best "
            "each in a run of its own (robbench attack MODEL --attack apgd-t, and so on)"
        )
    found = suggest(known, candidates, max_queries=max_queries, seed=seed)
    infos = [run.info for run in runs]
    if file is not None:
        text = cascade_file(found, infos)
        write_output(file, lambda path: path.write_text(text, encoding="utf-8"))
    command = command_of(found, infos, file, trusted=own_code(found.attacks))
    return Suggested(found, tuple(runs), tuple(notes), command)


def _build(specs: Iterable[str]) -> tuple[dict[str, AnyAttack], list[str]]:
    """The attacks that can be built here, and remarks on the others, of plug-ins that are gone."""
    built: dict[str, AnyAttack] = {}
    notes = []
    for spec in specs:
        try:
            built[spec] = ATTACKS.build(spec)
        except UserError as error:
            notes.append(f"{spec} is no candidate: {error}")
    return built, notes


def _candidates(full: str, attack: Attack, classes: Sequence[int]) -> Iterator[Candidate]:  # type: ignore[type-arg]
    """The whole attack, and what it can be cut to that costs less."""
    short = ATTACKS.canonical(full)
    whole = {k: price(attack, k) for k in classes}
    yield Candidate(short, full, whole)
    _, spec = ATTACKS.parse(short)
    for option in sorted(attack.cuts):
        for length in LENGTHS:
            if length >= getattr(attack, option):
                break
            cut = dataclasses.replace(attack, **{option: length})  # type: ignore[type-var]
            prices = {k: price(cut, k) for k in classes}
            if prices != whole:  # more targets than there are classes
                text = str(Spec(spec.name, None, {**spec.options, option: length}))
                yield Candidate(ATTACKS.canonical(text), full, prices, cut=True)


def price(attack: Attack, classes: int) -> Price:  # type: ignore[type-arg]
    """What an attack costs on a model of so many classes."""
    before = attack.preparation(classes)
    return Price(
        variants=attack.variants(classes),
        steps=attack.steps,
        forward=attack.draws,
        backward=attack.gradients(classes),
        before=(attack.draws * before[0], attack.draws * before[1]),
    )
