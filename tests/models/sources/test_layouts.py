"""Every weight of the published networks has its place in ours, in the sizes that are published."""

from __future__ import annotations

import pytest
import torch

from robbench.catalogue.builtins import MODELS
from robbench.models.sources.layouts import layouts_of, looks_like
from robbench.models.sources.state_dicts import fits_of
from tests.models.sources import published

CASES = [
    ("preact-resnet18", published.preact_resnet18),
    ("preact-resnet18:final-norm=false", lambda: published.preact_resnet18(last_norm=False)),
    ("resnet18", published.resnet18),
    *(
        (f"wide-resnet:depth={depth},width=10", lambda depth=depth: published.WideResNet(depth, 10))
        for depth in (28, 34)
    ),
    (
        "wide-resnet:depth=34,width=10",
        lambda: published.WideResNet(34, 10, sub_block=True),
    ),
    (
        "wide-resnet:depth=28,width=10,activation=silu,padding=end",
        lambda: published.DeepMindWideResNet(28, 10),
    ),
]


@pytest.mark.parametrize(("spec", "build"), CASES)
def test_published_sizes_fit_whole_and_are_recognised(spec, build, info):
    architecture = MODELS.build(spec)
    with torch.device("meta"):
        ours, theirs = architecture.build(info()), build().state_dict()
    ours.normalize = torch.nn.Identity()
    saved = {f"module.{name}": tensor for name, tensor in theirs.items()}
    (layout,) = layouts_of(architecture)
    (fit,) = fits_of(ours, "", saved, layout, None)
    assert fit.whole
    assert fit.prefix == "module."
    unused = [name for name in theirs if "sub_block" in name and "num_batches" not in name]
    assert fit.unused == len(unused)
    assert looks_like(saved) == spec


def test_deepminds_names_do_not_fit_where_the_forward_pass_differs(info):
    architecture = MODELS.build("wide-resnet:depth=16,width=1")
    ours = architecture.build(info())
    theirs = published.DeepMindWideResNet(16, 1).state_dict()
    (layout,) = layouts_of(architecture)
    assert not any(fit.whole for fit in fits_of(ours, "", theirs, layout, None))


def test_other_names_look_like_nothing_of_ours():
    assert (
        looks_like({"features.0.weight": torch.ones(3), "layer1.0.conv1.weight": torch.ones(2)})
        == ""
    )
    assert layouts_of(MODELS.build("mlp")) == ()
