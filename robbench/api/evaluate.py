"""Evaluate a model in memory on samples in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from robbench.api.arguments import seconds, whole
from robbench.api.evaluation import Evaluation
from robbench.api.progress import Progress, log, silent
from robbench.api.runs import given, run_plans
from robbench.api.specs import Attacks, Outputs, attack_texts, output_options
from robbench.api.wording import pythonic
from robbench.core.device import placed
from robbench.core.errors import UserError
from robbench.core.spec import validate
from robbench.core.threat_text import COLUMN, parse_target
from robbench.data.base import Split
from robbench.data.labels import MOST_CLASSES
from robbench.data.load import load
from robbench.data.memory import Images, Samples, read_samples, with_fixed, with_targets
from robbench.models.create import create
from robbench.models.estimator import Predicts, as_module
from robbench.models.external import count_classes
from robbench.models.function import Function
from robbench.models.outputs.options import AS_THEY_ARE, OutputOptions
from robbench.store.from_rows import samples_table, to_table
from robbench.store.run import Run
from robbench.store.schema import RUNS, SCHEMA_VERSION
from robbench.store.store import Store
from robbench.tasks.attack.audit_pass import AuditPass
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.plan import AttackPlan, plan_subject
from robbench.tasks.attack.progress import audit_share
from robbench.tasks.attack.session import AttackSession
from robbench.tasks.attack.threats import parse_threats
from robbench.tasks.model_folder import read_model
from robbench.tasks.model_names import find_folder
from robbench.tasks.subject import Subject, info_without_statistics, subject_in_memory
from robbench.tasks.train.naming import NAME
from robbench.threat.model import ThreatModel

GIVEN = f"{COLUMN}targets"  # what an array of targets is called
USUAL_ATTACK = "autoattack-lite"

Model: TypeAlias = nn.Module | Callable[[Any], Any] | Predicts


@pythonic
def evaluate(
    model: Model,
    images: Images | str,
    labels: Any = None,
    threat: str = "linf:8/255",
    attack: Attacks = (),
    *,
    audit: int | None = None,
    audit_attack: Attacks = (),
    adaptive: bool = False,
    target: Any = None,
    fixed: Any = None,
    classes: int | Sequence[str] | None = None,
    outputs: Outputs | None = None,
    name: str | None = None,
    limit: int | str | None = None,
    split: str = "test",
    seed: int = 0,
    batch_size: int | None = None,
    max_time: str | float | None = None,
    max_queries: int | None = None,
    device: str | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
    out: Path | str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Attack a model and give back what was found; nothing is written unless `out` is given.

    model: a module, or a function, from images [B,C,H,W] in [0,1] to logits [B,K]. It is judged in
    evaluation mode; its weights, modes, gradients and device are left as they were. Or a function
    of NumPy arrays to scores [B,K], probabilities or classes [B], or an estimator of scikit-learn:
    these are attacked by scores or classes alone, as with `attack="square"` or `"hopskipjump"`.
    images, labels: tensors or arrays, uint8 (0 to 255) or floats in [0,1], with one class number
    each; or a Dataset or DataLoader of such pairs; or the name of a data set such as `cifar10`,
    with its `split`, fetched where it is not there and `download` says so.
    threat: such as `linf:8/255`, `l2:0.5`, or `l2:inf` for the smallest perturbation; or
    `corruption:fog@3`, which takes no attack.
    attack: a spec such as `apgd:steps=50`, a cascade, a TOML file, an attack of your own
    (an object or its class), or a list of these, which form one worst case per sample; by default
    `autoattack-lite`.
    audit: so many of the samples that no attack broke, drawn at random, get audit_attack (by
    default `autoattack`) too; `info` has what that shows (`audit_missed_high`,
    `robust_accuracy_audited`). adaptive: all of them get it where gradients look masked.
    target: the class that alone is a success, a number or a name; `least-likely`, `random`, or an
    array with a class for each sample; by default any mistake is a success.
    fixed: what no attack may change: the numbers of features, or a boolean mask of an input's
    shape, true where an entry is fixed.
    classes: how many there are, or their names; by default what the Dataset or the model has.
    outputs: how the model's outputs are read, where they are not one logit per class: "probs",
    (3, 8) or an `OutputOptions` that also says what further outputs mean.
    limit: only the first N samples; `stratified=N` takes of every class.
    max_time: seconds, or a text such as `2m`. max_queries: forwards per sample, the clean one
    included; backwards and re-checks of points found come on top.
    batch_size: rows in flight; no verdict of our own attacks depends on it.
    out: write the run there as `robbench attack` does; then a stopped evaluation goes on when it is
    called again.

    Raises UserError for images outside of [0,1], shapes or labels that do not fit, outputs that are
    no logits, and unknown attacks. What the model or an own attack raises passes.
    """
    module = as_module(model)
    if not isinstance(threat, str):
        raise UserError(f"threat {threat!r}: write NORM:EPS such as linf:8/255 or l2:0.5")
    if force and out is None:
        raise UserError("force replaces a run of out: give out, or leave out force")
    goal = target_text(target)
    threats = [one for group in parse_threats([threat], goal) for one in group]
    if len(threats) > 1:
        raise UserError(f"threat {threat} is {len(threats)} threat models: evaluate takes one")
    config = validate(
        AttackConfig,
        given(
            attack=attack_texts(attack or (() if threats[0].corruption else USUAL_ATTACK)),
            audit=audit,
            audit_attack=attack_texts(audit_attack),
            adaptive=adaptive,
            threat=[threat],
            target=goal,
            data=images if isinstance(images, str) else "memory",
            split=split,
            limit=limit,
            seed=seed,
            batch_size=batch_size,
            store_points=True,
            max_time=seconds(max_time),
            max_queries=max_queries,
        ),
        "evaluate",
    )
    options = output_options(outputs)
    with placed(module, device) as where:
        if isinstance(images, str):
            require_named_alone(images, labels, classes)
            if fixed is not None:
                raise UserError(f"fixed entries of {images} are an option of it: fixed=(...)")
            if goal == GIVEN:
                raise UserError(f"targets for {images}: name a column of it, target='column:NAME'")
            folder = None if data_dir is None else Path(data_dir)
            samples = load(images, split, data_dir=folder, limit=config.limit, download=download)
        else:
            found = read_samples(images, labels)
            if goal == GIVEN:
                found = with_targets(found, target)
            names = _counted_names(classes, found, module, where, options)
            samples = found.split(names, split=split, limit=config.limit)
            if fixed is not None:
                samples = with_fixed(samples, fixed)
        plan = _plan(module, samples.to(where), threats, config, name, out, options)
        if out is None:
            return _decide(plan, progress or silent)
        return run_plans([plan], Store(out), force=force, progress=progress or silent)[0]


