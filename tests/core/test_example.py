"""Examples are mappings that Captum's own classes take as they are."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import pytest
import torch
from captum.attr import FeatureAblation, ShapleyValues, ShapleyValueSampling

from hoi_captum import adapt
from hoi_captum.core.example import Example, PerModel, as_tensors
from hoi_captum.core.games import MaskedGame
from hoi_captum.core.mobius import shapley_values
from hoi_captum.errors import InputError

KEYS = ["inputs", "baselines", "additional_forward_args", "feature_mask"]


def test_an_example_is_a_mapping_of_captums_arguments():
    x = torch.zeros(1, 2)
    example = Example(inputs=x, baselines=1, names=("a", "b"))
    assert isinstance(example, Mapping)
    assert list(example) == KEYS
    assert len(example) == 4
    assert example["inputs"] is x
    assert dict(**example) == dict(example) == dict(zip(KEYS, (x, 1, None, None), strict=True))
    assert example.get("names") is None
    assert "names" not in example
    with pytest.raises(KeyError, match="names"):
        example["names"]


def test_an_example_is_frozen_and_equal_to_itself_only():
    example, other = (Example(inputs=torch.zeros(1, 2)) for _ in range(2))
    with pytest.raises(AttributeError):
        example.inputs = None
    assert example == example
    assert example != other
    assert example in [other, example]
    assert len({example, other, example}) == 2
    assert torch.equal(copy.deepcopy(example).inputs, example.inputs)


def text_and_image():
    bert, digits = adapt("zoo:sentiment-bert-a"), adapt("zoo:digits-vgg")
    image = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(28).view(-1, 1) // 10 + torch.zeros(28, dtype=torch.int64)).clamp(max=2)
    mask[:3], mask[:, -2:] = -1, -1
    return {
        "text": (bert, bert.example("never a dull film, really"), 1),
        "text, other baseline": (bert, bert.example("not bad", baseline="mean"), 0),
        "image": (digits, digits.example(image, players=mask, baseline=0.5), 3),
        "grid": (digits, digits.example(image, players=(2, 2), baseline="blur"), 3),
    }


@pytest.fixture(scope="module")
def made():
    return text_and_image()


@pytest.mark.parametrize("kind", ["text", "text, other baseline", "image", "grid"])
def test_captums_own_classes_take_an_example(made, kind):
    adapter, example, target = made[kind]
    forward = adapter.forward_func
    n = len(example.names)
    game = MaskedGame(forward, **example, target=target)
    assert game.n_players == n
    table = game.table()[0]
    mask = example.feature_mask.expand_as(example.inputs)

    def by_player(attribution):
        assert attribution.shape == example.inputs.shape
        assert attribution[mask < 0].abs().max() == 0 if (mask < 0).any() else True
        return torch.stack([attribution[mask == i].unique() for i in range(n)]).squeeze(1).double()

    # ablation takes one player away from all
    ablation = by_player(FeatureAblation(forward).attribute(**example, target=target))
    without = [table[-1] - table[(1 << n) - 1 - (1 << (n - 1 - i))] for i in range(n)]
    torch.testing.assert_close(ablation, torch.stack(without), rtol=1e-4, atol=1e-5)

    torch.manual_seed(0)
    sampled = by_player(ShapleyValueSampling(forward).attribute(**example, target=target, n_samples=3))
    torch.testing.assert_close(sampled.sum(), table[-1] - table[0], rtol=1e-4, atol=1e-4)

    if n <= 4:
        exact = by_player(ShapleyValues(forward).attribute(**example, target=target))
        torch.testing.assert_close(exact, shapley_values(table), rtol=1e-4, atol=1e-5)


def test_per_model_is_an_immutable_sequence():
    items = PerModel(1, "two", None)
    assert isinstance(items, Sequence)
    assert list(items) == [1, "two", None]
    assert (len(items), items[1], items[-1]) == (3, "two", None)
    assert repr(items) == "PerModel(1, 'two', None)"
    assert "two" in items
    assert not isinstance(items, list | tuple)  # which have Captum's meaning
    assert list(copy.deepcopy(items)) == list(items)
    with pytest.raises(TypeError):
        items[0] = 2
    with pytest.raises(AttributeError):
        items.other = 2
    with pytest.raises(InputError, match="one item for each model"):
        PerModel()


def test_examples_of_several_models_are_combined():
    one = Example(inputs=torch.zeros(1, 2), baselines=0, names=("a", "b"), notes={"tokens": 2})
    two = Example(inputs=torch.ones(1, 3), feature_mask=torch.tensor([[0, 1, 1]]), names=("a", "b"))
    both = Example.combine([one, two])
    assert both.names == ("a", "b")
    assert all(isinstance(value, PerModel) for value in both.values())
    assert both["inputs"][1] is two.inputs
    assert list(both["baselines"]) == [0, None]
    assert both["feature_mask"][0] is None
    assert both.notes == {"model:0": {"tokens": 2}, "model:1": {}}
    assert Example.combine([one]) is one


def test_other_players_cannot_be_combined():
    one, two = Example(inputs=1, names=("a", "b")), Example(inputs=1, names=("a", "c"))
    with pytest.raises(InputError, match=r"model 0 has 2 \['a', 'b'\], model 2 has 2 \['a', 'c'\]"):
        Example.combine([one, one, two])


def test_tensors_come_as_a_tuple():
    x, y = torch.zeros(2, 3), torch.zeros(2)
    assert as_tensors(x)[0] is x
    assert as_tensors((x, y)) == (x, y)
    for bad in ([x], (), None, (x, None), 3.0, torch.tensor(1.0), (x, torch.zeros(3))):
        with pytest.raises(InputError, match="expected things"):
            as_tensors(bad, "things")
