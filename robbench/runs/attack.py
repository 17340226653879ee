"""Attack models: resolve names, skip what is already known, run the cascade, write one row per sample and one per run."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from robbench.attacks.base import Backend
from robbench.core.builtins import ATTACKS, DATA, MODELS
from robbench.core.config import AttackConfig
from robbench.core.device import default_batch_size, deterministic, find_device
from robbench.core.errors import UserError, nearest
from robbench.core.spec import short_hash
from robbench.data.base import Split, require_classes
from robbench.data.load import default_threat, load
from robbench.engine.cascade import Cascade, Entry
from robbench.engine.guard import frozen
from robbench.engine.records import CLEAN, Verdict
from robbench.models.create import check_logits, create
from robbench.models.weights import model_hash
from robbench.results.provenance import provenance
from robbench.results.schema import SCHEMA_VERSION
from robbench.results.store import Run, Store, read_run
from robbench.results.summary import summarise
from robbench.runs.signals import StopFlag
from robbench.runs.train import canonical_model, known_threat, model_code, read_model, stored_config
from robbench.threat.model import ThreatModel, parse_threat

FLUSH_SECONDS = 2.0  # a killed process loses at most what was finished since


class Subject(NamedTuple):
    """A model to attack and what is known about it."""

    name: str
    model: nn.Module
    split: Split
    arch: str
    hash: str
    trained: dict[str, Any]  # config.json of a trained model, else empty

    @property
    def label(self) -> str:
        """The name results are filed under: of a folder its last part."""
        return Path(self.name).name if self.trained else self.name


@dataclasses.dataclass(frozen=True)
class Plan:
    """One run: a model, a threat model and a cascade. `run_id` is the hash of what decides its verdicts."""

    subject: Subject
    threat: ThreatModel
    entries: tuple[Entry, ...]
    config: AttackConfig
    data: str
    device: torch.device
    run_id: str

    @property
    def attack(self) -> str:
        """The cascade as text."""
        return " + ".join(entry.spec for entry in self.entries)


class Progress(NamedTuple):
    """Where a run stands."""

    samples: int  # decided
    total: int
    broken: int  # of those, adversarial
    share: float  # of all work


class Outcome(NamedTuple):
    """A run, None when a signal came first. `fresh` is False when it was already in the store."""

    run: Run | None
    fresh: bool


def plan_attacks(models: Sequence[str], config: AttackConfig, *, out: Path, device: str, data_dir: Path | None,
                 download: bool) -> Iterator[Plan]:  # fmt: skip
    """One plan per model and threat model. Raises UserError for anything that cannot work, before anything is written."""
    where = find_device(device)
    entries = build_entries(config.attack)
    threats = [threat for text in config.threat for threat in parse_threat(text)]
    for n, threat in enumerate(threats):
        if any((threat.norm, threat.eps) == (other.norm, other.eps) for other in threats[:n]):
            raise UserError(f"threat {threat.text} is given twice")
    for text in models:
        subject, data = find_subject(text, config, Store(out), where, data_dir, download)
        for threat in threats or _usual_threat(data, subject):
            for entry in entries:
                if threat.norm not in entry.attack.norms:
                    known = ", ".join(sorted(entry.attack.norms))
                    raise UserError(f"attack {entry.spec} does not work in {threat.norm}; it knows {known}")
            identity = {
                "model": [subject.label, subject.hash, subject.arch, subject.trained.get("head", "linear")],
                "samples": subject.split.fingerprint(ordered=True), "norm": threat.norm, "eps": threat.eps,
                "attack": full_specs(entries), "seed": config.seed, "schema": SCHEMA_VERSION,
                "code": [model_code(subject.arch), *(ATTACKS.code(entry.spec) for entry in entries)],
                # Another package's attack may judge a sample by its batch.
                "width": _width(config, where) if any(isinstance(e.attack, Backend) for e in entries) else None,
            }  # fmt: skip
            yield Plan(subject, threat, entries, config, data, where, short_hash(identity))


def build_entries(specs: Sequence[str]) -> tuple[Entry, ...]:
    """The cascade of some attack specs, in their order. UserError for an unknown, malformed or repeated one."""
    entries = tuple(Entry(ATTACKS.canonical(spec), ATTACKS.build(spec)) for spec in specs)
    for n, entry in enumerate(entries):
        if entry.spec in [other.spec for other in entries[:n]]:
            raise UserError(f"attack {specs[n]} is given twice; use restarts=N for more random starts")
    return entries


def full_specs(entries: Sequence[Entry]) -> list[str]:
    """The cascade with every option spelled out: what a run's identity rests on."""
    return [ATTACKS.canonical(entry.spec, full=True) for entry in entries]


