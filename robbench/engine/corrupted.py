"""A corruption in place of attacks: every sample is judged at one point, its corrupted input."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from robbench.core import keyed
from robbench.core.status import NON_FINITE, OK
from robbench.core.tiles import RowEquality, Tiles
from robbench.data.base import Split
from robbench.engine.pool import stream_of
from robbench.engine.progress import EntryProgress, Work
from robbench.engine.records import NOTHING, Update, Verdict
from robbench.engine.shapes import shapes_of
from robbench.engine.verify import ask, judge_logits
from robbench.objectives import answered
from robbench.threat.corruptions.apply import corrupted
from robbench.threat.model import ThreatModel
from robbench.threat.norms import NORMS


class CorruptedPass:
    """Runs a corruption over a split; `model` maps [0,1] inputs to logits: freeze it first.

    A sample is adversarial where the model is wrong at the corrupted input, whatever it says of the
    clean one. An answer that is none, NaN or a rejection, is wrong, as of a clean input.
    """

    equality: RowEquality  # what was measured of the model; this and the next: from `run` on
    tiles: Tiles

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        threat: ThreatModel,
        *,
        seed: int,
        width: int,
        keep_points: bool = False,
    ) -> None:
        assert threat.corruption is not None
        self.model = model
        self.split = split
        self.threat = threat
        self.name = threat.corruption
        self.keys = corruption_keys(split.ids, seed, threat)
        self.width = width
        self.keep_points = keep_points

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Update]:
        """Decide every sample, a tile at a time; `stop()` ends the run before the next one."""
        self.tiles, self.equality = shapes_of([self.model], self.split, self.width, gradients=False)
        n, broken = len(self.split), 0
        for start in range(0, n, self.tiles.rows):
            if stop():
                return
            rows = range(start, min(start + self.tiles.rows, n))
            self.split.ahead(slice(rows.stop, rows.stop + self.tiles.rows))
            verdicts, points = self._judge(rows)
            broken += sum(verdict.adversarial for verdict in verdicts)
            yield Update(
                verdicts,
                list(points) if self.keep_points else [],
                rows.stop / n,
                [EntryProgress(self.threat.text, rows.stop, rows.stop, broken)],
                0,
                Work(n, rows.stop, rows.stop, n - rows.stop, 1.0, rows.stop, 0.0, 2 * rows.stop),
            )

    def _judge(self, rows: range) -> tuple[list[Verdict], Tensor]:
        """The verdicts of some samples, and their corrupted inputs."""
        here = slice(rows.start, rows.stop)
        clean, labels = self.split.pixels(here), self.split.labels[here]
        x = corrupted(clean, self.name, int(self.threat.eps), self.keys[here])
        before, after = (ask(self.model, each, labels, self.tiles)[0] for each in (clean, x))
        known = torch.stack([answered(before), answered(after)])
        judged = [judge_logits(logits, labels) for logits in (before, after)]
        wrong = torch.stack([pred != labels for pred, _, _ in judged]) | ~known
        sizes = {name: norm.size(x - clean).tolist() for name, norm in NORMS.items()}
        (pred0, margin0, pmargin0), (pred, margin, pmargin) = (
            [column.tolist() for column in each] for each in judged
        )
        missed, broken = wrong.tolist()
        unanswered = (~known).sum(0).tolist()
        verdicts = [
            Verdict(
                sample=i,
                clean_pred=pred0[n],
                clean_margin=margin0[n],
                clean_pmargin=pmargin0[n],
                adv_pred=pred[n],
                adv_margin=margin[n],
                adv_pmargin=pmargin[n],
                adversarial=broken[n],
                entry=0 if broken[n] else NOTHING,
                variant=-1,
                step=-1,
                n_forward=2,
                n_backward=0,
                status=NON_FINITE if unanswered[n] else OK,
                n_nonfinite=unanswered[n],
                n_unanswered=unanswered[n],
                clean_wrong=missed[n],
                **{name: size[n] for name, size in sizes.items()},
            )
            for n, i in enumerate(rows)
        ]
        return verdicts, x


def corruption_keys(ids: Tensor, seed: int, threat: ThreatModel) -> Tensor:
    """[N] int64: the keys of samples' random numbers under a corruption, from their ids [N]."""
    return keyed.fold(keyed.fold(ids.cpu(), seed), stream_of(threat.text))
