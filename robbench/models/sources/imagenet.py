"""The WordNet ids of ImageNet's 1,000 classes, in the order of all models' outputs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path


@functools.cache
def imagenet_ids() -> tuple[str, ...]:
    """`n01440764` and 999 more (ILSVRC 2012, Russakovsky et al. 2015), sorted."""
    path = Path(__file__).with_name("imagenet_ids.txt")
    return tuple(path.read_text(encoding="ascii").split())


def with_ids(names: Sequence[str]) -> tuple[str, ...]:
    """`tench, Tinca tinca` -> `n01440764 tench, Tinca tinca` where names are those 1,000 classes.

    They are known by their number, the first and the last. Others stay as they are.
    """
    ids = imagenet_ids()
    known = (
        len(names) == len(ids)
        and names[0].lower().startswith("tench")
        and names[-1].lower().startswith("toilet t")
    )
    pairs = zip(ids, names, strict=False)
    return tuple(f"{one} {name}" for one, name in pairs) if known else tuple(names)
