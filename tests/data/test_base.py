"""Content ids, and lists of classes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robbench.data import base
from robbench.data.base import class_difference, reason
from robbench.data.load import load


def test_sample_ids_do_not_depend_on_the_limit() -> None:
    """A sample keeps its id under a limit, and a fingerprint tells sets apart but not orders."""
    few, many = load("digits", "test", limit=50), load("digits", "test", limit=100)
    assert torch.equal(few.ids, many.ids[:50])
    assert few.fingerprint() != many.fingerprint()
    assert many.take(torch.randperm(100)).fingerprint() == many.fingerprint()


def test_moments_of_large_images_are_of_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spread over the split, no more than a number of pixels at once; of small images all."""
    split = load("digits", "test", limit=100)
    whole = split.pixels(slice(None)).double()
    assert split.info().mean == pytest.approx([whole.mean().item()], rel=1e-6)
    monkeypatch.setattr(base, "INFO_ENTRIES", 25 * 64)
    part, fewer = whole[::4], split.to(torch.device("cpu"))
    assert fewer.info().mean == pytest.approx([part.mean().item()], rel=1e-6)
    assert fewer.info().std == pytest.approx([part.std(correction=0).item()], rel=1e-6)


def test_class_lists_are_compared_by_their_first_difference() -> None:
    """The index, both names and, where they differ, both lengths; a changed order is said."""
    where = ("model m", "data 'd'")
    assert (
        class_difference(["a", "nine"], ["a", "Nine"], where)
        == "class 1 is 'nine' in model m and 'Nine' in data 'd'"
    )
    assert class_difference(["a"], ["a", "b"], where) == (
        "model m has 1 classes, data 'd' 2; class 1 is none in model m and 'b' in data 'd'"
    )
    assert class_difference(["1", "10", "2"], ["1", "2", "10"], where) == (
        "class 1 is '10' in model m and '2' in data 'd', and 1 more differ; "
        "the names are the same, their order is not"
    )


def test_a_reason_says_what_a_first_line_announces() -> None:
    """What torch misses in a checkpoint and what it does not know, in one line."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    prefixed = {f"module.{name}": value for name, value in net.state_dict().items()}
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(prefixed)
    text = reason(caught.value)
    assert 'Missing key(s) in state_dict: "0.weight"' in text
    assert 'Unexpected key(s) in state_dict: "module.0.weight"' in text
    assert "\n" not in text
    assert reason(ValueError("one\ntwo")) == "ValueError: one"
    assert reason(ValueError("")) == "ValueError"
