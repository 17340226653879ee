"""What passes a model while another package's attack has it."""

from __future__ import annotations

from torch import Tensor, nn


class Counter(nn.Module):
    """Counts the rows that pass a model, forwards and backwards, on behalf of a backend."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.train(model.training)  # a package may ask in which mode it is
        self.n_forward = self.n_backward = 0

    def forward(self, x: Tensor) -> Tensor:
        vars(self)["n_forward"] += x.shape[0]  # to set it on a module takes longer
        logits: Tensor = self.model(x)
        if logits.requires_grad:
            logits.register_hook(self._backward)  # type: ignore[no-untyped-call]
        return logits

    def _backward(self, grad: Tensor) -> None:
        vars(self)["n_backward"] += len(grad)
