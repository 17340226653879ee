"""Generated data mixed into the batches of training: Gowal et al. 2021, arXiv:2110.09468.

Each batch has the same share of generated samples. Our choice: an epoch is one pass over the N real
samples, so it has N / (1 - ratio) in all; the code of Wang et al. 2023 (arXiv:2302.04638) counts N
of both kinds as an epoch. Generated samples come in the order of one permutation after the other,
so that all are used equally often.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from robbench.core.errors import UserError
from robbench.data.base import Split, class_difference
from robbench.data.loader import DeviceLoader, seeded_generator


class MixedLoader:
    """Batches of real and generated samples, augmented alike; all a function of (seed, epoch).

    `ratio` of each batch is generated, rounded to whole samples; the last batch may be smaller. The
    index of a generated sample is its position in its split, counted on from the real ones. Raises
    UserError where one of the two would have no sample in a batch, or the generated are too few.
    """

    def __init__(
        self,
        split: Split,
        generated: Split,
        batch_size: int,
        *,
        ratio: float,
        seed: int,
        augment: str = "none",
    ) -> None:
        self.share = round(batch_size * ratio)
        if not 0 < self.share < batch_size:
            kind = "generated" if self.share == 0 else "real"
            raise UserError(
                f"generated_ratio={ratio:g} leaves batches of {batch_size} without a {kind} "
                "sample; raise --batch-size, or change the ratio"
            )
        if len(generated) < self.share:
            raise UserError(
                f"generated data {generated.name} has {len(generated)} samples, and a batch takes "
                f"{self.share} of them; lower --batch-size or generated_ratio"
            )
        self.real = DeviceLoader(split, batch_size - self.share, seed=seed, augment=augment)
        self.generated = DeviceLoader(generated, self.share, seed=seed, augment=augment)
        self.seed = seed

    @property
    def samples(self) -> int:
        """Of an epoch, real and generated."""
        return self.real.samples + sum(self._sizes())

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The batches of one epoch, as of `DeviceLoader`, in random order inside."""
        positions = [*self._positions(epoch * len(self.real))]
        draws = seeded_generator(self.seed, "generated epoch", epoch)
        order = seeded_generator(self.seed, "mixed", epoch)
        pairs = zip(
            self.real.epoch(epoch),
            self.generated.batches(positions, epoch, draws),
            strict=True,
        )
        for (x, y, index), (made_x, made_y, made_index) in pairs:
            # Mixed, because several processes take parts of a batch, each with a batch-norm.
            mixed = torch.randperm(len(y) + len(made_y), generator=order).to(y.device)
            yield (
                torch.cat([x, made_x])[mixed],
                torch.cat([y, made_y])[mixed],
                torch.cat([index, len(self.real.split) + made_index])[mixed],
            )

    def _sizes(self) -> list[int]:
        """Generated samples of each batch of an epoch."""
        real = self.real.batch_size
        return [min(self.share, -(-size * self.share // real)) for size in self.real.sizes()]

    def _positions(self, first: int) -> Iterator[Tensor]:
        """Of the generated samples of an epoch, by batch, of which `first` came before.

        A permutation gives as many whole batches as it has; what is left over waits for the next.
        """
        split = self.generated.split
        whole = len(split) // self.share
        known, order = -1, torch.zeros(0, dtype=torch.int64)
        for n, size in enumerate(self._sizes(), first):
            turn, place = divmod(n, whole)
            if turn != known:
                generator = seeded_generator(self.seed, "generated", turn)
                known, order = turn, torch.randperm(len(split), generator=generator)
            yield order[place * self.share :][:size].to(split.images.device)


def fitting(generated: Split, data: Split, validation: Split) -> Split:
    """The generated samples under the data's class names, with a note where theirs are numbers.

    Raises UserError for other classes or shapes, for tables, whose boxes would differ, and where
    samples that are kept for validation are among them.
    """
    about = f"generated data {generated.name}"
    same = generated.classes == data.classes
    numbers = all(name.isdecimal() for name in generated.classes)
    named = any(not name.isdecimal() for name in data.classes)
    n = len(generated.classes)
    whole = numbers and named and n == len(data.classes)
    # Labels without names count up to the largest one, which need not be the last class.
    first = n < len(data.classes) and generated.classes == tuple(map(str, range(n)))
    fits = first and (named or generated.classes == data.classes[:n])
    if not same and not whole and not fits:
        what = class_difference(generated.classes, data.classes, (about, data.name))
        raise UserError(f"{what}; name the same classes of both, as in SPEC[A,B]")
    shape, own = tuple(generated.images.shape[1:]), tuple(data.images.shape[1:])
    if shape != own:
        raise UserError(f"{about} has samples of shape {shape}, {data.name} of {own}")
    if data.units is not None or generated.units is not None:
        raise UserError(
            f"{about}: a table is scaled by its own values, so two of them cannot be mixed"
        )
    if (both := int(torch.isin(validation.ids, generated.ids).sum())) > 0:
        raise UserError(
            f"{both} of the {len(validation)} samples kept for validation are also in {about}; "
            "take them out of it, or choose other data"
        )
    if same:
        return generated
    note = f"{about}: its classes are numbers, taken for the classes of {data.name} in their order"
    return dataclasses.replace(generated, classes=data.classes, notes=(*generated.notes, note))
