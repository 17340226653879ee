"""Which samples get pictures when not all fit."""

from __future__ import annotations

import pytest

from robbench.reports.html.view import COLUMNS
from robbench.store.run import read_run
from robbench.store.store import Store
from robbench.tasks.view.pictures import pictures_of


def test_the_nearest_come_first_where_there_is_little_room(looked_at):
    """Samples newly broken in a run with points, smallest distance in front; a line says so."""
    runs = [(path, read_run(path, COLUMNS)) for path in Store(looked_at).find([])]
    (rows,) = [run.samples.to_pylist() for _, run in runs if run.info["norm"] == "linf"]
    samples = [row["sample_id"] for row in rows]
    everything, notes = pictures_of(runs, samples, None, 10**6)
    assert len(everything.clean) == 30
    assert len(notes) == 1
    few, notes = pictures_of(runs, samples, None, 3000)
    assert 2 < len(few.clean) < 15
    used = sum(map(len, few.clean.values()))
    used += sum(
        len(one.worst) + len(one.difference) for seen in few.worst.values() for one in seen.values()
    )
    assert used <= 3000
    fell = [row for row in rows if row["adversarial"] and row["clean_correct"]]
    near = sorted(fell, key=lambda row: row["dist_linf"])
    assert list(few.clean) == [row["sample_id"] for row in near][: len(few.clean)]
    assert notes[0].startswith(f"{len(few.clean)} of 30 samples have pictures")


def test_pictures_too_large_for_the_page_are_no_other_data(looked_at):
    """The line says what is too large, not that the data have changed."""
    runs = [(path, read_run(path, COLUMNS)) for path in Store(looked_at).find([])]
    samples = runs[0][1].samples["sample_id"].to_pylist()
    found, notes = pictures_of(runs, samples, None, 10)
    assert found.clean == {}
    assert notes == [
        "No pictures: those of one sample are more than fit on the page: view fewer runs."
    ]


@pytest.mark.parametrize(("features", "shown"), [(3, True), (40, False)])
def test_tables_show_their_features_if_they_are_few(cli, tmp_path, features, shown):
    """Values in [0,1], as the attack saw them; of wide tables only the numbers."""
    names = [f"f{n}" for n in range(features)]
    for split in ("train", "test"):
        lines = [",".join([*names, "y"])]
        lines += [
            ",".join([*(str((i * (n + 1)) % 7) for n in range(features)), str(i % 2)])
            for i in range(20)
        ]
        (tmp_path / f"t-{split}.csv").write_text("\n".join(lines) + "\n")
    data = f"csv:{tmp_path}/t-{{split}}.csv,label=y"
    out = tmp_path / "S"
    train = f"train --data '{data}' --model mlp:width=4,depth=1 --threat linf:0.1 --epochs 1"
    assert cli(train, "--name", "t", "--quiet", "--out", out).code == 0
    line = "attack t --attack fgsm --threat linf:0.5 --store-points --quiet --out"
    assert cli(line, out).code == 0
    runs = [(path, read_run(path, COLUMNS)) for path in Store(out).find([])]
    samples = runs[0][1].samples["sample_id"].to_pylist()
    found, notes = pictures_of(runs, samples, None, 10**6)
    assert found.clean == {}
    if not shown:
        assert found.features == {}
        assert notes == ["No pictures: samples have 40 features, more than 32."]
        return
    rows = {row["sample_id"]: row for row in runs[0][1].samples.to_pylist()}
    for sample, values in found.features.items():
        i = rows[sample]["sample_index"]
        assert values == pytest.approx([((i * (n + 1)) % 7) / 6 for n in range(3)])
    (moved,) = found.moved.values()
    assert len(moved) > 3
    for sample, values in moved.items():
        largest = max(abs(a - b) for a, b in zip(values, found.features[sample], strict=True))
        assert largest == pytest.approx(rows[sample]["dist_linf"], abs=1e-3)
