r"""The states of discrete factors given the data, and what variables tell about them.

.. math::
    \log p(y_j|x) = \log p(y_j) + \sum_i \alpha_{ji} \log \frac{p(x_i|y_j)}{p(x_i)} - \log z_j(x),
    \qquad TC_j = \langle \log z_j(x) \rangle

(Pepke and Ver Steeg 2017; Ver Steeg and Galstyan 2015.) With the log-odds t against state 0 and
:math:`s = \log \sum_k p(y_j=k) e^{t_k}`, the ratio :math:`\log p(x_i|k)/p(x_i)` is :math:`t_k - s`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hoi_captum.corex.marginals import Marginals, Observations

_PRIOR_COUNT = 0.001
_LEVEL = 0.05  # of the test of the mutual information


@dataclass(frozen=True, eq=False)
class Posterior:
    """The states of the factors in each row.

    Attributes:
        probabilities: p(y_j = k | x), (K, m, n).
        log_z: (m, n), nats; its mean over the rows is the total correlation that a factor explains.
    """

    probabilities: Tensor
    log_z: Tensor


def log_prior(probabilities: Tensor) -> Tensor:
    """log p(y_j = k) from (K, m, n): (K, m); .001 added to each count."""
    counts = probabilities.sum(-1) + _PRIOR_COUNT
    return (counts / counts.sum(0)).log()


def infer(data: Observations, marginals: Marginals, prior: Tensor, alpha: Tensor) -> Posterior:
    """The states of the factors.

    Args:
        prior: log p(y_j = k), (K, m).
        alpha: weights of the variables, (m, p).
    """
    states, factors = prior.shape
    n = data.values.shape[1]
    evidence = prior.new_zeros(states - 1, factors, n)
    unconditional = prior.new_zeros(factors, n)
    for columns in data.blocks(factors * (states - 1)):
        odds = marginals.log_odds(data, columns)
        weights = alpha[:, None, columns]
        evidence += (weights @ odds).squeeze(-2)
        unconditional += (weights @ _log_mean_odds(odds, prior)).squeeze(-2)
    joint = prior[..., None] - unconditional
    joint[1:] += evidence
    log_z = joint.logsumexp(0)
    return Posterior((joint - log_z).exp(), log_z)


def _log_mean_odds(odds: Tensor, prior: Tensor) -> Tensor:
    """s = log sum_k p(y_j=k) exp(t_k), (m, c, n): log p(x_i) - log p(x_i|y_j=0)."""
    shifted = odds + prior[1:, :, None, None]
    first = prior[0, :, None, None]
    if len(odds) == 1:
        return torch.logaddexp(shifted[0], first)
    return torch.cat((first.expand_as(shifted[:1]), shifted)).logsumexp(0)


def plug_in_mi(data: Observations, marginals: Marginals, prior: Tensor, probabilities: Tensor) -> Tensor:
    """I(Y_j; X_i), the mean of sum_k p(y_j=k|x) log p(x_i|k)/p(x_i) over the rows observed: (m, p), nats."""
    mi = prior.new_empty(prior.shape[1], len(data.values))
    for columns in data.blocks(prior[1:].numel()):
        odds = marginals.log_odds(data, columns)
        told = (odds @ probabilities[1:, ..., None]).squeeze(-1).sum(0)
        mi[:, columns] = told - _log_mean_odds(odds, prior).sum(-1)
    return mi / data.counts.clamp(min=1)


def significant_mi(
    data: Observations,
    estimate: Callable[[Observations, Tensor], Marginals],
    posterior: Posterior,
    n_permutations: int,
    random: np.random.RandomState,
) -> Tensor:
    """I(Y_j; X_i) less what chance gives; 0 where chance gives as much.

    Chance is the mutual information of the factors with rows in another order, distributions estimated
    anew. Its mean is subtracted, and the value must exceed the second largest of 20 (p about .05).

    Args:
        estimate: gives the distributions from data and p(y_j = k | x).
        n_permutations: 0 for the plug-in estimate as it is.

    Returns:
        (m, p), nats.
    """
    probabilities = posterior.probabilities
    prior = log_prior(probabilities)
    mi = plug_in_mi(data, estimate(data, probabilities), prior, probabilities)
    if not n_permutations:
        return mi
    by_chance = []
    for _ in range(n_permutations):
        shuffled = probabilities[..., torch.from_numpy(random.permutation(probabilities.shape[-1]))]
        by_chance.append(plug_in_mi(data, estimate(data, shuffled), prior, shuffled))
    drawn = torch.stack(by_chance).sort(0, descending=True).values
    threshold = drawn[math.floor(_LEVEL * n_permutations)]
    return torch.where(mi > threshold, mi - drawn.mean(0), 0.0)


def factor_mi(probabilities: Tensor, prior: Tensor) -> Tensor:
    """I(Y_j; X), the mean of the divergence of p(y_j|x) from p(y_j): (m,), nats."""
    ratio = probabilities.clamp(min=1e-300).log() - prior[..., None]
    return (probabilities * ratio).sum(0).mean(-1)
