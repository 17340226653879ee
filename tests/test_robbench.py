"""The package itself: what it exports, and that importing it is cheap."""

from robbench.core import errors


def test_importing_it_loads_neither_torch_nor_pandas(spawn):
    """Nor do its names, before they are used; compare and load_runs need no torch at all."""
    code = """
import sys, robbench
assert dir(robbench) and robbench.UserError
assert not {"torch", "pandas", "pyarrow", "numpy"} & set(sys.modules)
robbench.compare, robbench.load_runs, robbench.report, robbench.Evaluation
assert "torch" not in sys.modules
"""
    done = spawn(code=code)
    assert done.code == 0, done.err


def test_every_name_is_there_and_a_wrong_one_is_an_attribute_error():
    """Also when a module of the package was loaded before."""
    import robbench.reports.terminal.compare

    for name in robbench.__all__:
        assert getattr(robbench, name).__name__.lower() == name.lower()
    assert set(dir(robbench)) == {*robbench.__all__, "__version__"}
    assert robbench.UserError is errors.UserError
    assert not hasattr(robbench, "no_such_name")
