"""What the README shows must be true."""

import re
import sys
from pathlib import Path

from robbench.catalogue.builtins import REGISTRIES
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


def test_the_commands_do_what_the_readme_says(cli, tmp_path):
    """All robbench commands of its bash blocks, in order and in one folder, but smaller; exit codes are those it mentions."""
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = [(line, "gate" in block) for block in blocks for line in block.splitlines()]
    commands = [
        (line, whole)
        for line, whole in lines
        if line.startswith("robbench ") and "--self-test" not in line
    ]
    assert len(commands) > 15
    for line, whole in commands:
        # A regression takes the whole test set to show.
        env = {"ROBBENCH_EPOCHS": "2"} | ({} if whole else {"ROBBENCH_LIMIT": "150"})
        command, _, comment = line.partition("  #")
        said = re.search(r"exit (\d)", comment)
        small = " --limit 20" if command.startswith("robbench check") else ""
        done = cli(command.removeprefix("robbench ") + small, cwd=tmp_path, env=env)
        judges = command.startswith("robbench check") or "--fail-on" in command
        expected = {int(said[1])} if said else {0, 1} if judges else {0}
        assert done.code in expected, (line, done.err)
    assert (tmp_path / "gate.xml").is_file()
    assert (tmp_path / "runs" / "results" / "baseline.json").is_file()
