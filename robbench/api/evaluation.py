"""The result of an evaluation: numbers, samples, worst inputs, and checks of them."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robbench.api.arguments import whole
from robbench.api.wording import pythonic
from robbench.reports import texts
from robbench.reports.audit import audit
from robbench.store.run import Run

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from robbench.api.progress import Progress
    from robbench.store.store import Store
    from robbench.tasks.attack.plan import AttackPlan


class Evaluation:
    """A model on some samples under one threat model: what `evaluate` and `attack` return.

    `run` has the rows that a runs file and a samples file hold, `path` is that runs file, None
    where nothing was written; `plan` says what was asked. Rates are in [0,1].
    """

    def __init__(
        self,
        run: Run,
        plan: AttackPlan,
        *,
        points: Sequence[dict[str, Any]] | None = None,
        path: Path | None = None,
    ) -> None:
        self.run = run
        self.path = path
        self.plan = plan
        self._points = points
        self._checks: list[dict[str, Any]] = []

    @property
    def info(self) -> dict[str, Any]:
        """The run's row of the runs table: every number, the settings and the provenance."""
        return self.run.info

    @property
    def clean_accuracy(self) -> float:
        """Share of samples that are classified correctly without perturbation."""
        return float(self.info["clean_accuracy"])

    @property
    def robust_accuracy(self) -> float | None:
        """Share of samples for which no attack found a misclassified point; None without a budget.

        With a target: for which no point predicted as the target was found. An upper bound: an
        attack that fails proves nothing.
        """
        found: float | None = self.info["robust_accuracy"]
        return found

    @property
    def robust_accuracy_interval(self) -> tuple[float, float] | None:
        """Lower and upper end of its 95 % interval (Wilson); None without a budget."""
        low, high = self.info["robust_accuracy_low"], self.info["robust_accuracy_high"]
        return None if low is None else (low, high)

    @property
    def adversarial_ratio(self) -> float:
        """Share of samples with a misclassified point in the threat model, clean ones included.

        With a target: the targeted success rate.
        """
        return float(self.info["adversarial_ratio"])

    @property
    def samples(self) -> pd.DataFrame:
        """One row per sample, in their order, with the columns of the samples table."""
        frame: pd.DataFrame = self.run.samples.to_pandas()
        return frame

    @property
    def margins(self) -> pd.DataFrame:
        """Logit margins of each sample, positive = correct: clean, and worst found in the budget.

        With a target: positive = the target is not predicted.

        The index is the sample's position. An attack stops at its first success, so a negative
        worst margin says that the sample fell, not how deep.
        """
        columns = ["label", "clean_margin", "adv_margin"]
        return self.samples.set_index("sample_index")[columns]

    @property
    def flags(self) -> dict[str, str]:
        """What to know before believing the numbers, by the name of the flag."""
        said: dict[str, list[str]] = {}
        for flag in json.loads(self.info["flags"] or "[]"):
            said.setdefault(flag["name"], []).append(flag["text"])
        return {name: "; ".join(found) for name, found in said.items()}

    @property
    @pythonic
    def points(self) -> Tensor:
        """The worst inputs [N,C,H,W] found, float32 in [0,1], in the order of `samples`.

        A sample's own clean input where the attacks came to no worse one. Raises UserError for a
        run that kept none.
        """
        from robbench.tasks.attack.points import decode

        split = self.plan.subject.split
        clean = split.pixels(slice(None)).clone()
        place = {sample: i for i, sample in enumerate(split.ids.tolist())}
        for row in self._point_rows():
            i = place[row["sample_id"]]
            clean[i] = decode({"run_id": self.info["run_id"], **row}, clean[i])
        return clean

    @pythonic
    def check(self, *, limit: int | None = None, progress: Progress | None = None) -> pd.DataFrame:
        """Look for masked gradients and weak attacks: one row per check, as `robbench check` has.

        limit: how many samples are asked about. `verdict` is pass, fail, unclear or skipped.
        Nothing is written; `save` writes these rows with the run.
        """
        import pandas as pd

        from robbench.api.progress import silent
        from robbench.core.device import placed
        from robbench.tasks.check.plan import SLICE, CheckPlan, require_attacks
        from robbench.tasks.check.run import check_rows

        plan = self.plan
        require_attacks(plan.threats[0], self.run.info["run_id"])
        asked = CheckPlan(
            plan.subject,
            plan.threats[0],
            plan.data,
            plan.config.seed,
            self.run,
            self.path,
            points=self._points,
        )
        count = SLICE if limit is None else whole("limit", limit, 1)
        with placed(plan.subject.model, plan.device):
            self._checks = check_rows(asked, count, None, progress or silent)
        return pd.DataFrame(self._checks)

    @pythonic
    def save(self, out: Path | str = "runs") -> Path:
        """Write the files that `robbench attack` would have written; returns the runs file.

        `robbench show`, `compare` and `load_runs` find them there, with what `check` found, if it
        was called before: then the run counts as checked. A run that is there already, of the same
        model, samples, threat model and attacks, is left as it is but for its checks.
        """
        from robbench.api.progress import log
        from robbench.core.device import placed
        from robbench.store.from_rows import to_table
        from robbench.store.run import read_run
        from robbench.store.schema import POINTS
        from robbench.store.settled import settled
        from robbench.store.store import Store
        from robbench.tasks.check.after import check_after

        store, plan = Store(out), self.plan
        run_id, _ = settled(store, plan.identities[0], plan.subject.answers)
        if store.has(run_id):
            self._save_checks(store, run_id)
            return store.run_path(run_id)
        store.check_writable()
        samples = [{**row, "run_id": run_id} for row in self.run.samples.to_pylist()]
        points = [{**row, "run_id": run_id} for row in self._point_rows()]
        tables = [to_table(POINTS, points)] if plan.config.store_points else None
        with store.locked([run_id], say=log.info):
            path = store.write({**self.info, "run_id": run_id}, samples, tables)
        if not self._checks:
            with placed(plan.subject.model, plan.device):
                check_after(dataclasses.replace(plan, run_ids=(run_id,)), [read_run(path)], store)
        self._save_checks(store, run_id)
        return path

    def _save_checks(self, store: Store, run_id: str) -> None:
        """Write what `check` found, if it was called, in place of earlier checks of the run."""
        from robbench.api.progress import log

        if self._checks:
            rows = [{**row, "subject": run_id, "run_id": run_id} for row in self._checks]
            with store.locked([run_id], say=log.info):
                store.write_checks(run_id, rows)

    def _point_rows(self) -> Iterable[dict[str, Any]]:
        """The rows of the points table. Raises UserError for a run that kept none."""
        from robbench.store.run import read_points

        return read_points(self.path) if self._points is None and self.path else self._points or ()

    def __len__(self) -> int:
        return len(self.run.samples)

    def __repr__(self) -> str:
        lines = [f"  {label + ':':<18} {text}" for label, text in self._lines()]
        return "\n".join([self._title(), *lines])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(label)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for label, text in self._lines()
        )
        return f"<table><caption>{html.escape(self._title())}</caption>{rows}</table>"

    def _title(self) -> str:
        info = self.info
        return (
            f"{info['model']} on {info['data']}, {info['n_samples']} samples, "
            f"under {info['threat']} by {info['attack']}"
        )

    def _lines(self) -> list[tuple[str, str]]:
        """What a person wants to know first, a label and a text each."""
        info = self.info
        clean = f"{texts.percent(self.clean_accuracy)} {texts.interval(info, 'clean_accuracy')}"
        robust, adversarial = texts.rates(info)
        lines = [
            ("clean accuracy", clean),
            (robust, texts.robust(info)),
            (adversarial, texts.percent(texts.adversarial(info))),
            ("logit margin", f"median {texts.margins(info)}"),
            ("queries", f"{texts.queries(info)} per sample (forwards + backwards)"),
        ]
        if rejected := texts.rejections(info):
            lines.insert(2, ("rejected", f"{rejected} (under attack)"))
        if info["n_unfinished"]:
            lines.append(("unfinished", texts.unfinished(info)))
        if said := audit(info):
            lines.append(("audit", said.removeprefix("audit: ")))
        return [*lines, *((f"flag {name}", text) for name, text in self.flags.items())]
