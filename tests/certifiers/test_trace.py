"""Networks read from modules: the same answers, sound bounds through all layers, refusals."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robbench.certifiers.crown import CROWN
from robbench.certifiers.ibp import IBP
from robbench.certifiers.region import Region
from robbench.certifiers.trace import trace
from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.models.base import Classifier, Normalize
from robbench.models.cnn import SmallCNN
from robbench.models.external import External
from robbench.models.mlp import MLP
from robbench.models.preact_resnet import PreActResNet18
from robbench.models.resnet18 import ResNet18
from robbench.models.wide_resnet import WideResNet


def classifier(body, features, shape=(3, 8, 8)):
    """A body with our normalisation before it and a linear head behind."""
    torch.manual_seed(0)
    normalize = Normalize((0.4,) * shape[0], (0.2,) * shape[0])
    model = Classifier(normalize, body, nn.Linear(features, 4), features=features, classes=4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d) and module.track_running_stats:
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, -1, 1)
    return model.eval().requires_grad_(False)


class Residual(nn.Module):
    """A block as a function: in-place ReLU, a sum, a mean over the image."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, 3, padding=1)
        self.conv2 = nn.Conv2d(5, 5, 3, padding=1, groups=5)
        self.bn = nn.BatchNorm2d(5)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.conv1(x)
        out = self.relu(x)
        out = self.conv2(out) + x  # x is rectified by now
        return F.relu(self.bn(out)).mean((2, 3))


class Viewed(nn.Module):
    """Shapes by hand."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, dilation=2)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        return x.view(x.size(0), -1)


BODIES = {
    "residual": (Residual(), 5),
    "viewed": (Viewed(), 16),
    "pooled": (
        nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.MaxPool2d(2, 2),
            nn.Dropout(), nn.Conv2d(4, 6, 2), nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True),
            nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Identity(), nn.ReLU(),
        ),
        5,
    ),
    "global": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_bounds_hold_through_every_layer(name, norm):
    """No point of the region has a smaller margin; the values of the layers are the model's."""
    model = classifier(*BODIES[name])
    x = torch.rand(3, 3, 8, 8)
    network = trace(model, x)
    torch.testing.assert_close(network.values(x.double())[-1].float(), model(x))
    labels, eps = model(x).argmax(1), {"linf": 0.02, "l2": 0.2}[norm]
    region = Region.around(x, eps, norm)
    torch.manual_seed(1)
    for method in (IBP(), CROWN(inner="ibp"), CROWN()):
        low = method.lowest_margins(network, region, labels).amin(1)
        worst = torch.full((3,), torch.inf)
        for _ in range(40):
            d = torch.randn_like(x)
            d = d.sign() if norm == "linf" else d / d.flatten(1).norm(dim=1)[:, None, None, None]
            z = model((x + eps * d).clamp(0, 1))
            true = z.gather(1, labels[:, None])[:, 0]
            others = z.scatter(1, labels[:, None], -torch.inf).amax(1)
            worst = torch.minimum(worst, true - others)
        assert (low < worst).all()
        assert (low > worst - 3).all()  # and not without meaning


@pytest.mark.parametrize(
    "arch",
    [MLP(width=8), MLP(depth=0), SmallCNN(width=4), PreActResNet18(), ResNet18(),
     WideResNet(depth=10, width=1)],
    ids=repr,
)  # fmt: skip
def test_our_models(arch):
    """Each of our architectures can be traced."""
    torch.manual_seed(0)
    model = arch.build(DataInfo((3, 8, 8), tuple("abcd"), (0.4,) * 3, (0.2,) * 3))
    model.eval().requires_grad_(False)
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(
        trace(model, x).values(x.double())[-1].float(), model(x), rtol=1e-3, atol=1e-3
    )


