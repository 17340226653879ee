"""Cards from Python: as the command writes them."""

import json

import pytest

import robbench

pytestmark = pytest.mark.usefixtures("silent")


def test_a_card_is_the_commands(trained_here, tmp_path, cli):
    """Byte for byte; the errors are the command's, in the words of Python."""
    robbench.attack("m", "fgsm", "linf:0.12", limit=30, out=trained_here)
    made = robbench.card("m", format="cyclonedx", file=tmp_path / "m.cdx.json", out=trained_here)
    done = cli("card m --format cyclonedx --out", trained_here)
    assert made.path.read_text() == made.text == done.out
    component = json.loads(made.text)["metadata"]["component"]
    assert component["hashes"] == [{"alg": "SHA-256", "content": made.weights.sha256}]
    with pytest.raises(robbench.UserError, match="into takes a model card"):
        robbench.card("m", format="in-toto", into=tmp_path / "README.md", out=trained_here)