def _usual_threat(data: str, subject: Subject) -> list[ThreatModel]:
    """The data set's own threat model, else the one the model was trained under."""
    return parse_threat(known_threat(default_threat(data) or subject.trained.get("config", {}).get("threat"), data))


def find_subject(text: str, config: AttackConfig, store: Store, device: torch.device, data_dir: Path | None,
                 download: bool) -> tuple[Subject, str]:  # fmt: skip
    """The model a user means: a name in the store (`name@last` for another checkpoint), a saved folder, or a model spec."""
    folder, which = _find_folder(text, store)
    if folder is not None:
        _refuse_foreign_code(folder, store)
        model, trained = read_model(folder, which, device)
        data = config.data or trained["config"]["data"]
    else:
        if text.partition(":")[0] not in MODELS.entries and ":" not in text:
            known = [path.name for path in store.models.glob("*") if (path / "config.json").is_file()]
            hint = nearest(text, [*known, *MODELS.entries])
            raise UserError(f"unknown model '{text}': not in {store.models}, no folder of a saved model, no model spec{hint}")
        model, trained, data = None, {}, config.data or "digits"
    split = load(data, config.split, data_dir=data_dir, limit=config.limit, download=download).to(device)
    require_classes(split)
    if model is None:
        torch.manual_seed(config.seed)  # an untrained architecture is a valid, if poor, subject
        # Fixed statistics: an untrained model must not depend on the samples it is judged by.
        info = split.info()
        channels = len(info.mean)
        model = create(text, dataclasses.replace(info, mean=(0.5,) * channels, std=(0.25,) * channels)).to(device)
        _check_known_classes(text, split)
    elif list(split.classes) != trained["classes"]:
        raise UserError(
            f"model {text} was trained on the classes {_short(trained['classes'])}, data '{data}' has {_short(split.classes)}"
        )
    elif list(split.images.shape[1:]) != trained["shape"]:
        raise UserError(
            f"model {text} takes images of shape {trained['shape']}, data '{data}' has {list(split.images.shape[1:])}"
        )
    with frozen(model):
        check_logits(model, split.pixels(slice(0, 8)), len(split.classes))
    arch = canonical_model(trained.get("model", text))
    return Subject(text, model, split, arch, model_hash(model), trained), data


def _find_folder(text: str, store: Store) -> tuple[Path | None, str | None]:
    """The folder of a trained model and which of its checkpoints: NAME or PATH, possibly with @best or @last."""
    for name, at, which in ((text, "", ""), text.rpartition("@")):
        for path in (store.models / name, Path(name)):
            if name and (path / "config.json").is_file():
                return path, which if at else None
    return None, None


def _refuse_foreign_code(folder: Path, store: Store) -> None:
    """A stored model built by a private factory names code to run: fine in one's own store, not in a folder from elsewhere."""
    config = stored_config(folder)
    if config is None or folder.resolve().parent == store.models.resolve():
        return
    for spec, known in ((config["model"], MODELS.entries), (config["config"]["data"], DATA.entries)):
        if ":" in spec and spec.partition(":")[0] not in known:
            raise UserError(f"{folder} names private code ({spec}); if you trust it, copy the folder into {store.models}")


def _check_known_classes(text: str, split: Split) -> None:
    """Pretrained weights know their classes; a data set with other names would give a meaningless number."""
    name = text.partition(":")[0]
    known = MODELS.build(text).classes_of() if name in MODELS.entries else ()
    named = not all(label.isdecimal() for label in split.classes)
    if known and named and tuple(split.classes) != tuple(known):
        raise UserError(f"model {text} knows the classes {_short(known)}, data '{split.name}' has {_short(split.classes)}")


def _short(classes: Sequence[str]) -> str:
    return ", ".join(classes) if len(classes) <= 4 else f"{', '.join(classes[:3])}, ... ({len(classes)})"


def attack(plan: Plan, *, store: Store, force: bool, resumed: Callable[[int], None], watch: Callable[[Progress], None],
           stop: StopFlag) -> Outcome:  # fmt: skip
    """Run a plan, or go on with it, or find it done. A stopped run keeps its finished samples for the next time.

    `resumed` hears how many samples an earlier process has decided, if any.
    """
    partial = store.partial(plan.run_id)
    if force:
        partial.discard()
    rows = partial.rows()
    if store.has(plan.run_id) and not force and not rows:  # rows: a --force run was stopped; go on with it
        return Outcome(read_run(store.run_path(plan.run_id)), fresh=False)
    store.check_writable()
    if rows:
        resumed(len(rows))
    known = {row["sample_index"] for row in rows}
    todo = [i for i in range(len(plan.subject.split)) if i not in known]
    began, started = time.perf_counter(), datetime.now(UTC).replace(tzinfo=None)
    fresh: list[dict[str, Any]] = []
    flushed, broken = began, sum(row["adversarial"] for row in rows)
    for tick_rows, share in _verdict_rows(plan, todo, stop):
        fresh += tick_rows
        rows += tick_rows
        if fresh and (time.perf_counter() - flushed > FLUSH_SECONDS or stop):
            partial.append(fresh)
            fresh, flushed = [], time.perf_counter()
        broken += sum(row["adversarial"] for row in tick_rows)
        watch(Progress(len(rows), len(plan.subject.split), broken, (len(known) + share * len(todo)) / len(plan.subject.split)))
    if len(rows) < len(plan.subject.split):
        return Outcome(None, fresh=True)
    rows.sort(key=lambda row: row["sample_index"])
    seconds = float("nan") if known else time.perf_counter() - began  # an earlier process' time is not known
    path = store.write(_run_row(plan, rows, started, seconds, resumed=len(known)), rows)
    return Outcome(read_run(path), fresh=True)


