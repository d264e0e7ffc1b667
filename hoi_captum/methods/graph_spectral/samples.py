"""A bounded number of samples from a stream: memory does not grow with the data."""

from __future__ import annotations

import torch
from torch import Tensor


class Reservoir:
    """So many samples of all that came, each as likely as any other.

    Args:
        size: most samples.
        seed: of the choice.

    Attributes:
        seen: samples that came.
        n_rows: inputs that they came from.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._generator = size, torch.Generator().manual_seed(seed)
        self._keys = torch.zeros(0, dtype=torch.float64)
        self._values: Tensor | None = None
        self._rows = torch.zeros(0, dtype=torch.long)
        self.seen = self.n_rows = 0

    def add(self, values: Tensor, kept: Tensor) -> None:
        """Samples of some more inputs.

        Args:
            values: (rows, m, n).
            kept: (rows, m) those that count.
        """
        values, kept = values.detach().cpu().float(), kept.cpu()
        rows = torch.arange(len(values)).unsqueeze(1).expand_as(kept)[kept] + self.n_rows
        new = values[kept]
        self.seen, self.n_rows = self.seen + len(new), self.n_rows + len(values)
        # a random key for each: those with the smallest stay, whatever the batches are
        keys = torch.cat([self._keys, torch.rand(len(new), generator=self._generator, dtype=torch.float64)])
        held = new if self._values is None else torch.cat([self._values, new])
        rows = torch.cat([self._rows, rows])
        if len(keys) > self._size:
            chosen = keys.topk(self._size, largest=False).indices.sort().values
            keys, held, rows = keys[chosen], held[chosen], rows[chosen]
        self._keys, self._values, self._rows = keys, held, rows

    def split(self, held_out: float, seed: int) -> tuple[Tensor, Tensor]:
        """Samples to learn from and to judge by, (s, n) each; those of one input are on one side."""
        assert self._values is not None
        order = torch.randperm(self.n_rows, generator=torch.Generator().manual_seed(seed))
        judging = torch.zeros(self.n_rows, dtype=torch.bool)
        judging[order[: max(1, round(held_out * self.n_rows))]] = True
        is_judge = judging[self._rows]
        return self._values[~is_judge], self._values[is_judge]


class WholeRows:
    """All samples of some of the inputs, each input as likely as any other.

    Args:
        most: inputs.
        size: most samples, as far as :attr:`least` inputs allow.
        seed: of the choice.
    """

    least = 20

    def __init__(self, most: int, size: int, seed: int) -> None:
        self._most, self._size, self._generator = most, size, torch.Generator().manual_seed(seed)
        self._held: list[tuple[float, Tensor]] = []

    def add(self, values: Tensor, kept: Tensor) -> None:
        """Samples of some more inputs; arguments as of :meth:`Reservoir.add`."""
        keys = torch.rand(len(values), generator=self._generator, dtype=torch.float64).tolist()
        bound = max((key for key, _ in self._held), default=1.0) if len(self._held) >= self._most else 1.0
        for key, own, mask in zip(keys, values.detach(), kept, strict=True):
            if key < bound:  # no copy of what would not stay
                self._held.append((key, own[mask].cpu().float()))
        self._held.sort(key=lambda one: one[0])
        total, count = 0, 0
        for _, own in self._held[: self._most]:
            total += len(own)
            if total > self._size and count >= self.least:
                break
            count += 1
        del self._held[count:]

    def rows(self) -> list[Tensor]:
        """(m, n) of each input, which may differ in m."""
        return [own for _, own in self._held]
