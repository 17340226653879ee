"""What the README shows must be true."""

import re
import sys
from pathlib import Path

from robbench.core.builtins import REGISTRIES
from robbench.testing import check_loss

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_loss_in_the_readme_passes_the_conformance_suite(tmp_path, monkeypatch):
    """A reader who copies the example loss gets a loss that keeps every rule."""
    code = re.search(r"```python\n# my_losses.py\n(.*?)```", README, re.DOTALL)
    (tmp_path / "my_losses.py").write_text(code[1], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_losses", raising=False)
    check_loss("my_losses:Smooth:amount=0.2")


def test_every_registered_loss_attack_and_data_set_is_in_the_readme():
    """The README's tables name everything that `robbench list` does (models are in its text and in `robbench list models`)."""
    missing = [
        name
        for kind in ("losses", "attacks", "data")
        for name, entry in REGISTRIES[kind].entries.items()
        if entry.package == "robbench" and f"`{name}" not in README
    ]
    assert not missing
