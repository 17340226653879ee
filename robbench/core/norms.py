"""The names of the norms that perturbations are measured in (`threat/norms.py`). Needs no torch."""

from __future__ import annotations

NORMS = ("linf", "l2", "l1", "l0", "l0px")
COUNTS = ("l0", "l0px")
"""Those whose sizes are numbers of entries or pixels, `Norm.counts`."""
