"""What tells runs apart that stand in one table under one title: precision, device, seeds, weights of one name.

Subsets and budgets of time are not among them: a mixture of those is shown on request only, and marked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Info = Mapping[str, Any]

_TITLE = ("data", "split", "threat", "attack")
_FACTS: tuple[Callable[[Info], str], ...] = (
    lambda info: info["precision"] or "fp32",
    lambda info: "compiled" if _config(info).get("compile") else "not compiled",
    lambda info: str(info["device"]).partition(":")[0],
    lambda info: f"seed {info['seed']}",
    lambda info: "points replayed" if _config(info).get("replay") else "nothing replayed",
)


def settings(infos: Sequence[Info], title: Sequence[str] = _TITLE, *, weights: bool = True) -> list[str | None]:
    """For each row of the runs table, in what it differs from others that have the same `title`, such as `bf16, seed 1`.

    None where there is nothing. Of two models of one name the start of the weights' hash is told too, if wanted.
    """
    tables: dict[tuple[Any, ...], list[Info]] = {}
    for info in infos:
        tables.setdefault(tuple(info[name] for name in title), []).append(info)
    return [_phrase(info, tables[tuple(info[name] for name in title)], weights) for info in infos]


def _phrase(info: Info, beside: Sequence[Info], weights: bool) -> str | None:
    said = [fact(info) for fact in _FACTS if len({fact(other) for other in beside}) > 1]
    if weights and len({other["model_hash"] for other in beside if other["model"] == info["model"]}) > 1:
        said.append(f"weights {info['model_hash'][:4]}")
    return ", ".join(said) or None


def _config(info: Info) -> Mapping[str, Any]:
    found = json.loads(info["config"])
    return found if isinstance(found, dict) else {}
