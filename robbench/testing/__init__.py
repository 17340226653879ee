"""The conformance suite: the contract that every attack and loss keeps, built-in or plug-in.

    from robbench.testing import check_attack, check_loss
    check_attack("my-attack:steps=20")
    check_loss("my_module:MyLoss")

Each raises AssertionError with the rule that was broken. They take seconds, on a small model and
random data.
"""

from robbench.testing.attacks import check_attack, judge
from robbench.testing.losses import check_loss
from robbench.testing.toys import SHAPE, toy_model, toy_split

__all__ = ["SHAPE", "check_attack", "check_loss", "judge", "toy_model", "toy_split"]
