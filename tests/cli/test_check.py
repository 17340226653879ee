"""`robbench check`: what its table is titled, what a self-test does not take."""

import pytest


@pytest.mark.parametrize(
    "words",
    [
        *("mine", "--seed 0", "--seed 3", "--limit 9", "--threat linf:0.1", "--split test"),
        *("--device cpu", "--out there", "--data-dir there", "--download", "--trust-code"),
    ],
)
def test_a_self_test_is_given_alone(cli, words):
    """Its models, data and random numbers are its own."""
    done = cli(f"check --self-test {words}")
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith("takes the embedded digits: give it alone\n")


def test_the_table_is_titled_by_the_name_of_the_run(cli, tmp_path):
    """The one it was given, by which tables of results call it too."""
    how = ("--data", "digits", "--limit", "8", "--attack", "fgsm", "--threat", "linf:0.1")
    assert cli("attack", "mlp:depth=0", *how, "--name", "mine", "--out", tmp_path).code == 0
    done = cli("check", "mine", "--limit", "4", "--out", tmp_path)
    assert "of mine: digits test, linf:0.1" in done.out
