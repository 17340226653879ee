"""What a file holds is searched to a depth, and our names become those of other code."""

from __future__ import annotations

import torch

from robbench.models.sources.state_dicts import Layout, sets_in

WEIGHT = torch.ones(2)


def test_sets_are_found_behind_keys_of_text_only():
    content = {
        "epoch": 3,
        "state_dict": {"w": WEIGHT, "n": 1},
        "optimizer": {"state": {0: {"momentum_buffer": WEIGHT}}},
        "deep": {"a": {"b": {"w": WEIGHT}}},
    }
    assert [key for key, _ in sets_in(content)] == ["state_dict", "deep.a.b"]
    assert dict(sets_in(content))["state_dict"] == {"w": WEIGHT}


def test_names_that_do_not_print_are_no_names():
    content = {"a\nb": {"w": WEIGHT}, "s": {"w": WEIGHT, "\x1b[31m": WEIGHT, "q" * 301: WEIGHT}}
    assert dict(sets_in(content)) == {"s": {"w": WEIGHT}}


def test_a_mapping_that_holds_itself_ends():
    content: dict[str, object] = {"w": WEIGHT}
    content.update({f"self{n}": content for n in range(1000)})
    assert [key for key, _ in sets_in(content)] == [""]


def test_renaming_applies_in_turn():
    layout = Layout("x", ((r"^head\.", "fc."), (r"^body\.block(\d)\.", r"block\1.layer.")))
    assert layout.theirs("head.weight") == "fc.weight"
    assert layout.theirs("body.block2.0.bn1.bias") == "block2.layer.0.bn1.bias"
