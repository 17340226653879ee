"""A gate takes a finished run or a model, and one of them only."""

from __future__ import annotations

from pathlib import Path

import pytest

from robbench.analysis.gate_checks import Tolerances
from robbench.core.errors import UserError
from robbench.tasks.gate.run import gate


@pytest.mark.parametrize("given", [{}, {"candidate": "ce", "model": "ce"}])
def test_one_of_both(tmp_path: Path, given: dict[str, str]) -> None:
    """Anything else is bad input."""
    with pytest.raises(UserError, match="either a candidate"):
        gate(Tolerances(), out=tmp_path, **given)


def test_a_run_passes_against_itself_and_so_does_its_model(baseline_path: Path) -> None:
    """Both ways say the same of the same samples."""
    tolerances, out = Tolerances(these_samples=True), baseline_path.parents[2]
    run = gate(tolerances, candidate=baseline_path.stem, baseline=baseline_path.stem, out=out)
    model = gate(tolerances, model="at", baseline=baseline_path.stem, out=out, device="cpu")
    assert (run.verdict, run.exit_code) == (model.verdict, model.exit_code) == ("pass", 0)
    assert run.checks[0].drop == model.checks[0].drop == 0
    assert run.seen == run.total
