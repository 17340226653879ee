"""Options of outputs under the command: in ids by content, in rows, and in all that follows."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from tests.models.sources.programs import Digits, write

SOURCE = """
from tests.models.sources.programs import Digits
import torch
from sklearn.datasets import load_digits
from torch import nn


class Net(nn.Module):
    def __init__(self, after=lambda z: z):
        super().__init__()
        self.fc, self.after = nn.Linear(64, 10), after
        digits = load_digits()
        x = torch.tensor(digits.images[:900]).flatten(1) / 16
        y = torch.nn.functional.one_hot(torch.tensor(digits.target[:900])).double()
        h = torch.cat([x, torch.ones(900, 1)], 1).double()
        with torch.no_grad():  # least squares: a classifier that is mostly right
            w = torch.linalg.solve(h.T @ h + torch.eye(65), h.T @ y).T
            self.fc.weight.copy_(10 * w[:, :64])
            self.fc.bias.copy_(10 * w[:, 64])

    def forward(self, x):
        return self.after(self.fc(x.flatten(1)))


def plain(): return Net()
def probs(): return Net(lambda z: z.softmax(1))
def wide(): return Net(lambda z: torch.cat([z, 2 - z[:, :3]], 1).flip(1))
def rejects():  # where two classes are close
    return Net(lambda z: torch.cat([z, z.topk(2, 1).values[:, 1:] + 1], 1))
