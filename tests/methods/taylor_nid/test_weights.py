"""NID against a naive triple loop over hidden units and pairs, and a loop over beginnings."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import nn

from hoi_captum.errors import InputError, OptionError, TargetError
from hoi_captum.methods.taylor_nid import neural_interaction_detection


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(5, 7), nn.ReLU(), nn.Dropout(0.1), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)
    ).double()


def naive_influence(net, target):
    first, second, last = (m.weight.detach().abs().tolist() for m in net if isinstance(m, nn.Linear))
    units = range(len(first))
    return first, [sum(last[target][g] * second[g][h] for g in range(len(second))) for h in units]


def test_pairs_by_a_triple_loop(net):
    first, influence = naive_influence(net, 1)
    table = neural_interaction_detection(net, target=1)
    assert [t.members for t in table] == list(combinations(range(5), 2))
    for term in table:
        i, j = term.members
        expected = sum(min(w[i], w[j]) * z for w, z in zip(first, influence, strict=True))
        assert term.score == pytest.approx(expected, rel=1e-12)
        assert term.kind == "nid"


def test_larger_sets_by_their_beginnings(net):
    first, influence = naive_influence(net, 2)
    expected: dict[tuple[int, ...], float] = {}
    for w, z in zip(first, influence, strict=True):
        ranking = sorted(range(5), key=lambda i: -w[i])
        for end in range(2, 5):
            members = tuple(sorted(ranking[:end]))
            expected[members] = expected.get(members, 0.0) + min(w[i] for i in ranking[:end]) * z
    table = neural_interaction_detection(net, 4, every_pair=False, target=2)
    assert {t.members: t.score for t in table} == pytest.approx(expected)
    mixed = neural_interaction_detection(net, 4, target=2)
    assert {t.members: t.score for t in mixed if t.order > 2} == pytest.approx(
        {s: v for s, v in expected.items() if len(s) > 2}
    )
    assert sum(t.order == 2 for t in mixed) == 10


def test_a_planted_pair():
    first = torch.tensor([[2.0, 0.0, 3.0], [0.0, 0.1, 0.1]])
    table = neural_interaction_detection([first, torch.tensor([[-1.0, 1.0]])])
    assert {t.members: t.score for t in table} == pytest.approx({(0, 1): 0.0, (0, 2): 2.0, (1, 2): 0.1})


def test_weights_are_as_good_as_their_module(net):
    weights = [m.weight for m in net if isinstance(m, nn.Linear)]
    mine, theirs = (neural_interaction_detection(m, 3, target=0) for m in (weights, net))
    assert mine == theirs
    assert mine.provenance.model == ("weights",)


def test_what_cannot_be_read(net):
    single = nn.Linear(3, 1)
    conv = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Linear(2, 2), nn.Linear(2, 1))
    for model, order, target, error, message in [
        (net, 2, None, TargetError, "one of 3 outputs, got None"),
        (net, 2, 3, TargetError, "one of 3 outputs, got 3"),
        (net, 6, 0, OptionError, "at most the number of inputs, 5"),
        (net, 1, 0, OptionError, "order"),
        (single, 2, None, InputError, "two linear layers or more, got 1"),
        (conv, 2, None, InputError, "plain MLP.*Conv1d"),
        ([torch.ones(2, 3), torch.ones(1, 4)], 2, None, InputError, "gives 2 numbers and the next takes 4"),
        ([1, 2], 2, None, InputError, "weights of its linear layers"),
    ]:
        with pytest.raises(error, match=message):
            neural_interaction_detection(model, order, target=target)
