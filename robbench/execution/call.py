"""Makes the call that a task describes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from robbench.execution.task import Task


def call(task: Task) -> Mapping[str, Any]:
    """What the task's function returns for its payload; what it raises passes through."""
    module, _, name = task.call.partition(":")
    function = getattr(importlib.import_module(module), name)
    result: Mapping[str, Any] = function(dict(task.payload))
    return result
