"""The samples under attack, kept as bytes until a row needs them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from robbench.core import keyed
from robbench.core.threat_text import LEAST_LIKELY
from robbench.core.tiles import Model, Tiles
from robbench.data.base import Split
from robbench.engine.verify import ask
from robbench.objectives import answered, temperatures
from robbench.threat.model import ThreatModel
from robbench.threat.problem import Problem


def clean_tiles(
    split: Split, model: Model, tiles: Tiles, draws: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """Clean logits and whether most draws are wrong, tile by tile."""
    # An empty split still gives the number of classes.
    for start in range(0, max(len(split), 1), tiles.rows):
        rows = slice(start, start + tiles.rows)
        x = split.pixels(rows)
        split.ahead(slice(rows.stop, rows.stop + tiles.rows))
        yield ask(model, x, split.labels[rows], tiles, draws)


class CleanAnswers:
    """What `clean_tiles` yields for n samples, put together as it comes.

    `columns`: all logits and whether most draws are wrong. They lie in one piece of memory each:
    small pieces kept from between large ones that are freed would leave holes that nothing fits.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.done = 0
        self.columns: tuple[Tensor, Tensor]

    def add(self, logits: Tensor, wrong: Tensor) -> None:
        """The answers of the next tile."""
        if not self.done:
            self.columns = logits.new_empty(self.n, logits.shape[1]), wrong.new_empty(self.n)
        stop = self.done + len(logits)
        for column, part in zip(self.columns, (logits, wrong), strict=True):
            column[self.done : stop] = part
        self.done = stop


class Pool:
    """N samples with their clean logits; makes their problems, at any of some budgets of one norm.

    clean: the columns of `CleanAnswers`. `wrong` [N]: misclassified without any attack, by most
    answers; logits that are no answer count as wrong. `targets` [N]: the class that each sample has
    to reach, None where any other will do. `broken` [N]: the clean input is a success itself.
    """

    def __init__(
        self,
        split: Split,
        threats: Sequence[ThreatModel],
        clean: tuple[Tensor, Tensor],
        *,
        seed: int,
    ) -> None:
        self.split = split
        self.threats = threats
        self.device = split.labels.device
        self.eps = torch.tensor(
            [threat.eps for threat in threats], dtype=torch.float32, device=self.device
        )
        self.keys = keyed.fold(split.ids, seed)
        self.logits0, wrong = clean
        self.temperatures = temperatures(self.logits0)
        finite = answered(self.logits0)
        self.wrong = wrong | ~finite
        self.targets = targets_of(split, threats[0], self.logits0)
        self.broken = self.wrong
        if self.targets is not None:
            self.broken = (self.logits0.argmax(1) == self.targets) & finite

    @classmethod
    def of(
        cls, split: Split, threats: Sequence[ThreatModel], model: Model, *, seed: int, tiles: Tiles
    ) -> Pool:
        """Ask the model about all samples at once."""
        clean = CleanAnswers(len(split))
        for logits, wrong in clean_tiles(split, model, tiles):
            clean.add(logits, wrong)
        return cls(split, threats, clean.columns, seed=seed)

    def problem(self, index: Tensor, stream: int = 0, eps_index: Tensor | None = None) -> Problem:
        """The problems of samples `index` [B] at budgets `eps_index` [B], by default the largest.

        `stream`: of random numbers, see `stream_of`.
        """
        x0 = self.split.pixels(index)
        eps_index = (
            torch.full_like(index, len(self.threats) - 1) if eps_index is None else eps_index
        )
        return Problem.of(
            x0,
            self.split.labels[index],
            self.eps[eps_index].to(x0.dtype),
            self.threats[0].norm,
            key=keyed.fold(self.keys[index], stream),
            index=index,
            logits0=self.logits0[index],
            temperature=self.temperatures[index],
            free=None if self.split.free is None else self.split.free.expand_as(x0),
            target=None if self.targets is None else self.targets[index],
        )


def targets_of(split: Split, threat: ThreatModel, logits0: Tensor) -> Tensor | None:
    """[N] int64: the class each sample has to reach, None where any other will do.

    The least likely is the wrong class with the lowest logit of [N,K], the first of those that tie;
    outputs that stand for no class of the data do not count.
    """
    if threat.target is None:
        return None
    if threat.target != LEAST_LIKELY:
        assert split.targets is not None  # `data/targets.py` has set them
        return split.targets
    known = logits0[:, : len(split.classes)].nan_to_num(nan=torch.inf)
    return known.scatter(1, split.labels[:, None], torch.inf).argmin(1)


def stream_of(spec: str) -> int:
    """63 bits from an attack's canonical spec: the same numbers alone and in any cascade."""
    return int.from_bytes(hashlib.blake2b(spec.encode(), digest_size=8).digest(), "big") >> 1
