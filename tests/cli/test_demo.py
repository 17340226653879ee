"""`robbench demo`, the README's first command, and the table that the README shows of it."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ROW = re.compile(r"^(demo-\w+) +(?:\* +)?([\d.]+)% +([\d.]+)%", re.MULTILINE)


@pytest.mark.timeout(600)
def test_the_demo_is_the_readmes(cli, tmp_path):
    """It trains, attacks and compares both models; rates are near those of the README's table."""
    done = cli("demo --device cpu --out", tmp_path)
    assert done.code == 0, done.err
    shown, found = (
        {name: (float(clean), float(robust)) for name, clean, robust in ROW.findall(text)}
        for text in (README, done.out)
    )
    assert shown.keys() == found.keys() == {"demo-ce", "demo-at"}
    for name, rates in shown.items():
        assert found[name] == pytest.approx(
            rates, abs=2.5
        )  # points; 15 of 597 samples: processors round otherwise
    rows = [
        pq.read_table(path).to_pylist()[0]
        for path in (tmp_path / "results" / "runs").glob("*.parquet")
    ]
    assert sorted(row["model"] for row in rows) == ["demo-at", "demo-ce"]
    assert all(row["n_samples"] == 597 and row["status"] == "done" for row in rows)
    assert {path.name for path in (tmp_path / "results" / "points").glob("*.parquet")} == {
        f"{row['run_id']}.parquet" for row in rows
    }  # the report shows pictures
    ratios = {row["model"]: f"{100 * row['adversarial_ratio']:.1f}%" for row in rows}
    for name, ratio in ratios.items():
        assert re.search(rf"{name} (wrong )?on {re.escape(ratio)}", done.out)
    last = done.out.splitlines()[-1].partition("robbench ")[2]
    assert last == f"report demo-ce demo-at --open --out {tmp_path}"
    page = tmp_path / "page.html"
    assert cli(*last.replace(" --open", "").split(), "--html", page).code == 0
    assert page.read_text(encoding="utf-8").count("data:image/png") > 10
