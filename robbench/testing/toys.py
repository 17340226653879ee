"""Small models and random data that the conformance suite runs on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robbench.data.base import Split, sample_ids
from robbench.models.base import Classifier

SHAPE = (1, 6, 6)


def toy_split(
    n: int = 40, classes: int = 4, shape: tuple[int, ...] = SHAPE, seed: int = 0
) -> Split:
    """N random images, labelled by their brightest of `classes` blocks: a linear problem."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8)
    blocks = images.flatten(1).float().tensor_split(classes, dim=1)
    labels = torch.stack([block.mean(1) for block in blocks], 1).argmax(1)
    ids = torch.from_numpy(sample_ids(images.numpy(), labels.numpy()))
    return Split(images, labels, ids, tuple(f"c{k}" for k in range(classes)), "toy", "test")


def toy_model(classes: int = 4, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Classifier:
    """A small fixed network that is right on most of `toy_split`.

    Its batch-norm and dropout layers show whether an attack changes the model's mode or buffers.
    """
    torch.manual_seed(seed)
    width = torch.Size(shape).numel()
    blocks = torch.arange(width).tensor_split(classes)
    first = nn.Linear(width, classes)
    with torch.no_grad():
        first.weight.mul_(0.3)
        for k, block in enumerate(blocks):
            first.weight[k, block] += 12.0 / len(block)
        first.bias.fill_(-5.0)
    head = nn.Linear(classes, classes, bias=False)
    with torch.no_grad():
        head.weight.copy_(3 * torch.eye(classes))
    body = nn.Sequential(
        nn.Flatten(), first, nn.BatchNorm1d(classes), nn.Softplus(), nn.Dropout(0.2)
    )
    return Classifier(nn.Identity(), body, head, features=classes, classes=classes).eval()


class BadGradients(nn.Module):
    """A model whose logits are right, and whose gradients are multiplied by zero or NaN."""

    def __init__(self, model: nn.Module, factor: Tensor) -> None:
        super().__init__()
        self.model = model
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        if logits.requires_grad:
            logits.register_hook(lambda grad: grad * self.factor)  # type: ignore[no-untyped-call]
        return logits
