"""Cross-entropy on test vectors that were computed by other means, in double precision."""

from __future__ import annotations

import pytest

from robbench.losses.cross_entropy import CrossEntropy


@pytest.mark.parametrize(
    ("which", "y", "value"),
    [("z", 0, 0.342350), ("z", 2, 1.842350), ("a", 0, 1.287339), ("a", 2, 0.787339)],
)
def test_cross_entropy_of_the_vectors(fake_step, request, which, y, value):
    """Cross-entropy is logsumexp(z) - z_y."""
    logits = request.getfixturevalue(which)
    assert CrossEntropy()(fake_step(logits, [y])).tolist() == pytest.approx([value], abs=1e-5)


def test_cross_entropy_looks_at_the_inner_attack_when_there_is_one(fake_step, z, a):
    """With an inner attack cross-entropy is taken at the adversarial point, without one at the
    clean point.
    """
    assert CrossEntropy()(fake_step(z, [0], a, plain=False)).item() == pytest.approx(
        1.287339, abs=1e-5
    )
    assert CrossEntropy()(fake_step(z, [0], a, plain=True)).item() == pytest.approx(
        0.342350, abs=1e-5
    )