def own(outputs="a", classes=2): return Net()
"""
DATA = "--data digits"
ATTACK = "--limit 30 --threat linf:0.1 --attack pgd:steps=5,objective=margin --json"


@pytest.fixture
def attack(cli, private, tmp_path):
    """`attack("plain:outside=wrong")`: its row, of a store that the calls share."""
    folder = private("nets", SOURCE)

    def run(*models, more=DATA, kind="nets:"):
        words = " ".join(f"{kind}{model}" for model in models)
        done = cli(f"attack {words} {ATTACK} {more} --out {tmp_path / 'S'}", cwd=folder)
        assert done.code == 0, done.err
        return done.json["rows"]

    run.folder = folder
    return run


def samples(store, row):
    columns = ["sample_id", "adversarial", "clean_pred", "adv_pred", "clean_margin"]
    path = store / "results" / "samples" / f"{row['run_id']}.parquet"
    return pq.read_table(path, columns=columns).to_pylist()


def test_a_file_of_names_counts_by_content(attack, tmp_path):
    """Elsewhere with the same content: the same run. With another content: another one."""
    names = [*(f"x{n}" for n in range(3)), *"9876543210"]
    (attack.folder / "names.txt").write_text("\n".join(names))
    (attack.folder / "moved.txt").write_text("\n".join(names))
    plain, by_name = attack("plain", "wide:classes=names.txt")
    (moved,) = attack("wide:classes=moved.txt")
    assert by_name["run_id"] == moved["run_id"]
    assert samples(tmp_path / "S", by_name) == samples(tmp_path / "S", plain)
    assert by_name["model"] == "nets:wide"
    assert by_name["model_outputs"].startswith("10 of 13 outputs by name (")
    swapped = [*names[:3], "8", "9", *names[5:]]
    (attack.folder / "moved.txt").write_text("\n".join(swapped))
    (other,) = attack("wide:classes=moved.txt")
    assert other["run_id"] != by_name["run_id"]
    assert other["clean_accuracy"] < by_name["clean_accuracy"]


def test_models_in_files_have_the_same_options(attack, tmp_path):
    """Verdicts of the factory; the file of names is no part of the name nor of the id."""
    write("export", attack.folder / "net.pt2", Digits())
    for name in ("names.txt", "moved.txt"):
        (attack.folder / name).write_text("\n".join("0123456789"))
    options = "outside=wrong"
    (plain,) = attack(f"Digits:outputs=(3,8),{options}", more="--data digits[3,8]")
    rows = [
        attack(f"net.pt2,classes={name},{options}", more="--data digits[3,8]", kind="export:")[0]
        for name in ("names.txt", "moved.txt")
    ]
    assert rows[0]["run_id"] == rows[1]["run_id"]
    assert rows[0]["model"] == "net"
    for found, expected in zip(
        samples(tmp_path / "S", rows[0]), samples(tmp_path / "S", plain), strict=True
    ):
        assert found == pytest.approx(expected, abs=1e-4)


def test_runs_that_read_outputs_otherwise_are_told_apart(attack, cli, tmp_path):
    """Rows of one name and the same weights: compare says what differs, and it is no weights."""
    (attack.folder / "names.txt").write_text("\n".join([*"abc", *"9876543210"]))
    rows = [*attack("wide:classes=names.txt", more=f"{DATA} --name wide")]
    rows += attack("wide:classes=names.txt,outside=wrong", more=f"{DATA} --name wide-outside")
    assert rows[0]["run_id"] != rows[1]["run_id"]
    assert rows[1]["robust_accuracy"] <= rows[0]["robust_accuracy"]
    ignored, counted = (row["model_outputs"] for row in rows)
    assert "outside" not in ignored
    assert counted.startswith("10 of 13 outputs by name (")
    assert counted.endswith("), outside=wrong")


def test_one_name_twice(attack, cli, private, tmp_path):
    """A file of names whose content changed: both rows say how outputs were read."""
    for text in ("9876543210", "9876543201"):
        (attack.folder / "names.txt").write_text("\n".join([*"abc", *text]))
        attack("wide:classes=names.txt")
    done = cli("compare --json --out", tmp_path / "S")
    assert done.code == 0, done.err
    settings = [row["settings"] for row in done.json["rows"]]
    assert all("10 of 13 outputs by name" in text for text in settings)
    assert len({*settings}) == 2
    assert not any("weights" in text for text in settings)
    notes = " ".join(row["note"] or "" for row in done.json["rows"])
    assert "outputs read otherwise than in run" in notes


@pytest.mark.parametrize(
    "options",
    ["outputs=(3,8),outside=wrong", pytest.param("reject=last", marks=pytest.mark.slow)],
)
def test_what_follows_a_run_reads_outputs_the_same_way(attack, cli, tmp_path, options):
    """Resume, gate, check, measure and the report find the model, and its hash."""
    model = f"nets:rejects:{options}" if "reject" in options else f"nets:plain:{options}"
    data = "--data digits[3,8]" if "outputs" in options else DATA
    out = tmp_path / "S"
    attack(model.partition(":")[2], more=f"{data} --store-points")
    for words in (
        f"gate --baseline {model} --model {model} --max-drop 50",
        f"check {model}",
        f"measure {model}",
        f"report {model}",
    ):
        done = cli(words, "--out", out, cwd=attack.folder)
        # A check may find that steps on the cross-entropy lead nowhere beside a rejecting output.
        found = {0, 1} if words.startswith("check") and "reject" in options else {0}
        assert done.code in found, (words, done.err)


def test_rejections_are_shown_where_there_are_some(attack, cli, tmp_path):
    plain, rejects = attack("plain", "rejects:reject=last")
    assert plain["clean_rejection_rate"] is None
    assert 0 < rejects["clean_rejection_rate"] < rejects["adv_rejection_rate"]
    assert rejects["clean_accuracy"] + rejects["clean_rejection_rate"] <= 1
    assert rejects["n_error"] == 0
    for words, shown in (("nets:plain", False), ("", True)):
        done = cli(f"compare {words} --markdown --out", tmp_path / "S")
        assert ("rejected, clean" in done.out) == shown
    done = cli("show nets:rejects:reject=last --out", tmp_path / "S")
    assert "rejected" in done.out


def test_an_option_of_the_factory_is_its_own(attack):
    (row,) = attack("own:outputs=b,classes=3")
    assert row["model_outputs"] is None
    assert row["model"] == "nets:own:outputs=b,classes=3"


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("wide", "outputs=0-9 or outputs=(3,8), or the class of each output: classes=FILE"),
        ("probs", "without the softmax, or say what they are: outputs=probs"),
        ("probs:outputs=sigmoid,outside=some", "outside=some"),
        ("rejects:reject=first", "reject=first"),
        ("wide:classes=names.txt", "no such file"),
        ("wide:classes=(a,b)", "classes names 2 outputs, the model has 13"),
        ("plain:classes=(a,b,c,d,e,f,g,h,i,9)", "no output is 0, 1, 2, 3, 4 and 4 more"),
        ("wide:outputs=0-8", "should be 10 different ones"),
        ("rejects:outputs=0-9,rejects=last", "unknown option 'rejects'"),
    ],
)
def test_what_does_not_fit_says_what_to_write(cli, private, tmp_path, model, text):
    """One line, nothing written."""
    folder = private("nets", SOURCE)
    done = cli(f"attack nets:{model} {DATA} {ATTACK} --out {tmp_path / 'S'}", cwd=folder)
    assert done.code == 2
    assert text in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "S").exists()


def test_training_needs_the_classes_alone(cli, private, tmp_path):
    """Some outputs can be trained; what is beyond the classes has no label to learn."""
    folder = private("nets", SOURCE)
    words = "--data digits --limit 64 --epochs 1 --json --out"
    for options in ("outside=wrong", "reject=last"):
        done = cli(
            f"train --model nets:wide:outputs=0-9,{options} {words}", tmp_path / "S", cwd=folder
        )
        assert done.code == 2
        assert "not for training" in done.err
    done = cli(
        f"train --model nets:wide:outputs=0-9 --name some {words}", tmp_path / "S", cwd=folder
    )
    assert done.code == 0, done.err
    done = cli(
        "attack some --trust-code --attack fgsm --threat linf:0.1 --limit 9 --json --out",
        tmp_path / "S",
        cwd=folder,
    )
    assert done.code == 0, done.err
    assert done.json["rows"][0]["model_outputs"] == "outputs 0-9 of 13"
