"""SecondGlance learned from data: what it recovers, forms of data, targets, and what it leaves behind."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import NoiseTunnel
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from hoi_captum import Example
from hoi_captum.errors import FidelityWarning, TargetError
from hoi_captum.methods.second_glance import SecondGlance
from tests.core.gated_models import TinyAttention
from tests.methods.second_glance import taught
from tests.methods.second_glance.models import Fails, cubic, drawn, quadratic, relu_net, same, state, tokens

BRIEF = {"hidden": 16, "max_steps": 100, "force": True}


def several(x: Tensor) -> Tensor:
    """Three numbers of each row."""
    return torch.stack([quadratic(x), x[:, 0] * x[:, 2], x.square().sum(1)], 1)


# ---------------------------------------------------------------- what it recovers
def test_a_product_is_recovered_from_a_network_that_has_learned_it():
    # y = x0 x1 + x2; near the border of its data the network itself is not as exact
    net = taught.teach(taught.pair, nn.ReLU, steps=1000)
    method = SecondGlance(net, hidden=32, max_steps=1000).fit(taught.inputs(1500, seed=5))
    assert method.quality().pooled_r2 > 0.95
    found = method.interact(0.75 * taught.inputs(300, seed=6))
    pairs = np.array([t.pairs for t in found])
    truth = np.zeros((4, 4))
    truth[0, 1] = truth[1, 0] = 1
    np.testing.assert_allclose(pairs.mean(0), truth, rtol=0, atol=0.03)
    assert np.sqrt(np.square(pairs - truth).mean()) < 0.03
    assert [t.top(1)[0].members for t in found].count((0, 1)) == 300


def test_triples_of_a_fit():
    data = drawn(400, 4)
    method = SecondGlance(cubic, order=3, surrogate="ridge").fit(data)
    attributions, found = method.attribute_and_interact(data[:3])
    for row, table in enumerate(found):
        (best,) = table.top(1)
        assert best.members == (0, 1, 2)
        assert best.score == pytest.approx(1, rel=2e-3)
        assert table.node_scores()[3] == pytest.approx(0, abs=2e-3)
        a, b, c, _ = data[row].tolist()
        for (i, j), value in {(0, 1): c, (0, 2): b, (1, 2): a, (0, 3): 1.0}.items():
            assert table.pairs[i, j] == pytest.approx(value, abs=2e-3)
        assert attributions[row].tolist() == pytest.approx([1, 1, 1, 0], abs=5e-3)
        assert "third_r2" not in table.provenance.details
    over = method.over_data()
    assert set(over.orders) == {3}
    assert over.top(1)[0].score == pytest.approx(1, rel=2e-3)


def test_triples_with_a_unit_that_never_varies():
    # as of pairs, only derivatives by what varies are known: that of the gradient by 3, by 0 and 1
    x = drawn(400, 4)
    x[:, 3] = 0.5
    method = SecondGlance(lambda v: v[:, 0] * v[:, 1] * v[:, 3], order=3, surrogate="ridge").fit(x)
    (table,) = method.interact(x[:1])
    assert table.pairs[0, 3] == pytest.approx(float(x[0, 1]), rel=1e-2)
    assert table.top(1)[0].score == pytest.approx(1, rel=1e-2)


@pytest.mark.parametrize("third", ["surrogate", "autodiff"])
def test_triples_of_a_network(third):
    data = drawn(500, 4)
    method = SecondGlance(cubic, order=3, third=third, hidden=16, max_steps=500).fit(data)
    found = method.interact(0.7 * data[:60])
    scores = [t.where(players=[0, 1, 2]).scores[0] for t in found]
    assert np.mean(scores) == pytest.approx(1, abs=0.1)
    assert np.isnan(method.quality().third_r2) == (third == "autodiff")
    if third == "surrogate":
        assert method.quality().third_r2 > 0.95
        assert found[0].provenance.details["third_r2"] == method.quality().third_r2


# ---------------------------------------------------------------- forms of data
@pytest.fixture(scope="module")
def plainly() -> SecondGlance:
    """Fitted on a Tensor."""
    return SecondGlance(quadratic, **BRIEF).fit(drawn(120, 4))


class Rows(Dataset):
    """Rows one by one, without labels."""

    def __init__(self, data: Tensor) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> Tensor:
        return self.data[row]


@pytest.mark.parametrize(
    "form",
    [
        lambda x: Rows(x),
        lambda x: TensorDataset(x, torch.zeros(len(x), dtype=torch.int64)),
        lambda x: DataLoader(TensorDataset(x), batch_size=7),
        lambda x: DataLoader(Rows(x), batch_size=100),
        lambda x: (x[i : i + 9] for i in range(0, len(x), 9)),
        lambda x: [{"inputs": x[:50]}, {"inputs": x[50:]}],
        lambda x: Example(inputs=x),
        lambda x: (x,),
        lambda x: x * 1,
    ],
    ids=[
        "dataset",
        "labels",
        "loader",
        "large batches",
        "generator",
        "mappings",
        "example",
        "tuple",
        "same",
    ],
)
def test_every_form_of_data_gives_the_same(form, plainly):
    x = drawn(120, 4)
    found = SecondGlance(quadratic, **BRIEF).fit(form(x))
    same(found.interact(x[:5]), plainly.interact(x[:5]))
    assert found.quality().rows == 120


def test_passes_and_additional_arguments():
    x = drawn(200, 4)
    factor = torch.linspace(1, 2, 200, dtype=torch.float64)
    sizes: list[int] = []

    def f(v: Tensor, by: Tensor) -> Tensor:
        sizes.append(len(v))
        return quadratic(v) * by

    options = {"surrogate": "ridge"}
    whole = SecondGlance(f, **options).fit(x, additional_forward_args=factor)
    assert max(sizes) == 64
    sizes.clear()
    parts = SecondGlance(f, **options).fit(x, additional_forward_args=factor, internal_batch_size=10)
    assert set(sizes) == {10}
    found = parts.interact(x[:3], additional_forward_args=factor[:3])
    same(found, whole.interact(x[:3], additional_forward_args=factor[:3]))
    # the model's own gradients are those of the call's arguments
    doubled = parts.interact(x[:3], additional_forward_args=2 * factor[:3])
    np.testing.assert_allclose(doubled[0].main, 2 * found[0].main, rtol=1e-12)


def test_names_of_the_columns_of_a_frame():
    frame = pd.DataFrame(drawn(40, 4).numpy(), columns=["age", "balance", "calls", "days"])
    method = SecondGlance(quadratic, surrogate="ridge")
    method.fit(torch.as_tensor(frame.to_numpy()), names=frame.columns)
    assert method.over_data().players == ("age", "balance", "calls", "days")


def test_rows_do_not_change_each_other():
    x = drawn(200, 4)
    method = SecondGlance(quadratic, **BRIEF).fit(x)
    found = method.interact(x[:4])
    for row in range(4):
        same(method.interact(x[row : row + 1]), found[row : row + 1])
    torch.testing.assert_close(
        NoiseTunnel(method).attribute(x[:4], nt_samples=2, stdevs=0.0, nt_type="smoothgrad"),
        method.attribute(x[:4]),
        rtol=0,
        atol=1e-10,
    )


def test_the_seed_decides():
    x = drawn(200, 4)
    first, again, other = (
        SecondGlance(quadratic, seed=s, **BRIEF).fit(x).interact(x[:1])[0] for s in (1, 1, 2)
    )
    assert first == again
    assert not np.allclose(first.pairs, other.pairs, rtol=1e-3)


# ---------------------------------------------------------------- targets
def test_several_targets_are_learned_at_once():
    x = drawn(200, 4)
    both = SecondGlance(several, surrogate="ridge").fit(x, target=[0, 1])
    found = both.interact(x[:4], target=[1, 0, 0, 1])
    for row, column in enumerate((1, 0, 0, 1)):
        alone = SecondGlance(several, surrogate="ridge").fit(x, target=column)
        same(found[row : row + 1], alone.interact(x[row : row + 1], target=column))
        assert both.quality(column).pooled_r2 == alone.quality().pooled_r2
        assert both.over_data(column) == alone.over_data(column)
    assert both.over_data() == both.over_data(0)
    assert both.over_data(1).provenance.target == "1"
    with pytest.raises(TargetError, match=r"fit\(\) learned target 0, 1, got target 2; explain a target"):
        both.quality(2)


@pytest.mark.parametrize("target", [1, torch.tensor(1), np.int64(1), (1,), [1], torch.tensor([1]), [(1,), 1]])
@pytest.mark.parametrize("asked", [1, torch.tensor([1]), (1,), [1, 1], [(1,), (1,)], torch.tensor([1, 1])])
def test_one_target_in_all_forms(target, asked):
    x = drawn(50, 4)
    method = SecondGlance(several, surrogate="ridge").fit(x, target=target)
    for table in method.interact(x[:2], target=asked):
        assert table.pairs[0, 2] == pytest.approx(1, rel=1e-3)
        assert table.pairs[1, 3] == pytest.approx(0, abs=1e-3)


def test_a_target_of_several_indices():
    x = drawn(50, 4)
    method = SecondGlance(lambda v: several(v).unflatten(1, (1, 3)), surrogate="ridge")
    method.fit(x, target=[(0, 1), (0, 0)])
    (one,) = method.interact(x[:1], target=(0, 1))
    assert one.pairs[0, 2] == pytest.approx(1, rel=1e-3)
    assert method.over_data((0, 0)).pairs[1, 3] == pytest.approx(3, rel=1e-3)


# ---------------------------------------------------------------- what is left behind
@pytest.mark.parametrize("at_layer", [False, True])
def test_a_fit_leaves_everything_as_it_was_also_after_an_error(at_layer):
    net = TinyAttention()
    net.head.train()
    net.key.weight.requires_grad_(False)
    model = Fails(net)
    data = drawn(60, 20).view(60, 5, 4)
    method = SecondGlance(model, net.value if at_layer else None, n_factors=3, **BRIEF)
    before = state(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FidelityWarning)
        method.fit(data, target=0)
    method.interact(tokens(), target=0)
    assert state(model) == before
    model.until = 1
    for call in (method.fit, method.interact):
        model.passes = 1
        with pytest.raises(ValueError, match="stop"):
            call(data, target=0)
        assert state(model) == before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("at_layer", [False, True])
def test_callers_without_gradients(mode, at_layer):
    x, first = drawn(100, 4), relu_net()[0]
    options = {"n_factors": 4, "surrogate": "ridge"}
    layer = first if at_layer else None
    factor = torch.linspace(1, 1.1, 100, dtype=torch.float64)

    def f(v: Tensor, by: Tensor) -> Tensor:
        return first(v).square().sum(1) * by

    expected = SecondGlance(f, layer, **options).fit(x, additional_forward_args=factor)
    with mode():
        own, by = x * 1, factor * 1  # made there
        found = SecondGlance(f, layer, **options).fit(own, additional_forward_args=by)
        inside = found.interact(own[:2], additional_forward_args=by[:2])
    outside = found.interact(x[:2], additional_forward_args=factor[:2])
    same(inside, expected.interact(x[:2], additional_forward_args=factor[:2]), 1e-9)
    same(outside, inside)
