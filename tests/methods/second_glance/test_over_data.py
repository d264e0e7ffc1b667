"""What a fit says of itself and over all of its rows: R², asymmetry, zeros, means, and pairs in words."""

from __future__ import annotations

import warnings
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from hoi_captum.errors import FidelityWarning
from hoi_captum.methods.second_glance import SecondGlance, SecondGlanceInteractions
from tests.methods.second_glance.models import cubic, drawn, quadratic, relu_net, same

BRIEF = {"hidden": 16, "max_steps": 100, "force": True}


def test_r2_is_the_share_that_can_be_learned():
    # the gradients by 0 and 1 are linear, with variance 25/9 in standard units; that by 2 is as good as noise
    x = drawn(4000, 3)
    noise = 25 / 2 / 3

    def f(v: Tensor) -> Tensor:
        return 5 * v[:, 0] * v[:, 1] + 0.1 * (50 * v[:, 2]).sin()

    with pytest.warns(FidelityWarning, match="explains R² = 0.5"):
        method = SecondGlance(f, surrogate="ridge", force=True).fit(x)
    quality = method.quality()
    assert quality.r2 == pytest.approx([1, 1, 0], abs=0.03)
    assert quality.pooled_r2 == pytest.approx(50 / 9 / (50 / 9 + noise), abs=0.03)
    assert (quality.rows, quality.steps) == (4000, 0)


def test_a_gradient_that_does_not_vary_has_no_r2():
    # by 2 it is 1 in all rows, and rounding is no variance
    method = SecondGlance(lambda v: v[:, 0] * v[:, 1] + v[:, 2], surrogate="ridge").fit(drawn(800, 4))
    assert method.quality().r2[:2] == pytest.approx([1, 1], abs=1e-6)
    assert np.isnan(method.quality().r2[2:]).all()


def test_asymmetry_and_zeros_by_brute_force():
    x = drawn(150, 4)
    x[:, 3] *= 5
    method = SecondGlance(cubic, **BRIEF).fit(x)
    found = method.interact(x)
    std = np.outer(x.std(0), x.std(0))
    standard = [t.jacobian * std for t in found]
    uneven = [np.linalg.norm(j - j.T) / max(np.linalg.norm(j), 1e-300) for j in standard]
    assert method.quality().asymmetry == pytest.approx(np.mean(uneven), rel=1e-9)
    for row in (0, 7):
        assert found[row].provenance.details["asymmetry"] == pytest.approx(uneven[row], rel=1e-9)
    assert method.quality().zero_fraction == 0
    # only one pair acts, and the size of an entry is in parts of that of all gradients
    sparse = SecondGlance(lambda v: v[:, 0] * v[:, 1], surrogate="ridge").fit(x)
    found = sparse.interact(x)
    gradients = np.array([t.main for t in found]) * x.std(0).numpy()
    size = np.sqrt(np.square(gradients - gradients.mean(0)).mean())
    off = ~np.eye(4, dtype=bool)
    small = [np.abs(t.pairs * std / size)[off] < 1e-6 for t in found]
    assert sparse.quality().zero_fraction == pytest.approx(np.mean(small))
    assert 0.1 < np.mean(small) < 0.9


