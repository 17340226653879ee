"""Recipes that ship: each is valid, says what it is for, and holds what its paper says."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import robbench.catalogue.recipes
from robbench.catalogue.builtins import ATTACKS, DATA, LOSSES, MODELS
from robbench.catalogue.recipes import read_recipe, recipes
from robbench.core.config import load_config
from robbench.core.errors import UserError
from robbench.core.spec import parse_spec
from robbench.tasks.train.config import TrainConfig
from robbench.threat.model import single_threat

NAMES = sorted(
    path.stem for path in Path(robbench.catalogue.recipes.__file__).parent.glob("*.toml")
)


def settings(name, **sources):
    return load_config(
        TrainConfig,
        "train",
        base=read_recipe(name),
        **{"file": None, "sets": [], "flags": {}, **sources},
    )


def test_every_file_is_listed_with_a_line_of_its_own():
    """Each TOML file's first line, a comment, says what it is for; no two are the same."""
    assert list(recipes()) == sorted(recipes())
    assert sorted(recipes()) == NAMES
    assert len(NAMES) >= 5
    for summary in recipes().values():
        assert 20 <= len(summary) <= 130
        assert not summary.startswith("#")
        assert "=" not in summary
    assert len(set(recipes().values())) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_can_be_planned(name):
    """Every key is a setting, every spec builds, the inner attack works in the recipe's norm."""
    config = settings(name)
    assert config.data != TrainConfig().data or name.startswith("digits")
    assert parse_spec(config.data.partition("[")[0]).name in DATA.entries
    assert parse_spec(config.model).name in MODELS.entries
    loss = LOSSES.build(config.loss)
    threat = single_threat(config.threat)
    inner = config.inner or loss.inner
    if inner is not None:
        assert threat.norm_name in ATTACKS.build(inner).norms
        assert config.select in ("auto", "best")


def test_the_published_recipe():
    """cifar10-rn18 is Rice et al. 2020: 200 epochs, SGD 0.1 down at 100 and 150, PGD-10."""
    config = settings("cifar10-rn18")
    attack, threat = ATTACKS.build(config.inner), single_threat(config.threat)
    assert (attack.steps, attack.rate * threat.eps, attack.init) == (
        10,
        pytest.approx(2 / 255),
        "uniform",
    )
    assert (threat.norm_name, threat.eps) == ("linf", pytest.approx(8 / 255))
    assert (config.model, config.loss, config.inner_mode) == (
        "preact-resnet18",
        "cross-entropy",
        "train",
    )
    assert (config.optimizer, config.lr, config.momentum, config.weight_decay) == (
        "sgd",
        0.1,
        0.9,
        5e-4,
    )
    assert (config.epochs, config.batch_size, config.schedule, config.augment) == (
        200,
        128,
        "piecewise",
        "crop-flip",
    )
    assert config.select == "best"
    assert config.validation > 0


def test_the_fast_one_is_the_published_one_but_for_speed():
    """The fast one differs from cifar10-rn18 only as its first line says; both keep the best."""
    slow, fast = (
        dataclasses.asdict(settings(name)) for name in ("cifar10-rn18", "cifar10-rn18-fast")
    )
    named = {"epochs", "schedule", "precision", "channels_last", "inner_mode"}
    assert {key for key in slow if slow[key] != fast[key]} == named | {"select"}
    assert fast["select"] == "auto"


def test_the_single_step_one():
    """cifar10-rn18-n-fgsm is de Jorge et al. 2022, and says that nobody has measured it here."""
    config = settings("cifar10-rn18-n-fgsm")
    attack = ATTACKS.build(config.inner)
    assert (attack.noise, attack.rate, attack.clip, attack.steps) == (2, 1, False, 1)
    assert (config.epochs, config.lr, config.weight_decay, config.schedule) == (
        30,
        0.2,
        5e-4,
        "cyclic",
    )
    assert config.inner_mode == "train"
    assert "not measured here" in recipes()["cifar10-rn18-n-fgsm"]


