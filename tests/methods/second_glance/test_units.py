"""What a unit is to a fit: a feature, a region's mean or pattern, a word's presence, a layer's factor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hoi_captum.corex import LinearCorEx
from hoi_captum.errors import DataWarning, InputError
from hoi_captum.methods.second_glance import SecondGlance
from tests.methods.second_glance.models import SHRUNK, drawn, quadratic, same

QUARTERS = torch.arange(4).view(2, 2).repeat_interleave(2, 0).repeat_interleave(2, 1).view(1, 1, 4, 4)
PATTERN = torch.tensor(
    [[2.0, -1], [0, -1]], dtype=torch.float64
)  # of a quarter; its largest cell is positive


def exactly(table, expected, within: float = SHRUNK) -> None:
    """Pairs as they should be; the ridge takes a little."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(table.pairs, expected, rtol=0, atol=within * max(1, np.abs(expected).max()))


def matrix(k: int, **pairs: float) -> np.ndarray:
    """A symmetric matrix by its entries, p01=2.0."""
    out = np.zeros((k, k))
    for name, value in pairs.items():
        i, j = int(name[1]), int(name[2])
        out[i, j] = out[j, i] = value
    return out


# ---------------------------------------------------------------- directions of the inputs
def summaries(x: Tensor, pattern: Tensor) -> Tensor:
    """The product of each quarter with a pattern (2, 2) over its cells, (rows, 4)."""
    one = functional.one_hot(QUARTERS[0, 0], 4).to(x)
    return torch.einsum("bhw,hwu->bu", x[:, 0] * pattern.repeat(2, 2), one)


def test_features_of_a_table_are_units():
    x = drawn(300, 4)
    method = SecondGlance(quadratic, surrogate="ridge").fit(x)
    attributions, found = method.attribute_and_interact(x[:2])
    for row, table in enumerate(found):
        exactly(table, matrix(4, p01=1.0, p13=-3.0))
        assert table.curvature == pytest.approx([0, 0, 2, 0], abs=1e-3)
        a, b, c, d = x[row].tolist()
        np.testing.assert_allclose(table.main, [b + 2, a - 3 * d, 2 * c, -3 * b], rtol=0, atol=1e-12)
        assert attributions[row].tolist() == pytest.approx([1, 4, 0, 3], abs=5e-3)
    explicit = SecondGlance(quadratic, surrogate="ridge", units="mean").fit(x)
    same(found, explicit.interact(x[:2]))


