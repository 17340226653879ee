"""What the section about the features says where nothing was measured."""

from __future__ import annotations

from robbench.reports.html.data import ReportData
from robbench.reports.html.sections.spectrum import spectrum


def test_only_runs_that_can_be_measured_are_named(add_run):
    """A model that was in memory is nowhere to be found, so that no command is advised for it."""
    held = {"model_arch": "torch.nn:Sequential", "loss": None, "model_source": "net"}
    named = add_run("a" * 12)[1]
    memory = add_run("b" * 12, model="net", model_hash="net", **held)[1]
    both, alone = (spectrum(ReportData(runs)).missing(None) for runs in ([named, memory], [memory]))
    assert both == f"Nothing was measured: robbench measure {'a' * 12}"
    assert alone == (
        "Nothing was measured: the models of these runs were in memory, where no command finds them"
    )
