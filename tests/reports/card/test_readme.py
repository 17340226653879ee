"""Our part in another's README: all else stays byte for byte, broken front matter is refused."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from robbench.core.errors import UserError
from robbench.reports.card.markdown import BEGIN, END
from robbench.reports.card.readme import into_readme

OURS = [
    {
        "task": {"type": "image-classification"},
        "dataset": {"type": "digits", "name": "digits"},
        "metrics": [
            {"type": "accuracy", "value": 1e-05, "args": {"robbench_version": "0.1.0"}},
        ],
    }
]
THEIRS = {
    "task": {"type": "image-classification"},
    "dataset": {"type": "cifar10", "name": "CIFAR-10"},
    "metrics": [{"type": "accuracy", "value": 0.9}],
}
SECTION = f"{BEGIN}\nnew\n{END}\n"


def merged(text: str, section: str = SECTION) -> str:
    return into_readme(text, section, OURS, "at", "README.md")


def metadata(text: str) -> dict:
    return yaml.safe_load(text.lstrip("\ufeff").split("---")[1])


def test_a_readme_without_front_matter():
    """It gets one in front, and the section behind."""
    text = merged("# Mine\n\nwords\n")
    assert text.endswith(f"# Mine\n\nwords\n\n{SECTION}")
    assert metadata(text) == {"model-index": [{"name": "at", "results": OURS}]}


def test_the_users_metadata_are_kept_as_they_were_written():
    """Comments, order, quotes and keys around a model-index; its results of others, too."""
    before = "# why\nlicense: 'mit'  # mine\n"
    after = "\n# next\nlanguage: [en,   de]\ndate: 2020-01-01\n"
    index = yaml.safe_dump({"model-index": [{"name": "hub", "results": [THEIRS], "x": 1}]})
    text = merged(f"---\n{before}{index}{after}---\nbody\n")
    assert text.startswith(f"---\n{before}model-index:\n")
    assert f"{after}---\nbody\n" in text
    found = metadata(text)
    assert found["model-index"] == [{"name": "hub", "results": [THEIRS, *OURS], "x": 1}]
    assert found["license"] == "mit"


@pytest.mark.parametrize("line", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_a_byte_order_mark_stay(line, mark):
    """No line of another kind comes in."""
    old = f"{mark}---{line}license: mit{line}---{line}{line}# Mine{line}"
    text = merged(old)
    assert text.startswith(f"{mark}---{line}license: mit{line}")
    assert text.count("\n") == text.count(line)


@pytest.mark.parametrize(
    ("front", "key", "value"),
    [
        ("d: |\n  hello", "d", "hello\n"),
        ("d: |+\n  hello\n", "d", "hello\n\n"),
        ("d: >\n  two\n  words", "d", "two words\n"),
        ("model-index: []", "model-index", None),
        ("model-index: # none yet", "model-index", None),
        ("model-index: [{name: at, results: []}] # flow\nd: 1", "d", 1),
    ],
)
def test_front_matter_of_any_style(front, key, value):
    """A text in several lines at its end keeps its value; twice is once."""
    text = merged(f"---\n{front}\n---\nbody\n")
    found = yaml.safe_load(text.split("\n---\n")[0])
    assert found[key] == (value or found["model-index"])
    assert found["model-index"] == [{"name": "at", "results": OURS}]
    assert merged(text) == text


def test_front_matter_that_ends_the_file():
    """The section begins a line of its own, so that the front matter still ends."""
    text = merged("---\nlicense: mit\n---")
    assert f"\n---\n{SECTION}" in text
    assert merged(text) == text


def test_results_are_put_at_the_model_of_that_name():
    """Not at another of the same card, from which earlier ones of ours are taken."""
    index = [{"name": "other", "results": [THEIRS, *OURS]}, {"name": "at", "results": []}]
    text = merged(f"---\n{yaml.safe_dump({'model-index': index})}---\n")
    assert metadata(text)["model-index"] == [
        {"name": "other", "results": [THEIRS]},
        {"name": "at", "results": OURS},
    ]


BODIES = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\ufeff"), max_size=60
).filter(lambda text: not text.lstrip().startswith("---") and "robbench card" not in text)


@given(BODIES, BODIES, st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), BODIES))
def test_what_is_around_the_section_is_untouched(head, tail, keys):
    """For any text: replaced in place, and twice is once."""
    front = yaml.safe_dump(keys, allow_unicode=True) if keys else ""
    start = f"---\n{front}---\n" if front else ""
    line = "\r\n" if "\r\n" in start + head + tail else "\n"
    text = merged(f"{start}{head}{BEGIN}old{END}{tail}")
    body = f"{head}{SECTION.rstrip().replace(chr(10), line)}{tail}"
    assert text.endswith(body)
    assert merged(text) == text
    found = yaml.safe_load(text[: -len(body)].strip().strip("-"))
    assert {name: found[name] for name in keys} == (yaml.safe_load(front) if keys else {})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("---\nlicense: mit\n", "never ends"),
        ("---\n---\n", "empty or never ends"),
        ("---\na: [1\n---\n", "line"),
        ("---\na: b: c\n---\n", "line 2: mapping values"),
        ("---\n- a\n---\n", "keys with values"),
        ("---\nwords\n---\n", "keys with values"),
        ("---\na: 1\na: 2\n---\n", "a is there twice"),
        ("---\na: &x [1]\nb: *x\n---\n", "aliases"),
        ("---\na: 2020-13-45\n---\n", "month"),
        ("---\na: !!python/object:os.system x\n---\n", "line 2"),
        ("---\n{license: mit}\n---\n", "cannot be merged"),
        ("---\nmodel-index: 3\n---\n", "list of models"),
        ("---\nmodel-index: [{name: a}]\n---\n", "list of models"),
        ("---\na: " + "[" * 5000 + "\n---\n", "cannot be merged"),
        (f"{BEGIN}\n", "once, in this order"),
        (f"{END}\n{BEGIN}\n", "once, in this order"),
        (2 * SECTION, "once, in this order"),
    ],
)
def test_what_is_broken_is_refused(text, why):
    """One line that names the file and says what."""
    with pytest.raises(UserError, match=why) as error:
        merged(text)
    assert str(error.value).startswith("README.md: ")
    assert "\n" not in str(error.value)
