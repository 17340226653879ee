"""The account of every sample: what it has cost, what broke it, and when it is decided."""

from __future__ import annotations

import math

from torch import Tensor, nn

from robbench.core.tiles import Tiles
from robbench.engine.confirm import Confirmed
from robbench.engine.pool import Pool
from robbench.engine.records import CLEAN, REPLAY, Attempt, Record, Verdict
from robbench.engine.verdicts import final_verdicts
from robbench.engine.verify import judge_logits
from robbench.objectives import answered


class Ledger:
    """One record per sample of a pool, fed by attempts, read as verdicts.

    draws: how often the model is asked about a point that no single attack is judged by. late: the
    attacks see another model than the verdict's, so the last look may find a sample broken.
    """

    def __init__(
        self,
        pool: Pool,
        model: nn.Module,
        tiles: Tiles,
        *,
        draws: int,
        late: bool,
        keep_points: bool,
    ) -> None:
        self.pool = pool
        self.model = model
        self.tiles = tiles
        self.draws = draws
        self.late = late
        self.keep_points = keep_points
        self.minimum_norm = math.isinf(pool.threats[-1].eps)
        targeted = pool.targets is not None
        aim = pool.split.labels if pool.targets is None else pool.targets
        self.clean = [c.tolist() for c in judge_logits(pool.logits0, aim, targeted)]
        self.targets = pool.targets.tolist() if pool.targets is not None else [-1] * len(pool.wrong)
        self.missed = (pool.wrong & ~pool.broken).tolist()
        self.answered = answered(pool.logits0).tolist()
        self.records = [
            Record(margin, n_forward=draws, n_nonfinite=int(targeted and not known))
            for margin, known in zip(self.clean[1], self.answered, strict=True)
        ]
        self.disagreements = 0  # see `Cascade.run`
        self.decided: list[int] = []  # samples, not yet given out as verdicts

    def enter(self, attempt: Attempt) -> None:
        """Book what a trial came to: its cost, and its point if that is the worst so far."""
        record, seen = self.records[attempt.sample], attempt.judged
        _, entry, variant = attempt.trial
        record.add(attempt)
        if seen is not None and seen.adversarial:
            if not self.minimum_norm or record.judged is None or seen.size < record.judged.size:
                record.hit(entry, variant, attempt.step, attempt.x, seen)
        elif not record.found and attempt.margin < record.margin and (seen is None or seen.fits):
            record.margin = attempt.margin
            record.x = attempt.x
            record.source = (entry, variant)

    def book_check(self, i: int, claimed: bool, seen: Confirmed) -> bool:
        """Book a re-check of a point of sample i; returns whether the model refused a claim."""
        record = self.records[i]
        refused = claimed and not seen.judged.adversarial
        record.n_forward += seen.n_forward
        record.n_recheck += seen.n_forward
        # The fast model may round otherwise, a model may not contradict itself.
        record.unconfirmed += refused and not self.late
        self.disagreements += claimed != seen.judged.adversarial
        return refused

    def wrong_from_the_start(self, i: int) -> None:
        """The clean input of sample i is a success itself: that decides it at every budget."""
        record = self.records[i]
        record.hit(CLEAN, -1, 0, None, None)
        record.n_nonfinite = int(not self.answered[i])
        self.decide(i)

    def come_to(self, i: int, eps_index: int) -> None:
        """Sample i has been through all trials below a budget."""
        record = self.records[i]
        while len(record.outcomes) < eps_index:
            record.close()
        self._take_replayed(record, eps_index)

    def is_broken(self, i: int) -> bool:
        """Whether sample i needs no more attacks; a smaller norm is always worth a try."""
        return self.records[i].found and not self.minimum_norm

    def decide(self, i: int) -> None:
        """Sample i ends as its record is, at this budget and all larger ones."""
        record = self.records[i]
        for eps_index in range(len(record.outcomes), len(self.pool.threats)):
            self._take_replayed(record, eps_index)
            record.close()
        if not self.keep_points:  # what has been judged need not be looked at again
            record.outcomes = [o._replace(x=None) if o.judged else o for o in record.outcomes]
            record.x = record.replayed = None
        self.decided.append(i)

    def give_up(self, i: int) -> None:
        """Sample i ends for want of time or queries."""
        self.records[i].unfinished = not self.is_broken(i)
        self.decide(i)

    def take_verdicts(self, width: int) -> list[tuple[Verdict, Tensor | None]]:
        """Of the samples decided since the last time, with their worst points; `width` at once."""
        found: list[tuple[Verdict, Tensor | None]] = []
        for start in range(0, len(self.decided), width):
            chunk = {i: self.records[i] for i in self.decided[start : start + width]}
            judged = final_verdicts(
                self.model, self.pool, chunk, self.clean, self.tiles, self.draws, self.late
            )
            found += [(self._with_target(verdict), x) for verdict, x in judged]
            for record in chunk.values():
                record.outcomes, record.x = [], None
        self.decided = []
        return found

    def _with_target(self, verdict: Verdict) -> Verdict:
        i = verdict.sample
        return verdict._replace(target=self.targets[i], clean_wrong=self.missed[i])

    def _take_replayed(self, record: Record, eps_index: int) -> None:
        """A stored point breaks the sample from the first budget on that holds it."""
        if record.replayed and record.replayed[0] <= eps_index and not record.found:
            record.hit(REPLAY, -1, -1, *record.replayed[1:])
            record.unfinished = record.unfinished and self.minimum_norm
