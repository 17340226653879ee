"""Input margins: how small the smallest perturbation found is, by all runs of the same weights.

Needs no torch.

An attack can only show that a margin is no larger. So a sample's margin is known as an upper end,
the smallest size found; and as a lower end, where attacks found nothing. Neither is a certificate:
a stronger attack may find less.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from robbench.analysis.join import common
from robbench.analysis.summary import column
from robbench.core.norms import NORMS
from robbench.core.status import UNFINISHED
from robbench.store.answers import same_answers
from robbench.store.index import require_rows
from robbench.store.run import Run, read_run
from robbench.store.schema import DISTANCES

COLUMNS = (
    "sample_id",
    "adversarial",
    "clean_correct",
    "status",
    "clean_margin",
    *DISTANCES,
)
"""The sample columns that input margins and the measures on them need."""

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class InputMargins:
    """The input margins of samples in one norm; all [n], in units of [0,1] (l0, l0px: counts).

    smallest: the smallest adversarial perturbation found by any attack, 0 for a sample that is
    wrong without one, inf for none. withstood: the largest eps at which attacks found nothing (0 =
    no such one; inf = an attack without a budget found nothing). attacked: the largest eps that was
    attacked in this norm, inf where there was no budget; beyond it only the perturbations of other
    norms' attacks are known. unfinished: among attacks, some ran out of time or queries.
    """

    norm: str
    sample_id: NDArray[np.int64]
    smallest: Array
    withstood: Array
    attacked: Array
    unfinished: NDArray[np.bool_]
    eps: tuple[float, ...]  # all that were attacked, rising
    runs: tuple[str, ...]  # that had a part

    @property
    def censored(self) -> NDArray[np.bool_]:
        """[n] no perturbation was found up to `attacked`, the lower end of the margin."""
        return self.smallest > self.attacked

    @property
    def exact(self) -> NDArray[np.bool_]:
        """[N] the margin is known from both sides, as attacks without a budget leave it."""
        both: NDArray[np.bool_] = np.isfinite(self.smallest) & (self.withstood == self.smallest)
        return both

    @property
    def reach(self) -> float:
        """The largest eps at which robust accuracy is known: inf when no margin is censored."""
        return float(self.attacked[self.censored].min(initial=math.inf))

    def curve(self) -> tuple[list[float], list[float]]:
        """The security curve as steps: eps, from 0 to `reach` if finite, and robust accuracy."""
        ends = self.smallest[(self.smallest <= self.reach) & np.isfinite(self.smallest)]
        steps = np.unique([0.0, *ends, *([self.reach] if math.isfinite(self.reach) else [])])
        fallen = np.searchsorted(np.sort(self.smallest), steps, side="right")
        return steps.tolist(), (1 - fallen / len(self.smallest)).tolist()

    def area(self, end: float | None = None) -> tuple[float, float]:
        """(low, high) of the mean truncated margin, the area under the curve from 0 to `end`.

        The curve itself gives `high`. Attacks inside a budget stop at their first success, anywhere
        in it, so between two budgets the truth may be lower; `low` counts a sample as broken from
        the largest eps at which its attacks failed. They are equal where attacks looked for
        the smallest perturbation. NaN beyond `reach`.
        """
        end = self.end if end is None else end
        if end > self.reach:
            return math.nan, math.nan
        return tuple(
            float(np.minimum(margin, end).mean()) for margin in (self.withstood, self.smallest)
        )  # type: ignore[return-value]

    @property
    def end(self) -> float:
        """End of the curve: `reach`, or the largest margin where that is infinite; 0 if neither."""
        if math.isfinite(self.reach):
            return self.reach
        return float(self.smallest[np.isfinite(self.smallest)].max(initial=0.0))


def input_margins(
    sample_ids: Sequence[int] | NDArray[np.int64], runs: Sequence[Run]
) -> dict[str, InputMargins]:
    """The input margins of samples in each attacked norm, from the runs of one model.

    A norm's margins are those of the samples that some run attacked in that norm. Every adversarial
    row counts in every norm, whatever its attack was after; a missing dist_* counts as not known.
    """
    ids = np.asarray(sample_ids, np.int64)
    joined = [(run, *common(ids, column(run.samples, "sample_id"))) for run in runs]
    found: dict[str, InputMargins] = {}
    for norm in NORMS:
        smallest, withstood, attacked = (
            np.full(len(ids), math.inf),
            np.zeros(len(ids)),
            np.full(len(ids), -1.0),
        )
        unfinished, sought = np.zeros(len(ids), bool), np.zeros(len(ids), bool)
        used: list[str] = []
        for run, here, there in joined:
            columns = {
                name: _column(run.samples, name)[there] for name in COLUMNS if name != "sample_id"
            }
            broken, eps = columns["adversarial"].astype(bool), float(run.info["eps"])
            size = np.where(columns["clean_correct"].astype(bool), columns[f"dist_{norm}"], 0.0)
            mine = run.info["norm"] == norm
            if mine:
                # Rounding may have put it just outside of the budget it was found in.
                size = np.minimum(size, eps)
                attacked[here] = np.maximum(attacked[here], eps)
                # Not attacked to the end: no attack failed.
                cut = columns["status"] == UNFINISHED
                withstood[here] = np.maximum(withstood[here], np.where(broken | cut, 0.0, eps))
                unfinished[here] |= cut
                sought[here] |= math.isinf(eps) & ~cut
            size = np.where(broken & ~np.isnan(size), size, math.inf)
            smallest[here] = np.minimum(smallest[here], size)
            if len(here) and (mine or bool(np.isfinite(size).any())):
                used.append(str(run.info["run_id"]))
        known = attacked >= 0
        if known.any():
            unfinished &= withstood < attacked  # another run may have gone to its end
            withstood = np.minimum(np.where(sought, smallest, withstood), smallest)
            budgets = {
                float(run.info["eps"])
                for run, here, _ in joined
                if run.info["norm"] == norm and len(here)
            }
            found[norm] = InputMargins(
                norm,
                ids[known],
                smallest[known],
                withstood[known],
                attacked[known],
                unfinished[known],
                tuple(sorted(budgets)),
                tuple(sorted(used)),
            )
    return found


def runs_alike(path: Path) -> list[Run]:
    """The runs of the model and architecture of a run without a target, itself included.

    The way to a target says nothing of that to the nearest mistake. `path` is its runs file.

    Raises UserError when one of the files is damaged.
    """
    facts = ("model_hash", "model_arch", "answers", "target")
    files = sorted(
        file for file in path.absolute().parent.glob("*.parquet") if not file.name.startswith(".")
    )
    rows = dict(zip(files, require_rows(files, facts), strict=True))
    own = rows[path.absolute()]
    same = [file for file, row in rows.items() if _same_model(row, own) and row["target"] is None]
    return [read_run(file, COLUMNS) for file in same]


def _same_model(row: dict[str, Any], other: dict[str, Any]) -> bool:
    alike = all(row[name] == other[name] for name in ("model_hash", "model_arch"))
    return alike and same_answers(row["answers"], other["answers"], ("made",))


def _column(samples: pa.Table, name: str) -> NDArray[Any]:
    """A column as floats, null as NaN."""
    values = pc.cast(
        samples[name].cast(pa.float64())
        if samples[name].type != pa.bool_()
        else samples[name].cast(pa.int8()),
        pa.float64(),
    )
    return np.asarray(pc.fill_null(values, math.nan).combine_chunks())
