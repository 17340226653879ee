"""Heads with centres: their geometry, their digits, and that a checkpoint builds them again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.apgd import APGD
from robbench.attacks.pgd import PGD
from robbench.core.errors import UserError
from robbench.core.trust import trust_code
from robbench.data.base import DataInfo
from robbench.engine.shapes import equality_of
from robbench.models.base import Classifier
from robbench.models.create import create
from robbench.models.heads import (
    CenterHead,
    GaussianHead,
    MaxMahalanobisHead,
    ScoreHead,
    build_head,
    simplex,
    squared_distances,
)
from robbench.models.weights import load_model, model_hash, save
from robbench.objectives import OBJECTIVES
from robbench.testing import judge, toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem
from robbench.training.inner import Inner
from robbench.training.optimizers import make_optimizer
from robbench.training.step import TrainStep

pytestmark = pytest.mark.usefixtures("one_thread")

MakeInfo = Callable[..., DataInfo]
SPECS = [
    "max-mahalanobis",
    "max-mahalanobis:scale=10,width=12",
    "max-mahalanobis:scale=3/2,width=none,factor=0.5",
    "gaussian",
    "center",
    "cosine",
    "cosine:scale=30",
]


def test_a_cosine_head_has_bounded_logits() -> None:
    """Scale times the cosine, row by row, whatever the lengths; features of length 0 give 0."""
    torch.manual_seed(0)
    head = build_head("cosine:scale=20", 6, 3)
    h = torch.randn(4, 6) * torch.tensor([[1e-3], [1.0], [1e3], [0.0]])
    with torch.no_grad():
        found = head(h).tolist()
    for row, logits in zip(h.tolist(), found, strict=True):
        for w, z in zip(head.weight.tolist(), logits, strict=True):
            lengths = math.hypot(*row) * math.hypot(*w)
            dot = sum(a * b for a, b in zip(row, w, strict=True))
            assert z == pytest.approx(20 * dot / lengths if lengths else 0, abs=1e-4)
    with pytest.raises(UserError, match="scale"):
        build_head("cosine:scale=0", 6, 3)


def authors_centers(classes: int, dimension: int) -> np.ndarray:
    """Row by row, each entry from the rows above, as in the authors' MATLAB file."""
    mu = np.zeros((classes, dimension))
    mu[0, 0] = 1
    for k in range(1, classes):
        for j in range(k):
            mu[k, j] = -(1 / (classes - 1) + mu[k] @ mu[j]) / mu[j, j]
        if k < dimension:
            mu[k, k] = math.sqrt(abs(1 - mu[k] @ mu[k]))
    return mu


@pytest.mark.parametrize("classes", range(2, 101))
def test_gram_matrix_of_the_centers(classes: int) -> None:
    """1 on the diagonal, -1/(K-1) off it, in the least dimension and more; float32 buffer."""
    gram = torch.full((classes, classes), -1 / (classes - 1), dtype=torch.float64).fill_diagonal_(1)
    for dimension in (classes - 1, classes, classes + 7):
        mu = simplex(classes, dimension)
        assert mu.shape == (classes, dimension)
        assert torch.allclose(mu @ mu.T, gram, rtol=0, atol=1e-14)
    centers = (
        build_head(f"max-mahalanobis:scale=10,width={classes}", 3, classes).centers.double() / 10
    )
    assert torch.allclose(centers @ centers.T, gram, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("classes", "dimension"), [(2, 1), (2, 5), (3, 2), (4, 8), (10, 9), (10, 256), (43, 42)]
)
def test_centers_are_those_of_the_authors(classes: int, dimension: int) -> None:
    """The closed form is what their recursion gives, vector by vector."""
    assert np.allclose(
        simplex(classes, dimension).numpy(), authors_centers(classes, dimension), rtol=0, atol=1e-7
    )


def test_distance_of_two_centers() -> None:
    """14.907120 between any two of ten centres of length 10, the root of 2 (1 + 1/9) 100."""
    centers = build_head("max-mahalanobis:scale=10", 256, 10).centers.double()
    apart = torch.pdist(centers)
    assert apart.tolist() == pytest.approx([14.907120] * 45, abs=1e-5)


