"""A network is taught: Adam, the best state on some rows, and a score on others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hoi_captum.core.state import single_thread
from hoi_captum.errors import FidelityError, OptionError

_BATCH = 256
_CHECK = 50  # steps between looks at the rows that stop it
_SAME = 1e-12  # of all variance; an output that has less is constant but for rounding
_PATIENCE = 20  # looks without a better one


@dataclass(frozen=True)
class Split:
    """Which rows teach, which tell when to stop, and which judge: those that had no part in either.

    Attributes:
        training, stopping, held_out: row numbers.
    """

    training: Tensor
    stopping: Tensor
    held_out: Tensor

    @classmethod
    def of(cls, rows: int, validation: float, seed: int) -> Split:
        """A random split of three rows or more; ``validation`` is the share of the last two, half each."""
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
        count = min(max(1, round(rows * validation / 2)), (rows - 1) // 2)
        return cls(order[2 * count :], order[count : 2 * count], order[:count])


@dataclass(frozen=True, eq=False)
class Score:
    """How much of the held-out rows is explained.

    Attributes:
        r2: of each output, (outputs,); NaN where it does not vary there.
        pooled: of all outputs together, each weighted by its variance.
        rows: held-out ones.
    """

    r2: Tensor
    pooled: float
    rows: int

    @classmethod
    def of(cls, found: Tensor, targets: Tensor, training: Tensor) -> Score:
        r""":math:`1 - \sum (g - \hat g)^2 / \sum (g - \bar g)^2` over held-out rows.

        Args:
            found, targets: (n, outputs); targets that are NaN are left out.
            training: (m, outputs) targets whose means are :math:`\bar g`.
        """
        there = ~targets.isnan()
        mean = training.nanmean(0).nan_to_num()  # an output that only held-out rows have
        missed = torch.where(there, targets.nan_to_num() - found, 0.0).square().sum(0)
        whole = torch.where(there, targets.nan_to_num() - mean, 0.0).square().sum(0)
        total = float(whole.sum())
        each = torch.where(whole > _SAME * total, 1 - missed / whole, torch.nan)
        pooled = 1 - float(missed.sum()) / total if total > 0 else math.nan
        return cls(each, pooled, len(targets))


def teach(
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    split: Split,
    *,
    max_steps: int,
    learning_rate: float,
    seed: int,
    on_step: Callable[[int], object] | None = None,
) -> tuple[int, float]:
    """Fit a network to targets by least squares; it ends in its best state on the split's ``stopping`` rows.

    Mini-batches of 256 rows, Adam, a cosine schedule; every 50 steps these rows are looked at, and 20 looks
    without a better one end it.

    Args:
        network: (n, k) to (n, outputs), float64; trained in place, in its own training mode.
        inputs, targets: (n, k), (n, outputs), of about unit size; targets that are NaN do not count.
        split: of the rows.
        max_steps, learning_rate, seed: as they say.
        on_step: told how many steps are done.

    Returns:
        the step of the best state, and its mean squared error on the rows that stop.

    Raises:
        FidelityError: the loss is not finite.
        OptionError: a network without parameters.
    """
    if not any(True for _ in network.parameters()):
        raise OptionError(f"expected a surrogate with parameters to teach, got {type(network).__name__}")
    there = ~targets.isnan()
    known = targets.nan_to_num()
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max_steps)
    best, best_step, state = math.inf, 0, _copy(network)

    def loss(rows: Tensor) -> Tensor:
        error = torch.where(there[rows], network(inputs[rows]) - known[rows], 0.0)
        return error.square().sum() / there[rows].sum().clamp(min=1)

    with single_thread(), torch.enable_grad():
        for step in range(1, max_steps + 1):
            network.train()
            rows = split.training
            if len(rows) > _BATCH:
                rows = rows[torch.randint(len(rows), (_BATCH,), generator=generator)]
            optimiser.zero_grad()
            loss(rows).backward()
            optimiser.step()
            schedule.step()
            if step % _CHECK and step < max_steps:
                continue
            network.eval()
            with torch.no_grad():
                error = float(loss(split.stopping))
            if on_step is not None:
                on_step(step)
            if error < best:
                best, best_step, state = error, step, _copy(network)
            elif step - best_step >= _PATIENCE * _CHECK:
                break
    if not math.isfinite(best):
        raise FidelityError(
            "the surrogate could not be taught: its error is not finite from the start; give a smaller "
            "learning_rate, or another surrogate"
        )
    network.load_state_dict(state)
    network.eval()
    network.requires_grad_(False)
    return best_step, best


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
