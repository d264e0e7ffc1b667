"""What a model's gradients are learned by: networks, or a ridge regression; and what they say of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hoi_captum.core.state import preserved_rng
from hoi_captum.methods.second_glance.networks import (
    PotentialGradient,
    jacobian,
    own_network,
    paper_network,
    second_jacobian,
    softplus_network,
)
from hoi_captum.methods.second_glance.scaling import Scaling, known_together, symmetric, symmetric_third
from hoi_captum.methods.second_glance.settings import LearnSettings
from hoi_captum.methods.second_glance.training import Score, Split, teach

_ROWS = 256  # whose derivatives are taken together, of few units
_CELLS = 1 << 24  # numbers in them
_GOOD = 0.8  # R^2 that needs no second try
_RIDGE = 1e-4  # of the mean square of a feature

Told = Callable[[int], object] | None


def rows_together(z: Tensor, order: int) -> int:
    """How many rows' derivatives of an order fit into memory at once, by the number of units."""
    return int(max(1, min(_ROWS, _CELLS // z.shape[1] ** order)))


@dataclass(frozen=True, eq=False)
class Surrogate(ABC):
    """A function of the units that was taught the model's gradients by them.

    Attributes:
        scaling: what it sees of units and gradients.
        score: on held-out rows.
        steps: at which its best state was found; 0 of a regression.
        third_score: of what was taught the third derivatives, on held-out rows; None where nothing was.
        together: (k, k, k) bool, whether the data show how gradient j depends on i and l at once; None of a
            surrogate of order 2.
    """

    scaling: Scaling
    score: Score
    steps: int
    third_score: Score | None
    together: Tensor | None

    def jacobian(self, z: Tensor) -> Tensor:
        """Derivatives of gradient j (row) by unit i (column) at each row, (m, k, k), not symmetrised.

        Args:
            z: (m, k), in the units' own scale.
        """
        parts = [self._jacobian(self.scaling.units(part)) for part in z.double().split(rows_together(z, 2))]
        return self.scaling.of_jacobian(torch.cat(parts))

    def hessian(self, z: Tensor) -> Tensor:
        """The symmetrised Jacobian, (m, k, k)."""
        return symmetric(self.jacobian(z), self.scaling.known)

    def third(self, z: Tensor) -> Tensor:
        """Third derivatives at each row, (m, k, k, k), the same in all orders of their units."""
        parts = [self._third(self.scaling.units(part)) for part in z.double().split(rows_together(z, 3))]
        return symmetric_third(self.scaling.of_third(torch.cat(parts)), self._known_third())

    def _known_third(self) -> Tensor:
        known = self.scaling.known
        return known.unsqueeze(2) & known.unsqueeze(1) if self.together is None else self.together

    @abstractmethod
    def _jacobian(self, z: Tensor) -> Tensor: ...

    @abstractmethod
    def _third(self, z: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class NetworkSurrogate(Surrogate):
    """A network, and for third derivatives the network itself or one that was taught its Jacobian.

    Attributes:
        network: from units to gradients.
        third_network: from units to the upper triangle of the Hessian; None: the network is differentiated
            twice.
    """

    network: nn.Module
    third_network: nn.Module | None = None

    def _jacobian(self, z: Tensor) -> Tensor:
        return jacobian(self.network, z, self.scaling.spans)

    def _known_third(self) -> Tensor:
        known = super()._known_third()
        # the second network was taught pairs, each by the gradient of one or of the other
        return known if self.third_network is None else known | known.transpose(0, 1)

    def _third(self, z: Tensor) -> Tensor:
        if self.third_network is None:
            return second_jacobian(self.network, z, self.scaling.spans)
        k = z.shape[1]
        found = jacobian(self.third_network, z, self.scaling.spans)  # (m, pairs, k)
        rows, columns = torch.triu_indices(k, k)
        out = z.new_zeros(len(z), k, k, k)
        out[:, rows, columns] = out[:, columns, rows] = found
        return out


@dataclass(frozen=True, eq=False)
class RidgeSurrogate(Surrogate):
    r"""A polynomial: :math:`g_j = g_{j0} + \sum_i J_{ji} z_i + \frac12 \sum_{il} T_{jil} z_i z_l`.

    Linear, with Gaussian units, it is Stein's estimate of the smoothed model's Hessian (SmoothHess).

    Attributes:
        linear: J, (k, k).
        quadratic: T, (k, k, k); None of a linear one.
    """

    linear: Tensor
    quadratic: Tensor | None

    def _jacobian(self, z: Tensor) -> Tensor:
        found = self.linear.expand(len(z), -1, -1)
        if self.quadratic is None:
            return found.clone()
        return found + torch.einsum("jil,ml->mji", self.quadratic, z)

    def _third(self, z: Tensor) -> Tensor:
        k = z.shape[1]
        third = z.new_zeros(k, k, k) if self.quadratic is None else self.quadratic
        return third.expand(len(z), -1, -1, -1)


def learn(
    z: Tensor, g: Tensor, kind: str | nn.Module, settings: LearnSettings, order: int, on_step: Told = None
) -> Surrogate:
    """A surrogate of gradients.

    Args:
        z: (n, k) units, float64.
        g: (n, k) gradients by them; NaN where a unit is not there.
        kind: ``softplus``, ``paper``, ``ridge``, or a module of one's own.
        settings: of the training.
        order: 3 also makes ready for third derivatives.
        on_step: told how many steps of a training are done.

    Raises:
        InputError: constant gradients.
        OptionError: a module that does not fit.
        FidelityError: a training that fails.
    """
    scaling = Scaling.of(z, g, bounded=kind == "paper")
    units, targets = scaling.units(z), scaling.gradients(g)
    split = Split.of(len(z), settings.validation, settings.seed)
    together = known_together(z, g, scaling.known) if order > 2 else None
    if kind == "ridge":
        others = torch.cat([split.training, split.stopping])
        linear, quadratic, found = _regressed(units, targets, others, order, scaling.spans.isfinite().all(1))
        score = Score.of(found[split.held_out], targets[split.held_out], targets[others])
        return RidgeSurrogate(scaling, score, 0, None, together, linear, quadratic)
    taught, error = _network(scaling, units, targets, split, kind, settings, on_step)
    if kind == "softplus" and settings.symmetry == "auto" and taught.score.pooled < _GOOD:
        # which of the two is taken is not decided by the rows that judge it
        again = replace(settings, symmetry="potential")
        other, its_error = _network(scaling, units, targets, split, kind, again, on_step)
        taught = other if its_error < error else taught
    taught = replace(taught, together=together)
    if order < 3 or settings.third == "autodiff" or isinstance(kind, nn.Module):
        return taught
    return _with_third(taught, units, split, settings, on_step)


def _network(
    scaling: Scaling,
    units: Tensor,
    targets: Tensor,
    split: Split,
    kind: str | nn.Module,
    settings: LearnSettings,
    on_step: Told,
) -> tuple[NetworkSurrogate, float]:
    """A network that was taught, and its error on the rows that stopped it."""
    k = units.shape[1]
    network = new_network(kind, k, k, settings)
    steps, error = _taught(network, units, targets, split, settings, on_step)
    with torch.no_grad():
        said = network(units[split.held_out])
    score = Score.of(said, targets[split.held_out], targets[split.training])
    return NetworkSurrogate(scaling, score, steps, None, None, network), error


def _with_third(
    taught: NetworkSurrogate, units: Tensor, split: Split, settings: LearnSettings, on_step: Told
) -> NetworkSurrogate:
    """The same with a network that was taught its symmetrised Jacobian (the paper's M3)."""
    k = units.shape[1]
    spans = taught.scaling.spans
    parts = [jacobian(taught.network, part, spans) for part in units.split(rows_together(units, 2))]
    rows, columns = torch.triu_indices(k, k)
    targets = symmetric(torch.cat(parts), taught.scaling.known)[:, rows, columns]
    mean, size = targets.mean(0), float(targets.std()) or 1.0
    network = new_network("softplus", k, len(rows), settings)
    _taught(network, units, (targets - mean) / size, split, settings, on_step)
    with torch.no_grad():
        said = network(units[split.held_out]) * size + mean
    score = Score.of(said, targets[split.held_out], targets[split.training])
    # what it gives is scaled back by its own last layer, so that it is in the units of the first network
    last = network[-1]  # type: ignore[index]
    last.weight.data *= size
    last.bias.data = last.bias.data * size + mean
    return replace(taught, third_network=network, third_score=score)


def new_network(kind: str | nn.Module, units: int, outputs: int, settings: LearnSettings) -> nn.Module:
    """A network of a kind, not taught yet; of a module of one's own a copy."""
    if isinstance(kind, nn.Module):
        return own_network(kind, units)
    with preserved_rng():
        torch.manual_seed(settings.seed)
        hidden = settings.width(units)
        if kind == "paper":
            network = paper_network(units, outputs, hidden)
        elif settings.symmetry == "potential" and units == outputs:
            network = PotentialGradient(units, hidden)
        else:
            network = softplus_network(units, outputs, hidden)
    return network.double()


def _taught(
    network: nn.Module, units: Tensor, targets: Tensor, split: Split, settings: LearnSettings, on_step: Told
) -> tuple[int, float]:
    with preserved_rng():  # dropout of a module of one's own
        torch.manual_seed(settings.seed)
        return teach(
            network,
            units,
            targets,
            split,
            max_steps=settings.max_steps,
            learning_rate=settings.learning_rate,
            seed=settings.seed,
            on_step=on_step,
        )


def _regressed(
    units: Tensor, targets: Tensor, training: Tensor, order: int, two_values: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    """J, T (of order 3), and what they give for all rows; outputs with rows missing are fitted one by one."""
    k = units.shape[1]
    features = [units.new_ones(len(units), 1), units]
    a, b = torch.triu_indices(k, k)
    if order > 2:
        # the square of a unit of two values is the unit itself
        features.append(units[:, a] * units[:, b] * ~((a == b) & two_values[a]))
    design = torch.cat(features, 1)
    solved = units.new_zeros(design.shape[1], k)
    there = ~targets.isnan()
    if bool(there.all()):
        solved = _ridge(design[training], targets[training])
    else:
        for output in range(k):
            rows = training[there[training, output]]
            solved[:, output] = _ridge(design[rows], targets[rows, output : output + 1])[:, 0]
    quadratic = None
    if order > 2:
        quadratic = units.new_zeros(k, k, k)
        # z_a^2 stands once among the features, z_a z_b for both orders of the two
        values = (solved[1 + k :] * torch.where(a == b, 2.0, 1.0).unsqueeze(1).double()).T
        quadratic[:, a, b] = quadratic[:, b, a] = values
    return solved[1 : 1 + k].T, quadratic, design @ solved


def _ridge(design: Tensor, targets: Tensor) -> Tensor:
    weight = torch.full((design.shape[1],), _RIDGE * max(len(design), 1), dtype=design.dtype)
    weight[0] = torch.finfo(design.dtype).eps  # the constant is as good as free
    found: Tensor = torch.linalg.solve(design.T @ design + weight.diag(), design.T @ targets)
    return found