def require_named_alone(data: str, labels: Any, classes: Any) -> None:
    """Raise UserError for labels or classes beside the name of a data set, which has both."""
    if labels is not None:
        raise UserError(f"the data set {data} has its labels itself: leave out labels")
    if classes is not None:
        raise UserError(f"the data set {data} names its classes itself: leave out classes")


def target_text(target: Any) -> str | None:
    """A target as the command line has it; of an array the column that its values become."""
    if target is None or isinstance(target, str):
        return target if target is None else parse_target(target)
    if isinstance(target, int) and not isinstance(target, bool):
        return str(target)
    return GIVEN


def named_classes(classes: int | Sequence[str]) -> list[str]:
    """The names of classes; where their number is given, these are the numbers from 0.

    Raises UserError for fewer than two, and for a name that is given twice.
    """
    if not isinstance(classes, Iterable) or isinstance(classes, str):
        return [str(n) for n in range(whole("classes", classes, 2, MOST_CLASSES))]
    names = [str(name) for name in classes]
    if len(set(names)) < max(2, len(names)):
        raise UserError("classes should be how many there are, or at least two names")
    return names


def class_names(
    classes: int | Sequence[str] | None, samples: Samples, count: Callable[[], int]
) -> Sequence[str]:
    """The names that were given, as `named_classes`, or the data's; else `count` numbers from 0."""
    if classes is not None:
        return named_classes(classes)
    return samples.classes or [*map(str, range(count()))]


