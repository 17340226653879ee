"""A sweep's file and flags."""

import pytest

from robbench.core.errors import UserError
from robbench.core.trust import command_line
from robbench.tasks.sweep.axes import resolve
from robbench.tasks.sweep.grid import Axis, parse_axis
from robbench.tasks.sweep.request import read_request

FILE = """
[sweep]
name = "mine"
steps = ["compare", "attack", "train"]

[grid]
loss = ["ce", "trades:beta=6,inner=1"]
seed = "0..2"

[train]
epochs = 2

[attack]
attack = ["pgd", "apgd"]

[[exclude]]
loss = "ce"
seed = [1, 2]
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "grid.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_whole_file(written):
    found = read_request(written(FILE))
    assert found.name == "mine"
    assert found.steps == ("train", "attack", "compare")
    assert found.grid == (Axis("loss", ["ce", "trades:beta=6,inner=1"]), Axis("seed", range(3)))
    assert found.fixed == {"train.epochs": 2, "attack.attack": ["pgd", "apgd"]}
    assert found.exclude == ({"loss": "ce", "seed": [1, 2]},)


def test_flags_replace_what_the_file_says(written):
    found = read_request(
        written(FILE), name="other", grid=[parse_axis("seed=7")], fixed={"epochs": "3"}
    )
    assert found.name == "other"
    assert dict(found.grid)["seed"] == ["7"]
    assert found.fixed == {"epochs": "3", "attack.attack": ["pgd", "apgd"]}


BOTH = """
[train]
threat = "linf:0.1"
seed = 4
data = "digits"
limit = 90

[attack]
threat = ["linf:0.2"]
seed = 5
data = "digits[0,1]"
limit = 80
"""


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        ({"threat": "linf:0.3"}, {"train.threat": "linf:0.1"}),
        ({"eps": "0.3"}, {"train.threat": "linf:0.1"}),
        ({"seed": 7}, {"attack.seed": 5}),
        ({"data": "mnist"}, {"attack.data": "digits[0,1]"}),
        ({"attack.data": "mnist"}, {"train.data": "digits"}),
        ({"limit": 3}, {}),
    ],
)
def test_a_flag_replaces_only_what_it_means(written, flags, left):
    """A threat model is the attack's, a seed the training's: the other command keeps its own."""
    [(key, value)] = flags.items()
    name = {"eps": "threat"}.get(key, key).removeprefix("attack.")
    whole = read_request(written(BOTH)).fixed
    others = {of: said for of, said in whole.items() if of.partition(".")[2] != name}
    assert read_request(written(BOTH), fixed=flags).fixed == others | left | flags
    asked = read_request(written(BOTH), grid=[Axis(key, [value])])
    assert asked.fixed == others | left
    assert asked.grid == (Axis(key, [value]),)
    resolve(asked)


def test_a_flag_may_repeat_what_the_file_says(written):
    """An equal axis is a replaced one too."""
    found = read_request(written(FILE), grid=[parse_axis("seed=0..2")])
    assert found.grid == read_request(written(FILE)).grid


def test_without_a_name_a_file_gives_its_own(written):
    assert read_request(written("[grid]\nloss = ['ce']")).name == "grid"
    models = read_request(written("[attack]\nmodels = ['a', 'b']"))
    assert models.grid == (Axis("models", ["a", "b"]),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gird]\nloss = ['ce']", "unknown table 'gird'; did you mean grid"),
        ("grid = 3", r"'grid' must be a table: \[grid\]"),
        ("[exclude]\nloss = 'ce'", r"\[\[exclude\]\]"),
        ("[sweep]\nsteps = ['train', 'atack']\n[grid]\nloss=['ce']", "did you mean attack"),
        ("[sweep]\nsteps = []\n[grid]\nloss=['ce']", "steps should be a list"),
        ("[sweep]\nstep = ['train']", "unknown key 'step'"),
        ("[sweep]\nname = 'a/b'\n[grid]\nloss=['ce']", "name 'a/b' of a sweep"),
        ("[certify]\nmehtod = 'ibp'\n[grid]\nloss=['ce']", "did you mean method"),
        ("[certify]\nmethod = 3\n[grid]\nloss=['ce']", "should be a text"),
        ("[certify]\nmethod = 'ibp'\n[grid]\nloss=['ce']", "without the step certify"),
        ("[grid]\nloss = []", "empty list"),
        ("[grid]\nloss = 'ce'", "should be a list"),
        ("", "nothing to do"),
        ("[grid", "not valid TOML"),
    ],
)
def test_a_bad_file_is_one_line(written, text, said):
    with pytest.raises(UserError, match=said):
        read_request(written(text))


def test_fewer_steps_leave_certify_unread(written):
    """The file names the step: a flag may run others first."""
    file = written(
        "[sweep]\nsteps = ['train', 'certify']\n[certify]\nlimit = 5\n[grid]\nloss=['ce']"
    )
    assert read_request(file, steps=["train"]).steps == ("train",)
    other = written("[certify]\nlimit = 5\n[grid]\nloss=['ce']")
    assert read_request(other, steps=["train", "certify"]).certify == {"limit": 5}


def test_flags_alone_need_a_name():
    with pytest.raises(UserError, match="needs --name"):
        read_request(None, grid=[parse_axis("loss=ce")])
    with pytest.raises(UserError, match="'loss' twice"):
        read_request(None, name="a", grid=[parse_axis("loss=ce"), parse_axis("loss=mart")])


@pytest.mark.parametrize(
    "text",
    [
        "[grid]\nloss = ['mine:Loss']",
        "[grid]\nattack = [['apgd', 'mine:Attack']]",
        "[train]\nmodel = 'mine:make'",
        "[attack]\nmodels = ['mine:make']",
        "[sweep]\nsteps = ['certify']\n[certify]\nmethod = 'mine:Certifier'\n[grid]\nloss = ['ce']",
    ],
)
def test_private_code_in_a_file_needs_leave(written, text):
    with command_line(["sweep", "grid.toml"]), pytest.raises(UserError, match="--trust-code"):
        read_request(written(text))
    with command_line(["sweep", "grid.toml", "--trust-code"]):
        assert read_request(written(text)).name == "grid"


def test_what_a_flag_takes_out_of_the_grid_may_still_be_excluded(tmp_path):
    """One file, run a part at a time: its rules are about all of it."""
    (tmp_path / "f.toml").write_text(FILE)
    found = read_request(tmp_path / "f.toml", grid=[Axis("loss", ["mart"]), Axis("seed", [1])])
    assert resolve(found).exclude == ({"loss": {"ce"}, "seed": {"1", "2"}},)
    (tmp_path / "f.toml").write_text(FILE.replace('"ce"\nseed', '"cee"\nseed'))
    with pytest.raises(UserError, match="value of 'loss' to exclude 'cee'"):
        resolve(read_request(tmp_path / "f.toml", grid=[Axis("loss", ["mart"])]))
