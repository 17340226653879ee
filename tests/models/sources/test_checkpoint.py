"""Files of weights by other code: the same logits as their own networks give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.catalogue.builtins import MODELS
from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.models.create import create
from robbench.models.external import External
from robbench.models.weights import load_weights, save
from tests.models.sources import published

pytestmark = pytest.mark.usefixtures("one_thread")

MakeInfo = Callable[..., DataInfo]
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
STATISTICS = f"mean=({','.join(map(str, MEAN))}),std=({','.join(map(str, STD))})"


def made(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return published.trained(build(), seed)


def parallel(model: nn.Module) -> dict[str, Tensor]:
    """As nn.DataParallel names the weights."""
    return {f"module.{name}": tensor for name, tensor in model.state_dict().items()}


def normalised(x: Tensor) -> Tensor:
    return (x - torch.tensor(MEAN).reshape(3, 1, 1)) / torch.tensor(STD).reshape(3, 1, 1)


def assert_same(model: nn.Module, source: Callable[[Tensor], Tensor]) -> None:
    """Logits to 1e-5 of their largest."""
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = source(x)
        apart = (model.eval()(x) - expected).abs().max()
    assert float(apart) <= 1e-5 * float(expected.abs().max())


def load(path: Path, options: str, info: DataInfo) -> External:
    return create(f"checkpoint:{path},{options}", info, of=info.classes)


def wide(**options: Any) -> Callable[[], nn.Module]:
    return lambda: published.WideResNet(16, 2, **options)


@pytest.mark.parametrize(
    ("build", "kept", "arch"),
    [
        # TRADES and MART save a plain state dict, TRADES-AWP that of a DataParallel, robust
        # overfitting and AT-AWP the latter at `state_dict` in model_best.pth.
        (wide(sub_block=True), nn.Module.state_dict, "(wide-resnet:depth=16,width=2)"),
        (wide(), parallel, "(wide-resnet:depth=16,width=2)"),
        (wide(), lambda m: {"state_dict": parallel(m)}, "(wide-resnet:depth=16,width=2)"),
        (published.resnet18, nn.Module.state_dict, "resnet18"),
        (published.resnet18, parallel, "resnet18"),
        (
            published.preact_resnet18,
            lambda m: {"state_dict": parallel(m), "test_robust_acc": 0.5},
            "preact-resnet18",
        ),
        (
            lambda: published.preact_resnet18(last_norm=False),
            nn.Module.state_dict,
            "(preact-resnet18:final-norm=false)",
        ),
        (
            lambda: published.preact_resnet18(last_norm=False, reads_input=True),
            nn.Module.state_dict,
            "(preact-resnet18:final-norm=false,shortcut=input)",
        ),
        (
            lambda: published.DeepMindWideResNet(16, 2),
            lambda m: {"model_state_dict": parallel(m)},
            "(wide-resnet:depth=16,width=2,activation=silu,padding=end)",
        ),
    ],
)
def test_published_layouts_give_their_own_logits(tmp_path, info, build, kept, arch):
    source = made(build)
    torch.save(kept(source), tmp_path / "w.pth")
    model = load(tmp_path / "w.pth", f"arch={arch}", info())
    assert_same(model, source)
    assert "in the layout of" in model.loaded[0]
    assert "no normalisation is in the file" in model.notes[-1]


def test_mean_and_std_that_are_given_go_in_front(tmp_path, info):
    source = made(wide())
    torch.save(source.state_dict(), tmp_path / "w.pth")
    model = load(tmp_path / "w.pth", f"arch=(wide-resnet:depth=16,width=2),{STATISTICS}", info())
    assert_same(model, lambda x: source(normalised(x)))
    assert not any("normalis" in note for note in (*model.loaded, *model.notes))


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (("mu", "sigma"), ""),
        (("normalize.mean", "normalize.std"), "model."),
        (("0.mean", "0.std"), "1."),
    ],
)
def test_a_normalisation_in_the_file_goes_in_front_and_is_stated(tmp_path, info, names, prefix):
    """As RobustBench's models and nn.Sequential(Normalize, model) are saved."""
    source = made(wide())
    content = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    for name, values in zip(names, (MEAN, STD), strict=True):
        content[name] = torch.tensor(values).reshape(1, 3, 1, 1)
    torch.save(content, tmp_path / "w.pth")
    model = load(tmp_path / "w.pth", "arch=(wide-resnet:depth=16,width=2)", info())
    assert_same(model, lambda x: source(normalised(x)))
    expected = f"mean=(0.4914,0.4822,0.4465), std=(0.2471,0.2435,0.2616) of {names[0]}"
    assert model.loaded[-1] == f"inputs are normalised with {expected}"
    assert model.notes == []


@pytest.mark.parametrize("layer", ["Buffers", "torchvision"])
def test_an_architecture_that_normalises_needs_no_advice(tmp_path, info, layer, private_module):
    """With buffers of the file, or numbers of its code: mean= and std= would normalise twice."""
    name = private_module(
        f"MEAN, STD = {MEAN}, {STD}\n"
        "import torch\nfrom torch import nn\nfrom torchvision import transforms\n"
        "class Buffers(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.register_buffer('mean', torch.zeros(3, 1, 1))\n"
        "        self.register_buffer('std', torch.ones(3, 1, 1))\n"
        "    def forward(self, x):\n        return (x - self.mean) / self.std\n"
        "def Buffers_():\n    return Buffers()\n"
        "def torchvision_():\n    return transforms.Normalize(MEAN, STD)\n"
        "def make(layer):\n"
        "    return nn.Sequential(globals()[layer + '_'](), nn.Flatten(), nn.Linear(3072, 10))\n"
    )
    linear = made(lambda: nn.Linear(3072, 10))
    content = {f"2.{key}": tensor for key, tensor in linear.state_dict().items()}
    if layer == "Buffers":
        for key, values in (("0.mean", MEAN), ("0.std", STD)):
            content[key] = torch.tensor(values).reshape(3, 1, 1)
    torch.save(content, tmp_path / "w.pth")
    model = load(tmp_path / "w.pth", f"arch=({name}:make:layer={layer})", info())
    assert_same(model, lambda x: linear(normalised(x).flatten(1)))
    assert model.notes == []