def test_the_strongest_one():
    """cifar10-rn18-best is TRADES, AWP, an average and IDBH-weak, and no number of it is known."""
    config = settings("cifar10-rn18-best")
    loss, attack = LOSSES.build(config.loss), ATTACKS.build(config.inner)
    assert (loss.beta, config.awp, config.average, config.augment, config.epochs) == (
        6,
        0.005,
        "ema",
        "idbh-weak",
        200,
    )
    assert config.awp_warmup * config.epochs == 10
    assert (attack.steps, attack.init) == (10, "gaussian")
    assert attack.rate * single_threat(config.threat).eps == pytest.approx(2 / 255)
    assert "not measured here" in recipes()["cifar10-rn18-best"]


@pytest.mark.parametrize("name", ["cifar10-rn18-best", "cifar10-rn18-n-fgsm"])
def test_the_newest_ones_train(cli, tmp_path, name):
    """One epoch on digits with a small model: every part of the recipe runs, a model is kept."""
    words = f"train --recipe {name} --data digits --model small-cnn --limit 60 --epochs 1 --quiet"
    plan = cli(f"{words} --set validation=0.2 --dry-run --out", tmp_path)
    assert plan.code == 0, plan.err
    given = read_recipe(name)
    changed = {"data", "model", "epochs", "validation", "loss", "inner"}
    assert all(plan.json["config"][key] == given[key] for key in given.keys() - changed)
    done = cli(f"{words} --set validation=0.2 --json --out", tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "models" / done.json["name"] / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("cifar10-rn81", "cifar10-rn18"), ("digit-smoke", "digits-smoke"), ("MNIST", "mnist")],
)
def test_an_unknown_recipe_names_the_nearest(typo, meant):
    """A typo is a UserError with the names that are near, or with all."""
    with pytest.raises(UserError, match=f"unknown recipe '{re.escape(typo)}'.*{meant}"):
        read_recipe(typo)


@pytest.mark.parametrize("name", ["../recipes/digits-smoke", "digits-smoke.toml", "", "__init__"])
def test_a_recipe_is_a_name_not_a_path(name):
    """Nothing but a listed name is read."""
    with pytest.raises(UserError, match="unknown recipe"):
        read_recipe(name)


def test_every_other_source_wins(tmp_path, monkeypatch):
    """A recipe is below config file, environment, --set and flags, and above the defaults."""
    name = "digits-smoke"
    base = read_recipe(name)
    assert settings(name).epochs == base["epochs"] != TrainConfig().epochs
    assert settings(name).optimizer == TrainConfig().optimizer
    file = tmp_path / "own.toml"
    file.write_text("epochs = 7\n[train]\ninner = 'none'\n")
    assert (settings(name, file=file).epochs, settings(name, file=file).inner) == (7, "none")
    monkeypatch.setenv("ROBBENCH_EPOCHS", "8")
    assert settings(name, file=file).epochs == 8
    assert settings(name, file=file, sets=["epochs=9"]).epochs == 9
    assert settings(name, file=file, sets=["epochs=9"], flags={"epochs": 10}).epochs == 10
    assert settings(name, file=file).threat == base["threat"]


def test_none_takes_back_what_a_recipe_sets():
    """A recipe's inner attack can be switched off, and a changed option set back."""
    assert settings("digits-smoke", flags={"inner": "none"}).inner == "none"
    assert (
        settings("cifar10-rn18-fast", sets=["channels_last=false", "precision=fp32"]).channels_last
        is False
    )


def test_a_wrong_key_in_a_recipe_would_be_noticed():
    """A recipe with a key that is no setting is refused, not ignored."""
    with pytest.raises(UserError, match="epoch"):
        load_config(TrainConfig, "train", file=None, sets=[], flags={}, base={"epoch": 3})
