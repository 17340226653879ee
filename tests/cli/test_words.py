"""`robbench explain` of flags and of words that only the manual knows."""

from __future__ import annotations

import re

import pytest

from robbench.cli.words import word_entries
from robbench.core.norms import NORMS
from robbench.engine.advice import TEXTS
from robbench.store.schema import CHECKS, EPOCHS, MEASURES, POINTS, RUNS, SAMPLES, TASKS

TABLES = (RUNS, SAMPLES, POINTS, EPOCHS, MEASURES, CHECKS, TASKS)


@pytest.mark.parametrize("flag", sorted(TEXTS))
def test_a_flag_has_its_text(cli, flag):
    """Without what is filled in for each run."""
    (*_, entry) = cli("explain", flag, "--json").json["entries"]
    assert (entry["kind"], entry["name"]) == ("flag", flag)
    assert "{" not in entry["doc"]
    words = re.sub(r"\{.*?\}", " ", TEXTS[flag]).split()
    shown = " ".join(cli("explain", flag).out.split())
    assert all(word in shown for word in words)


@pytest.mark.parametrize("norm", NORMS)
def test_a_norm_is_defined(cli, norm):
    done = cli("explain", norm)
    assert done.code == 0, done.err
    assert "Euclidean length" in done.out
    assert "robbench explain vocabulary" in done.out.replace("\n", " ")


def test_every_column_on_disk_is_defined_by_its_row():
    """A row of a table in the page of the results begins with it."""
    for name in {name for table in TABLES for name in table.names}:
        (entry,) = word_entries(name)
        assert any(
            passage["topic"] == "results" and passage["text"].startswith(f"| `{name}` | ")
            for passage in entry["passages"]
        ), name


def test_a_column_of_compare_is_found_where_the_manual_uses_it(cli):
    (entry,) = cli("explain p_holm --json").json["entries"]
    assert entry["kind"] == "word"
    assert "comparing" in [passage["topic"] for passage in entry["passages"]]
    assert all("`p_holm`" in passage["text"] for passage in entry["passages"])


def test_a_flag_of_commands_is_found_by_its_name(cli):
    """With a value or without; an item that has no head, such as a sentence, defines nothing."""
    for name in ("shard", "engine", "store-points"):
        (entry,) = cli("explain", name, "--json").json["entries"]
        assert entry["kind"] == "word"
        assert all(f"--{name}" in passage["text"] for passage in entry["passages"])
    pages = [passage["topic"] for passage in word_entries("shard")[0]["passages"]]
    assert "clusters" in pages
    assert not word_entries("shar")


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("margin", "- **logit margin** (`margin`): "),
        ("seed", "- **seed**: "),
        ("threat", "- **threat model**: "),
        ("norm", "| `norm` | "),
    ],
)
def test_the_vocabulary_comes_first(name, first):
    """Then what is about the word alone; flags that have it in them are last."""
    (entry,) = word_entries(name)
    assert entry["passages"][0]["text"].startswith(first)


def test_of_a_phrase_the_longest_end_that_is_known(cli):
    """The entry says what it explains; of nothing known no list of all names."""
    (entry,) = cli("explain", "median margin", "--json").json["entries"]
    assert entry == word_entries("margin")[0]
    (entry,) = cli("explain", "median logit margin", "--json").json["entries"]
    assert entry["name"] == "logit margin"
    done = cli("explain", "0123456789")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "robbench list shows names" in done.err
    assert len(done.err) < 200


def test_a_section_is_found_by_its_heading(cli):
    """In any case, with hyphens for spaces; its first words, not its table or code."""
    for name, topic, words in (
        ("tensorboard", "other-tools", "writes one file for each run"),
        ("Bencher", "other-tools", "Bencher Metric Format"),
        ("drift", "over-time", "lets small drops add up"),
        ("change-points", "over-time", "the rate before and after differ"),
    ):
        (entry,) = word_entries(name)
        (passage,) = [found for found in entry["passages"] if words in found["text"]]
        assert passage["topic"] == topic
    assert cli("explain drift").code == 0
    assert not word_entries("drif")


def test_other_words_stay_unknown(cli):
    """Also those that the manual uses as plain words; a typing error in a flag is near to it."""
    for word in ("surprise", "however", ".*", "at-chanse"):
        done = cli("explain", word)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "at-chance" in done.err


def test_a_corruption_is_explained_as_it_is_typed(cli):
    """With its severity, several at once; a name that is none gets the nearest."""
    for name, words in (
        ("corruption:fog@3", "a fractal haze"),
        ("corruption:all@5", "JPEG at low quality"),
        ("corruption:frost", "none of the published pictures"),
    ):
        done = cli("explain", name)
        assert done.code == 0, done.err
        assert words in " ".join(done.out.split())
    done = cli("explain corruption:snwo")
    assert (done.code, "did you mean snow?" in done.err) == (2, True)
