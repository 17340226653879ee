"""Settings that tell runs of equal titles apart: precision, device, seeds, audits, weights, code.

Subsets and limits are not among them: a mixture of those is shown on request only, and
marked.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from robbench.core.trust import own_code
from robbench.store.answers import same_answers

Info = Mapping[str, Any]

_DIGITS = 4  # of a hash
_HASH = re.compile("[0-9a-f]{16}")
_TITLE = ("data", "split", "threat", "attack")


def settings(
    infos: Sequence[Info], title: Sequence[str] = _TITLE, *, weights: bool = True
) -> list[str | None]:
    """How each row of the runs table differs from others of equal title: `bf16, seed 1`.

    None where there is nothing. Two models of one name differ in the start of their hash, if
    `weights`: it is called that of their code where this is private and they answer alike.
    """
    tables: dict[tuple[Any, ...], list[int]] = {}
    for i, info in enumerate(infos):
        tables.setdefault(tuple(info[name] for name in title), []).append(i)
    facts = [_facts(info) for info in infos]
    said: list[str | None] = [None] * len(infos)
    for rows in tables.values():
        differs = [len(set(values)) > 1 for values in zip(*(facts[i] for i in rows), strict=True)]
        models: dict[tuple[str, str | None], list[Info]] = {}
        for i in rows:
            models.setdefault(_model(infos[i]), []).append(infos[i])
        read = Counter(name for name, _ in models)
        for i in rows:
            words = list(filter(None, itertools.compress(facts[i], differs)))
            alike = models[_model(infos[i])]
            if read[infos[i]["model"]] > 1:
                words.append(infos[i].get("model_outputs") or "outputs as they are")
            if weights and len({info["model_hash"] for info in alike}) > 1:
                what = "code" if _only_code_differs(alike) else "weights"
                words.append(f"{what} {infos[i]['model_hash'][:_DIGITS]}")
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
        audit_asked(config),
        _attack_code(info),
    )


def audit_asked(config: Mapping[str, Any]) -> str:
    """What the settings of an attack ask of an audit: `audit 300 by square, adaptive`."""
    if not (size := config.get("audit")):
        return "no audit"
    attacks = " + ".join(config.get("audit_attack") or ())
    by = f" by {attacks}" if attacks else ""
    return f"audit {size}{by}{', adaptive' if config.get('adaptive') else ''}"


def _model(info: Info) -> tuple[str, str | None]:
    """A model and how its outputs were read, which is in its hash too."""
    return info["model"], info.get("model_outputs")


def _attack_code(info: Info) -> str:
    """`code 3020`, of private attacks; empty where there is none, or none was recorded."""
    codes = json.loads(info["provenance"] or "{}").get("attack_code") or []
    hashes = [code.rpartition(" ")[2] for code in codes]
    private = [code[:_DIGITS] for code in hashes if _HASH.fullmatch(code)]
    return f"code {' '.join(private)}" if private else ""


def _only_code_differs(infos: Sequence[Info]) -> bool:
    """Whether models of private code with unequal hashes answer alike, as equal weights do."""
    first = infos[0]["answers"]
    return all(
        own_code([info["model_arch"] or ""])
        and info["answers"] is not None
        and same_answers(first, info["answers"], ("made",))
        for info in infos
    )