def test_logits_are_distances() -> None:
    """-factor ||h - mu_k||^2 by loops in float64, with and without a layer; half for L-GM."""
    torch.manual_seed(0)
    x = torch.randn(5, 6, dtype=torch.float64)

    def expected(h: Tensor, centers: Tensor, factor: float) -> list[list[float]]:
        return [
            [
                -factor * sum((float(a) - float(b)) ** 2 for a, b in zip(row, mu, strict=True))
                for mu in centers
            ]
            for row in h
        ]

    for spec, factor in (
        ("max-mahalanobis:scale=4", 1),
        ("max-mahalanobis:factor=0.5", 0.5),
        ("max-mahalanobis:width=9", 1),
    ):
        head = build_head(spec, 6, 4).double()
        h = nn.functional.linear(x, head.embed.weight, head.embed.bias) if "width" in spec else x
        assert h.shape[1] == head.centers.shape[1]
        assert np.allclose(
            head(x).detach().numpy(), expected(h.detach(), head.centers, factor), rtol=1e-12
        )
    head = build_head("gaussian", 6, 4).double()
    assert np.allclose(head(x).detach().numpy(), expected(x, head.means.detach(), 0.5), rtol=1e-12)


def test_small_distances_keep_their_digits() -> None:
    """1e-3 from a centre of length 100 the squared distance is right to 1e-5; the expansion is all
    rounding there.
    """
    torch.manual_seed(0)
    centers = 100 * simplex(4, 64).float()
    h = centers + 1e-3 * torch.randn(4, 64) / 8
    exact = (h.double() - centers.double()).square().sum(1)
    found = squared_distances(h, centers).diagonal()
    assert torch.allclose(found.double(), exact, rtol=1e-5, atol=0)
    expanded = h.square().sum(1) - 2 * (h * centers).sum(1) + centers.square().sum(1)
    assert bool(((expanded - exact).abs() > exact).any())
    far = squared_distances(torch.tensor([[1e4] * 64]), centers)
    assert torch.allclose(far.double(), (1e4 - centers.double()).square().sum(1)[None], rtol=1e-5)


@pytest.mark.parametrize("spec", SPECS)
def test_gradients_of_heads(spec: str) -> None:
    """Analytic gradients of the features agree with finite differences."""
    torch.manual_seed(0)
    head = build_head(spec, 5, 4).double()
    h = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(head, h)
    (grad,) = torch.autograd.grad(head(h)[:, 1].sum(), h)
    assert bool((grad != 0).any(1).all())


@pytest.fixture
def climb() -> Callable[[str, Tensor], Tensor]:
    """The gradient [4,8] in the features of what an attack climbs: four classes, length 10."""

    def gradient(name: str, h: Tensor) -> Tensor:
        rows, h = torch.arange(4), h.clone().requires_grad_()
        logits = build_head("max-mahalanobis:scale=10", 8, 4)(h)
        p = Problem(
            x0=torch.zeros(4, 1),
            y=rows,
            target=(rows + 1) % 4,
            eps=torch.ones(4),
            key=rows,
            index=rows,
            logits0=logits.detach(),
            norm=NORMS["linf"],
        )
        return torch.autograd.grad(OBJECTIVES[name](logits, p).sum(), h)[0]

    return gradient


@pytest.mark.parametrize("name", ["cross-entropy", "margin", "dlr", "dlr-targeted", "true-logit"])
def test_attacks_on_distances_have_gradients(
    name: str, climb: Callable[[str, Tensor], Tensor]
) -> None:
    """On the wrong side, and up to a margin of 80, attacks have a gradient in float32."""
    centers = 10 * simplex(4, 8).float()
    for share in (-1.0, 0.0, 0.1, 0.3):
        grad = climb(
            name,
            share * centers + 0.01 * torch.randn(4, 8, generator=torch.Generator().manual_seed(0)),
        )
        assert bool(torch.isfinite(grad).all())
        assert bool((grad != 0).any(1).all())


