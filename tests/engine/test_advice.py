"""A hint names what a run has not done yet, and nothing else."""

from __future__ import annotations

import pytest
import torch

from robbench.catalogue.builtins import ATTACKS
from robbench.core.tiles import Tiles
from robbench.engine.advice import HINTS, MARGIN, TEXTS, kinds
from robbench.engine.flags import afterwards
from robbench.engine.inspection import inspect


@pytest.mark.parametrize(
    ("specs", "found"),
    [
        (["pgd", "apgd"], {"apgd"}),
        (["apgd:objective=margin"], {"apgd", MARGIN}),
        (["apgd-t"], {"apgd", MARGIN}),
        (["square"], {"square"}),
        (["hopskipjump", "noise"], {"hopskipjump"}),
        (["fab", "cw", "deepfool", "fmn"], {MARGIN}),
        (["ddn", "fgsm"], set()),
        (["eot:attack=(pgd:objective=dlr)"], {"eot", MARGIN}),
        (["transfer:source=x,attack=(apgd:objective=margin)"], {"transfer", "apgd"}),
        (["minimal:attack=(pgd:objective=margin)"], {MARGIN}),
        (["minimal:attack=(square)"], {"square"}),
        (["pyautoattack"], {"apgd", MARGIN, "square"}),
        (["pyautoattack:version=apgd-ce"], {"apgd"}),
        (["pyautoattack:version=square"], {"square"}),
    ],
)
def test_what_attacks_are(specs: list[str], found: set[str]) -> None:
    """Of our own, around another one, and of the package."""
    assert kinds([ATTACKS.build(spec) for spec in specs]) == found


@pytest.mark.parametrize("name", HINTS)
def test_nothing_that_was_done_is_advised(name: str) -> None:
    """Whichever part of what is wanted was done, the rest is named and it is not."""
    hint = HINTS[name]
    for done in ([], hint.wanted[:1], hint.wanted[-1:], hint.wanted):
        text = hint.text(done)
        assert "{" not in text
        for kind in hint.wanted:
            assert (kind in text) == (kind not in done), (text, done)
    assert name in TEXTS or name in ("step-size", "logit-scale", "loss-gap", "stationary")


def test_the_sentences() -> None:
    """Lists of one, two and three."""
    assert (
        HINTS["zero-gradient-met"].text(()) == "add objective=margin, square and --precision fp64"
    )
    assert HINTS["zero-gradient-met"].text({MARGIN}) == "add square and --precision fp64"
    assert HINTS["no-gradient"].text(()) == "add square, hopskipjump or transfer"
    assert HINTS["no-gradient"].text({"square"}) == "add hopskipjump or transfer"


def test_flags_of_a_run_with_everything_advise_none_of_it() -> None:
    """A model without gradients: margin and Square advised before and after; pgd gets both."""
    x, y = torch.rand(16, 1, 6, 6), torch.zeros(16, dtype=torch.int64)

    def model(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :3] * 0 + torch.tensor([5.0, 1.0, 0.0])

    def texts(*specs: str) -> list[str]:
        attacks = [ATTACKS.build(spec) for spec in specs]
        found = inspect(model, x, y, Tiles(32, 8), attacks).flags
        found += afterwards(
            specs,
            (),
            [None] * 16,
            n_nonfinite=[0] * 16,
            n_zero_gradient=[3] * 16,
            done=kinds(attacks),
        )
        assert [flag.name for flag in found] == ["zero-gradient", "zero-gradient"]
        return [flag.text for flag in found]

    assert not any(
        "margin" in text or "square" in text for text in texts("apgd:objective=margin", "square")
    )
    before, after = texts("pgd")
    assert "add objective=margin and square" in before
    assert "add objective=margin, square and --precision fp64" in after
