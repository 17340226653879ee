"""The largest radius that a method proves of a sample, by bisection."""

from __future__ import annotations

import math

from robbench.certifiers.base import Certificate, Prove, Sample

RESOLUTION = 1e-3
"""By how much one radius that is tried is larger than the next, as a share."""
SMALLEST = 1e-6
"""The smallest radius that is tried, in units of that of the whole box."""
_LAST = math.ceil(math.log(1 / SMALLEST, 1 + RESOLUTION))


def with_largest_radius(prove: Prove, sample: Sample) -> Certificate:
    """The certificate of a sample without a budget: its radius is the largest that is proven.

    Radii are w / 1.001^k, where w reaches the whole box: 1 in linf, sqrt(d) in l2; down to 1e-6 w.
    About 14 are tried. The one returned was proven itself, as it is for a budget of that size, so
    that the resolution is 0.1 %; 0 where none was, or where the sample is misclassified. certified:
    the whole box is. A bound that is not monotone in the budget may also prove larger ones.
    """
    step = 1 + RESOLUTION
    whole = 1.0 if sample.norm == "linf" else math.sqrt(sample.x[0].numel())
    unproven, proven, n_forward = -1, _LAST + 1, 0
    while True:
        k = (unproven + proven) // 2
        found = prove(sample._replace(eps=whole / step**k))
        n_forward += found.n_forward
        unproven, proven = (unproven, k) if found.certified else (k, proven)
        if proven - unproven == 1 or found.predicted != sample.label:
            break
    radius = 0.0 if proven > _LAST else whole / step**proven
    return Certificate(found.predicted, proven == 0, None, radius, n_forward)
