"""The commands as functions: same names, same results on disk, nothing printed.

Messages go to the logger `robbench`, progress to a callback. Ctrl-C keeps finished work and raises
KeyboardInterrupt; the same call goes on where it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from robbench.analysis.gate import GateFinding
from robbench.analysis.gate_checks import Tolerances
from robbench.api.arguments import (
    LAST_SEED,
    number,
    optional_number,
    optional_whole,
    seconds,
    texts,
    whole,
)
from robbench.api.progress import Log, Progress, interruptible, silent
from robbench.api.results import Names, models_of, names_of
from robbench.api.runs import given
from robbench.api.specs import (
    AttackLike,
    LossLike,
    ModelLike,
    inner_text,
    loss_text,
    model_text,
)
from robbench.api.wording import pythonic
from robbench.core.errors import UserError
from robbench.tasks.cascade import Suggested, suggest_cascade
from robbench.tasks.check.run import check as check_target
from robbench.tasks.gate.run import gate as decide
from robbench.tasks.measure.observer import TRAIN_SAMPLES
from robbench.tasks.measure.rows import plain_rows
from robbench.tasks.measure.run import measure as measure_runs
from robbench.tasks.train.listen import run_training
from robbench.tasks.train.plan import plan_training
from robbench.tasks.train.run import Trained
from robbench.tasks.train.settings import settings_by_name

if TYPE_CHECKING:
    import pandas as pd


def folder(path: Path | str | None) -> Path | None:
    """A path that may be a text, or left out."""
    return None if path is None else Path(path)


@pythonic
def train(
    loss: LossLike | None = None,
    *,
    data: str | None = None,
    model: ModelLike | None = None,
    from_model: str | None = None,
    teacher: str | None = None,
    inner: AttackLike | None = None,
    threat: str | None = None,
    name: str | None = None,
    recipe: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    limit: int | str | None = None,
    device: str = "auto",
    out: Path | str = "runs",
    data_dir: Path | str | None = None,
    download: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Trained:
    """Train a model, as `robbench train` does; `settings` are any others of a recipe, such as `lr`.

    loss, inner: specs, or objects or classes of your own, which are in a module. model: a spec, or
    the class or function that makes it.
    Returns the folder of the model, its config and a row per epoch; `fresh` is False where it was
    trained before. Raises UserError for what cannot work, before anything is written.
    """
    settings |= given(
        loss=loss_text(loss),
        data=data,
        model=model_text(model),
        from_model=from_model,
        teacher=teacher,
        inner=inner_text(inner),
        threat=threat,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        limit=limit,
    )
    config = settings_by_name(settings, recipe=recipe, out=Path(out))
    plan = plan_training(
        config,
        name=name,
        out=Path(out),
        device=device,
        data_dir=folder(data_dir),
        download=download,
    )
    with interruptible():
        return run_training(plan, Log(progress or silent), force=force)


@pythonic
def measure(
    runs: Names = (),
    *,
    model: str | None = None,
    train_samples: int = TRAIN_SAMPLES,
    device: str = "auto",
    out: Path | str = "runs",
    data_dir: Path | str | None = None,
    download: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Measure finished runs, as `robbench measure` does: margins, gradients, features, calibration.

    Returns one row per measure and run. model: the place of a run's model if it was moved. Raises
    UserError where no run's model and data are what they were.
    """
    import pandas as pd

    found = measure_runs(
        names_of(runs),
        model=model,
        train_samples=whole("train_samples", train_samples),
        out=Path(out),
        device=device,
        data_dir=folder(data_dir),
        download=download,
        force=force,
        listener=Log(progress or silent),
    )
    return pd.DataFrame([row for one in found for row in plain_rows(one.info, one.measures)])