def test_a_model_of_another_package():
    """A foreign module is read as it is called."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    model = External(module, 3)
    x = torch.rand(2, 3, 2, 2)
    model.fit_interface(x)
    assert len(trace(model, x).nodes) == 5


def test_a_model_in_float64():
    """Its own bits; one line where nobody has found out yet how it is called."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    model, x = External(module.eval(), 3), torch.rand(2, 3, 2, 2)
    with pytest.raises(UserError, match="cannot process images as float32") as error:
        trace(model, x)
    assert "\n" not in str(error.value)
    model.fit_interface(x)
    z = trace(model, x).values(x.double())[-1]
    torch.testing.assert_close(z, module(x.double()), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "head", ["linear", "scores", "center", "gaussian", "max-mahalanobis", "max-mahalanobis:width=7"]
)
def test_every_affine_head(head):
    """Also those that measure distances: their margins are affine, and bounded exactly."""
    torch.manual_seed(0)
    model = classifier(nn.Flatten(), 12, (3, 2, 2)).with_head(head).eval().requires_grad_(False)
    x = torch.rand(4, 3, 2, 2)
    labels = model(x).argmax(1)
    low = CROWN().lowest_margins(trace(model, x), Region.around(x, 1e-9, "linf"), labels)
    z = model(x)
    margins = (z.gather(1, labels[:, None]) - z)[z != z.gather(1, labels[:, None])].reshape(4, 3)
    torch.testing.assert_close(low.float(), margins, rtol=1e-3, atol=1e-3)


def test_the_one_score_head():
    """Two classes."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU())
    model = Classifier(nn.Identity(), body, nn.Linear(6, 2), features=6, classes=2)
    model = model.with_head("score").eval().requires_grad_(False)
    x = torch.rand(4, 3, 2, 2)
    torch.testing.assert_close(trace(model, x).values(x.double())[-1].float(), model(x))


def hooked():
    """A ReLU that a hook changes."""
    relu = nn.ReLU()
    relu.register_forward_hook(lambda module, inputs, output: output)
    return relu


def replaced():
    """Answers as its kind does, but where an input is all 0.5."""
    layer = nn.Linear(12, 12)
    layer.forward = lambda x: F.linear(x, layer.weight) * torch.where(x == 0.5, -1.0, 1.0)
    return layer


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Gated(nn.Module):
    def forward(self, x):
        return (x + F.relu(x).mean((2, 3), keepdim=True)).flatten(1)


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.Sigmoid(), "Sigmoid \\('1.1'\\)"),
        (nn.Softplus(), "Softplus"),
        (nn.LeakyReLU(-0.5), "slope -0.5"),
        (nn.BatchNorm1d(12, track_running_stats=False), "statistics of a batch"),
        (replaced(), "Linear \\('1.1'\\)"),
        (hooked(), "ReLU \\('1.1'\\) with hooks"),
        (Branching(), "cannot be traced"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_not_known_is_named(layer, named):
    """One line says which layer has no bounds, and what to do."""
    model = classifier(nn.Sequential(nn.Flatten(), layer), 12, (3, 2, 2))
    with pytest.raises(UserError, match=named) as caught:
        trace(model, torch.rand(2, 3, 2, 2))
    assert len(str(caught.value).splitlines()) == 1


def test_a_sum_of_two_shapes_is_refused():
    """Weights that are pushed back through it have the larger shape, which the other has not."""
    with pytest.raises(UserError, match="'add' of values of several shapes"):
        trace(classifier(Gated(), 12, (3, 2, 2)), torch.rand(2, 3, 2, 2))


def test_a_mean_with_a_divisor_of_its_own_is_refused():
    """It may be negative, where lower and upper ends change places."""
    pool = nn.AvgPool2d(2, divisor_override=-4)
    with pytest.raises(UserError, match="AvgPool2d with a divisor"):
        trace(classifier(nn.Sequential(pool, nn.Flatten()), 3, (3, 2, 2)), torch.rand(2, 3, 2, 2))


def test_layers_that_are_not_the_model_are_refused():
    """What a graph does not show, such as the clock, shows in the answers."""
    model = classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU()), 5, (3, 2, 2))
    model.register_forward_hook(lambda module, inputs, output: output * 2)
    with pytest.raises(UserError, match="do not give its logits"):
        trace(model, torch.rand(2, 3, 2, 2))


@pytest.mark.parametrize("method", [CROWN(), IBP()])
def test_one_class_has_no_margin(method):
    """Refused before the first sample, whose lowest margin would be that of none."""
    model = Classifier(
        Normalize((0.5,), (0.5,)), nn.Flatten(), nn.Linear(64, 1), features=64, classes=1
    )
    with pytest.raises(UserError, match="one class"):
        method.start(model.eval(), torch.rand(2, 1, 8, 8))
