"""RobustBench's zoo: the same models as its own loader builds from files of its layout."""

import sys
from pathlib import Path

import pytest
import torch

from robbench.core.errors import UserError
from robbench.models.base import Loading, Usual
from robbench.models.create import create
from robbench.models.sources.libraries import library, quiet
from robbench.models.sources.robustbench import RobustBench

pytestmark = pytest.mark.usefixtures("no_network")
NAME = "Wong2020Fast"


def file_of(folder: Path, name: str, data: str, threat: str, prefix: str = "") -> Path:
    """A file of random weights where robustbench looks for it, in the layout it expects."""
    path = folder / data / threat / f"{name}.pt"
    path.parent.mkdir(parents=True)
    with quiet():
        zoo = sys.modules["robustbench.utils"].all_models
        lists = {d.value: {t.value: models for t, models in x.items()} for d, x in zoo.items()}
        torch.manual_seed(1)
        model = lists[data][threat][name]["model"]()
    weights = {f"{prefix}{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": weights} if prefix else weights, path)
    return path


@pytest.fixture(autouse=True)
def _imported(info):
    """Its package is imported as robbench imports it, and nothing else is left behind."""
    before = set(sys.modules)
    with pytest.raises(UserError, match="add --download"):
        create(f"robustbench:{NAME}", info(), of=info().classes)
    assert not {"pkg_resources", "autoattack", "autoattack.state"} & (set(sys.modules) - before)


@pytest.mark.parametrize(
    ("name", "threat", "prefix"),
    [(NAME, "Linf", "module."), ("Rice2020Overfitting", "L2", "")],
)
def test_logits_are_those_of_its_own_loader(name, threat, prefix, tmp_path, info):
    """With and without the prefixes that its files have."""
    file_of(tmp_path, name, "cifar10", threat, prefix)
    spec = f"robustbench:{name},threat={threat.lower()},dir={tmp_path}"
    ours = create(spec, info(), of=info().classes).eval()
    theirs = sys.modules["robustbench.utils"].load_model(name, tmp_path, "cifar10", threat)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=0)
    assert ours.notes == []


def test_name_data_and_threat_model_are_those_of_its_list():
    assert RobustBench(name=NAME).usual == Usual("cifar10", "linf:8/255")
    assert RobustBench(name=NAME).label(f"robustbench:{NAME},dir=/zoo") == NAME
    assert RobustBench(name=NAME, threat="L2").usual == Usual("cifar10", "l2:0.5")
    imagenet = RobustBench(name="Salman2020Do_R18", dataset="imagenet")
    assert imagenet.usual == Usual(None, "linf:4/255")
    assert RobustBench(name=NAME, threat="corruptions").usual == Usual("cifar10", None)


def test_the_usual_threat_models_are_of_lists_that_exist():
    """Each list of Linf and L2 has one, and no other pair does."""
    lists = {
        (data.value, threat.value)
        for data, found in sys.modules["robustbench.utils"].all_models.items()
        for threat in found
    }
    for data in ("cifar10", "cifar100", "imagenet"):
        for threat in ("Linf", "L2"):
            usual = RobustBench(name=NAME, dataset=data, threat=threat).usual
            assert bool(usual.threat) == ((data, threat) in lists)


def test_outputs_are_named_by_its_data_set(tmp_path, info):
    file_of(tmp_path, NAME, "cifar10", "Linf")
    model = RobustBench(name=NAME, dir=str(tmp_path))
    assert model.load(Loading(info(), judged=True)).labels == info().classes


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("Rice2020", "did you mean .*Rice2020Overfitting"),
        ("Wang2023Better_WRN-28-10,threat=corruptions", "add threat=Linf,dataset=cifar10 or thr"),
        (f"{NAME},threat=L2,dataset=cifar100", "under L2 on cifar100: add threat=Linf,dataset=c"),
        ("Other,threat=L2,dataset=imagenet", "no list of L2 on imagenet; it has .*; threat=Linf,d"),
        (f"{NAME},dir=zoo", f"not at zoo/cifar10/Linf/{NAME}.pt: add --download, copy them there"),
        ("Diffenderfer2021Winning_LRR_CARD_Deck,threat=corruptions", r"Deck.pt_m0.pt: add --downl"),
        ("Standard_R50,dataset=imagenet", "in no cache here: add --download"),
        ("Debenedetti2022Light_XCiT-S12", "in no cache here: add --download"),
    ],
)
def test_what_is_not_there_says_what_to_do(spec, words, torch_hub, hub, info):
    with pytest.raises(UserError, match=words) as caught:
        create(f"robustbench:{spec}", info(), of=info().classes)
    assert "\n" not in str(caught.value)


def test_bad_files_are_refused(tmp_path, info, pickled):
    """A pickle is not run; a file of another architecture and a truncated one are refused."""
    path = file_of(tmp_path, NAME, "cifar10", "Linf")
    content = path.read_bytes()

    def refused(words):
        with pytest.raises(UserError, match=words):
            create(f"robustbench:{NAME},dir={tmp_path}", info(), of=info().classes)

    pickled(path)
    refused(r"runs? code")
    path.write_bytes(content[:5000])
    refused("truncated")
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, path)
    refused(f"model robustbench:{NAME}: RuntimeError")


def test_training_is_refused(info):
    with pytest.raises(UserError, match="can be attacked but not trained"):
        create(f"robustbench:{NAME}", info())


def test_the_package_can_be_used_beside_it():
    """What its own loaders take from the packages that are not there works."""
    loaders = library("robustbench.loaders", "robustbench")
    found = loaders.pkg_resources.resource_filename("robustbench.loaders", "utils.py")
    assert Path(found).is_file()