def test_the_mean_of_a_region_moves_all_of_its_cells():
    x = torch.randn(300, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def f(v: Tensor) -> Tensor:
        m = summaries(v, torch.full((2, 2), 0.25, dtype=torch.float64))
        return 2 * m[:, 0] * m[:, 3] + m[:, 1] * m[:, 2]

    method = SecondGlance(f, surrogate="ridge", units="mean").fit(x, feature_mask=QUARTERS)
    attributions, found = method.attribute_and_interact(x[:2], feature_mask=QUARTERS)
    for row, table in enumerate(found):
        exactly(table, matrix(4, p03=2.0, p12=1.0))
        means = x[row].unfold(1, 2, 2).unfold(2, 2, 2).mean((0, 3, 4)).flatten().tolist()
        assert table.main == pytest.approx([2 * means[3], means[2], means[1], 2 * means[0]])
    assert attributions.shape == x[:2].shape
    assert attributions[0, 0, ::2, ::2].flatten().tolist() == pytest.approx([2, 1, 1, 2], rel=2e-3)
    assert torch.equal(attributions[0, 0, 0], attributions[0, 0, 1])


def test_a_pattern_is_what_a_region_varies_by():
    # without a mean: only a quarter's own pattern shows that the quarters act together
    contrasts = drawn(300, 4)
    cells = contrasts.view(-1, 1, 2, 2).repeat_interleave(2, 2).repeat_interleave(2, 3) * PATTERN.repeat(2, 2)

    def f(v: Tensor) -> Tensor:
        p = summaries(v, PATTERN / PATTERN.norm())
        return 2 * p[:, 0] * p[:, 3] + p[:, 1]

    method = SecondGlance(f, surrogate="ridge").fit(cells, feature_mask=QUARTERS)
    for row, table in enumerate(method.interact(cells[:2])):
        exactly(table, matrix(4, p03=2.0))
        z = contrasts[row] * PATTERN.norm()
        assert table.main == pytest.approx([float(v) for v in (2 * z[3], 1, 0, 2 * z[0])])
    with pytest.raises(InputError, match="expected gradients that differ between the rows"):
        SecondGlance(f, surrogate="ridge", units="mean").fit(cells, feature_mask=QUARTERS)


def test_a_mask_that_is_repeated_for_each_row_is_one_mask():
    x, mask = drawn(100, 4), torch.arange(4).flip(0)
    method = SecondGlance(quadratic, surrogate="ridge").fit(x, feature_mask=mask.expand(100, 4))
    exactly(method.interact(x[:1])[0], matrix(4, p23=1.0, p02=-3.0))


def test_equal_patterns_have_equal_signs():
    stripes = torch.tensor([[1.0, -1], [1, -1]], dtype=torch.float64)
    contrasts = drawn(300, 4)
    cells = contrasts.view(-1, 1, 2, 2).repeat_interleave(2, 2).repeat_interleave(2, 3) * stripes.repeat(2, 2)

    def f(v: Tensor) -> Tensor:
        p = summaries(v, stripes / 2)
        return p[:, 0] * p[:, 1] + p[:, 1] * p[:, 2] + p[:, 2] * p[:, 3]

    (table,) = SecondGlance(f, surrogate="ridge").fit(cells, feature_mask=QUARTERS).interact(cells[:1])
    exactly(table, matrix(4, p01=1.0, p12=1.0, p23=1.0))


def test_cells_of_nobody_are_left_alone():
    x, mask = drawn(300, 4), torch.tensor([[1, 0, -1, -1]])
    method = SecondGlance(lambda v: quadratic(v) * v[:, 2].exp(), surrogate="ridge", force=True)
    weight = float(x[:, 2].exp().mean())
    with pytest.warns(UserWarning, match="the surrogate explains"):
        method.fit(x, feature_mask=mask)
    attributions, (table,) = method.attribute_and_interact(x[:1])
    assert table.pairs[0, 1] == pytest.approx(weight, rel=0.1)
    assert attributions[0, 2:].tolist() == [0, 0]


def test_several_inputs_are_one_table():
    x = drawn(200, 4)
    whole = SecondGlance(quadratic, surrogate="ridge").fit(x)
    both = SecondGlance(lambda a, b: quadratic(torch.cat([a, b], 1)), surrogate="ridge")
    parts = (x[:, :1], x[:, 1:])
    both.fit(parts)
    found = both.attribute((x[:3, :1], x[:3, 1:]))
    same(both.interact((x[:3, :1], x[:3, 1:])), whole.interact(x[:3]))
    torch.testing.assert_close(torch.cat(found, 1), whole.attribute(x[:3]))


# ---------------------------------------------------------------- presence
def texts(rows: int) -> tuple[Tensor, Tensor]:
    """Five positions, each with one of six words or nothing: one-hot cells, and masks of their own."""
    generator = torch.Generator().manual_seed(0)
    words = torch.rand(rows, 6, generator=generator).argsort(1)[:, :5]
    words = torch.where(torch.rand(rows, 5, generator=generator) < 0.6, words, -1)
    return functional.one_hot(words + 1, 7)[..., 1:].double(), words.unsqueeze(-1)


def of_words(v: Tensor) -> Tensor:
    """How often each word is there decides: 2 of the pair 0, 1 and -1 of 1, 4."""
    s = v.sum(1)
    return 2 * s[:, 0] * s[:, 1] - s[:, 1] * s[:, 4] + s[:, 2] + 3 * s[:, 5]


def test_words_come_and_go():
    x, masks = texts(500)
    method = SecondGlance(of_words, surrogate="ridge").fit(x, feature_mask=masks, names=list("abcdef"))
    truth = matrix(6, p01=2.0, p14=-1.0)
    attributions, found = method.attribute_and_interact(x[:20], feature_mask=masks[:20])
    for row, table in enumerate(found):
        present = [w in masks[row] for w in range(6)]
        exactly(table, truth * np.outer(present, present), within=5e-3)
        assert table.players == tuple("abcdef")
        assert table.main[0] == (2.0 * present[1] if present[0] else 0)
        assert table.main[5] == 3.0 * present[5]
        assert table.provenance.details["units"] == "presence"
        assert "unit" not in table.provenance.details  # gates: scores are in the output's own
        for place, word in enumerate(masks[row, :, 0].tolist()):
            expected = table.node_scores()[word] if word >= 0 else 0
            np.testing.assert_allclose(attributions[row, place], expected, rtol=1e-12)
    over = method.over_data()
    exactly(over, np.abs(truth), within=5e-3)  # rows in which both are, not all of them
    assert over.mean[1, 4] == pytest.approx(-1, abs=0.01)


def test_words_are_known_wherever_they_stand():
    x, masks = texts(500)
    method = SecondGlance(of_words, surrogate="ridge").fit(x, feature_mask=masks)
    turned = method.interact(x[:9].flip(1), feature_mask=masks[:9].flip(1))
    same(turned, method.interact(x[:9], feature_mask=masks[:9]), 1e-8)
    batches = [{"inputs": x[i : i + 50], "feature_mask": masks[i : i + 50]} for i in range(0, 500, 50)]
    again = SecondGlance(of_words, surrogate="ridge").fit(batches)
    same(again.interact(x[:9], feature_mask=masks[:9]), method.interact(x[:9], feature_mask=masks[:9]), 1e-8)


def test_a_word_that_no_row_has_has_a_name_and_no_pairs():
    x, masks = texts(500)
    method = SecondGlance(of_words, surrogate="ridge")
    # g and h are in no text: 2 x 6 pairs with the others, and the two of them
    with pytest.warns(DataWarning, match=r"do not show 13 of 28 pairs \(a · g, a · h, b · g, \.\.\.\)"):
        method.fit(x, feature_mask=masks, names=list("abcdefgh"))
    (table,) = method.interact(x[:1], feature_mask=masks[:1])
    assert len(table.players) == 8
    assert not table.pairs[6:].any()  # nor are they in the explained one
    over = method.over_data()
    assert np.isnan(over.pairs[6:, :6]).all()
    assert np.isfinite(over.scores).all()
    assert "the data do not show how 'a' and 'g'" in str(over.explain_pair("a", "g"))


def test_an_absent_word_is_its_baseline():
    # from 1 to a baseline of .5 each gate moves half: the derivative by two gates is a quarter
    x, masks = texts(500)
    method = SecondGlance(of_words, surrogate="ridge", units="presence")
    method.fit(x, feature_mask=masks, baselines=0.5 * x)
    found = method.interact(x[:20], feature_mask=masks[:20], baselines=0.5 * x[:20])
    row = next(i for i in range(20) if {0, 1} <= set(masks[i].flatten().tolist()))
    assert found[row].main[0] == pytest.approx(0.5 * 2)
    assert found[row].pairs[0, 1] == pytest.approx(0.5 * 2, rel=0.01)


# ---------------------------------------------------------------- factors of a layer
class Head(nn.Module):
    """A linear layer, and a function of what it gives."""

    def __init__(self, layer: nn.Module, function) -> None:
        super().__init__()
        self.layer, self.function = layer.double(), function

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        return self.function(h.mean((2, 3)) if h.dim() == 4 else h)


def linear() -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(6, 6).double()


FORM = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
FORM += FORM.T.clone()


def form(h: Tensor) -> Tensor:
    """The second derivatives by the neurons are FORM."""
    return torch.einsum("bi,ij,bj->b", h, FORM, h) / 2


def components(h: np.ndarray, k: int) -> np.ndarray:
    """Principal components (k, neurons); the neuron that says most rises with each."""
    rows = np.linalg.svd(h - h.mean(0), full_matrices=False)[2][:k]
    return rows * np.sign(rows[np.arange(k), np.abs(rows).argmax(1)])[:, None]


def test_factors_are_principal_components():
    layer, x = linear(), drawn(400, 6)
    h = layer(x).detach().numpy()
    weights = components(h, 6)
    net = Head(layer, form)
    method = SecondGlance(net, layer, surrogate="ridge", n_factors=6).fit(x)
    attributions, found = method.attribute_and_interact(x[:2])
    directions = np.linalg.pinv(weights)
    truth = directions.T @ FORM.numpy() @ directions
    for row, table in enumerate(found):
        exactly(table, truth - np.diag(np.diag(truth)), within=2e-3)
        assert table.curvature == pytest.approx(np.diag(truth), abs=1e-2)
        np.testing.assert_allclose(table.main, h[row] @ FORM.numpy() @ directions, rtol=0, atol=1e-10)
        shares = np.abs(weights) / np.abs(weights).sum(1, keepdims=True)
        np.testing.assert_allclose(attributions[row], table.node_scores() @ shares, rtol=1e-10)
    assert found[0].players == tuple(f"factor {i}" for i in range(6))
    assert method.players_are_neurons
    assert not method.multiplies_by_inputs
    assert found[0].provenance.details["unit"] == ""


@pytest.mark.parametrize("factors", ["pca", "corex"])
def test_a_few_factors_of_many_neurons(factors):
    # the model sees the factors alone, so that its derivatives by them are known
    layer, x = linear(), drawn(400, 6)
    h = layer(x).detach().numpy()
    weights, mean = components(h, 3), h.mean(0)
    if factors == "corex":
        fitted = LinearCorEx(3, random_state=0).fit(h)
        weights = fitted.weights_ / fitted.scale_
    w, m = torch.from_numpy(weights), torch.from_numpy(mean)

    def product(v: Tensor) -> Tensor:
        z = (v - m) @ w.T
        return 2 * z[:, 0] * z[:, 1] + z[:, 2].square()

    method = SecondGlance(Head(layer, product), layer, surrogate="ridge", factors=factors, n_factors=3)
    (table,) = method.fit(x).interact(x[:1])
    exactly(table, matrix(3, p01=2.0))
    assert table.curvature == pytest.approx([0, 0, 2], abs=1e-2)


def test_factors_of_a_map_move_all_positions():
    layer = nn.Conv2d(6, 6, 1).double()
    with torch.no_grad():
        layer.weight.copy_(linear().weight.view(6, 6, 1, 1))
        layer.bias.zero_()
    x = drawn(400, 24).view(400, 6, 2, 2)
    h = layer(x).mean((2, 3)).detach().numpy()
    method = SecondGlance(Head(layer, form), layer, surrogate="ridge", n_factors=6).fit(x)
    attributions, (table,) = method.attribute_and_interact(x[:1])
    directions = np.linalg.pinv(components(h, 6))
    truth = directions.T @ FORM.numpy() @ directions
    exactly(table, truth - np.diag(np.diag(truth)), within=2e-3)
    assert attributions.shape == (1, 6, 2, 2)
    assert torch.equal(attributions[0, :, 0, 0], attributions[0, :, 1, 1])


def test_factors_of_tokens_leave_those_alone_that_a_mask_leaves_out():
    layer, x = linear(), drawn(200, 30).view(200, 5, 6)
    mask = torch.tensor([[1, 1, 1, 0, 0]])

    class Tokens(nn.Module):
        def __init__(self, padding: float) -> None:
            super().__init__()
            self.layer, self.padding = layer, padding

        def forward(self, v: Tensor, mask: Tensor) -> Tensor:
            h = self.layer(v)
            return form(h[:, :3].mean(1)) + self.padding * h[:, 3:].square().sum((1, 2))

    tables = []
    for padding in (0.0, 5.0):
        method = SecondGlance(Tokens(padding), layer, surrogate="ridge", n_factors=6)
        method.fit(x, additional_forward_args=mask)
        tables += method.interact(x[:2], additional_forward_args=mask)
    for without, table in zip(tables[:2], tables[2:], strict=True):
        np.testing.assert_allclose(table.main, without.main, rtol=0, atol=1e-10)


def test_what_enters_a_layer():
    layer, x = linear(), drawn(400, 6)
    net = Head(nn.Sequential(layer, nn.Identity()), form)
    after = SecondGlance(net, layer, surrogate="ridge", n_factors=6).fit(x)
    before = SecondGlance(net, net.layer[1], surrogate="ridge", n_factors=6)
    before.fit(x, attribute_to_layer_input=True)
    same(before.interact(x[:2], attribute_to_layer_input=True), after.interact(x[:2]), 1e-9)
