"""The reference AutoAttack, set for norms and for few classes."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from robbench.attacks.pyautoattack import PyAutoAttack
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("norm", "large", "targets"), [("l1", True, 4), ("l2", False, 4)])
def test_pyautoattack_in_l1_is_set_as_its_standard_version(
    norm: str, large: bool, targets: int, linear: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its APGD starts at three times eps, and there are never more targets than wrong classes."""
    package = pytest.importorskip("pyautoattack")
    seen = []

    def record(self: Any, x: Tensor, y: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        seen.append(
            (
                self.norm,
                self.apgd.use_largereps,
                self.apgd_targeted.use_largereps,
                self.apgd_targeted.n_target_classes,
            )
        )
        return x, y

    monkeypatch.setattr(package.AutoAttack, "run_standard_evaluation", record)
    model, p, _ = linear(norm)
    for version in ("standard", "apgd-t"):
        ATTACKS.build(f"pyautoattack:version={version}").run(model, p, seed=0)
    assert seen == [(norm.upper(), large, large, targets)] * 2


def test_the_reference_package_is_adapted_to_few_classes() -> None:
    """Attacks whose loss needs more classes are left out; a single one is refused."""
    assert PyAutoAttack().attacks(10) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert PyAutoAttack().attacks(3) == ["apgd-ce", "fab-t", "square"]
    assert PyAutoAttack(version="rand").attacks(2) == ["apgd-ce"]
    with pytest.raises(UserError, match="needs more than 3 classes"):
        PyAutoAttack(version="apgd-t").attacks(3)