def _counted_names(
    classes: int | Sequence[str] | None,
    samples: Samples,
    model: nn.Module,
    device: torch.device,
    options: OutputOptions,
) -> Sequence[str]:
    """The names that were given, or the data's; else numbers, as many as the model has outputs.

    Raises UserError where the model has another number of outputs, and nothing says what they mean:
    one more may be a rejection.
    """
    x = samples.split(["0"] * samples.count()).pixels(slice(0, 1)).to(device)
    outputs = count_classes(model, torch.cat([x, x]))
    # A function that names classes does not say of how many: there are 0.
    names = class_names(classes, samples, lambda: options.count(outputs) or samples.count())
    if options == AS_THEY_ARE and outputs not in (0, len(names), len(names) + 1):
        raise UserError(
            f"the model has {outputs} outputs, there are {len(names)} classes: give classes, or "
            "say which outputs they are, as in outputs=(3, 8)"
        )
    return names


def _plan(
    model: nn.Module,
    split: Split,
    threats: Sequence[ThreatModel],
    config: AttackConfig,
    name: str | None,
    out: Path | str | None,
    options: OutputOptions,
) -> AttackPlan:
    name = name or module_name(model)
    if not NAME.fullmatch(str(name)):
        raise UserError(
            f"name '{name}': use letters, digits, '.', '_' and '-', starting with a letter or digit"
        )
    data = str(config.data)
    spec = None if data == "memory" else data

    def find(source: str) -> Subject:
        folder, which = find_folder(source, Store(out or "runs"))
        if folder is None:
            with torch.random.fork_rng([]):
                torch.manual_seed(config.seed)
                other: nn.Module = create(source, info_without_statistics(split), of=split.whole)
        else:
            other, _ = read_model(folder, which, split.labels.device)
        return subject_in_memory(other.to(split.labels.device), split, source, spec)

    return plan_subject(
        subject_in_memory(model, split, name, spec, options),
        threats,
        config,
        data=data,
        store=None if out is None else Store(out),
        device=split.labels.device,
        find=find,
    )


def module_name(model: nn.Module) -> str:
    """The name of its class or function, where it has one."""
    kind = model.function if isinstance(model, Function) else type(model)
    found = str(getattr(kind, "__name__", type(kind).__name__))
    return found if NAME.fullmatch(found) else "model"


def _decide(plan: AttackPlan, progress: Progress) -> Evaluation:
    """The verdicts of a plan with one threat model, in memory."""
    session, rows = AttackSession(plan, {}), list[dict[str, Any]]()
    points: dict[int, dict[str, Any]] = {}  # by sample id: that of an audit replaces an earlier one
    session.inspect()
    size, part = len(plan.subject.split), audit_share(plan)
    for fresh in session.decide(range(size), lambda: False):
        rows += [row for _, row in fresh.rows]
        points |= {row["sample_id"]: row for _, row in fresh.points}
        progress(session.progress * (1 - part), f"{len(rows)}/{size} decided")
    if plan.audit is not None:
        second = AuditPass(session, [rows], say=log.info)
        for fresh in second.run(lambda: False):
            points |= {row["sample_id"]: row for _, row in fresh.points}
            drawn, done, _ = second.counts
            progress(1 - part + part * second.share, f"{done}/{drawn} audited")
        (rows,) = second.rows()
    rows.sort(key=lambda row: row["sample_index"])
    row = session.run_row(0, rows, wall=session.seconds)
    (info,) = to_table(RUNS, [row], schema_version=SCHEMA_VERSION, status="done").to_pylist()
    return Evaluation(
        Run(info, samples_table(info["run_id"], rows)), plan, points=[*points.values()]
    )
