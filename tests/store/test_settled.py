"""Every call finds its own run, also where a model has changed unseen."""

from __future__ import annotations

import json
from pathlib import Path

from robbench.store.settled import settled
from robbench.store.store import Store


def test_every_model_finds_its_own_run_whatever_order_they_come_in(tmp_path: Path) -> None:
    store = Store(tmp_path)
    texts = [
        json.dumps({"samples": [step], "made": [[4.0, -1.0, 0.5]], "spread": 0.0})
        for step in ([0.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0])
    ]
    ids: list[str] = []
    for text in texts:
        found, other = settled(store, "a" * 12, text)
        assert other == (ids[-1] if ids else None)
        store.partial(found).keep_answers(text)
        ids.append(found)
    assert ids[0] == "a" * 12
    assert len(set(ids)) == 3
    assert [settled(store, "a" * 12, text)[0] for text in reversed(texts)] == ids[::-1]
