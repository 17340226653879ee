"""Whether a run is of the model, the samples and the settings that it says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from robbench.data.subset import limit_subset
from robbench.store.answers import same_answers
from robbench.store.run import Run
from robbench.tasks.attack.rows import class_names
from robbench.tasks.bundle import Need, facts_of
from robbench.tasks.subject import Subject
from robbench.tasks.verify.claims import Claim, Verdict, of_facts, of_hash
from robbench.tasks.verify.points import Evidence


def of_identity(run: Run, subject: Subject, n: int) -> list[Claim]:
    """Whether model and samples are those of the run. n: samples that its settings name."""
    info, split = run.info, subject.split
    other = "the model is another, or has changed"
    claims = [of_hash(run, "model", info["model_hash"], subject.hash, other)]
    if info["answers"] is not None:
        same = same_answers(info["answers"], subject.answers, ("made",))
        found = "as before" if same else "other"
        claims.append(of_hash(run, "its answers", "as before", found, other))
    other = "the data are others, or have changed: see --data and --data-dir"
    claims.append(of_hash(run, "samples", info["data_hash"], split.fingerprint(), other))
    labels = dict(zip(split.ids.tolist(), split.labels.tolist(), strict=True))
    rows = zip(*(run.samples[name].to_pylist() for name in ("sample_id", "label")), strict=True)
    if dict(rows) != labels:
        other = "the rows are of other samples or labels than the data"
        claims[-1] = claims[-1]._replace(verdict="refuted", why=other)
    elif claims[-1].verdict == "confirmed" and len(split) < n:
        other = f"stopped early at {len(split)} of {n} samples; nothing tells how they were chosen"
        claims[-1] = claims[-1]._replace(verdict="unconfirmed", why=other)
    return claims


def of_description(
    info: Mapping[str, Any],
    subject: Subject,
    *,
    whole: bool,
    other_model: bool = False,
    other_data: bool = False,
) -> Claim:
    """What the row says of model and data, as far as these tell it besides their hashes.

    whole: the run has all samples that its settings name. other_model, other_data: not from where
    the run had them, where the same weights may have another name for their architecture.
    """
    known: dict[str, Any] = {"model_outputs": subject.outputs or None}
    if subject.trained or not other_model:
        config = subject.trained.get("config", {})
        known |= {"model_arch": subject.arch, "loss": config.get("loss")}
        known |= {"train_seed": config.get("seed")}
    if not other_data:
        known |= {"classes": class_names(subject.split.classes)}
    found = {name: fact for name, fact in known.items() if info[name] is not None}
    if whole:
        limit = json.loads(info["config"]).get("limit")
        found |= {"subset": None if limit is None else limit_subset(limit)}
    said = {name: info[name] for name in found}
    return of_facts(info["run_id"], "description", said, found, "the row says")


def of_manifest(info: Mapping[str, Any], said: Mapping[str, Any], packed: Sequence[str]) -> Claim:
    """Whether what the manifest of a bundle says of a run is what its row and its files say.

    packed: the names of the files of its model that the bundle has.
    """
    found = {**facts_of(info), "packed": list(packed)}
    return of_facts(info["run_id"], "manifest", said, found, "the manifest says")


def of_needs(said: Any, found: Sequence[Need]) -> Claim:
    """Whether the manifest says what else it takes to verify the bundle.

    By the names and hashes in its words, which differ from one version of robbench to another.
    """
    known = [str(text) for text in said] if isinstance(said, list) else []
    why = [f"it takes {need.text}" for need in found if not any(map(need.is_said_by, known))]
    why += [
        f"it does not take {text[:200]}"
        for text in known
        if not any(need.is_said_by(text) for need in found)
    ]
    verdict: Verdict = "refuted" if why else "confirmed"
    return Claim(None, "needs", f"{len(known)}", f"{len(found)}", verdict, "; ".join(why))


def of_targets(run: Run, ids: Sequence[int], seen: Evidence) -> list[Claim]:
    """Whether each sample had to reach the class that the threat model names."""
    if seen.targets is None:
        return []
    said = dict(
        zip(*(run.samples[name].to_pylist() for name in ("sample_id", "target")), strict=True)
    )
    pairs = list(zip(ids, seen.targets.tolist(), strict=True))
    odd = tuple(sample for sample, target in pairs if said[sample] != target)
    same, n = len(pairs) - len(odd), len(pairs)
    claim = of_hash(run, "targets", f"{n}", f"{same}", "rows have other targets")
    return [claim._replace(samples=odd)]
