"""What is refused before any task begins."""

import json

import pytest

from robbench.core.errors import UserError
from robbench.tasks.sweep.grid import parse_axis
from robbench.tasks.sweep.request import Request
from robbench.tasks.sweep.start import Place, ahead


@pytest.fixture
def refused(tmp_path):
    """The error of a sweep, which leaves nothing behind."""

    def plan(*grid, **fixed):
        request = Request(name="s", grid=tuple(parse_axis(text) for text in grid), fixed=fixed)
        with pytest.raises(UserError) as error:
            ahead(request, Place(tmp_path / "S", device="cpu"))
        assert not (tmp_path / "S").exists()
        return str(error.value)

    return plan


@pytest.mark.parametrize(
    ("grid", "fixed", "said"),
    [
        (["loss=cross-entropy,tradse"], {}, "did you mean trades"),
        (["loss=trades:beta=6,trades"], {}, "loss: trades:beta=6 and trades are the same"),
        (["loss=trades:beta=x"], {}, "beta='x'"),
        (["inner=none,pgd"], {"loss": "trades"}, "needs an inner attack"),
        (["inner=autoattack"], {}, "a cascade cannot be an inner attack"),
        (["seed=0..1"], {"model": "small-cn"}, "small-cnn"),
        (["seed=0..1"], {"data": "digit"}, "did you mean digits"),
        (["generated=none,digit"], {}, "did you mean digits"),
        (["attack=apgd,apdg"], {}, "did you mean"),
        (["attack=apgd,apgd:norm=3"], {}, "norm"),
        (["threat=linf:0.1,l9:1"], {}, "l9"),
        (["threat=l0:3"], {"attack": "apgd"}, "does not work in l0"),
        (["threat=l2:inf"], {"attack": "pgd"}, "needs a budget"),
        (["models=nowhere,mlp"], {}, "unknown model 'nowhere'"),
        (["models=a*"], {}, "matches 'a\\*'"),
        (["seed=0..1"], {"tag": "sweep=mine"}, "sweep has two values"),
        (["from_model=nowhere"], {}, "nowhere"),
        (["teacher=nowhere"], {"loss": "hat"}, "--teacher nowhere: not in"),
        (["loss=trades,hat"], {}, "loss hat learns from a teacher"),
        (["loss=adr,trades"], {}, "give --set average=ema"),
        (["recipe=digits-smoke,mnist-lin"], {}, "did you mean mnist-linf"),
    ],
)
def test_what_cannot_work(refused, grid, fixed, said):
    import re

    assert re.search(said, refused(*grid, **fixed))


def test_a_name_that_holds_another_model(tmp_path, trained, store):
    request = Request(name="s", grid=(parse_axis("seed=0..1"),), fixed={"epochs": 3, "loss": "ce-"})
    folder = store / "models" / "x-s0"
    (store / "models" / "ce").rename(folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["config"]["epochs"] == 2
    request = Request(
        name="s", grid=(parse_axis("seed=0..1"),), fixed={"loss": "cross-entropy"}, prefix="x"
    )
    folder.rename(store / "models" / "x-cross-entropy-s0")
    with pytest.raises(UserError, match=r"different: epochs\): give the sweep's models a --prefix"):
        ahead(request, Place(store, device="cpu"))
    assert ahead(request, Place(store, device="cpu"), force=True).todo
    same = {"loss": "cross-entropy", "epochs": 2, "generated_ratio": 0.5}  # of no generated data
    request = Request(name="s", grid=request.grid, fixed=same, prefix="x")
    assert ahead(request, Place(store, device="cpu")).todo
