"""What two runs must share for a comparison: samples, threat model, attacks, schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from robbench.core.limits import Limits
from robbench.threat.tolerance import same_budget

COLUMNS = (
    "schema_version",
    "data",
    "split",
    "subset",
    "data_hash",
    "norm",
    "eps",
    "threat",
    "target",
    "attack",
    "attack_params",
    "max_time_s",
    "max_queries",
)
"""The columns of the runs table that decide it."""


class Difference(NamedTuple):
    """Why two runs must not be compared: about what, and the values of both, as words.

    about: schema, data, split, subset, samples (the same names, other content), threat, attack or
    limits.
    """

    about: str
    mine: str
    theirs: str
    remark: str = ""

    def __str__(self) -> str:
        return f"{self.about}: {self.remark}{self.mine} and {self.theirs}"


def differences(run: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """What differs between two rows of the runs table so that the runs must not be compared.

    In the order of `Difference.about`, empty when nothing does. Runs with one fingerprint of the
    samples are on the same data, whatever its name; the order of a cascade does not count. Seeds,
    precision, batch size and points replayed are no hindrance. Needs the COLUMNS of both.
    """
    found = []
    if run["schema_version"] != other["schema_version"]:
        found.append(_both("schema", run, other, "schema_version"))
    # A target leaves out the samples of its class: other samples then are no other data.
    apart = run["target"] != other["target"]
    found += [each for each in _data(run, other) if not (apart and each.about == "samples")]
    if not same_threat(run, other):
        found.append(_both("threat", run, other, "threat"))
    if sorted(_attacks(run)) != sorted(_attacks(other)):
        found.append(_attack(run, other))
    mine, theirs = (Limits(each["max_time_s"], each["max_queries"]) for each in (run, other))
    if mine != theirs:
        found.append(Difference("limits", str(mine), str(theirs)))
    return found


def _data(run: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    if run["data_hash"] == other["data_hash"]:
        return []
    named = [
        _both(name, run, other, name) for name in ("data", "split") if run[name] != other[name]
    ]
    if run["subset"] != other["subset"]:
        named.append(Difference("subset", *(each["subset"] or "all" for each in (run, other))))
    memory = run["data"] == "memory"  # what was given to `evaluate`
    what = "other samples were given" if memory else f"{run['data']} has changed in between"
    changed = f"{what}, fingerprint "
    return named or [Difference("samples", run["data_hash"], other["data_hash"], changed)]


def same_threat(run: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two rows of the runs table have one norm, one target or none, and one budget.

    However it is written: 8/255 and 0.0313725 are one.
    """
    same = all(run[name] == other[name] for name in ("norm", "target"))
    return same and same_budget(run["eps"], other["eps"])


def _attacks(run: Mapping[str, Any]) -> list[str]:
    """Every attack in full, as `attack_params` has it.

    What is no list of texts is compared as it is.
    """
    try:
        specs = json.loads(run["attack_params"])
    except ValueError:
        specs = None
    return (
        specs
        if isinstance(specs, list) and all(isinstance(spec, str) for spec in specs)
        else [str(run["attack_params"])]
    )


def _attack(run: Mapping[str, Any], other: Mapping[str, Any]) -> Difference:
    """The attacks as they were asked for.

    In full, and only those that differ, where they were asked for alike.
    """
    if run["attack"] != other["attack"]:
        return _both("attack", run, other, "attack")
    mine, theirs = _attacks(run), _attacks(other)
    here, there = (
        [spec for spec in a if spec not in b] for a, b in ((mine, theirs), (theirs, mine))
    )
    return Difference("attack", *(" + ".join(specs) or "nothing more" for specs in (here, there)))


def _both(about: str, run: Mapping[str, Any], other: Mapping[str, Any], name: str) -> Difference:
    return Difference(about, str(run[name]), str(other[name]))
