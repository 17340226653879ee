"""How far a task is, through a file."""

from robbench.execution import progress


def test_what_is_said_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    place = tmp_path / "a.progress"
    progress.report(0.1, "nobody asks")
    assert progress.read(place) == (0.0, "")
    with progress.progress_into(place):
        for share in (0.25, 0.5):
            progress.report(share, "é")
            assert progress.read(place) == (share, "é")
    assert [*tmp_path.iterdir()] == []


def test_it_is_written_seldom(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.progress_into(tmp_path / "a.progress"):
        progress.report(0.1, "")
        now += progress.EVERY / 2
        progress.report(0.2, "")
        assert progress.read(tmp_path / "a.progress")[0] == 0.1
        now += progress.EVERY
        progress.report(0.3, "")
        assert progress.read(tmp_path / "a.progress")[0] == 0.3


def test_a_damaged_or_unwritable_file_is_no_error(tmp_path):
    place = tmp_path / "a.progress"
    for text in ("", "{", "[]", '{"share": "x", "text": ""}', "null"):
        place.write_text(text)
        assert progress.read(place) == (0.0, "")
    with progress.progress_into(tmp_path / "none" / "a.progress"):
        progress.report(0.5, "")