def test_true_logit_shows_a_way_where_cross_entropy_has_none(
    climb: Callable[[str, Tensor], Tensor],
) -> None:
    """At the centre's side e^-267 is zero in float32; 2 (h - mu_y) is not, and points away."""
    centers = 10 * simplex(4, 8).float()
    assert bool((climb("cross-entropy", centers + 1e-3) == 0).all())
    assert torch.allclose(climb("true-logit", centers + 1e-3), torch.full((4, 8), 2e-3), rtol=1e-2)


@pytest.mark.parametrize(
    "attack",
    [PGD(steps=5, objective="true-logit"), APGD(steps=8, objective="true-logit"), PGD(steps=5)],
)
def test_verdicts_do_not_depend_on_the_width(attack: PGD | APGD) -> None:
    """Attacks on a distance head give the same verdicts for any number of rows; some succeed."""
    model, split, threat = (
        toy_model().with_head("max-mahalanobis:scale=2,width=5").eval(),
        toy_split(24),
        parse_threat("linf:0.1"),
    )
    verdicts = judge("it", model, split, threat[0], attack=attack)
    for width in (1, 7) if equality_of([model], split.pixels(slice(None))).equal else ():
        assert judge("it", model, split, threat[0], attack=attack, width=width) == verdicts
    assert any(v.adversarial and v.n_forward > 1 for v in verdicts)


def test_true_logit_goes_away_from_the_center() -> None:
    """Every row of PGD on true-logit ends further from its class' centre than it began."""
    model, split = toy_model().with_head("max-mahalanobis:scale=2").eval(), toy_split(24)
    index, inner = (
        torch.arange(len(split)),
        Inner(PGD(steps=10, objective="true-logit"), parse_threat("linf:0.1")[0]),
    )
    step = TrainStep(
        model,
        split.pixels(index),
        split.labels,
        index,
        key=split.ids,
        inner=inner,
        epoch=0,
        progress=0.5,
    )
    points = [step.x, step.adversary().x]
    with torch.no_grad():
        before, after = (
            (model.features(x) - model.head.centers[step.y]).square().sum(1) for x in points
        )
    assert bool((after > before).all())


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("foreign", [False, True])
def test_round_trip(
    spec: str, foreign: bool, tmp_path: Path, info: MakeInfo, private_module: Callable[[str], str]
) -> None:
    """A model folder restores the head's options, centres and logits, for any model."""
    model_spec = "mlp:width=5"
    if foreign:
        source = (
            "from torch import nn\ndef net():\n"
            "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, 4))\n"
        )
        model_spec = f"{private_module(source)}:net"
    data = info((1, 8, 8), 4)
    model = create(model_spec, data).with_head(spec)
    with torch.no_grad():
        for tensor in model.head.state_dict().values():  # as training would have left them
            tensor += torch.rand_like(tensor)
    config = {
        "schema": "robbench.model/1",
        "model": model_spec,
        "head": model.head_spec,
        "classes": list(data.classes),
        "shape": [1, 8, 8],
        "mean": list(data.mean),
        "std": list(data.std),
    }
    save(tmp_path / "m", "model.safetensors", model)
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with trust_code():
        loaded, _ = load_model(tmp_path / "m")
    x = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
    assert loaded.head_spec == spec
    assert model_hash(loaded) == model_hash(model)
    assert type(loaded.head) is type(model.head)
    if isinstance(model.head, MaxMahalanobisHead):
        assert loaded.head.factor == model.head.factor


@pytest.mark.parametrize(
    ("spec", "features", "classes", "words"),
    [
        (
            "max-mahalanobis",
            8,
            10,
            "centres of 10 classes need 9 dimensions, there are 8; give width=9 or more",
        ),
        (
            "max-mahalanobis:width=98",
            512,
            100,
            "centres of 100 classes need 99 dimensions, there are 98",
        ),
        ("max-mahalanobis:scale=0", 8, 4, "scale"),
        ("max-mahalanobis:factor=-1", 8, 4, "factor"),
        ("max-mahalanobis:width=0", 8, 4, "width"),
        ("max-mahalanobis:widht=9", 8, 4, "did you mean width"),
        ("max-mahalanobis:10", 8, 4, "not key=value"),
        ("max-mahalanobys", 8, 4, "did you mean max-mahalanobis"),
        ("gaussian:width=4", 8, 4, "no options"),
        ("center:rate=1", 8, 4, "no options"),
    ],
)
def test_heads_that_do_not_fit(spec: str, features: int, classes: int, words: str) -> None:
    """Too small a dimension, and names and options that do not exist, are one clear line."""
    with pytest.raises(UserError, match=words) as error:
        build_head(spec, features, classes)
    assert "\n" not in str(error.value)


