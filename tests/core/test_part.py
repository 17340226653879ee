"""Parts of a job: every position is of one part, however often parts are cut."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robbench.core.errors import UserError
from robbench.core.part import Part, parse_part


@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 5))
def test_parts_and_parts_of_parts_have_each_position_once(size: int, count: int, more: int) -> None:
    """Part 1 begins with the first position, and each takes every count-th."""
    parts = [Part(n, count) for n in range(1, count + 1)]
    assert sorted(i for part in parts for i in part.of(size)) == list(range(size))
    assert list(parts[-1].of(size)) == [i for i in range(size) if i % count == count - 1]
    for part in parts:
        smaller = part.cut(more)
        assert len(smaller) == more
        assert all(parse_part(str(each)) == each for each in smaller)
        assert sorted(i for each in smaller for i in each.of(size)) == list(part.of(size))


@pytest.mark.parametrize(
    "text", ["0/4", "9/8", "", "1", "1/0", "0/0", "a/b", "1/2/3", "-1/2", "1.0/2", "1/1e3", "²/4"]
)
def test_what_is_no_part(text: str) -> None:
    """Said with how it is written."""
    with pytest.raises(UserError, match=r"write i/n, part i of n, from 1/n to n/n, such as 2/8"):
        parse_part(text, {})


def _array(*ids: int, task: int) -> dict[str, str]:
    """The variables of a task as Slurm sets them for `--array` with these ids."""
    facts = {"ID": task, "MIN": min(ids), "MAX": max(ids), "COUNT": len(ids)}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in facts.items()}


@pytest.mark.parametrize(
    "ids", [range(8), range(1, 9), range(5, 7), range(3, 4), range(0, 16, 2), range(10, 100, 30)]
)
def test_the_tasks_of_a_slurm_array_are_its_parts(ids: range) -> None:
    """From whatever number the array begins at, also with a step: each task another part."""
    parts = [parse_part("slurm", _array(*ids, task=task)) for task in ids]
    assert parts == [Part(n + 1, len(ids)) for n in range(len(ids))]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"SLURM_ARRAY_TASK_ID": "1"},
        {**_array(1, 2, task=1), "SLURM_ARRAY_TASK_COUNT": "x"},
        {**_array(1, 2, task=1), "SLURM_ARRAY_TASK_MAX": "9" * 5000},
        {"SLURM_JOB_ID": "77", "SLURM_PROCID": "0"},
    ],
)
def test_slurm_outside_of_an_array(environ: dict[str, str]) -> None:
    """What starts one is said."""
    with pytest.raises(UserError, match=r"job array.*sbatch --array=1-8"):
        parse_part("slurm", environ)


@pytest.mark.parametrize("ids", [(1, 5, 7), (1, 2, 4), (0, 1, 7, 8)])
def test_an_array_of_unequal_steps_is_refused(ids: tuple[int, ...]) -> None:
    """At least one of its tasks says so, and no two take one part for their own."""
    refused = [task for task in ids if _refusal(_array(*ids, task=task))]
    found = [parse_part("slurm", _array(*ids, task=task)) for task in ids if task not in refused]
    assert refused
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("task", [0, 9])
def test_a_task_outside_of_its_array_is_refused(task: int) -> None:
    """As where another program has set some of the variables: it would be no part of 1/8 to 8/8."""
    assert _refusal(_array(*range(1, 9), task=task))
    assert _refusal(_array(4, task=task))


def test_an_array_that_ends_before_it_begins_is_refused() -> None:
    """Its numbers fit each other only backwards."""
    environ = _array(*range(1, 9), task=3)
    environ |= {"SLURM_ARRAY_TASK_MIN": "8", "SLURM_ARRAY_TASK_MAX": "1"}
    assert _refusal(environ)


def _refusal(environ: dict[str, str]) -> bool:
    """Whether it is refused, and the steps are why."""
    with contextlib.suppress(UserError):
        parse_part("slurm", environ)
        return False
    with pytest.raises(UserError, match="equal steps"):
        parse_part("slurm", environ)
    return True


def test_tasks_that_are_tried_again_share_what_is_left() -> None:
    """`--array=3,6` after tasks 3 and 6 of 1-8 have failed: two halves of whatever is missing."""
    parts = [parse_part("slurm", _array(3, 6, task=task)) for task in (3, 6)]
    assert parts == [Part(1, 2), Part(2, 2)]
