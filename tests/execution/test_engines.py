"""Which engine a command's words give, and what fits none."""

import pytest

from robbench.core.errors import UserError
from robbench.execution.engines import engine_for
from robbench.execution.inline import Inline


def test_one_task_at_a_time_runs_here(tmp_path):
    assert isinstance(engine_for(logs=tmp_path), Inline)
    assert isinstance(engine_for("local", jobs=1, logs=tmp_path), Inline)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"engine": "dask"}, "unknown engine 'dask'"),
        ({"jobs": 0}, "1 or more"),
        ({"jobs": -1}, "1 or more"),
        ({"address": "auto"}, "engine ray"),
    ],
)
def test_what_fits_no_engine_is_said(words, said, tmp_path):
    with pytest.raises(UserError, match=said):
        engine_for(**words, logs=tmp_path)
