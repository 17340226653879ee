"""Samples that are decided become verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from robbench.core.tiles import Model, Tiles
from robbench.engine.pool import Pool
from robbench.engine.records import JudgedRow, Outcome, Record, Verdict
from robbench.engine.verify import verify


def final_verdicts(
    model: Model,
    pool: Pool,
    records: Mapping[int, Record],
    clean: Sequence[Sequence[float]],
    tiles: Tiles,
    draws: int = 1,
    late: bool = False,
) -> Iterator[tuple[Verdict, Tensor | None]]:
    """Verdicts of decided samples, with their worst points (None = the clean input), one per budget.

    The worst points of samples that stand are looked at again; what broke the others is judged
    already, and `clean` (predictions, margins, probability margins) is known. With `late`, a point
    that only this look finds wrong counts, from its budget on: a stand-in for the model has rounded
    it to the other side.
    """
    ended = [
        (i, eps_index, o)
        for i, record in records.items()
        for eps_index, o in enumerate(record.outcomes)
    ]
    moved = [
        (i, eps_index, o.x) for i, eps_index, o in ended if o.x is not None and o.judged is None
    ]
    fresh: dict[tuple[int, int], JudgedRow] = {}
    if moved:
        device = pool.split.labels.device
        index, levels = (torch.tensor([item[n] for item in moved], device=device) for n in (0, 1))
        points = torch.stack([x for _, _, x in moved])
        judged = verify(model, points, pool.problem(index, eps_index=levels), tiles, draws)
        fresh = {item[:2]: row for item, row in zip(moved, judged.rows(), strict=True)}
    fallen: dict[int, tuple[Outcome, JudgedRow]] = {}  # by such a look
    for i, eps_index, outcome in ended:
        seen = fresh.get((i, eps_index))
        if late and not outcome.found and i not in fallen and seen is not None and seen.adversarial:
            entry, variant = outcome.source
            fallen[i] = (outcome._replace(found=True, entry=entry, variant=variant), seen)
        if i in fallen and not outcome.found:
            outcome, fresh[i, eps_index] = fallen[i]
        clean_row = [column[i] for column in clean]
        verdict = _verdict(i, eps_index, outcome, clean_row, fresh.get((i, eps_index)), draws)
        yield (
            verdict._replace(
                nonfinite=records[i].nonfinite, zero_gradients=records[i].zero_gradients
            ),
            outcome.x,
        )
    for record in records.values():
        record.outcomes, record.x = [], None


def _verdict(
    i: int, eps_index: int, o: Outcome, clean: Sequence[float], fresh: JudgedRow | None, draws: int
) -> Verdict:
    pred, margin, pmargin = clean
    j = (
        fresh
        or o.judged
        or JudgedRow(int(pred), margin, pmargin, o.found, 0.0, 0.0, 0.0, 0.0, 0.0, fits=True)
    )
    return Verdict(
        sample=i, eps_index=eps_index, clean_pred=int(pred), clean_margin=margin, clean_pmargin=pmargin,
        adv_pred=j.pred, adv_margin=j.margin, adv_pmargin=j.pmargin, adversarial=o.found,
        linf=j.linf, l2=j.l2, l1=j.l1, l0=j.l0, entry=o.entry, variant=o.variant, step=o.step,
        forwards=o.forwards + draws * (fresh is not None), backwards=o.backwards, status=o.status, known=o.known,
    )  # fmt: skip
