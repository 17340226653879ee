"""Which model a name means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from robbench.core.errors import UserError
from robbench.data.base import Split
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.subject import find_subject


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("own", "of own.py is own:NAME"),
        ("own.py", "of own.py is own:NAME"),
        ("net.onnx", r"did you mean onnx:net\.onnx"),
        ("net.pt2", r"did you mean export:net\.pt2"),
        ("net.ts.pt", r"did you mean torchscript:net\.ts\.pt"),
        ("net.pth", "net.pth is empty"),
        ("mpl", "did you mean mlp"),
    ],
)
def test_a_file_is_no_model(
    text: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file named where a model is due: the message says what to write instead, in one line."""
    monkeypatch.chdir(tmp_path)
    for name in ("own.py", "net.pth", "net.onnx", "net.pt2", "net.ts.pt"):
        Path(name).touch()
    with pytest.raises(UserError, match=f"unknown model '{text}'.*{hint}") as caught:
        find_subject(text, AttackConfig(), Store(tmp_path), torch.device("cpu"), None, False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("data", "shape"), [("digits", (1, 8, 8)), ("npz:x.npz", (5,))])
def test_images_are_not_read_for_moments_that_no_model_gets(
    data: str, shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrained model must not depend on the samples it is judged by: no pass over them."""
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", x=np.random.default_rng(0).random((6, 5)), y=[0, 1, 0, 1, 0, 1])
    monkeypatch.setattr(Split, "info", None)
    config = AttackConfig(data=data, limit=6)
    subject, _ = find_subject("mlp", config, Store(tmp_path), torch.device("cpu"), None, False)
    assert subject.model(torch.rand(2, *shape)).shape == (2, len(subject.split.classes))