@pytest.mark.parametrize("order", [2, 3])
def test_over_data_is_the_mean_over_its_rows(order):
    x = drawn(150, 4)
    kind = {"surrogate": "ridge", "order": 3} if order == 3 else BRIEF
    method = SecondGlance(cubic if order == 3 else quadratic, **kind).fit(x)
    found, over = method.interact(x), method.over_data()
    pairs = np.array([t.pairs for t in found])
    gradients = np.array([t.main for t in found])
    np.testing.assert_allclose(over.pairs, np.abs(pairs).mean(0), rtol=1e-10)
    for i, j in combinations(range(4), 2):
        assert over.mean[i, j] == pytest.approx(pairs[:, i, j].mean(), rel=1e-9)
    np.testing.assert_allclose(over.main, gradients.mean(0), rtol=1e-10)
    np.testing.assert_allclose(over.curvature, np.mean([t.curvature for t in found], 0), rtol=1e-9)
    off = ~np.eye(4, dtype=bool)
    size = np.sqrt(np.square((gradients - gradients.mean(0)) * x.std(0).numpy()).mean())
    flat = np.abs(gradients * x.std(0).numpy() / size)[:, None, :] < 1e-6
    small = np.abs(pairs * np.outer(x.std(0), x.std(0)) / size) < 1e-6
    signed = np.where(flat | small, 0, pairs * gradients[:, None, :])
    np.testing.assert_allclose(over.arrays["amplifies"][off], (signed > 0).mean(0)[off], rtol=1e-12)
    np.testing.assert_allclose(over.arrays["dampens"][off], (signed < 0).mean(0)[off], rtol=1e-12)
    if order == 3:
        for term in over:
            scores = [t.where(players=term.members).scores.sum() for t in found]
            assert term.score == pytest.approx(np.abs(scores).mean(), rel=1e-9)
    details = over.provenance.details
    assert (details["data_rows"], details["r2"]) == (150, method.quality().pooled_r2)


@pytest.fixture(scope="module")
def words() -> tuple[SecondGlance, np.ndarray, list[SecondGlanceInteractions]]:
    """Four words that come and go, learned by a network; where they are, and the table of each row."""
    there = torch.rand(200, 4, generator=torch.Generator().manual_seed(0)) < 0.6
    masks = torch.where(there, torch.arange(4), -1)
    method = SecondGlance(cubic, order=3, third="autodiff", **BRIEF)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FidelityWarning)
        method.fit(there.double(), feature_mask=masks)
    return method, there.numpy(), method.interact(there.double(), feature_mask=masks)


def test_pairs_of_words_count_in_the_rows_that_have_both(words):
    method, there, found = words
    over = method.over_data()
    pairs, gradients = np.array([t.pairs for t in found]), np.array([t.main for t in found])
    for i, j in permutations(range(4), 2):
        both = there[:, i] & there[:, j]
        assert not pairs[~both, i, j].any()
        assert over.pairs[i, j] == pytest.approx(np.abs(pairs[both, i, j]).mean(), rel=1e-9)
        assert over.mean[i, j] == pytest.approx(pairs[both, i, j].mean(), rel=1e-9)
        amplified = pairs[both, i, j] * gradients[both, j] > 0
        assert over.arrays["amplifies"][i, j] == pytest.approx(amplified.mean())
        assert over.main[j] == pytest.approx(gradients[there[:, j], j].mean())


def test_triples_of_words_count_in_the_rows_that_have_all(words):
    method, there, found = words
    for term in method.over_data():
        rows = there[:, term.members].all(1)
        scores = [t.where(players=term.members).scores.sum() for t in found]
        assert term.score == pytest.approx(np.abs(scores)[rows].mean(), rel=1e-9)


def test_a_pair_in_words():
    # H_01 = 1, and the derivatives by 0 and 1 are x1 + 2 and x0: more of 1 always amplifies 0
    x = drawn(200, 3)
    method = SecondGlance(lambda v: v[:, 0] * v[:, 1] + 2 * v[:, 0], surrogate="ridge")
    method.fit(x, names=["age", "balance", "calls"])
    for row, table in enumerate(method.interact(x[:10])):
        reading = table.explain_pair("age", "balance")
        assert reading.hessian == pytest.approx(1, rel=1e-3)
        assert reading.gradients == pytest.approx((float(x[row, 1]) + 2, float(x[row, 0])))
        assert reading.of_first == "amplifies"
        assert reading.of_second == ("amplifies" if x[row, 0] > 0 else "dampens")
        assert reading.paper_label == "amplified"
        assert reading.shares is None
        turned = table.explain_pair(1, 0)
        assert (turned.of_first, turned.of_second) == (reading.of_second, reading.of_first)
    over = method.over_data().explain_pair("age", "balance")
    positive = float((x[:, 0] > 0).double().mean())
    assert over.shares[0] == pytest.approx((positive, 1 - positive))
    assert over.shares[1] == pytest.approx((1.0, 0.0))
    assert over.of_first == "amplifies"
    assert f"amplifies the influence of 'balance' in {100 * positive:.0f} % of the rows" in str(over)


