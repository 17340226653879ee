"""Samples that are decided become verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
) -> list[tuple[Verdict, Tensor | None]]:
    """One verdict per budget of decided samples, with the worst point (None = the clean input).

    The worst points of samples that are robust are looked at again; what broke the others is judged
    already, and `clean` (predictions, margins, probability margins) is known. With `late`, a point
    that only this look finds wrong counts, from its budget on: the fast model has rounded it to the
    other side.
    """
    ended = [
        (i, eps_index, outcome)
        for i, record in records.items()
        for eps_index, outcome in enumerate(record.outcomes)
    ]
    fresh = _look_again(model, pool, ended, tiles, draws)
    fallen: dict[int, tuple[Outcome, JudgedRow]] = {}  # by such a look
    found: list[tuple[Verdict, Tensor | None]] = []
    for i, eps_index, outcome in ended:
        seen = fresh.get((i, eps_index))
        if late and not outcome.found and i not in fallen and seen is not None and seen.adversarial:
            entry, variant = outcome.source
            fallen[i] = (outcome._replace(found=True, entry=entry, variant=variant), seen)
        if i in fallen and not outcome.found:
            outcome, seen = fallen[i]
        verdict = _verdict(i, eps_index, outcome, [column[i] for column in clean], seen, draws)
        verdict = verdict._replace(
            n_nonfinite=records[i].n_nonfinite, n_zero_gradient=records[i].n_zero_gradient
        )
        found.append((verdict, outcome.x))
    return found


def _look_again(
    model: Model,
    pool: Pool,
    ended: Sequence[tuple[int, int, Outcome]],
    tiles: Tiles,
    draws: int,
) -> dict[tuple[int, int], JudgedRow]:
    """What the model says of the worst points that it has not judged yet, by sample and budget."""
    moved = [(i, n, o.x) for i, n, o in ended if o.x is not None and o.judged is None]
    if not moved:
        return {}
    samples, eps_indices, points = zip(*moved, strict=True)
    device = pool.split.labels.device
    p = pool.problem(
        torch.tensor(samples, device=device), eps_index=torch.tensor(eps_indices, device=device)
    )
    rows = verify(model, torch.stack(points), p, tiles, draws).rows()
    return dict(zip(zip(samples, eps_indices, strict=True), rows, strict=True))


def _verdict(
    i: int, eps_index: int, o: Outcome, clean: Sequence[float], fresh: JudgedRow | None, draws: int
) -> Verdict:
    pred, margin, pmargin = clean
    j = (
        fresh
        or o.judged
        or JudgedRow(int(pred), margin, pmargin, o.found, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, fits=True)
    )
    return Verdict(
        sample=i,
        eps_index=eps_index,
        clean_pred=int(pred),
        clean_margin=margin,
        clean_pmargin=pmargin,
        adv_pred=j.pred,
        adv_margin=j.margin,
        adv_pmargin=j.pmargin,
        adversarial=o.found,
        linf=j.linf,
        l2=j.l2,
        l1=j.l1,
        l0=j.l0,
        l0px=j.l0px,
        entry=o.entry,
        variant=o.variant,
        step=o.step,
        n_forward=o.n_forward + draws * (fresh is not None),
        n_backward=o.n_backward,
        status=o.status,
        known=o.known,
        n_unanswered=o.n_unanswered,
    )
