"""Tests mirror the tree: the test of robbench/a/b.py is tests/a/test_b.py."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONG = 30  # lines of a function or class, from which on it is tested in its own place
ELSEWHERE = {
    "analysis/certified.py": "the whole command: tests/tasks/test_certify.py",
    "api/certificates.py": "the whole command: tests/tasks/test_certify.py",
    "certifiers/layers.py": "through networks: tests/certifiers/test_bounds.py, "
    "tests/certifiers/test_trace.py",
    "certifiers/network.py": "through bounds: tests/certifiers/test_bounds.py",
    "certifiers/substitution.py": "through bounds: tests/certifiers/test_crown.py",
    "cli/attack.py": "the whole command: tests/tasks/attack",
    "cli/baseline.py": "the whole command: tests/cli/test_gate.py, tests/store/test_baseline.py",
    "cli/certify.py": "the whole command: tests/tasks/test_certify.py",
    "cli/inspect.py": "the whole command: tests/tasks/inspect",
    "cli/merge.py": "the whole command: tests/tasks/attack/test_merge.py",
    "cli/query.py": "the whole command: tests/analysis/test_query.py",
    "core/kernels.py": "through what calls it: tests/core/test_fused.py",
    "execution/task.py": "an interface: tests/execution/test_driver.py",
    "tasks/attack/entries.py": "cascades and their refusals: tests/catalogue/test_cascades.py",
    "tasks/attack/facts.py": "runs merged from them: tests/tasks/attack/test_merge.py",
    "tasks/attack/session.py": "whole attacks, killed and resumed: tests/tasks/attack/test_run.py",
    "tasks/check/plan.py": "whole checks, good and refused: tests/tasks/check/test_run.py",
    "tasks/gallery.py": "pictures of a whole report: tests/tasks/test_report.py",
    "tasks/inspect/record.py": "whole inspections: tests/tasks/inspect",
    "tasks/measure/measurer.py": "the whole command: tests/cli/test_measure.py",
    "tasks/measure/observer.py": "the whole command: tests/cli/test_measure.py",
    "tasks/measure/run.py": "the whole command: tests/cli/test_measure.py",
    "tasks/train/config.py": "settings only: tests/core/test_config.py",
    "tasks/train/saved.py": "models to start from, and teachers: tests/tasks/train",
    "testing/losses.py": "the suite itself: tests/conformance",
    "testing/steps.py": "the suite itself: tests/conformance",
    "threat/norm.py": "what every norm has to do: tests/threat/test_norms.py",
}
"""Modules without a test of that name, and where they are tested; `reports/html/` as a page."""


def _longest(path: Path) -> int:
    defined = (ast.FunctionDef, ast.ClassDef)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    sizes = [
        (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, defined)
    ]
    return max(sizes, default=0)


def _mirror(module: Path) -> Path:
    return ROOT / "tests" / module.parent / f"test_{module.name}"


def _unmirrored() -> set[str]:
    package = ROOT / "robbench"
    modules = [path.relative_to(package) for path in package.rglob("*.py")]
    return {
        module.as_posix()
        for module in modules
        if module.name != "__init__.py"
        and not _mirror(module).exists()
        and _longest(package / module) > LONG
        and module.parts[:2] != ("reports", "html")
    }


def test_tests_mirror_the_tree() -> None:
    """A long function has its test where it is looked for, or is on the list above."""
    assert _unmirrored() - ELSEWHERE.keys() == set()


def test_the_list_is_no_longer_than_it_has_to_be() -> None:
    """Who has a mirrored test by now, or is gone, leaves it; the places it names are there."""
    for name in ELSEWHERE:
        assert (ROOT / "robbench" / name).exists(), name
        assert not _mirror(Path(name)).exists(), name
    for reason in ELSEWHERE.values():
        places = reason.partition(": ")[2].split(", ")
        assert all((ROOT / place).exists() for place in places), reason
