"""Networks as published robustness code builds them, written from what is known of each.

TRADES, MART, AWP, robust overfitting, Fast AT, RobustBench and DeepMind: names of weights, order of
the layers, and what their shortcuts read. All take 32x32 images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(into: int, out: int, size: int = 3, stride: int = 1, padding: int | None = None):
    """Without a bias, as all of them."""
    padding = size // 2 if padding is None else padding
    return nn.Conv2d(into, out, size, stride=stride, padding=padding, bias=False)


class PreActBlock(nn.Module):
    """BN, ReLU, conv, BN, ReLU, conv; a 1x1 convolution inside a Sequential as the shortcut."""

    def __init__(self, into: int, out: int, stride: int, reads_input: bool):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(into), conv(into, out, stride=stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(out), conv(out, out)
        if stride != 1 or into != out:
            self.shortcut = nn.Sequential(conv(into, out, 1, stride))
        self.reads_input = reads_input

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.bn1(x))
        side = x
        if hasattr(self, "shortcut"):
            side = self.shortcut(x if self.reads_input else a)
        return self.conv2(torch.relu(self.bn2(self.conv1(a)))) + side


class BasicBlock(nn.Module):
    """Conv, BN, ReLU, conv, BN, sum, ReLU; the shortcut is a 1x1 convolution and BN, or nothing."""

    def __init__(self, into: int, out: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = conv(into, out, stride=stride), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = conv(out, out), nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if stride != 1 or into != out:
            self.shortcut = nn.Sequential(conv(into, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        a = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(a + self.shortcut(x))


class Net18(nn.Module):
    """Four stages of two blocks, 64 to 512 channels, 4x4 average, `linear`."""

    def __init__(
        self,
        block: Callable[[int, int, int], nn.Module],
        *,
        first_norm: bool,
        last_norm: bool,
        classes: int = 10,
    ):
        super().__init__()
        self.conv1 = conv(3, 64)
        if first_norm:
            self.bn1 = nn.BatchNorm2d(64)
        into = 64
        for n, (out, stride) in enumerate(((64, 1), (128, 2), (256, 2), (512, 2)), 1):
            setattr(self, f"layer{n}", nn.Sequential(block(into, out, stride), block(out, out, 1)))
            into = out
        if last_norm:
            self.bn = nn.BatchNorm2d(512)
        self.linear = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x)
        if hasattr(self, "bn1"):
            h = torch.relu(self.bn1(h))
        for n in range(1, 5):
            h = getattr(self, f"layer{n}")(h)
        if hasattr(self, "bn"):
            h = torch.relu(self.bn(h))
        return self.linear(F.avg_pool2d(h, 4).flatten(1))


def preact_resnet18(*, last_norm: bool = True, reads_input: bool = False, classes: int = 10):
    """Of robust overfitting and AWP; without `bn` of kuangliu, and reading inputs of Fast AT."""

    def block(into: int, out: int, stride: int) -> nn.Module:
        return PreActBlock(into, out, stride, reads_input)

    return Net18(block, first_norm=False, last_norm=last_norm, classes=classes)


def resnet18(classes: int = 10):
    """Of TRADES, MART and AWP."""
    return Net18(BasicBlock, first_norm=True, last_norm=False, classes=classes)


class WideBlock(nn.Module):
    """Where channels change, both ways read the activation; else the shortcut reads the input."""

    def __init__(self, into: int, out: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(into), conv(into, out, stride=stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(out), conv(out, out)
        self.convShortcut = None if into == out else conv(into, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.bn1(x))
        side = x if self.convShortcut is None else self.convShortcut(a)
        return side + self.conv2(torch.relu(self.bn2(self.conv1(a))))


class Stage(nn.Module):
    """Blocks under a name of their own."""

    def __init__(self, name: str, block: type[nn.Module], into: int, out: int, n: int, stride: int):
        super().__init__()
        blocks = [block(into, out, stride), *(block(out, out, 1) for _ in range(n - 1))]
        setattr(self, name, nn.Sequential(*blocks))
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.name)(x)


class WideResNet(nn.Module):
    """Of TRADES (with a `sub_block1` that is never called), MART, AWP and RobustBench."""

    def __init__(self, depth: int, width: int, *, sub_block: bool = False, classes: int = 10):
        super().__init__()
        n, channels = (depth - 4) // 6, [16, 16 * width, 32 * width, 64 * width]
        self.conv1 = conv(3, 16)
        self.block1 = Stage("layer", WideBlock, *channels[:2], n, 1)
        if sub_block:
            self.sub_block1 = Stage("layer", WideBlock, *channels[:2], n, 1)
        self.block2 = Stage("layer", WideBlock, *channels[1:3], n, 2)
        self.block3 = Stage("layer", WideBlock, *channels[2:], n, 2)
        self.bn1 = nn.BatchNorm2d(channels[3])
        self.fc = nn.Linear(channels[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.avg_pool2d(torch.relu(self.bn1(h)), 8).flatten(1))


class DeepMindBlock(nn.Module):
    """Swish; strided convolutions see zeros after the last row and column only."""

    def __init__(self, into: int, out: int, stride: int):
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(into)
        self.conv_0 = conv(into, out, stride=stride, padding=0)
        self.batchnorm_1, self.conv_1 = nn.BatchNorm2d(out), conv(out, out)
        self.shortcut = None if into == out else conv(into, out, 1, stride)
        self.zeros = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.batchnorm_0(x)
        a = a * torch.sigmoid(a)
        b = self.batchnorm_1(self.conv_0(F.pad(a, self.zeros)))
        side = x if self.shortcut is None else self.shortcut(a)
        return self.conv_1(b * torch.sigmoid(b)) + side


class DeepMindWideResNet(nn.Module):
    """Of Gowal et al. 2020 and later; it normalises inside, by buffers that are not saved."""

    def __init__(self, depth: int, width: int, classes: int = 10):
        super().__init__()
        n, channels = (depth - 4) // 6, [16, 16 * width, 32 * width, 64 * width]
        self.init_conv = conv(3, 16)
        self.layer = nn.Sequential(
            *(
                Stage("block", DeepMindBlock, channels[g], channels[g + 1], n, 1 if g == 0 else 2)
                for g in range(3)
            )
        )
        self.batchnorm = nn.BatchNorm2d(channels[3])
        self.logits = nn.Linear(channels[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.batchnorm(self.layer(self.init_conv(x)))
        return self.logits(F.avg_pool2d(h * torch.sigmoid(h), 8).flatten(1))


def trained(model: nn.Module, seed: int = 0) -> nn.Module:
    """With statistics and scales as after training, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value, low, high in (
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
            ):
                value.uniform_(low, high, generator=generator)
    return model.eval()
