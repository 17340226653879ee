"""A corruption decides samples at one point."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from robbench.core.freeze import frozen
from robbench.engine.corrupted import CorruptedPass, corruption_keys
from robbench.engine.counter import Counter
from robbench.engine.records import NOTHING
from robbench.threat.corruptions.apply import corrupted
from robbench.threat.model import parse_threat


def _run(model, split, text="corruption:gaussian_noise@4", width=64, **options):
    (threat,) = parse_threat(text)
    one = CorruptedPass(model, split, threat, seed=3, width=width, **options)
    with frozen(model):
        return list(one.run())


def test_a_sample_is_judged_by_its_corrupted_input_alone(digits):
    """Predictions, margins and distances against plain ones; a wrong clean input decides nothing.

    Some are wrong before and right after.
    """
    model, split = digits.model, digits.split
    updates = _run(model, split, keep_points=True)
    verdicts = [verdict for update in updates for verdict in update.verdicts]
    (threat,) = parse_threat("corruption:gaussian_noise@4")
    clean = split.pixels(slice(None))
    x = corrupted(clean, "gaussian_noise", 4, corruption_keys(split.ids, 3, threat))
    assert torch.equal(torch.stack([p for u in updates for p in u.points if p is not None]), x)
    with torch.no_grad():
        before, after = model.eval()(clean), model(x)
    right = after.argmax(1) == split.labels
    assert [v.sample for v in verdicts] == list(range(len(split)))
    assert [v.adversarial for v in verdicts] == (~right).tolist()
    assert [v.entry for v in verdicts] == [NOTHING if ok else 0 for ok in right.tolist()]
    assert [v.clean_wrong for v in verdicts] == (before.argmax(1) != split.labels).tolist()
    rows = torch.arange(len(split))
    others = after.clone()
    others[rows, split.labels] = -math.inf
    margin = after[rows, split.labels] - others.amax(1)
    assert torch.allclose(torch.tensor([v.adv_margin for v in verdicts]), margin, atol=1e-5)
    away = (x - clean).flatten(1)
    assert torch.allclose(torch.tensor([v.l2 for v in verdicts]), away.norm(dim=1))
    assert torch.allclose(torch.tensor([v.linf for v in verdicts]), away.abs().amax(1))
    assert {v.n_forward for v in verdicts} == {2}
    assert updates[-1].progress == 1


@pytest.mark.parametrize("width", [1, 7, 500])
def test_no_batch_changes_a_verdict(digits, width: int):
    found, wanted = (
        [v for u in _run(digits.model, digits.split, width=w) for v in u.verdicts]
        for w in (width, 64)
    )
    assert found == wanted


def test_clean_inputs_are_asked_once_for_several_corruptions(digits):
    """Verdicts are those of passes by themselves; a pass over fewer samples leaves the rest."""
    texts = ["corruption:gaussian_noise@4", "corruption:fog@2"]
    part = digits.split.take(torch.arange(40))
    alone = [_run(digits.model, digits.split, text) for text in texts]
    model, clean, asked = Counter(digits.model), {}, []
    for split, text in ((part, texts[0]), *((digits.split, text) for text in texts)):
        before = model.n_forward
        found = _run(model, split, text, clean=clean)
        asked.append(model.n_forward - before)
    assert [v for u in found for v in u.verdicts] == [v for u in alone[1] for v in u.verdicts]
    assert sorted(clean) == sorted(digits.split.ids.tolist())
    assert asked[2] < asked[1]
    assert asked[2] >= len(digits.split)


class _Refuses(nn.Module):
    """Right on every input, but no answer where one pixel is above 0.9."""

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, x: Tensor) -> Tensor:
        z = nn.functional.one_hot(self.labels[:1].expand(len(x)), 10).float()
        return torch.where(x.flatten(1).amax(1, keepdim=True) > 0.9, math.nan, z)


def test_no_answer_is_a_wrong_one(digits):
    """As of a clean input; it is counted too."""
    split = digits.split.take((digits.split.labels == digits.split.labels[0]).nonzero()[:, 0])
    white = split.pixels(slice(None)).flatten(1).amax(1) > 0.9
    updates = _run(_Refuses(split.labels), split, "corruption:brightness@5")
    verdicts = [verdict for update in updates for verdict in update.verdicts]
    assert white.any()
    assert all(v.adversarial and v.n_nonfinite >= 1 for v in verdicts)
    assert [v.clean_wrong for v in verdicts] == white.tolist()
