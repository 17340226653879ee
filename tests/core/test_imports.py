"""Private code is imported from the current folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from robbench.core.imports import import_target


def test_code_of_the_current_folder_imports_more_of_it_later(
    module: Callable[[str, str], None], tmp_path: Path
) -> None:
    """Functions import when called. For a module elsewhere the import path stays as it was."""
    before = list(sys.path)
    import_target("tests.core.test_imports:import_target", "model")
    assert sys.path == before
    module("private_helper_one", "value = 3\n")
    module(
        "private_model_one",
        "def make():\n    import private_helper_one\n    return private_helper_one.value\n",
    )
    make = import_target("private_model_one:make", "model")
    assert make() == 3
    assert sys.path == [*before, str(tmp_path)]
