"""How published robustness code names the weights of the architectures that are also ours.

The facts are from the public sources of TRADES (yaodongyu/TRADES), MART (YisenWang/MART), AWP
(csdongxian/AWP), robust overfitting (locuslab/robust_overfitting), Fast AT
(locuslab/fast_adversarial), RobustBench and DeepMind's adversarial_robustness.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from robbench.models.base import Architecture
from robbench.models.preact_resnet import PreActResNet18
from robbench.models.resnet18 import ResNet18
from robbench.models.sources.state_dicts import Layout
from robbench.models.wide_resnet import WideResNet

_STEM = r"(.*\.|)layer2\.0\.conv2\.weight"
_CIFAR10 = "mean=(0.4914,0.4822,0.4465),std=(0.2471,0.2435,0.2616)"
_PREACT = Layout(
    "PreActResNet-18 as in robust overfitting, AWP, Fast AT and RobustBench",
    ((r"^head\.", "linear."), (r"^body\.", ""), (r"shortcut\.", "shortcut.0.")),
    normalised=f"their training code normalises outside of the model, CIFAR-10 by {_CIFAR10}",
)
_RESNET = Layout(
    "ResNet-18 as in TRADES, MART, AWP and RobustBench",
    ((r"^head\.", "linear."), (r"^body\.", "")),
    normalised="the training code of TRADES, MART and TRADES-AWP does not normalise",
)
_WIDE = Layout(
    "WideResNet as in TRADES, MART, AWP, robust overfitting and RobustBench",
    (
        (r"^head\.", "fc."),
        (r"^body\.(block\d)\.", r"\1.layer."),
        (r"^body\.", ""),
        (r"shortcut\.", "convShortcut."),
    ),
    # A second first stage, which TRADES builds and saves, and never calls.
    unused=r"sub_block1\.",
    normalised="the training code of TRADES, MART and TRADES-AWP does not normalise, that of "
    f"robust overfitting and AT-AWP does outside of the model, CIFAR-10 by {_CIFAR10}",
)
_DEEPMIND = Layout(
    "WideResNet as in DeepMind's adversarial_robustness and RobustBench",
    (
        (r"^head\.", "logits."),
        (r"^body\.conv1\.", "init_conv."),
        (r"^body\.bn1\.", "batchnorm."),
        *((rf"^body\.block{n + 1}\.", f"layer.{n}.block.") for n in range(3)),
        *((rf"\.bn{n + 1}\.", f".batchnorm_{n}.") for n in range(2)),
        *((rf"(\d)\.conv{n + 1}\.", rf"\1.conv_{n}.") for n in range(2)),
    ),
    normalised=f"its models normalise CIFAR-10 by {_CIFAR10}, which their files do not hold",
)


def layouts_of(architecture: Architecture) -> tuple[Layout, ...]:
    """The layouts whose forward pass is that of an architecture with its options."""
    if isinstance(architecture, PreActResNet18):
        return (_PREACT._replace(ambiguity=_shortcuts(architecture)),)
    if isinstance(architecture, ResNet18):
        return (_RESNET,)
    if isinstance(architecture, WideResNet):
        return (_DEEPMIND if architecture.padding == "end" else _WIDE,)
    return ()


def _shortcuts(architecture: PreActResNet18) -> str:
    if architecture.shortcut == "input":
        return ""
    who = "robust overfitting and AWP" if architecture.final_norm else "kuangliu/pytorch-cifar"
    return (
        "names do not say what the shortcuts read: the activation is taken, as in "
        f"{who}; of Fast AT (Wong et al. 2020) and Andriushchenko et al. 2020 it is the input, "
        "which is shortcut=input in arch"
    )


def looks_like(tensors: Mapping[str, Tensor]) -> str:
    """The spec of ours that names and shapes in a file speak for; empty if none."""
    for pattern, options in (
        (r"(.*\.|)block1\.layer\.(\d+)\.conv1\.weight", ""),
        (r"(.*\.|)layer\.0\.block\.(\d+)\.conv_0\.weight", ",activation=silu,padding=end"),
    ):
        found = [match for name in tensors if (match := re.fullmatch(pattern, name))]
        blocks = [match for match in found if match[1] == found[0][1]]
        if blocks and len(tensors[blocks[0][0]]) % 16 == 0:
            width = len(tensors[blocks[0][0]]) // 16
            return f"wide-resnet:depth={6 * len(blocks) + 4},width={width}{options}"
    start = next((match[1] for name in tensors if (match := re.fullmatch(_STEM, name))), None)
    if start is None or f"{start}layer2.2.conv2.weight" in tensors:
        return ""
    if f"{start}layer2.0.shortcut.1.weight" in tensors:
        return "resnet18"
    if f"{start}layer2.0.shortcut.0.weight" not in tensors:
        return ""
    return f"preact-resnet18{'' if f'{start}bn.weight' in tensors else ':final-norm=false'}"
