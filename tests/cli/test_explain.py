"""`robbench explain`: topics of the manual and checks; for names see test_catalogue.py."""

from __future__ import annotations

import dataclasses
import re

import pytest

from robbench.checks.registry import CHECKS
from robbench.guide import TOPICS, read_page


def test_the_topics_are_listed(cli):
    """Without a name: all topics with what they are about; --quiet names only; --json all of it."""
    done = cli("explain")
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    assert all(topic in done.out for topic in TOPICS)
    assert cli("explain --quiet").out.split() == list(TOPICS)
    listed = cli("explain --json").json["topics"]
    assert [item["name"] for item in listed] == list(TOPICS)
    assert all(item["summary"] for item in listed)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic(cli, topic):
    """Off a terminal a page is its Markdown, without escape codes; --json has the same text."""
    done = cli("explain", topic)
    assert done.code == 0, done.err
    assert done.out == read_page(topic).text
    assert "\x1b" not in done.out
    (entry,) = cli("explain", topic, "--json").json["entries"]
    assert (entry["kind"], entry["name"], entry["text"]) == ("topic", topic, done.out)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_on_a_terminal(cli, monkeypatch, topic):
    """Rendered: no Markdown marks, nothing wider than the terminal, nothing cut off."""
    monkeypatch.setattr("robbench.cli.explain.on_terminal", lambda: True)
    done = cli("explain", topic)
    assert done.code == 0, done.err
    assert read_page(topic).title in done.out
    assert not re.search(r"^# |\*\*", done.out, re.MULTILINE)
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", done.out).splitlines())) <= 80
    assert "…" not in done.out


@pytest.mark.parametrize(
    "check", [check for check in CHECKS if check.name != "transfer"], ids=lambda c: c.name
)
def test_a_check(cli, check):
    """Its severity, what it asks, the literature, and where it is defined."""
    done = cli("explain", check.name)
    assert done.code == 0, done.err
    assert all(text in done.out for text in (check.name, check.severity, check.source))
    assert max(map(len, done.out.splitlines())) <= 80
    (entry, *_) = cli("explain", check.name, "--json").json["entries"]  # a flag may have its name
    assert (entry["kind"], entry["severity"], entry["cost"]) == (
        "check",
        check.severity,
        check.cost,
    )
    assert entry["doc"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("vocabulry", "vocabulary"),
        ("random-noize", "random-noise"),
        ("sovv", "sovr"),
        ("swep", "sweep"),
    ],
)
def test_near_misses(cli, name, meant):
    """A typing error is answered with the nearest names of all kinds."""
    done = cli("explain", name)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert meant in done.err


@pytest.mark.parametrize(
    ("loss", "spec"), [("trades", "pgd:steps=10,init=gaussian"), ("alp", "pgd:steps=10")]
)
def test_a_loss_shows_its_own_inner_attack(cli, loss, spec):
    """With every option as training runs it: what the loss climbs in place of the attack's own."""
    from robbench.catalogue.builtins import ATTACKS, LOSSES

    found = LOSSES.build(loss)
    built = ATTACKS.build(found.inner)
    built = dataclasses.replace(built, objective=found.climbs or built.objective)
    (entry,) = cli("explain", loss, "--json").json["entries"]
    assert (
        ATTACKS.build("pgd:" + ",".join(f"{k}={v}" for k, v in entry["inner"]["options"].items()))
        == built
    )
    assert entry["inner"]["spec"] == spec
    text = " ".join(cli("explain", loss).out.split())
    assert f"inner attack: pgd with steps={built.steps}, " in text
    assert f"objective={built.objective}" in text


def test_a_loss_shows_its_teacher(cli):
    """HAT must be given one, ADR has the average of the weights, TRADES and RPAT have none."""
    told = {name: " ".join(cli("explain", name).out.split()) for name in ("hat", "adr", "trades")}
    assert "teacher: a trained model, which robbench train --teacher NAME names" in told["hat"]
    assert "teacher: the running average of the weights" in told["adr"]
    assert "--set average=ema" in told["adr"]
    assert "teacher:" not in told["trades"]
    for name, teacher in {"hat": "", "adr": "average", "rpat": None}.items():
        assert cli("explain", name, "--json").json["entries"][0]["teacher"] == teacher


def test_a_loss_without_an_inner_attack_shows_none(cli):
    """Nor does an attack."""
    for name in ("cross-entropy", "clp", "pgd"):
        assert "inner attack:" not in cli("explain", name).out
    assert cli("explain cross-entropy --json").json["entries"][0]["inner"] is None


def test_the_sets_of_a_data_folder_are_known(cli, tmp_path):
    """Both `list` and `explain` look into --data-dir and ROBBENCH_DATA_DIR."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "test.parquet").touch()
    for words, env in ((f"--data-dir {tmp_path}", {}), ("", {"ROBBENCH_DATA_DIR": str(tmp_path)})):
        listed = cli(f"list data --json {words}", env=env).json["data"]
        assert "mine" in [entry["name"] for entry in listed]
        (entry,) = cli(f"explain mine --json {words}", env=env).json["entries"]
        assert (entry["kind"], entry["same_as"]) == ("data", "parquet:mine")
    assert cli("explain mine").code == 2


OWN = """
import dataclasses

from robbench.attacks.fmn import FMN


class Blind(FMN):
    norms = frozenset({"l2"})
    access = "none"
"""


def test_an_attack_shows_norms_goal_and_access(cli, private):
    """Ours and one's own; one that wraps another, those of that."""
    for name, line in (
        ("pgd", "norms linf l2 l1; goal fixed-eps; access white-box"),
        ("square", "norms linf l2 l1; goal fixed-eps; access score-based"),
        ("minimal", "goal minimum-norm; access white-box"),
        ("own_explained:Blind", "norms l2; goal minimum-norm; access none"),
    ):
        done = cli("explain", name, cwd=private("own_explained", OWN))
        assert done.code == 0, done.err
        assert line in done.out
    (entry,) = cli("explain square --json").json["entries"]
    assert (entry["norms"], entry["goal"], entry["access"]) == (
        ["linf", "l2", "l1"],
        "fixed-eps",
        "score-based",
    )
    assert "access" not in cli("explain foolbox").out.split("defined in")[0].split()
    assert "goal" not in cli("explain trades --json").json["entries"][0]


def test_a_command_that_is_also_registered(cli):
    """`export` is a command and a source of models: both are said."""
    kinds = [entry["kind"] for entry in cli("explain export --json").json["entries"]]
    assert kinds[:2] == ["command", "models"]
