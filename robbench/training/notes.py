"""What losses keep beside the model."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robbench.training.distributed import World


class Notes:
    """Memories by sample and by class that outlive the epoch, and the sums behind its means."""

    def __init__(self, samples: int, device: torch.device) -> None:
        self.samples = samples
        self.device = device
        # [N], NaN where nothing has been remembered yet.
        self.memories: dict[str, Tensor] = {}
        # [N] 1 where this process remembered something in this epoch.
        self.fresh: dict[str, Tensor] = {}
        self.last_means: dict[str, Tensor] = {}  # [K,D] of the last epoch, NaN of no sample
        self.class_sums: dict[str, Tensor] = {}  # [K,D+1] of this epoch; the last are counts
        self.logged: dict[str, tuple[Tensor, int]] = {}  # sum and count
        self.inspected: set[int] = set()  # epochs in which an inner attack's points were looked at

    def memory(self, name: str, initial: float) -> Tensor:
        """[N] of all training samples; `initial` where nothing has been remembered."""
        values = self._values(name)
        return torch.where(values.isnan(), initial, values)

    def remember(self, name: str, index: Tensor, values: Tensor) -> None:
        """Keep values [B] for the samples at index [B]."""
        self._values(name)[index] = values.detach().float()
        self._fresh(name)[index] = 1.0

    def class_means(
        self, name: str, y: Tensor, values: Tensor, classes: int, initial: float
    ) -> Tensor:
        """[B,D]: means over the last epoch of each sample's class y [B], `initial` of no sample.

        The values [B,D] go into those of this epoch.
        """
        counted = F.pad(values.detach().float(), (0, 1), value=1.0)
        sums = F.one_hot(y, classes).to(counted).T @ counted
        self.class_sums[name] = self.class_sums.get(name, torch.zeros_like(sums)) + sums
        if name not in self.last_means:
            return torch.full_like(counted[:, :-1], initial)
        means = self.last_means[name][y]
        return torch.where(means.isnan(), initial, means)

    def log(self, name: str, values: Tensor) -> None:
        """Add values to the mean over the epoch; on the device, so that nothing waits for it."""
        total, count = self.logged.get(name, (torch.zeros((), device=self.device), 0))
        self.logged[name] = (total + values.detach().float().sum(), count + values.numel())

    def take_means(self) -> dict[str, float]:
        """The means since the last call."""
        means = {name: float(total) / max(count, 1) for name, (total, count) in self.logged.items()}
        self.logged.clear()
        return means

    def share(self, world: World) -> None:
        """End an epoch: its means by class, and what each process remembered and logged, for all.

        A process without rows may not even know the names.
        """
        self._end_class_means(world)
        if world.size == 1:
            return
        for name in world.names(self.memories):
            values, fresh = self._values(name), self._fresh(name)
            found, anyone = world.add([torch.where(fresh > 0, values, 0.0), fresh])
            values.copy_(torch.where(anyone > 0, found, values))
        nothing = (torch.zeros((), device=self.device), 0)
        for name in world.names(self.logged):
            total, count = self.logged.get(name, nothing)
            total, counts = world.add([total, total.new_tensor(float(count))])
            self.logged[name] = (total, int(counts))
        self.fresh.clear()

    def _end_class_means(self, world: World) -> None:
        shapes = [(name, *sums.shape) for name, sums in self.class_sums.items()]
        for name, *shape in world.names(shapes):
            none = torch.zeros(shape, device=self.device)
            (sums,) = world.add([self.class_sums.get(name, none)])
            means = sums[:, :-1] / sums[:, -1:]
            self.last_means[name] = torch.where(
                means.isnan(), self.last_means.get(name, means), means
            )
        self.class_sums.clear()

    def copy(self) -> Notes:
        """A copy of the memories alone, for a call of a loss that must leave no trace."""
        other = Notes(self.samples, self.device)
        other.memories = {name: values.clone() for name, values in self.memories.items()}
        other.last_means = dict(self.last_means)
        other.inspected = self.inspected
        return other

    def _values(self, name: str) -> Tensor:
        if name not in self.memories:
            self.memories[name] = torch.full((self.samples,), torch.nan, device=self.device)
        return self.memories[name]

    def _fresh(self, name: str) -> Tensor:
        if name not in self.fresh:
            self.fresh[name] = torch.zeros(self.samples, device=self.device)
        return self.fresh[name]
