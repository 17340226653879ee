"""The file a task prints into, and its end."""

from robbench.execution.logs import CHARACTERS, LINES, log_path, tail


def test_every_task_has_a_file_of_its_own_inside_the_folder(tmp_path):
    names = ["a", "a/b", "a_b", "../a", "..", ".", "", "A:b", "A b", "é", "è", "x" * 300, "x" * 301]
    paths = [log_path(tmp_path, name) for name in names]
    assert {path.parent for path in paths} == {tmp_path}
    assert len(set(paths)) == len(names)
    assert all(len(path.name) < 200 and path.name.isascii() for path in paths)
    assert not any(path.name.startswith(".") for path in paths[3:6])
    assert log_path(tmp_path, "train-trades-beta=6").name == "train-trades-beta=6.log"


def test_the_end_of_a_log(tmp_path):
    log = tmp_path / "a.log"
    assert tail(log) == ""
    log.write_bytes(b"first try\n\xff second")
    assert tail(log) == "first try\n\ufffd second"
    assert tail(log, start=10) == "\ufffd second"
    log.write_text("\n".join(f"line {n}" for n in range(10_000)))
    assert tail(log).splitlines() == [f"line {n}" for n in range(10_000 - LINES, 10_000)]
    log.write_text("x" * 100_000)
    assert tail(log) == "x" * CHARACTERS
