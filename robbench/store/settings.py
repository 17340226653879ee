"""Settings that distinguish runs with equal titles: precision, device, seeds, weights.

Subsets and limits are not among them: a mixture of those is shown on request only, and
marked.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

Info = Mapping[str, Any]

_TITLE = ("data", "split", "threat", "attack")


def settings(
    infos: Sequence[Info], title: Sequence[str] = _TITLE, *, weights: bool = True
) -> list[str | None]:
    """How each row of the runs table differs from others of equal title: `bf16, seed 1`.

    None where there is nothing. Two models of one name differ in the start of their weights'
    hash, if `weights`.
    """
    tables: dict[tuple[Any, ...], list[int]] = {}
    for i, info in enumerate(infos):
        tables.setdefault(tuple(info[name] for name in title), []).append(i)
    facts = [_facts(info) for info in infos]
    said: list[str | None] = [None] * len(infos)
    for rows in tables.values():
        differs = [len(set(values)) > 1 for values in zip(*(facts[i] for i in rows), strict=True)]
        hashes: dict[str, set[str]] = {}
        for i in rows:
            hashes.setdefault(infos[i]["model"], set()).add(infos[i]["model_hash"])
        for i in rows:
            words = list(itertools.compress(facts[i], differs))
            if weights and len(hashes[infos[i]["model"]]) > 1:
                words.append(f"weights {infos[i]['model_hash'][:4]}")
            said[i] = ", ".join(words) or None
    return said


def _facts(info: Info) -> tuple[str, ...]:
    config = json.loads(info["config"])
    return (
        info["precision"] or "fp32",
        "compiled" if config.get("compile") else "not compiled",
        str(info["device"]).partition(":")[0],
        f"seed {info['seed']}",
        "points replayed" if config.get("replay") else "nothing replayed",
    )