def test_what_a_fit_notes_at_each_row():
    x = drawn(200, 4)
    method = SecondGlance(quadratic, **BRIEF).fit(x, names=["a", "b", "c", "d"])
    assert not method.multiplies_by_inputs
    assert not method.players_are_neurons
    (table,) = method.interact(x[:1])
    provenance, quality = table.provenance, method.quality()
    assert table.players == ("a", "b", "c", "d")
    assert (provenance.forward_passes, provenance.backward_passes) == (1, 1)
    details = provenance.details
    assert (details["form"], details["units"], details["unit"]) == ("learned", "inputs", "")
    assert (details["r2"], details["fit_rows"]) == (quality.pooled_r2, 200)
    assert details["r2_of_units"] == pytest.approx(quality.r2.tolist(), nan_ok=True)
    assert details["fit_seconds"] > 0
    assert f"surrogate of 200 gradients, R² {quality.pooled_r2:.2f}" == details["how"]
    assert np.isnan(table.stderr).all()


def test_doing_nothing_is_not_dampening():
    # more of 0 steepens 1 behind its kink, and before it 1 does nothing that could change
    x = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0])
    x -= torch.tensor([0.0, 1.0])
    method = SecondGlance(
        lambda v: (v[:, 0] + 0.5) * (v[:, 1] - 0.2).relu(), hidden=32, max_steps=400, force=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FidelityWarning)
        reading = method.fit(x).over_data().explain_pair(0, 1)
    behind = float((x[:, 1] > 0.2).double().mean())
    assert (reading.of_second, reading.of_first) == ("amplifies", "amplifies")
    for more, less in reading.shares:
        assert (more + less, less) == pytest.approx((behind, 0.0), abs=0.02)
    assert f"in {100 * reading.shares[0][0]:.0f} % of the rows and dampens it in" in str(reading)


def test_pairs_that_the_data_do_not_show_are_no_zeros():
    # 0 and 1 never come together, and 2 acts with both
    g = torch.Generator().manual_seed(0)
    first, third = torch.rand(300, generator=g) < 0.5, torch.rand(300, generator=g) < 0.5
    there = torch.stack([first, ~first, third], 1)
    method = SecondGlance(lambda v: v[:, 0] * v[:, 2] + v[:, 1] * v[:, 2] + v.sum(1), **BRIEF)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method.fit(there.double(), feature_mask=torch.where(there, torch.arange(3), -1))
    assert np.isnan(method.over_data().pairs[0, 1])
    assert method.quality().zero_fraction < 0.01


@pytest.mark.parametrize("at_layer", [False, True])
def test_rows_of_several_targets_are_run_once(at_layer):
    net, x, ran = relu_net(), drawn(120, 4), []

    def counted(v: Tensor) -> Tensor:
        ran.append(len(v))
        return net(v)

    options = {"n_factors": 3} if at_layer else {}
    method = SecondGlance(counted, net[1] if at_layer else None, **BRIEF, **options)
    targets = [0, 2, 1, 2, 0, 0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method.fit(x, [0, 1, 2])
    for size, target in (
        (None, targets),
        (3, targets),
        (3, torch.tensor(targets)),
        (2, [(t,) for t in targets]),
    ):
        ran.clear()
        found = method.interact(x[:7], target=target, internal_batch_size=size)
        passes = {(t.provenance.forward_passes, t.provenance.backward_passes) for t in found}
        assert passes == {(sum(ran) // 7, 1)}
        assert sum(ran) == (14 if at_layer else 7)
        alone = [method.interact(x[i : i + 1], target=t)[0] for i, t in enumerate(targets)]
        same(found, alone)