@pythonic
def check(
    target: str,
    *,
    source: str | None = None,
    model: str | None = None,
    threat: str | None = None,
    data: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    seed: int | None = None,
    device: str = "auto",
    out: Path | str = "runs",
    data_dir: Path | str | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Check a run or a model for masked gradients and weak attacks, as `robbench check` does.

    Returns one row per check: `verdict` is pass, fail, unclear or skipped; `.attrs["edited"]` says
    how the run's row contradicts its samples, `.attrs["failed"]` whether it does or a check of
    severity error failed, where the command ends with 1. source: a model to transfer from. model:
    that of the run, if it is no longer under its name in `out`. limit: how many samples are asked
    about. Raises UserError for a target that is neither a run nor a model,
    and where model or data have changed since the run.
    """
    import pandas as pd

    [target] = models_of([target])
    threats = None if threat is None else [threat]
    done = check_target(
        target,
        given(threat=threats, data=data, split=split, seed=seed, limit=limit),
        source=source,
        model=model,
        out=Path(out),
        device=device,
        data_dir=folder(data_dir),
        download=download,
        listener=Log(progress or silent),
    )
    found = pd.DataFrame(done.rows)
    found.attrs |= {"subject": done.plan.name, "edited": done.edited, "failed": done.failed}
    return found


@pythonic
def gate(
    model: str | None = None,
    *,
    candidate: str | None = None,
    baseline: str | None = None,
    branch: str | None = None,
    against: str | None = None,
    max_drop: float | None = 1.0,
    max_clean_drop: float | None = None,
    max_margin_drop: float | None = None,
    max_class_drop: float | None = None,
    alpha: float = 0.05,
    these_samples: bool = False,
    undecided: Literal["fail", "pass"] = "fail",
    max_time: str | float | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: str = "auto",
    out: Path | str = "runs",
    data_dir: Path | str | None = None,
    download: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> GateFinding:
    """Did robustness drop against the baseline? As `robbench gate`; `.verdict` is the answer.

    It is pass, regression or undecided. model: attacked until that is decided; candidate: a
    finished run instead. baseline: the run to compare with, else the one that was set (for branch,
    if given). against: `last:N` instead, each of the last N runs of the candidate's name (or of
    baseline). Drops are in points of accuracy (per cent), the margin's in its own units.
    undecided: "pass" makes `.exit_code` 0 where the samples do not tell, else it is 4.
    max_time: seconds, or a text such as `2m`.
    Raises UserError for runs that must not be compared.
    """
    if undecided not in ("fail", "pass"):
        raise UserError(f"undecided {undecided!r} should be 'fail' or 'pass'")
    tolerances = Tolerances.in_points(
        robust=optional_number("max_drop", max_drop),
        clean=optional_number("max_clean_drop", max_clean_drop),
        per_class=optional_number("max_class_drop", max_class_drop),
        margin=optional_number("max_margin_drop", max_margin_drop),
        alpha=number("alpha", alpha),
        these_samples=these_samples,
        undecided_passes=undecided == "pass",
    )
    with interruptible():
        return decide(
            tolerances,
            candidate=candidate,
            model=model,
            baseline=baseline,
            branch=branch,
            against=against,
            out=Path(out),
            seed=whole("seed", seed, 0, LAST_SEED),
            batch_size=optional_whole("batch_size", batch_size, 1),
            max_time=seconds(max_time),
            device=device,
            data_dir=folder(data_dir),
            download=download,
            force=force,
            listener=Log(progress or silent),
        )


@pythonic
def cascade_suggest(
    runs: Names = (),
    *,
    where: Names = (),
    max_queries: int | None = None,
    seed: int = 0,
    toml: Path | str | None = None,
    force: bool = False,
    out: Path | str = "runs",
) -> Suggested:
    """The cascade that breaks most samples per query, as `robbench cascade suggest`.

    `.found.attacks` are its specs, `.found` how it does on held-out samples, `.fields()` all of it.
    where: conditions that runs meet. max_queries: forwards and backwards of a survivor at most.
    seed: decides which half of the samples chooses. toml: a file to write, replaced with force.
    Raises UserError for runs that do not fit together, and for too few samples or attacks.
    """
    return suggest_cascade(
        names_of(runs),
        Path(out),
        where=texts("where as text", where),
        max_queries=optional_whole("max_queries", max_queries, 1),
        seed=whole("seed", seed, 0, LAST_SEED),
        file=folder(toml),
        force=force,
    )
