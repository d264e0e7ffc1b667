"""Neurons that are copies and mixtures of known groups are given back as these groups."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import roc_auc_score
from torch import nn

from hoi_captum import LayerLocalCorEx
from hoi_captum.corex import LinearCorEx
from tests.methods.local_corex.networks import GROUPS, Planted, planted_bert, planted_mlp, planted_resnet

MODELS = {"mlp": planted_mlp, "bert": planted_bert, "resnet": planted_resnet}
OPTIONS = {"n_factors": 6, "n_clusters": 1, "embedder": None}


@pytest.fixture(scope="module", params=MODELS)
def planted(request) -> Planted:
    return MODELS[request.param]()


def recovery(mi: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """AUC of each planted group by a factor of its own, (GROUPS,)."""
    aucs = np.array([[roc_auc_score(groups == g, row) for row in mi] for g in range(GROUPS)])
    rows, columns = linear_sum_assignment(-aucs)
    return aucs[rows, columns]


def test_planted_groups_come_back(planted):
    method = LayerLocalCorEx(planted.model, planted.layer, **OPTIONS).fit(planted.data)
    aucs = recovery(method.local_.models_[0].mi_, planted.groups)
    assert aucs.min() >= 0.95
    # as terms too: every group is what one factor's members are
    terms = list(method.interact(planted.data[:1])[0])
    for g in range(GROUPS):
        members = set(np.flatnonzero(planted.groups == g).tolist())
        best = max(len(members & set(t.members)) / len(members | set(t.members)) for t in terms)
        assert best >= 0.9


def test_a_layer_without_groups_has_none():
    """The same check fails where there is nothing to find: neurons of independent sources."""
    model = nn.Sequential(nn.Identity(), nn.Linear(40, 2)).eval()
    data = torch.randn(600, 40, generator=torch.Generator().manual_seed(0))
    method = LayerLocalCorEx(model, model[0], **OPTIONS).fit(data)
    assert recovery(method.local_.models_[0].mi_, planted_mlp().groups).min() < 0.8
    assert method.local_.models_[0].tcs_.max() < 1.0


def test_permuting_neurons_permutes_the_answer():
    planted = planted_mlp()
    linear, _, head = planted.model
    order = torch.randperm(len(planted.groups), generator=torch.Generator().manual_seed(3))
    other = nn.Sequential(nn.Linear(linear.in_features, linear.out_features, bias=False), nn.Tanh(), head)
    other[0].weight.data = linear.weight.data[order]
    other.eval()
    found = []
    for model in (planted.model, other):
        estimator = LinearCorEx(GROUPS, tol=1e-9, random_state=0)  # settled, wherever it began
        method = LayerLocalCorEx(model, model[1], estimator=estimator, **OPTIONS).fit(planted.data)
        mi = method.local_.models_[0].mi_
        # the four real factors, in the order of the group that each is of
        by_group = [
            max(mi, key=lambda row, g=g: row[g].sum()) for g in _members(planted, order, model is other)
        ]
        found.append(np.stack(by_group))
    np.testing.assert_allclose(found[1], found[0][:, order.numpy()], atol=1e-3)


def _members(planted: Planted, order: torch.Tensor, permuted: bool) -> list[NDArray[np.bool_]]:
    groups = planted.groups[order.numpy()] if permuted else planted.groups
    return [groups == g for g in range(GROUPS)]
