"""The draw of an audit: which survivors of a cascade get further attacks.

Samples are ranked by a random number of their id, so the draw of one budget does not depend on the
order of the samples, on shards or on a resume, and a survivor of a larger budget that was drawn at
a smaller one is drawn again.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from robbench.core import keyed
from robbench.data.base import Split

_STREAM = 0x6175646974  # keeps the draw apart from the attacks' random numbers of the same seed


def draw(survivors: Iterable[int], n: int, split: Split, seed: int) -> list[int]:
    """At most n of the survivors, by position in the split, chosen at random from (seed, id)."""
    positions = sorted(survivors)
    ids = split.ids[torch.tensor(positions, dtype=torch.int64, device=split.ids.device)].cpu()
    ranks = keyed.fold(keyed.fold(ids, seed), _STREAM)
    chosen = torch.argsort(ranks, stable=True)[:n].tolist()
    return sorted(positions[place] for place in chosen)
