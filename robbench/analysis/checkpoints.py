"""The best and the last checkpoint of a training as one row of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robbench.analysis.summary import summarise
from robbench.core.errors import UserError
from robbench.store.locations import trained_name
from robbench.store.run import Run, attacked_model

COLUMNS = ("clean_accuracy_last", "robust_accuracy_last")
"""Of the last checkpoint, in the row of the best; None where the two are not joined."""
_ALIKE = (
    *("train_config", "data_hash", "split", "norm", "eps", "target", "attack_params"),
    *("max_time_s", "max_queries", "precision", "seed"),
)


def join_checkpoints(runs: Sequence[Run]) -> tuple[list[Run], dict[str, Run]]:
    """The runs that keep a row, and by their run id the run of the last checkpoint beside each.

    A pair are runs of NAME@best, else of NAME, and of NAME@last, else of NAME, alike in data,
    threat model, attack and training. A run of NAME beside both is left out where its weights are
    those of one of them. Raises UserError where nothing can be joined.
    """
    places: dict[tuple[Any, ...], dict[str, Run]] = {}
    for run in runs:
        name = attacked_model(run.info)
        base = trained_name(name)
        key = (base, *(run.info[column] for column in _ALIKE))
        found, which = places.setdefault(key, {}), name[len(base) :]
        if which in found:
            both = f"{found[which].info['run_id']} and {run.info['run_id']}"
            raise UserError(f"runs {both} are both of {name}: name the one that you mean")
        found[which] = run
    last: dict[str, Run] = {}
    dropped: set[str] = set()
    for found in places.values():
        first = found.get("@best") or found.get("")
        other = found.get("@last") or found.get("")
        if first is None or other is None or first is other:
            continue
        last[first.info["run_id"]] = other
        dropped.add(other.info["run_id"])
        third = found.get("")
        hashes = {each.info["model_hash"] for each in (first, other)}
        if third is not None and third is not first and third.info["model_hash"] in hashes:
            dropped.add(third.info["run_id"])
    if not last:
        name = trained_name(attacked_model(runs[0].info))
        raise UserError(
            f"no best and last checkpoint to join: attack both alike, such as robbench attack "
            f"{name} {name}@last"
        )
    return [run for run in runs if run.info["run_id"] not in dropped], last


def of_last(run: Run | None) -> Mapping[str, Any]:
    """The COLUMNS of a row beside which the last checkpoint has this run, or none."""
    if run is None:
        return dict.fromkeys(COLUMNS)
    found = summarise(run.samples, budget=run.info["robust_accuracy"] is not None)
    return {name: found[name.removesuffix("_last")] for name in COLUMNS}