def test_statistics_of_the_data_are_never_taken(tmp_path, info):
    """Of our own architectures, which normalise by those of the data they are trained on."""
    source = made(wide())
    torch.save(source.state_dict(), tmp_path / "w.pth")
    other = DataInfo((3, 32, 32), info().classes, (0.1,) * 3, (0.9,) * 3)
    assert_same(load(tmp_path / "w.pth", "arch=(wide-resnet:depth=16,width=2)", other), source)


def test_a_factory_of_ones_own_is_an_architecture(tmp_path, info, private_module):
    source = made(published.resnet18)
    torch.save({"net": parallel(source)}, tmp_path / "w.pth")
    name = private_module(
        "from tests.models.sources import published\ndef make(classes=10):\n"
        "    return published.resnet18(classes)\n"
    )
    assert_same(load(tmp_path / "w.pth", f"arch={name}:make", info()), source)
    wide = made(lambda: published.resnet18(12))
    torch.save(wide.state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w.pth has 12 classes, .* give their number in arch"):
        load(tmp_path / "w.pth", f"arch={name}:make,outputs=0-9", info())
    model = load(tmp_path / "w.pth", f"arch=({name}:make:classes=12),outputs=0-9", info())
    assert_same(model, lambda x: wide(x)[:, :10])


def test_the_name_in_results_is_the_files():
    spec = "checkpoint:runs/awp/model_best.pth.tar,arch=resnet18"
    assert MODELS.build(spec).label(spec) == "model_best"


def test_some_classes_of_a_model_are_judged_by_their_outputs(tmp_path, info):
    """The data have two of the ten classes that the file knows."""
    source = made(wide())
    torch.save(source.state_dict(), tmp_path / "w.pth")
    whole = info()
    some = DataInfo(whole.shape, (whole.classes[7], whole.classes[2]), whole.mean, whole.std)
    spec = f"checkpoint:{tmp_path / 'w.pth'},arch=(wide-resnet:depth=16,width=2)"
    assert_same(create(spec, some, of=whole.classes), lambda x: source(x)[:, [7, 2]])
    with pytest.raises(UserError, match="it has 10 classes, the model has 2"):
        create(spec, some)


def test_a_model_trained_from_it_is_read_without_the_file(tmp_path, info):
    source = made(wide())
    torch.save(
        {**source.state_dict(), "mu": torch.tensor(MEAN), "sigma": torch.tensor(STD)},
        tmp_path / "w.pth",
    )
    options = "arch=(wide-resnet:depth=16,width=2)"
    save(tmp_path, "model.safetensors", load(tmp_path / "w.pth", options, info()))
    spec = MODELS.canonical(
        f"checkpoint:{tmp_path / 'gone.pth'},{options}",
        full=True,
        without=("file", "key", "prefix"),
    )
    model = create(spec, info(), weights=False)
    load_weights(model, tmp_path / "model.safetensors")
    assert_same(model, lambda x: source(normalised(x)))


@pytest.mark.parametrize(
    ("build", "arch", "words"),
    [
        (published.resnet18, "preact-resnet18", "it looks like arch=resnet18"),
        (
            lambda: published.WideResNet(22, 1),
            "(wide-resnet:depth=16,width=1)",
            r"it looks like arch=\(wide-resnet:depth=22,width=1\)",
        ),
        (
            lambda: published.DeepMindWideResNet(16, 1),
            "(wide-resnet:depth=16,width=1)",
            "activation=silu,padding=end",
        ),
        (
            lambda: published.preact_resnet18(last_norm=False),
            "preact-resnet18",
            r"it lacks bn.weight \(512\).*it looks like arch=preact-resnet18:final-norm=false",
        ),
        (lambda: published.resnet18(100), "resnet18", "it has 100 outputs, the data have 10"),
        (published.resnet18, "mlp", "none of its names, such as conv1.weight"),
        (published.resnet18, "resnet19", "did you mean resnet18"),
    ],
)
def test_another_architecture_is_refused_with_the_one_it_looks_like(
    tmp_path, info, build, arch, words
):
    torch.save(made(build).state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match=words) as caught:
        load(tmp_path / "w.pth", f"arch={arch}", info())
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_asked_for(tmp_path, info):
    torch.save(made(published.resnet18).state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"looks like checkpoint:\S+w.pth,arch=resnet18"):
        create(f"checkpoint:{tmp_path / 'w.pth'}", info())
    torch.save(made(wide()).state_dict(), tmp_path / "w.pth")
    arch = r"arch=\(wide-resnet:depth=16,width=2\)"
    with pytest.raises(UserError, match=rf"looks like 'checkpoint:\S+w.pth,{arch}'$"):
        create(f"checkpoint:{tmp_path / 'w.pth'}", info())  # a shell needs the quotes
    with pytest.raises(UserError, match="file and arch must be given"):
        create("checkpoint:arch=resnet18", info())
    with pytest.raises(UserError, match="a file of weights is checkpoint:FILE,arch=SPEC"):
        create("resnet18:weights=w.pth", info())
