"""Settings from a recipe, a file and flags."""

from __future__ import annotations

import json
import shlex

import pytest


def test_a_recipe_is_where_settings_come_from(cli, tmp_path):
    """`--recipe` sets what the file says, flags and --set win over it, and the config kept beside
    the model says all of it.
    """
    words = shlex.split(
        "train --recipe digits-smoke --limit 100"
        " --epochs 1 --set inner=pgd:steps=1 --model mlp:width=4 --out"
    )
    done = cli(*words, tmp_path)
    assert done.code == 0, done.err
    kept = json.loads((tmp_path / "models" / "cross-entropy" / "config.json").read_text())["config"]
    assert (kept["threat"], kept["data"]) == ("linf:0.15", "digits")  # the recipe's
    assert (kept["epochs"], kept["limit"], kept["batch_size"]) == (1, 100, 64)
    assert kept["inner"].startswith("pgd:steps=1,")
    assert kept["model"].startswith("mlp:width=4")
    again = cli(*words, tmp_path)
    assert "nothing to do" in again.err


def test_a_recipe_is_the_same_as_its_settings(cli, tmp_path):
    """A recipe and the same settings by flags are the same training: nothing to do."""
    assert (
        cli("train --recipe digits-smoke --limit 100 --epochs 1 --name m --out", tmp_path).code == 0
    )
    same = (
        "train --data digits --inner pgd:steps=5 --threat linf:0.15 --limit 100"
        " --epochs 1 --name m --out"
    )
    done = cli(same, tmp_path)
    assert (done.code, "nothing to do" in done.err) == (0, True), done.err


def test_a_recipe_below_a_config_file(cli, tmp_path):
    """A config file wins over a recipe, and a flag over both.

    --dry-run shows what would be trained and writes nothing.
    """
    file = tmp_path / "own.toml"
    file.write_text("[train]\nepochs = 7\nthreat = 'linf:0.05'\n")
    words = [
        "train",
        "--recipe",
        "digits-smoke",
        "--config",
        file,
        "--threat",
        "linf:0.2",
        "--dry-run",
        "--out",
        tmp_path / "S",
    ]
    config = cli(*words).json["config"]
    assert (config["epochs"], config["threat"], config["inner"].split(",")[0]) == (
        7,
        "linf:0.2",
        "pgd:steps=5",
    )
    assert not (tmp_path / "S").exists()


@pytest.mark.parametrize(
    ("name", "meant"), [("cifar10-rn81", "cifar10-rn18"), ("digits-smok", "digits-smoke")]
)
def test_an_unknown_recipe(cli, tmp_path, name, meant):
    """A recipe that is not there is exit 2, one line with the nearest names, and nothing is
    written.
    """
    done = cli("train", "--recipe", name, "--out", tmp_path / "S")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert f"unknown recipe '{name}'; did you mean" in done.err
    assert meant in done.err
    assert not (tmp_path / "S").exists()
