"""A corruption in place of attacks: every sample is judged at one point, its corrupted input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

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


class Answer(NamedTuple):
    """What a model says of one input: `wrong` also without an answer, `known` False of these."""

    pred: int
    margin: float
    pmargin: float
    wrong: bool
    known: bool


class CorruptedPass:
    """Runs a corruption over a split; `model` maps [0,1] inputs to logits: freeze it first.

    A sample is adversarial where the model is wrong at the corrupted input, whatever it says of the
    clean one. An answer that is none, NaN or a rejection, is wrong, as of a clean input. clean: the
    answers at clean inputs so far, by sample id; passes over one model share them, and each adds
    what it had to ask.
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
        clean: dict[int, Answer] | None = None,
    ) -> None:
        assert threat.corruption is not None
        self.model = model
        self.split = split
        self.threat = threat
        self.name = threat.corruption
        self.keys = corruption_keys(split.ids, seed, threat)
        self.width = width
        self.keep_points = keep_points
        self.clean = {} if clean is None else clean

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
        before, after = self._clean_answers(here, clean), self._answers(x, labels)
        sizes = {name: norm.size(x - clean).tolist() for name, norm in NORMS.items()}
        verdicts = [
            Verdict(
                sample=rows[n],
                clean_pred=was.pred,
                clean_margin=was.margin,
                clean_pmargin=was.pmargin,
                adv_pred=now.pred,
                adv_margin=now.margin,
                adv_pmargin=now.pmargin,
                adversarial=now.wrong,
                entry=0 if now.wrong else NOTHING,
                variant=-1,
                step=-1,
                n_forward=2,
                n_backward=0,
                status=OK if was.known and now.known else NON_FINITE,
                n_nonfinite=2 - was.known - now.known,
                n_unanswered=2 - was.known - now.known,
                clean_wrong=was.wrong,
                **{name: size[n] for name, size in sizes.items()},
            )
            for n, (was, now) in enumerate(zip(before, after, strict=True))
        ]
        return verdicts, x

    def _clean_answers(self, here: slice, clean: Tensor) -> list[Answer]:
        """Those of some samples, asked of all of them where any is not known."""
        ids = self.split.ids[here].tolist()
        if not self.clean.keys() >= set(ids):
            found = self._answers(clean, self.split.labels[here])
            self.clean |= zip(ids, found, strict=True)
        return [self.clean[i] for i in ids]

    def _answers(self, x: Tensor, labels: Tensor) -> list[Answer]:
        logits, _ = ask(self.model, x, labels, self.tiles)
        pred, margin, pmargin = judge_logits(logits, labels)
        known = answered(logits)
        columns = pred, margin, pmargin, (pred != labels) | ~known, known
        return [Answer(*row) for row in zip(*(each.tolist() for each in columns), strict=True)]


def corruption_keys(ids: Tensor, seed: int, threat: ThreatModel) -> Tensor:
    """[N] int64: the keys of samples' random numbers under a corruption, from their ids [N]."""
    return keyed.fold(keyed.fold(ids.cpu(), seed), stream_of(threat.text))
