"""Samples that are decided become verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from robbench.core.tiles import Model, Tiles
from robbench.engine.pool import Pool
from robbench.engine.records import JudgedRow, Outcome, Record, Verdict
from robbench.engine.verify import verify


def tell(
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
        (i, level, o) for i, record in records.items() for level, o in enumerate(record.outcomes)
    ]
    moved = [(i, level, o.x) for i, level, o in ended if o.x is not None and o.judged is None]
    fresh: dict[tuple[int, int], JudgedRow] = {}
    if moved:
        device = pool.split.labels.device
        index, levels = (torch.tensor([item[n] for item in moved], device=device) for n in (0, 1))
        points = torch.stack([x for _, _, x in moved])
        judged = verify(model, points, pool.problem(index, level=levels), tiles, draws)
        fresh = {item[:2]: row for item, row in zip(moved, judged.rows(), strict=True)}
    fallen: dict[int, tuple[Outcome, JudgedRow]] = {}  # by such a look
    for i, level, outcome in ended:
        seen = fresh.get((i, level))
        if late and not outcome.found and i not in fallen and seen is not None and seen.adversarial:
            entry, variant = outcome.source
            fallen[i] = (outcome._replace(found=True, entry=entry, variant=variant), seen)
        if i in fallen and not outcome.found:
            outcome, fresh[i, level] = fallen[i]
        yield (
            _verdict(
                i, level, outcome, [column[i] for column in clean], fresh.get((i, level)), draws
            ),
            outcome.x,
        )
    for record in records.values():
        record.outcomes, record.x = [], None


def _verdict(
    i: int, level: int, o: Outcome, clean: Sequence[float], fresh: JudgedRow | None, draws: int
) -> Verdict:
    pred, margin, pmargin = clean
    j = (
        fresh
        or o.judged
        or JudgedRow(int(pred), margin, pmargin, o.found, 0.0, 0.0, 0.0, 0.0, 0.0, fits=True)
    )
    return Verdict(
        sample=i, level=level, clean_pred=int(pred), clean_margin=margin, clean_pmargin=pmargin,
        adv_pred=j.pred, adv_margin=j.margin, adv_pmargin=j.pmargin, adversarial=o.found,
        linf=j.linf, l2=j.l2, l1=j.l1, l0=j.l0, entry=o.entry, variant=o.variant, step=o.step,
        forwards=o.forwards + draws * (fresh is not None), backwards=o.backwards, status=o.status, known=o.known,
    )  # fmt: skip
