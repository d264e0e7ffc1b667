"""GraphSpectral.interact: groups, edges and pairs, each computed by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from hoi_captum import GraphSpectral
from hoi_captum.core.pair_table import PairInteractions
from hoi_captum.errors import CostWarning, DataWarning, InputError, TooManyPlayersError
from hoi_captum.methods.graph_spectral.pairs import gates_of_map
from tests.methods import planted
from tests.methods.graph_spectral.networks import QUICK, MaskedBert, activations, mlp, noise, planted_groups

pytestmark = pytest.mark.filterwarnings("ignore::hoi_captum.errors.FidelityWarning")
SIX = {"graph": (2, 3), "alpha": 0.01, "terms": "pairs"} | QUICK
DATA = noise(300, 6)


def double(behind: Callable[[], nn.Module]) -> nn.Sequential:
    return mlp(behind).double()


def gated(method: GraphSpectral, net: nn.Sequential, x: Tensor, target: int) -> Callable[[Tensor], Tensor]:
    """The target by the gates of the units, (k,) -> (), of one row."""
    h = net[:2](x).detach()
    u, v, scale = activations(method, h), method.units_.decoder.to(h), method.units_.scale.to(h)
    return lambda gates: net[2:](h + ((gates * u - u) @ v.T) * scale)[0, target]


# ---------------------------------------------------------------- what is active together
def test_groups_are_scored_by_how_active_their_units_are(fitted: GraphSpectral, data: Tensor) -> None:
    maps = activations(fitted, fitted.forward_func[:2](data[:3]).detach()).double().numpy()
    standard = (maps - fitted.unit_mean_) / fitted.unit_std_
    for s, own, table in zip(standard, maps, fitted.interact(data[:3], target=0), strict=True):
        assert set(table.kinds.tolist()) == {"group"}
        assert table.players == tuple(f"r{r}c{c}" for r in (1, 2, 3) for c in (1, 2, 3, 4))
        assert len(table) == fitted.groups_.max() + 1
        for term in table:
            group = fitted.groups_[list(term.members)]
            assert (group == group[0]).all()
            assert set(term.members) == set(np.flatnonzero(fitted.groups_ == group[0]).tolist())
            assert term.score == pytest.approx(s[list(term.members)].mean(), abs=1e-4)
            np.testing.assert_allclose(term.weights, fitted.membership_[list(term.members)])
        np.testing.assert_allclose(table.arrays["units"], own, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(table.arrays["groups"], fitted.groups_)
        np.testing.assert_array_equal(table.arrays["adjacency"], fitted.graph_.adjacency)
        assert table.arrays["map_shape"].tolist() == [3, 4]
        assert table.provenance.method == "graph-spectral"
        assert table.provenance.details["fve"] == fitted.quality_.fve
    assert (fitted.membership_ >= 0).all()
    assert (fitted.membership_ <= 1).all()


def test_standards_and_membership_are_those_of_the_samples(net: nn.Sequential, data: Tensor) -> None:
    method = GraphSpectral(net, net[1], method="layout", graph="ring", n_swaps=200).fit(data)
    u = method.units_.encode(net[:2](data).detach()).double().numpy()
    z = (u - u.mean(0)) / u.std(0)
    for g in range(method.groups_.max() + 1):
        inside = method.groups_ == g
        r = [np.corrcoef(unit, z[:, inside].mean(1))[0, 1] for unit in z[:, inside].T]
        # a tenth of the rows taught nothing
        np.testing.assert_allclose(method.membership_[inside], np.clip(r, 0, 1), atol=0.1)


def test_edges_are_products_of_neighbours(net: nn.Sequential, data: Tensor) -> None:
    rng = np.random.default_rng(0)
    a = np.triu(rng.random((9, 9)) * (rng.random((9, 9)) < 0.6), 1)
    method = GraphSpectral(net, net[1], graph=a + a.T, terms="edges", **QUICK).fit(data)
    u = activations(method, net[:2](data[:2]).detach()).double().numpy()
    s = (u - method.unit_mean_) / method.unit_std_
    for row, table in zip(s, method.interact(data[:2]), strict=True):
        found = {t.members: t.score for t in table}
        expected = {(i, j): a[i, j] * row[i] * row[j] for i, j in combinations(range(9), 2) if a[i, j] > 0}
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
        assert set(table.kinds.tolist()) == {"edge"}
        assert table.players[8] == "unit 8"


def test_planted_groups_are_found() -> None:
    net, data, groups = planted_groups()
    method = GraphSpectral(net, net[1], method="layout", graph="learned", n_groups=6).fit(data)
    assert adjusted_rand_score(groups, method.groups_) >= 0.9
    assert method.membership_.min() > 0.5
    # a row in which one latent is large
    for g in range(6):
        row = torch.zeros(1, 54)
        row[0, g] = 3.0
        top = max(method.interact(row)[0], key=lambda t: t.score)
        assert adjusted_rand_score(groups == g, np.isin(np.arange(48), top.members)) >= 0.8
    probe = GraphSpectral(net, net[1], graph=(4, 6), n_groups=4).fit(data)
    assert sorted(set(probe.groups_.tolist()) - {-1}) == [0, 1, 2, 3]
    sizes = np.bincount(probe.groups_[probe.groups_ >= 0])
    assert (np.diff(sizes) <= 0).all()
    assert probe.membership_[probe.groups_ >= 0].mean() > 0.5
    assert sum(len(t.members) for t in probe.interact(data[:1])[0]) == (probe.groups_ >= 0).sum()


# ---------------------------------------------------------------- pairs
@pytest.mark.parametrize("behind", [nn.Tanh, nn.GELU])
def test_exact_pairs_are_second_derivatives_by_the_gates(behind: Callable[[], nn.Module]) -> None:
    net, x = double(behind), DATA[:3].double()
    method = GraphSpectral(net, net[1], **SIX).fit(DATA.double())
    for i, table in enumerate(method.interact(x, target=[0, 1, 2])):
        assert isinstance(table, PairInteractions)
        assert table.provenance.details["mode"] == "exact"
        assert len(table) == 15
        f = gated(method, net, x[i : i + 1], i)
        full = torch.autograd.functional.hessian(f, torch.ones(6).double()).numpy()
        pairs = table.arrays["pairs"]
        off = ~np.eye(6, dtype=bool)
        np.testing.assert_allclose(pairs[off], full[off], rtol=1e-6, atol=1e-10)
        assert (np.diagonal(pairs) == 0).all()
        np.testing.assert_allclose(table.arrays["curvature"], full.diagonal(), rtol=1e-6, atol=1e-10)
        first = torch.autograd.functional.jacobian(f, torch.ones(6).double())
        np.testing.assert_allclose(table.arrays["main"], first, rtol=1e-6, atol=1e-10)
        assert {t.members: t.score for t in table} == {
            (a, b): pairs[a, b] for a, b in combinations(range(6), 2)
        }
        # and by differences, which know nothing of derivatives
        a, b = np.unravel_index(np.abs(pairs).argmax(), pairs.shape)
        e, at = torch.eye(6).double() * 1e-3, torch.ones(6).double()
        steps = f(at + e[a] + e[b]) - f(at + e[a] - e[b]) - f(at - e[a] + e[b]) + f(at - e[a] - e[b])
        assert pairs[a, b] == pytest.approx(float(steps.detach()) / 4e-6, rel=1e-3)


def test_pairs_behind_a_relu_are_differences_of_silence() -> None:
    net, x = double(nn.ReLU), DATA[:3].double()
    method = GraphSpectral(net, net[1], **SIX).fit(DATA.double())
    for i, table in enumerate(method.interact(x, target=1)):
        assert table.provenance.details["mode"] == "occlusion"
        f = gated(method, net, x[i : i + 1], 1)
        one = torch.ones(6).double()
        for a, b in combinations(range(6), 2):
            off = [one.clone() for _ in range(3)]
            off[0][a] = off[1][b] = off[2][a] = off[2][b] = 0
            expected = f(one) - f(off[0]) - f(off[1]) + f(off[2])
            assert table.arrays["pairs"][a, b] == pytest.approx(float(expected.detach()), rel=1e-6, abs=1e-10)
        assert np.isnan(table.arrays["curvature"]).all()


@pytest.mark.parametrize("behind", [nn.Tanh, nn.ReLU])
def test_pairs_of_groups_move_their_units_together(behind: Callable[[], nn.Module]) -> None:
    net, x = double(behind), DATA[:2].double()
    method = GraphSpectral(net, net[1], n_groups=3, **SIX).fit(DATA.double())
    of = torch.as_tensor(method.groups_[:, None] == np.arange(3)).double()
    alone = 1 - of.sum(1)  # units of no group stay as they are
    for i, table in enumerate(method.interact(x, target=2)):
        assert table.players == ("group 0", "group 1", "group 2")
        inner = gated(method, net, x[i : i + 1], 2)

        def f(g: Tensor, inner: Any = inner) -> Tensor:
            return inner(of @ g + alone)

        one = torch.ones(3).double()
        if behind is nn.Tanh:
            full = torch.autograd.functional.hessian(f, one)
        else:
            full = torch.zeros(3, 3)
            e = torch.eye(3).double()
            for a, b in combinations(range(3), 2):
                full[a, b] = (f(one) - f(one - e[a]) - f(one - e[b]) + f(one - e[a] - e[b])).detach()
        for a, b in combinations(range(3), 2):
            assert table.arrays["pairs"][a, b] == pytest.approx(float(full[a, b]), rel=1e-5, abs=1e-8)


def test_a_layouts_gates_move_neurons_to_their_means() -> None:
    net, x = double(nn.ReLU), DATA[:1].double()
    method = GraphSpectral(net, net[1], method="layout", terms="pairs", n_swaps=50).fit(DATA.double())
    (table,) = method.interact(x, target=0)
    h, mean = net[:2](x).detach(), method.units_.mean.double()
    order = method.units_.order.tolist()

    def f(*silent: int) -> float:
        moved = h.clone()
        for unit in silent:
            moved[0, order[unit]] = mean[order[unit]]
        return float(net[2:](moved)[0, 0].detach())

    for a, b in combinations(range(12), 2):
        assert table.arrays["pairs"][a, b] == pytest.approx(f() - f(a) - f(b) + f(a, b), rel=1e-5, abs=1e-8)


def test_behind_a_linear_end_nothing_interacts() -> None:
    net = mlp(nn.Identity)
    method = GraphSpectral(net, net[1], **SIX).fit(DATA)
    with pytest.warns(DataWarning, match="no two units interact"):
        tables = method.interact(DATA[:2], target=0)
    assert all((t.scores == 0).all() for t in tables)
    assert np.abs(tables[0].arrays["main"]).max() > 0


@pytest.mark.parametrize("method", ["probe", "layout"])
def test_rounding_is_no_interaction(method: str) -> None:
    """A ReLU that is never off: pairs are differences of outputs, which are rounded."""
    net = mlp(nn.ReLU)
    with torch.no_grad():
        net[3].bias += 5.0
    options = SIX if method == "probe" else {"method": "layout", "terms": "pairs", "n_swaps": 10}
    fitted = GraphSpectral(net, net[1], **options).fit(DATA)
    with pytest.warns(DataWarning, match="no two units interact"):
        tables = fitted.interact(DATA[:20], target=0)
    assert all((t.scores == 0).all() for t in tables)
    small = mlp(nn.Tanh)
    with torch.no_grad():
        small[3].weight *= 1e-2  # hardly bent, and bent all the same
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        (bent,) = GraphSpectral(small, small[1], **SIX).fit(DATA).interact(DATA[:1], target=0)
    assert (bent.scores != 0).any()


def test_gates_at_one_are_the_model_itself() -> None:
    for net in (mlp(nn.Tanh), mlp(nn.ReLU)):
        method = GraphSpectral(net, net[1], **SIX).fit(DATA)
        rows = method._explained(DATA[:4], 1, None)
        _, gates = gates_of_map(method, rows, of_units=True)
        with torch.no_grad():
            assert torch.equal(gates.run(torch.arange(4), torch.ones(4, 6)), net(DATA[:4])[:, 1])


def test_a_rows_pairs_do_not_depend_on_the_other_rows(bert: planted.BertScores) -> None:
    model = MaskedBert(bert).eval()
    rows = planted.embed(bert, planted.sequences(40, 3).ids)
    mask = torch.ones(rows.shape[:2], dtype=torch.long)
    mask[::2, 8:] = 0
    method = GraphSpectral(model, model.model.bert.encoder.layer[0], **SIX)
    method.fit(rows, additional_forward_args=mask)
    whole = method.interact(rows[:3], target=1, additional_forward_args=mask[:3])
    for i in range(3):
        (alone,) = method.interact(rows[i : i + 1], target=1, additional_forward_args=mask[i : i + 1])
        np.testing.assert_allclose(
            whole[i].arrays["pairs"], alone.arrays["pairs"], rtol=1e-2, atol=1e-4 * np.abs(alone.scores).max()
        )
        n = int(mask[i].sum())
        (cut,) = method.interact(rows[i : i + 1, :n], target=1)
        np.testing.assert_allclose(
            cut.arrays["pairs"], alone.arrays["pairs"], rtol=1e-2, atol=1e-3 * np.abs(alone.scores).max()
        )


def test_too_many_or_too_few_players_are_refused(data: Tensor) -> None:
    net = mlp(nn.Tanh)
    few = GraphSpectral(net, net[1], max_players=5, **SIX).fit(data)
    message = r"6 units.*use a smaller n_nodes or n_groups=.*or give max_players=6"
    with pytest.raises(TooManyPlayersError, match=message):
        few.interact(data[:1], target=0)
    with pytest.raises(TooManyPlayersError, match="use a smaller n_nodes, or give max_players=6"):
        few.neuron_map(data[:1], target=0, relevance="interaction")
    grouped = GraphSpectral(net, net[1], max_players=3, n_groups=3, **SIX).fit(data)
    assert len(grouped.interact(data[:1], target=0)[0].players) == 3
    one = GraphSpectral(net, net[1], n_groups=1, **SIX).fit(data)
    with pytest.raises(InputError, match="at least two units or groups"):
        one.interact(data[:1], target=0)
    many = GraphSpectral(net, net[1], **(SIX | {"graph": (7, 10)})).fit(data)
    with pytest.warns(CostWarning, match="70 units.*n_groups"):
        many.interact(data[:1], target=0)