def _verdict_rows(plan: Plan, todo: list[int], stop: StopFlag) -> Iterator[tuple[list[dict[str, Any]], float]]:
    """The cascade over the samples to do, as rows of the samples table."""
    if not todo:
        return
    split = plan.subject.split.take(torch.tensor(todo, dtype=torch.int64, device=plan.device))
    model, width = plan.subject.model, _width(plan.config, plan.device)
    with frozen(model), deterministic():
        cascade = Cascade(model, split, plan.threat, plan.entries, seed=plan.config.seed, width=width)
        ids, labels = split.ids.tolist(), split.labels.tolist()
        for tick in cascade.run(stop=lambda: bool(stop)):
            yield [_sample_row(plan, v, todo[v.sample], ids[v.sample], labels[v.sample]) for v in tick.verdicts], tick.progress


def _width(config: AttackConfig, device: torch.device) -> int:
    return config.batch_size or default_batch_size(device)


def _sample_row(plan: Plan, v: Verdict, index: int, sample_id: int, label: int) -> dict[str, Any]:
    broken_by = "clean" if v.entry == CLEAN else plan.entries[v.entry].spec if v.entry >= 0 else None
    return {
        "run_id": plan.run_id, "sample_id": sample_id, "sample_index": index, "label": label,
        "clean_pred": v.clean_pred, "clean_margin": v.clean_margin, "clean_pmargin": v.clean_pmargin,
        "adv_pred": v.adv_pred, "adv_margin": v.adv_margin, "adv_pmargin": v.adv_pmargin,
        "clean_correct": v.entry != CLEAN, "adversarial": v.adversarial, "robust": not v.adversarial,
        "dist_linf": v.linf, "dist_l2": v.l2, "broken_by": broken_by,
        "broken_variant": v.variant if v.variant >= 0 else None, "first_success_step": v.step if v.step >= 0 else None,
        "n_forward": v.forwards, "n_backward": v.backwards, "status": v.status,
    }  # fmt: skip


def _run_row(plan: Plan, rows: list[dict[str, Any]], started: datetime, wall: float, resumed: int) -> dict[str, Any]:
    subject, config, facts = plan.subject, plan.config, provenance()
    trained = subject.trained.get("config", {})
    # Bit-equal verdicts at any width are proven on the CPU only, and other packages' attacks promise none.
    exact = plan.device.type == "cpu" and not any(isinstance(entry.attack, Backend) for entry in plan.entries)
    device_name = torch.cuda.get_device_name(plan.device) if plan.device.type == "cuda" else facts["cpu"]
    return {
        "schema_version": SCHEMA_VERSION, "run_id": plan.run_id, "status": "done", "started_at": started,
        "finished_at": datetime.now(UTC).replace(tzinfo=None),
        "model": subject.label,
        "model_arch": subject.arch, "model_hash": subject.hash,
        "loss": trained.get("loss"), "train_seed": trained.get("seed"),
        "data": plan.data, "split": config.split, "data_hash": subject.split.fingerprint(),
        "subset": None if config.limit is None else f"first={config.limit}",
        "norm": plan.threat.norm, "eps": plan.threat.eps, "threat": plan.threat.text,
        "attack": plan.attack, "attack_params": json.dumps(full_specs(plan.entries)), "seed": config.seed,
        **summarise(rows), "wall_s": wall, "batch_size": _width(config, plan.device),
        "git_sha": facts["git_sha"], "git_dirty": facts["git_dirty"], "robbench_version": facts["packages"]["robbench"],
        "python_version": facts["python"], "torch_version": facts["packages"]["torch"],
        "device": str(plan.device), "device_name": device_name, "deterministic": exact,
        "config": json.dumps(dataclasses.asdict(config)), "provenance": json.dumps({**facts, "resumed_samples": resumed}),
    }  # fmt: skip
