"""A user is told what is unusual about the way a model is called, and nothing else."""

import pytest
import torch

from robbench.models.outputs.interface import Interface
from robbench.models.outputs.notes import notes_of


def test_nothing_is_said_of_float32_logits_of_the_classes():
    assert notes_of(Interface(width=3), 3) == []


@pytest.mark.parametrize(
    ("interface", "words"),
    [
        (Interface(batch=1), "one image at a time"),
        (Interface(batch=8), "takes batches of 8 only"),
        (Interface(dtype=torch.float16), "computes in float16"),
        (Interface(scale="probs"), "outputs are read as probs"),
        (Interface(binary=True), "its logits are taken to be (-z/2, z/2)"),
        (Interface(scale="probs", binary=True), "read as probs"),
        (Interface(width=10, outputs=(3, 8)), "outputs 3, 8 of the model are the classes"),
        (Interface(width=9, outputs=(4, 2), named=("cat", "dog")), "'cat' is output 4; 'dog' is"),
        (Interface(width=4, outside=2), "its 2 other outputs are wrong classes"),
        (Interface(width=3, reject=True), "output 2 of the model is a rejection"),
        (Interface(width=3, reject=True, guessed=True), "outputs=0-1 that it is none"),
    ],
)
def test_what_is_unusual_is_one_line(interface, words):
    note = notes_of(interface, 2)[0]
    assert words in note
    assert "\n" not in note
