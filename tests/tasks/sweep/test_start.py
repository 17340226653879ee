"""What a sweep would do, before it does it."""

from pathlib import Path

from robbench.tasks.sweep.grid import Axis
from robbench.tasks.sweep.request import Request
from robbench.tasks.sweep.run import Watcher
from robbench.tasks.sweep.start import Place, ahead, sweep

SETTINGS = {"model": "mlp:width=4,depth=1", "epochs": 1, "limit": 40, "attack": "fgsm"}


def request(*seeds):
    return Request(name="s", grid=(Axis("seed", seeds),), fixed=SETTINGS)


def test_what_is_ahead_is_what_is_done(tmp_path):
    place = Place(tmp_path, device="cpu")
    before = ahead(request(0), place)
    assert [item.task.title for item in before.todo] == [
        "train cross-entropy-s0",
        "attack cross-entropy-s0",
    ]
    assert list(tmp_path.iterdir()) == []
    swept = sweep(request(0), place, watcher=Watcher())
    assert swept.counts == {"done": 2}
    assert swept.computed == 2
    assert ahead(request(0), place).todo == []
    assert len(ahead(request(0), place, force=True).todo) == 2
    assert sweep(request(0), place, watcher=Watcher()).computed == 0
    again = sweep(request(0), place, force=True, watcher=Watcher())
    assert again.computed == 2
    assert again.run_ids == swept.run_ids
    assert [item.model for item in ahead(request(0, 1), place).todo] == ["cross-entropy-s1"] * 2


def test_a_task_finds_its_place_from_any_folder(tmp_path, monkeypatch):
    """Code of a model or loss may change the working folder in the middle of a task."""
    monkeypatch.chdir(tmp_path)
    given = Place(Path("runs"), data_dir=Path("data")).given(log=False)
    assert (given["out"], given["data_dir"]) == (f"{tmp_path}/runs", f"{tmp_path}/data")
