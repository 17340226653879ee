"""What the lines of one figure have in common, and what its caption says about that."""

from __future__ import annotations

from collections.abc import Sequence

from robbench.analysis.series import Series, series_by_facts
from robbench.core.errors import UserError
from robbench.store.run import Run


def one_scope(runs: Sequence[Run], *, one_threat: bool = False) -> list[Series]:
    """The runs as lines of one figure.

    Raises UserError for several data sets, splits, norms or targets, and with `one_threat` for
    several threat models.
    """
    kinds = ("data", "split", "norm", "target", *(["threat"] if one_threat else []))
    for kind in kinds:
        found = list(dict.fromkeys(str(run.info[kind] or "none") for run in runs))
        if len(found) > 1:
            raise UserError(
                f"one figure has one {kind}, the runs have {', '.join(found)}: choose "
                f"with --where {kind}={found[0]}"
            )
    (series,) = series_by_facts(runs).values()
    return series


def about(what: str, runs: Sequence[Run], *, attack: bool = True) -> str:
    """What a figure shows, on which samples and by which attack."""
    first = runs[0].info
    sizes = sorted({run.info["n_samples"] for run in runs})
    samples = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    attacks = list(dict.fromkeys(run.info["attack"] for run in runs))
    by = f", {attacks[0]}" if attack and len(attacks) == 1 else ""
    return f"{what} on {first['data']} {first['split']} ({samples} samples{by})"
