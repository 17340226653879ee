"""Tables for tabular models: order, range, labels, fixed features, and models on raw features."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import robbench
from robbench.core.errors import UserError
from robbench.data.feature_box import box_of
from robbench.data.load import load

NAMES = ["age", "height", "sex", "weight", "pulse", "constant"]


def _frame(rows: int, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    values = draw.normal([40, 170, 0.5, 70, 80, 3], [12, 9, 0.3, 11, 15, 0], (rows, 6))
    values[:, 2] = values[:, 2] > 0.5
    frame = pd.DataFrame(values, columns=NAMES)
    score = (frame["weight"] - 70) / 11 + (frame["age"] - 40) / 12 - (frame["pulse"] - 80) / 30
    frame.insert(2, "ill", np.where(score + draw.normal(0, 0.3, rows) > 0, "yes", "no"))
    return frame


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A training and a test file in the working folder, and what they hold."""
    monkeypatch.chdir(tmp_path)
    for name in ("own", "own_net"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    train, test = _frame(120, 0), _frame(60, 1)
    train.to_csv("t-train.csv", index=False)
    test[sorted(test.columns)].to_csv("t-test.csv", index=False)
    return train, test


def test_features_in_the_order_of_the_training_file(
    tables: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    """Each in [0,1] by its training range; labels by name; a constant feature is fixed."""
    train, test = tables
    found = load("csv:t-{split}.csv,label=ill,fixed=(age,sex)", "test")
    low, high = train[NAMES].min().to_numpy(), train[NAMES].max().to_numpy()
    width = np.where(high > low, high - low, 1)
    expected = ((test[NAMES].to_numpy() - low) / width).clip(0, 1)
    assert np.allclose(found.pixels(slice(None)).numpy(), expected, atol=1e-6)
    assert found.classes == ("no", "yes")
    assert [found.classes[i] for i in found.labels.tolist()] == test["ill"].tolist()
    assert found.free is not None
    assert found.free.tolist() == [False, True, False, True, True, False]
    notes = " | ".join(found.notes)
    assert "6 features in the order of t-train.csv: age, height, sex, weight" in notes
    assert "2 of 6 features are fixed: age, sex" in notes
    assert "1 of 6 features are fixed, being constant: constant" in notes
    clipped = int(((test[NAMES] < low) | (test[NAMES] > high)).any(axis=1).sum())
    assert f"{clipped} of 60 samples have values outside of these ranges" in notes
    assert clipped > 0


def test_one_file_and_given_bounds(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """A file is its own range; a box of bounds widens it; columns can be left out."""
    pd.DataFrame({"feature": ["age"], "low": [0], "high": [120]}).to_csv("box.csv", index=False)
    found = load("csv:t-train.csv,label=ill,drop=(constant,sex),box=box.csv", "test")
    age = torch.tensor(tables[0]["age"].to_numpy() / 120).float()
    assert torch.allclose(found.images[:, 0], age)
    assert found.images.shape == (120, 4)
    assert float(found.images[:, 1].min()) == 0
    assert float(found.images[:, 1].max()) == 1
    assert found.free is None
    assert "t-train.csv is not divided into splits" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("train", "test", "classes"),
    [
        (["False", "True", "maybe"], ["TRUE", "True", "False"], ("False", "TRUE", "True", "maybe")),
        (["1", "2", "x"], ["02", "2", "1"], ("02", "1", "2", "x")),
        (["1.5", "2", "x"], ["1.5", "1.5", "2"], ("1.5", "2", "x")),
        (["a", "b", "a"], ["", "", ""], ("a", "b")),
    ],
)
def test_labels_are_texts_where_a_split_has_texts(
    train: list[str], test: list[str], classes: tuple[str, ...], tmp_path: Path
) -> None:
    """As they are written, though all of one split could be booleans or numbers."""
    written = {"train": train, "test": test}
    for name, labels in written.items():
        rows = [f"{n},{label}\n" for n, label in enumerate(labels)]
        (tmp_path / f"{name}.csv").write_text("".join(["a,y\n", *rows]))
    for name, labels in written.items():
        if any(labels):
            found = load(f"csv:{tmp_path},label=y", name)
            assert set(found.classes) == set(classes)
            assert [found.classes[i] for i in found.labels.tolist()] == labels


def test_whole_numbers_beyond_64_bits(tmp_path: Path) -> None:
    """They are numbers still: in even steps from 0 to 1."""
    path = tmp_path / "a.csv"
    path.write_text("".join(["a,y\n", *(f"{n}{'0' * 30},{n % 2}\n" for n in range(1, 6))]))
    found = load(f"csv:{path},label=y", "test")
    assert found.pixels(slice(None))[:, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_a_box_gives_a_feature_once(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Which of two ranges holds is not guessed."""
    Path("box.csv").write_text("feature,low,high\nage,0,100\nage,0,120\n")
    with pytest.raises(UserError, match="names 'age' twice"):
        load("csv:t-{split}.csv,label=ill,drop=sex,box=box.csv", "test")


@pytest.mark.parametrize(
    ("change", "options", "text"),
    [
        ({}, ",label=il", "has no column 'il'"),
        ({}, ",label=ill,drop=(nothing)", "has no column 'nothing'"),
        ({}, ",label=ill,fixed=(agee)", "no feature 'agee'"),
        ({}, ",label=ill,fixed=(age,sex,height,weight,pulse)", "all entries are fixed"),
        ({}, ",label=age", "they should be classes, not amounts"),
        ({}, ",label=sex", "column 'ill' holds text ("),
        ({}, ",label=ill,box=none.csv", "no file"),
        ({}, ",label=ill,box=t-train.csv", "lacks the column 'feature'"),
        ({"weight": None}, ",label=ill", "t-test.csv lacks the column 'weight' of t-train.csv"),
        ({"id": 1}, ",label=ill", "t-train.csv lacks the column 'id' of t-test.csv"),
        ({"age": np.nan}, ",label=ill", "column 'age' has 60 empty cells, the first in row 1"),
        ({"age": ["3", "?", *"4" * 58]}, ",label=ill", "column 'age' holds text (?), no numbers"),
        ({"age": 10**400}, ",label=ill", "column 'age' holds numbers that are too large"),
        ({"age": 1e39}, ",label=ill", "column 'age' is infinite in row 1, in 32-bit numbers"),
        ({"age": np.inf}, ",label=ill", "column 'age' is infinite in row 1"),
        ({"ill": None}, ",label=ill", "has no column 'ill', which is the label"),
        ({"ill": np.nan}, ",label=ill", "no row has a label"),
        ({"ill": "maybe"}, ",label=ill,units=metres", "units"),
    ],
)
def test_what_is_refused(
    change: dict[str, Any],
    options: str,
    text: str,
    tables: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    """One line with file and column."""
    frame = tables[1].copy()
    for name, value in change.items():
        frame = frame.drop(columns=name) if value is None else frame.assign(**{name: value})
    frame.to_csv("t-test.csv", index=False)
    with pytest.raises(UserError) as caught:
        load(f"csv:t-{{split}}.csv{options}", "test")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


MODEL = """
import json
from pathlib import Path
import torch
from torch import nn

def logistic(which="raw"):
    w, b = json.loads(Path("model.json").read_text())[which]
    layer = nn.Linear(len(w), 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-v / 2 for v in w], [v / 2 for v in w]]))
        layer.bias.copy_(torch.tensor([-b / 2, b / 2]))
    return layer
"""
BUDGETS = [
    ("linf", 0.06, "age,sex", "apgd:objective=margin"),
    ("l2", 0.1, "age,sex", "apgd:objective=margin"),
    ("l1", 0.12, "age,sex", "apgd:objective=margin"),
    ("l0", 1, "age,sex,weight", "fmn:steps=200"),
]


def _fitted(train: pd.DataFrame) -> LogisticRegression:
    """A model on standardised features, and model.json with it in both units."""
    scaler = StandardScaler().fit(train[NAMES].to_numpy())
    model = LogisticRegression().fit(scaler.transform(train[NAMES].to_numpy()), train["ill"])
    w, b = model.coef_[0], float(model.intercept_[0])
    raw = w / scaler.scale_, b - float((w * scaler.mean_ / scaler.scale_).sum())
    either = {"standard": (w.tolist(), b), "raw": (raw[0].tolist(), raw[1])}
    Path("model.json").write_text(json.dumps(either))
    return model


def _attack(
    cli: Callable[..., Any], units: str, threat: str, attack: str, fixed: str = "age,sex"
) -> Any:
    data = f"csv:t-{{split}}.csv,label=ill,units={units},fixed=({fixed})"
    line = f"attack own:logistic:which={units} --data '{data}' --threat {threat} --store-points"
    done = cli(f"{line} --attack '{attack}' --out o --json")
    assert done.code == 0, done.err
    return done.json["rows"][0]


@pytest.mark.few(2)
@pytest.mark.parametrize(("norm", "eps", "fixed", "attack"), BUDGETS)
def test_a_linear_model_has_the_verdicts_of_its_free_features(
    norm: str,
    eps: float,
    fixed: str,
    attack: str,
    tables: tuple[pd.DataFrame, pd.DataFrame],
    cli: Callable[..., Any],
) -> None:
    """Fitted by scikit-learn on raw or standardised features: the closed form, in all norms.

    What free features can add is eps times the dual norm of their weights, as far as the box goes.
    """
    train, test = tables
    _fitted(train)
    Path("own.py").write_text(MODEL)
    w, b = json.loads(Path("model.json").read_text())["raw"]
    low, high = train[NAMES].min().to_numpy(), train[NAMES].max().to_numpy()
    x = test[NAMES].to_numpy().clip(low, high)
    z = x @ np.array(w) + b
    slope = np.array(w) * (high - low) * [name not in fixed for name in NAMES]
    unit = (x - low) / np.where(high > low, high - low, 1)
    right = (z > 0) == (test["ill"] == "yes").to_numpy()
    room = np.where((slope > 0) == (z[:, None] < 0), 1 - unit, unit)
    reach = np.array([_reach(norm, eps, slope, row) for row in room])
    robust = right & (np.abs(z) > reach)
    assert np.abs(np.abs(z) / reach - 1).min() > 1e-3
    assert 0.1 < robust.mean() < right.mean() - 0.1
    threat = f"{norm}:{eps}"
    rows = [_attack(cli, units, threat, attack, fixed) for units in ("raw", "standard")]
    for row in rows:
        assert row["clean_accuracy"] == pytest.approx(right.mean())
        assert row["robust_accuracy"] == pytest.approx(robust.mean())
        assert "fixed" in [flag["name"] for flag in row["flags"]]


def _reach(norm: str, eps: float, slope: np.ndarray, room: np.ndarray) -> float:
    """How much a linear model can change: the features in the order of what they give."""
    if norm == "linf":
        return float((np.abs(slope) * np.minimum(room, eps)).sum())
    if norm == "l0":
        return float(np.sort(np.abs(slope) * room)[::-1][: int(eps)].sum())
    if norm == "l1":
        left, total = eps, 0.0
        for place in np.argsort(-np.abs(slope)):
            step = min(left, room[place])
            total, left = total + abs(slope[place]) * step, left - step
        return total
    low, high = 0.0, 1e6  # in l2 features move in proportion to their slope until the box ends
    for _ in range(200):
        middle = (low + high) / 2
        d = np.minimum(middle * np.abs(slope), room)
        low, high = (middle, high) if np.sqrt((d**2).sum()) < eps else (low, middle)
    return float((np.abs(slope) * np.minimum(low * np.abs(slope), room)).sum())


def test_a_run_on_a_table_through_its_life(
    tables: tuple[pd.DataFrame, pd.DataFrame], cli: Callable[..., Any]
) -> None:
    """The same run again, another for other fixed features; check, measure, gate and report."""
    _fitted(tables[0])
    Path("own.py").write_text(MODEL)
    first = _attack(cli, "raw", "linf:0.06", "pgd:steps=10")
    assert _attack(cli, "raw", "linf:0.06", "pgd:steps=10")["run_id"] == first["run_id"]
    free = cli(
        "attack own:logistic --data csv:t-{split}.csv,label=ill,units=raw --threat linf:0.06 "
        "--attack pgd:steps=10 --out o --json"
    ).json["rows"][0]
    assert free["run_id"] != first["run_id"]
    assert free["robust_accuracy"] < first["robust_accuracy"]
    checked = cli("check", first["run_id"], "--out", "o", "--trust-code", "--json")
    assert checked.code in (0, 1), checked.err
    for words in (
        f"measure {first['run_id']} --out o --trust-code",
        f"gate --baseline {first['run_id']} --model own:logistic:which=raw --out o --trust-code",
        "report --out o",
    ):
        done = cli(words)
        assert done.code in (0, 1, 4), (words, done.err)


def test_a_model_trained_on_a_table(
    tables: tuple[pd.DataFrame, pd.DataFrame], cli: Callable[..., Any]
) -> None:
    """Ours on [0,1], a user's own in its units, which the saved model keeps."""
    Path("own_net.py").write_text(
        "from torch import nn\ndef net():\n"
        "    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))\n"
    )
    data = "csv:t-{split}.csv,label=ill,units=standard,fixed=(age)"
    for model, name in (("mlp:width=8,depth=1", "m"), ("own_net:net", "n")):
        line = f"train --data {data} --model {model} --epochs 20 --inner pgd:steps=2 --name {name}"
        done = cli(f"{line} --threat linf:0.02 --set batch_size=16 --out o")
        assert done.code == 0, done.err
        trust = " --trust-code" if name == "n" else ""
        done = cli(f"attack {name} --threat linf:0.02 --attack fgsm --out o --json{trust}")
        assert done.code == 0, done.err
        assert done.json["rows"][0]["clean_accuracy"] > 0.75


def test_a_table_from_python(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """A module on raw features, and the same arrays with the same features fixed."""
    train, test = tables
    _fitted(train)
    Path("own.py").write_text(MODEL)
    space: dict[str, Any] = {}
    exec(MODEL, space)
    options = {"threat": "linf:0.06", "attack": "apgd:steps=5,objective=margin"}
    data = "csv:t-{split}.csv,label=ill,units=raw,fixed=(age,sex)"
    named = robbench.evaluate(space["logistic"](), data, **options)
    box = box_of(train[NAMES].to_numpy())

    model = space["logistic"]()

    def on_unit(x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(
            torch.tensor(box.low).float() + torch.tensor(box.width).float() * x
        )
        return logits

    x, y = box.scaled(test[NAMES].to_numpy()), (test["ill"] == "yes").to_numpy()
    for fixed in ([0, 2, 5], np.array([True, False, True, False, False, True])):
        found = robbench.evaluate(on_unit, x, y.astype(int), fixed=fixed, **options)
        assert found.robust_accuracy == named.robust_accuracy
        assert np.allclose(found.margins["clean_margin"], named.margins["clean_margin"], atol=1e-4)
        assert "fixed" in found.flags
    for fixed, text in (([6], "6 is no feature"), ([[0]], "numbers of features"), ("age", "numb")):
        with pytest.raises(UserError, match=text):
            robbench.evaluate(on_unit, x, y.astype(int), fixed=fixed, **options)
    with pytest.raises(UserError, match="an option of it"):
        robbench.evaluate(on_unit, data, fixed=[0], **options)


def test_targets_in_a_column(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Whole numbers or texts, by sample."""
    frame = tables[1].assign(wanted=np.where(tables[1]["ill"] == "yes", "no", "yes"))
    frame.to_csv("one.csv", index=False)
    found = load("csv:one.csv,label=ill,drop=(wanted)", "test")
    assert found.columns is not None
    values = found.columns("wanted")
    assert [values[i] for i in found.ids.tolist()] == frame["wanted"].tolist()
    for name in ("nothing", "age"):
        with pytest.raises(UserError, match=name):
            found.columns(name)
