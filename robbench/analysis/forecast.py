"""What an attack will cost, before it begins and while it runs: plain arithmetic, no model.

Three things are known beforehand: the queries that a sample costs at most, attack by attack; the
seconds that a query takes, measured; and what earlier runs of the same attacks under the same
threat model needed. From the first two follow bounds; only the third gives an estimate.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

LOOKS = "clean inputs and re-checks"
START = "looking at the model first"
AUDIT = "audit: "
"""What the names of an audit's attacks begin with."""


class Range(NamedTuple):
    """A mean, and the smallest and largest value it is the mean of."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Range | None:
        """None of no values."""
        if not values:
            return None
        return cls(sum(values) / len(values), min(values), max(values))


@dataclasses.dataclass(frozen=True)
class Part:
    """One attack's share of the cost of a sample.

    most: queries at most, forwards and backwards together; None where that is not known.
    seconds: of a query. usual: mean queries per sample in each of some earlier runs.
    """

    name: str
    most: float | None
    seconds: float
    usual: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Forecast:
    """The cost of attacking so many samples, or of another job that asks a model.

    runs: ids of the earlier runs it learned from. alone: seconds are of the model's answers
    only, and no sample ends early. start: seconds of looking at the model before its first query.
    """

    samples: int
    parts: tuple[Part, ...]
    runs: tuple[str, ...]
    device: str
    max_seconds: float | None = None  # a limit of the run
    alone: bool = False
    start: float = 0.0

    @property
    def unknown(self) -> list[str]:
        """Attacks that do not say what they cost at most."""
        return [part.name for part in self.parts if part.most is None]

    @property
    def queries_at_most(self) -> float | None:
        """Forwards and backwards of all samples if no attack breaks one; None: not known."""
        most = [part.most for part in self.parts if part.most is not None]
        return None if self.unknown else self.samples * sum(most)

    @property
    def seconds_at_most(self) -> float | None:
        """The time those take, or the limit of time."""
        known = [part.most * part.seconds for part in self.parts if part.most is not None]
        most = None if self.unknown else self.start + self.samples * sum(known)
        limits = [limit for limit in (most, self.max_seconds) if limit is not None]
        return min(limits, default=None)

    @property
    def queries(self) -> Range | None:
        """As many as in earlier runs; None without such."""
        return self._usual(lambda part: 1.0)

    @property
    def seconds(self) -> Range | None:
        """The time those take, or the limit of time."""
        found = self._usual(lambda part: part.seconds)
        limit = math.inf if self.max_seconds is None else self.max_seconds
        return None if found is None else Range(*(min(self.start + v, limit) for v in found))

    def shares(self) -> list[tuple[str, float]]:
        """Each part's share of the time, largest first: as usual, else at most."""
        usual = self._usual(lambda part: 1.0) is not None
        times = {
            part.name: self.samples
            * part.seconds
            * (sum(part.usual) / len(part.usual) if usual else part.most or 0.0)
            for part in self.parts
        }
        times[START] = self.start
        total = sum(times.values())
        ranked = sorted(times.items(), key=lambda one: -one[1])
        return [(name, time / total) for name, time in ranked if total > 0]

    def fields(self) -> dict[str, Any]:
        """All numbers as plain values; seconds, and queries of all samples."""
        return {
            "samples": self.samples,
            "device": self.device,
            "queries": _plain(self.queries),
            "seconds": _plain(self.seconds),
            "queries_at_most": self.queries_at_most,
            "seconds_at_most": self.seconds_at_most,
            "seconds_of_start": self.start,
            "from_runs": list(self.runs),
            "unknown": self.unknown,
            "parts": [
                {
                    "name": part.name,
                    "queries_at_most": None if part.most is None else self.samples * part.most,
                    "queries": _plain(Range.of([self.samples * q for q in part.usual])),
                    "seconds_per_query": part.seconds,
                }
                for part in self.parts
            ],
        }

    def _usual(self, weight: Any) -> Range | None:
        columns = [[weight(part) * queries for queries in part.usual] for part in self.parts]
        totals = [self.samples * sum(run) for run in zip(*columns, strict=True)]
        return Range.of(totals)


def together(forecasts: Sequence[Forecast]) -> Forecast:
    """The forecast of several jobs of one kind, one after the other.

    Parts of a name are added up. It has an estimate only where each of them has one.
    """
    runs = tuple(dict.fromkeys(run for one in forecasts for run in one.runs))
    usual = all(one.queries for one in forecasts)
    parts: list[Part] = []
    for name in dict.fromkeys(part.name for one in forecasts for part in one.parts):
        mine = [(one.samples, p) for one in forecasts for p in one.parts if p.name == name]
        known = [n * p.most for n, p in mine if p.most is not None]
        most = sum(known) if len(known) == len(mine) else None
        queries = sum(n * (p.most or 1.0) for n, p in mine)
        seconds = sum(n * (p.most or 1.0) * p.seconds for n, p in mine) / max(queries, 1e-300)
        means = [n * sum(p.usual) / len(p.usual) for n, p in mine if usual]
        parts.append(Part(name, most, seconds, (sum(means),) if means else ()))
    limits = [one.max_seconds for one in forecasts]
    limit = sum(s for s in limits if s is not None) if None not in limits and limits else None
    start = sum(one.start for one in forecasts)
    return Forecast(1, tuple(parts), runs, forecasts[0].device, limit, start=start)


def by_attack(
    rows: Iterable[Mapping[str, Any]], names: Sequence[str], most: Sequence[float | None]
) -> list[float]:
    """Mean queries per sample of a finished run: of looks first, then of each attack in turn.

    rows: of the samples table. names: the attacks in their order, those of an audit with `AUDIT`
    before them. most: queries per sample at most, of looks and of each. A sample has paid an attack
    in full before it came to the next, and the rest to the last one it came to; where that attack
    is unknown it takes all the rest.
    """
    sums, count = [0.0] * len(most), 0
    last = {name: n + 1 for n, name in enumerate(names)}
    own = sum(not name.startswith(AUDIT) for name in names)
    for row in rows:
        count += 1
        left = float(row["n_forward"] + row["n_backward"])
        audit, all_tried = (AUDIT, len(names)) if row.get("audited") else ("", own)
        end = (
            0
            if row["broken_by"] in ("clean", "replay")
            else last.get(f"{audit}{row['broken_by']}", all_tried)
        )
        for n, bound in enumerate(most[: end + 1]):
            paid = left if n == end or bound is None else min(left, bound)
            sums[n] += paid
            left -= paid
    return [total / max(count, 1) for total in sums]


class TrainForecast(NamedTuple):
    """Seconds of the steps of a training, without its validations."""

    seconds: float
    steps: int
    seconds_per_step: float
    device: str


@dataclasses.dataclass(frozen=True)
class SweepForecast:
    """Seconds one task after the other; the time of measuring and checking runs is not in it.

    attacks: as earlier runs of the same attacks needed, None without such. attacks_at_most and
    queries_at_most: if no attack breaks a sample; None where an attack does not say. kinds:
    trainings and attacks that were measured; guessed: tasks of other kinds.
    """

    n_trainings: int
    n_attacks: int
    n_others: int
    trainings: float
    attacks: float | None
    attacks_at_most: float | None
    queries_at_most: float | None
    kinds: int
    guessed: int
    device: str


def _plain(found: Range | None) -> dict[str, float] | None:
    return None if found is None else found._asdict()