def test_a_model_of_too_few_features_is_refused(info: MakeInfo) -> None:
    """with_head says so, and leaves the model with the head it had."""
    model = create("mlp:width=3", info((1, 8, 8), 10))
    with pytest.raises(UserError, match="need 9 dimensions, there are 3"):
        model.with_head("max-mahalanobis")
    assert model.head_spec == "linear"
    assert isinstance(model.head, nn.Linear)
    assert model.with_head("max-mahalanobis:width=9").head.centers.shape == (10, 9)


def test_what_is_trained_and_what_decays(info: MakeInfo) -> None:
    """Fixed and moving centres are buffers; the means of L-GM are a decayed parameter."""

    def parts(spec: str) -> tuple[Classifier, set[str], set[str]]:
        model = create("mlp:width=5", info((1, 8, 8), 4)).with_head(spec)
        return (
            model,
            {name for name, _ in model.head.named_parameters()},
            {name for name, _ in model.head.named_buffers()},
        )

    assert parts("max-mahalanobis")[1:] == (set(), {"centers"})
    assert parts("max-mahalanobis:width=7")[1:] == ({"embed.weight", "embed.bias"}, {"centers"})
    assert parts("center")[1:] == ({"weight", "bias"}, {"centers"})
    model, *rest = parts("gaussian")
    assert rest == [{"means"}, set()]
    decaying = make_optimizer("sgd", model, lr=0.1, momentum=0.9, weight_decay=0.1).param_groups[0]
    assert decaying["weight_decay"] == 0.1
    assert any(weight is model.head.means for weight in decaying["params"])


def test_means_start_as_the_authors_do() -> None:
    """Normal with variance 2 / D."""
    torch.manual_seed(0)
    head = build_head("gaussian", 400, 50)
    assert isinstance(head, GaussianHead)
    assert head.means.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.03)
    assert abs(head.means.mean().item()) < 0.002


def test_a_center_head_is_linear() -> None:
    """Its logits are those of its linear layer, wherever the centres are."""
    head = build_head("center", 5, 4)
    assert isinstance(head, CenterHead)
    x = torch.randn(3, 5)
    before = head(x)
    assert torch.equal(before, nn.functional.linear(x, head.weight, head.bias))
    head.move_centers(x, torch.tensor([0, 1, 1]), 0.5)
    assert bool((head.centers[:2] != 0).all())
    assert torch.equal(head(x), before)


def test_score_head_has_one_direction_and_a_threshold(info: MakeInfo) -> None:
    """Logits are (-(s+b)/2, (s+b)/2) with s = w.features; the bias is a buffer, not a parameter."""
    model = create("mlp:width=7", info((1, 8, 8), 2)).with_head("score")
    head, x = model.head, torch.rand(5, 1, 8, 8)
    assert isinstance(head, ScoreHead)
    assert model.head_spec == "score"
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    assert head.bias.shape == (1,)
    head.bias.fill_(0.3)
    s = head.score(model.features(x))
    assert torch.allclose(s, torch.stack([f.dot(head.weight[0]) for f in model.features(x)]))
    assert torch.allclose(model(x), torch.stack([-(s + 0.3) / 2, (s + 0.3) / 2], 1))


def test_heads_that_do_not_exist_or_fit() -> None:
    """The one-score head refuses more than two classes; an unknown head and options are refused."""
    with pytest.raises(UserError, match="two classes, the data have 10"):
        build_head("score", 4, 10)
    with pytest.raises(UserError, match="did you mean linear"):
        build_head("liner", 4, 10)
    with pytest.raises(UserError, match="no options"):
        build_head("linear:bias=false", 4, 10)
