"""What SecondGlance refuses, and what it says then."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hoi_captum.errors import (
    InputError,
    ModelOutputError,
    NotFittedError,
    OptionError,
    PlayerError,
    TargetError,
    TooManyPlayersError,
)
from hoi_captum.methods.second_glance import SecondGlance
from tests.core.gated_models import TinyAttention, smooth_cnn
from tests.methods.second_glance.models import drawn, quadratic, relu_net, same, tokens

X = drawn(40, 4)


def several(x: Tensor) -> Tensor:
    return torch.stack([quadratic(x), x[:, 0] * x[:, 2]], 1)


# ---------------------------------------------------------------- options
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"order": 1}, "expected order to be an int >= 2, got 1"),
        ({"order": 4}, "expected order 2 or 3, got 4; TaylorNID goes higher"),
        ({"order": True}, "expected order to be an int >= 2, got True"),
        ({"surrogate": "soft-plus"}, "surrogate to be one of auto, softplus, paper, ridge; got 'soft-plus'"),
        ({"surrogate": nn.Linear}, "expected surrogate to be one of"),
        ({"surrogate": nn.Linear(4, 4), "symmetry": "potential"}, "expected symmetry='average' or 'auto'"),
        ({"surrogate": "ridge", "symmetry": "potential"}, "expected surrogate='softplus' with"),
        ({"symmetry": "raw"}, "expected symmetry to be one of auto, average, potential; got 'raw'"),
        ({"third": "autograd"}, "expected third to be one of surrogate, autodiff"),
        ({"units": "max"}, "expected units to be one of auto, mean, pca, presence"),
        ({"factors": "ica"}, "expected factors to be one of pca, corex"),
        ({"n_factors": 1}, "expected n_factors to be an int >= 2"),
        ({"gate": "inputs"}, "expected gate to be one of auto, input, layer, attention, value"),
        ({"gate": "layer"}, "expected a layer with gate='layer', got none"),
        ({"sampling": "normal"}, "expected sampling to be one of uniform, gaussian, bernoulli"),
        ({"width": 1.5}, "expected width of at most 1 with sampling='uniform'"),
        ({"width": 0}, r"expected width to be a number in \[0.001, 10\], got 0"),
        ({"n_samples": 4}, "expected n_samples to be an int >= 8, got 4"),
        ({"hidden": 0}, "expected hidden to be an int >= 1"),
        ({"max_steps": 10.5}, "expected max_steps to be an int >= 1, got 10.5"),
        ({"learning_rate": float("nan")}, "expected learning_rate to be a number"),
        ({"validation": 1.0}, r"expected validation to be a number in \[0.01, 0.9\]"),
        ({"force": 1}, "expected force to be True or False, got 1"),
        ({"max_players": 1}, "expected max_players to be an int >= 2"),
        ({"seed": -1}, "expected seed to be an int >= 0"),
    ],
    ids=str,
)  # fmt: skip
def test_options_outside_their_range(options, says):
    with pytest.raises(OptionError, match=says):
        SecondGlance(quadratic, **options)


def test_what_is_no_model_and_no_layer():
    with pytest.raises(InputError, match="expected forward_func to be a callable, got str"):
        SecondGlance("model")
    with pytest.raises(InputError, match="expected layer to be a module of the model, got str"):
        SecondGlance(quadratic, "layer")
    with pytest.raises(OptionError, match="expected gate='layer'"):
        SecondGlance(quadratic, nn.Linear(4, 4), gate="input")
    with pytest.raises(TypeError, match="n_sample"):
        SecondGlance(quadratic, n_sample=20)


# ---------------------------------------------------------------- before, and after, a fit
@pytest.mark.parametrize("ask", [SecondGlance.quality, SecondGlance.over_data, lambda m: m.save("x")])
def test_nothing_was_learned(ask):
    with pytest.raises(NotFittedError, match=r"this SecondGlance has learned nothing yet; call fit\(data"):
        ask(SecondGlance(quadratic))


def test_rows_unlike_those_of_the_fit():
    method = SecondGlance(lambda v: v[:, 0] * v[:, 1], surrogate="ridge").fit(X)
    with pytest.raises(InputError, match=r"like the first rows that fit\(\) saw, \[\(4,\)\], got \[\(3,\)\]"):
        method.interact(X[:, :3])
    with pytest.raises(InputError, match=r"got \[\(4,\), \(4,\)\]"):
        method.interact((X, X))
    with pytest.raises(InputError, match=r"saw, \[\(4,\)\], got \[\(3,\)\]"):
        method.fit([X, X[:, :3]])
    # what is no first row is looked at too
    with pytest.raises(InputError, match=r"saw, \[\(4,\)\], got \[\(3,\)\]"):
        method.fit([drawn(1100, 4), X[:, :3]])


def test_masks_that_differ_from_those_of_the_fit():
    mask = torch.tensor([[0, 0, 1, 2]])
    method = SecondGlance(lambda v: v[:, 0] * v[:, 2] + v[:, 2] * v[:, 3], surrogate="ridge")
    method.fit(X, feature_mask=mask)
    expected = method.interact(X[:2])
    same(method.interact(X[:2], feature_mask=mask), expected)
    same(method.interact(X[:2], feature_mask=mask.int().expand(2, 4)), expected)
    shorter = (torch.tensor([0, 0, 1, 2]), torch.zeros(1, 3).long())
    for other in (torch.tensor([[0, 1, 1, 2]]), *shorter, (mask, mask)):
        with pytest.raises(PlayerError, match=r"expected the feature_mask that fit\(\) had, of 3 units"):
            method.interact(X[:2], feature_mask=other)
    with pytest.raises(InputError, match="layer_mask and layer_baselines are of gates around one input"):
        method.interact(X[:2], layer_mask=mask)


def test_targets_that_were_not_learned():
    method = SecondGlance(several, surrogate="ridge").fit(X, target=[0, 1])
    with pytest.raises(TargetError, match=r"fit\(\) learned target 0, 1, got target 2"):
        method.interact(X[:2], target=[0, 2])
    with pytest.raises(TargetError, match="got target None"):
        method.interact(X[:2])
    with pytest.raises(TargetError, match="expected one target for each of the 2 rows, got 3"):
        method.interact(X[:2], target=[0, 1, 0])
    with pytest.raises(TargetError, match="learned target 0, 1, got target 5"):
        method.over_data(5)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (2, "target 2 does not exist in an output of shape"),
        (None, "expected one number for each row, but target None leaves"),
        ("cat", "expected target as an int, a tuple of indices, or a list of these to learn each, got 'cat'"),
        (True, "expected target as an int, .*got True"),
        ([], "expected a target to learn, got an empty list"),
        (torch.tensor(1.7), "expected an integer target, got a Tensor of torch.float32"),
        (torch.tensor(True), "expected an integer target, got a Tensor of torch.bool"),
        (torch.tensor([], dtype=torch.long), r"got a Tensor of shape \(0,\)"),
        ([0, 1.5], "got 1.5"),
    ],
)
def test_targets_that_cannot_be_learned(target, says):
    with pytest.raises(TargetError, match=says):
        SecondGlance(several, surrogate="ridge").fit(X, target=target)


# ---------------------------------------------------------------- data
def test_gradients_that_are_the_same_everywhere():
    for f in (lambda v: v.sum(1), lambda v: 0 * v.sum(1)):
        with pytest.raises(InputError, match="expected gradients that differ between the rows, got the same"):
            SecondGlance(f).fit(X)


def test_fewer_rows_than_units():
    says = r"expected at least 20 rows to learn .* by 20 units from, got 19; give more \(1,000"
    with pytest.raises(InputError, match=says):
        SecondGlance(quadratic, surrogate="ridge").fit(drawn(19, 20))
    with pytest.raises(InputError, match="expected at least 10 rows to learn the gradients by 4 units"):
        SecondGlance(quadratic, surrogate="ridge").fit(X[:9])
    assert SecondGlance(quadratic, surrogate="ridge").fit(X[:10]).quality().rows == 10


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([], "expected at least one row of data, got none"),
        (
            "texts",
            "expected data as a Tensor, .* got str",
        ),
        (X.numpy(), "got ndarray"),
        ([X, X[:0]], "an empty one"),
        (X[:, :1], "expected at least two units, got one: a pair needs two"),
        (X[:, :0], "the inputs have no cells"),
        (X.long(), r"expected floating point inputs, got torch.int64: there are no derivatives by integers"),
    ],
    ids=["nothing", "text", "array", "empty", "one unit", "no unit", "integers"],
)
def test_data_that_cannot_be_used(data, says):
    with pytest.raises(InputError, match=says):
        SecondGlance(lambda v: v.double().square().sum(1), surrogate="ridge").fit(data)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_though_their_gradients_are(bad):
    x = X.clone()
    x[7, 3] = bad
    for surrogate in ("ridge", "softplus"):
        with pytest.raises((InputError, ModelOutputError), match="finite"):
            SecondGlance(lambda v: v[:, 0] * v[:, 1], surrogate=surrogate, max_steps=20).fit(x)


def test_batches_whose_masks_differ():
    masks = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[3, 2, 1, 0]])
    data = [{"inputs": X, "feature_mask": mask} for mask in masks]
    with pytest.raises(PlayerError, match="expected one feature_mask for all rows"):
        SecondGlance(quadratic, surrogate="ridge", units="mean").fit(data)


def test_masks_of_each_row_where_units_are_no_words():
    masks = torch.stack([torch.tensor([0, 1, 2, 3]), torch.tensor([3, 2, 1, 0])]).repeat(20, 1)
    with pytest.raises(PlayerError, match="expected one feature_mask for all rows, got one for each"):
        SecondGlance(quadratic, surrogate="ridge", units="mean").fit(X, feature_mask=masks)


def test_integers_around_one_input():
    with pytest.raises(InputError, match=r"expected floating point inputs to gate, got torch.int64"):
        SecondGlance(lambda v: v.double().prod(1), gate="input").interact(torch.ones(1, 3).long())


def test_too_many_units():
    with pytest.raises(TooManyPlayersError, match="20 units have 190 pairs, and the limit is 16 units"):
        SecondGlance(quadratic, max_players=16).fit(drawn(60, 20))
    with pytest.raises(TooManyPlayersError, match=r"20 units, mode 'ridge': about 480 .* is 16 units"):
        SecondGlance(quadratic, max_players=16).interact(drawn(1, 20))


def test_names_of_the_wrong_number():
    with pytest.raises(InputError, match="expected 4 names, one for each unit, got 3"):
        SecondGlance(quadratic, surrogate="ridge").fit(X, names=["a", "b", "c"])


def test_masks_of_words():
    x, mask = torch.ones(40, 3, dtype=torch.float64), torch.arange(3).expand(40, 3)
    method = SecondGlance(lambda v: v.prod(1), surrogate="ridge", units="presence")
    with pytest.raises(PlayerError, match=r"expected a feature_mask with every row, .*got none"):
        method.fit(x)
    with pytest.raises(PlayerError, match="the feature_mask of every row is -1 throughout"):
        method.fit(x, feature_mask=-torch.ones(40, 3).long())
    with pytest.raises(InputError, match="expected 1 integer masks"):
        method.fit(x, feature_mask=mask.double())
    with pytest.raises(PlayerError, match=r"broadcastable to inputs of \(40, 3\), got \(40, 2\)"):
        method.fit(x, feature_mask=mask[:, :2], internal_batch_size=40)
    there = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) < 0.6
    method.fit(there.double() + 1, feature_mask=torch.where(there, mask, -1))
    with pytest.raises(PlayerError, match=r"expected feature_mask ids below 3, .* saw, got 7"):
        method.interact(x[:1], feature_mask=torch.tensor([[0, 1, 7]]))
    with pytest.raises(PlayerError, match="expected a feature_mask with every row"):
        method.interact(x[:1])


# ---------------------------------------------------------------- models
def without_gradients(v: Tensor) -> Tensor:
    with torch.no_grad():
        return quadratic(v)


@pytest.mark.parametrize("f", [without_gradients, lambda v: quadratic(v.detach()), lambda v: v.argmax(1)])
def test_a_forward_function_without_gradients(f):
    says = (
        "expected a forward function whose output has a gradient, got one without: it may run under no_grad"
    )
    with pytest.raises(InputError, match=says):
        SecondGlance(f).fit(X)
    with pytest.raises(InputError, match=says):
        SecondGlance(f).interact(X[:1])


def test_gradients_that_are_not_finite():
    x = X.clone()
    x[17, 2] = 0

    def f(v: Tensor) -> Tensor:
        return (v[:, 2].square()).sqrt() * v[:, 0]

    with pytest.raises(
        ModelOutputError, match=r"finite gradients, got NaN or infinity in row 17 of a batch \(1"
    ):
        SecondGlance(f, surrogate="ridge").fit(x)
    method = SecondGlance(f, surrogate="ridge").fit(X.abs())
    with pytest.raises(ModelOutputError, match="expected finite gradients"):
        method.interact(x[17:18])
    with pytest.raises(ModelOutputError, match="expected finite"):
        SecondGlance(f).interact(x[17:18])


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda v: (quadratic(v),), "expected forward_func to return a Tensor, got tuple"),
        (
            lambda v: quadratic(v).mean(),
            r"expected an output with \d+ rows, .*, got shape \(\)",
        ),
    ],
)
def test_outputs_of_the_wrong_kind(f, says):
    with pytest.raises(ModelOutputError, match=says):
        SecondGlance(f).fit(X)
    with pytest.raises(ModelOutputError, match=says):
        SecondGlance(f).interact(X[:2])


def test_layers():
    net = smooth_cnn()
    x = torch.randn(30, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for call in (SecondGlance.fit, SecondGlance.interact):
        with pytest.raises(InputError, match="the layer Linear did not run in the forward pass"):
            call(SecondGlance(net, nn.Linear(2, 2)), x, target=0)
    one = nn.Linear(4, 1).double()
    with pytest.raises(InputError, match="two neurons of Linear or more that vary, got 1 over 40 rows"):
        SecondGlance(lambda v: one(v)[:, 0].exp(), one).fit(X)
    method = SecondGlance(net, net[6], surrogate="ridge", n_factors=3).fit(x, target=0)
    with pytest.raises(InputError, match=r"attribute_to_layer_input as it was in fit\(\), False, got True"):
        method.interact(x[:1], target=0, attribute_to_layer_input=True)
    with pytest.raises(InputError, match="layer_mask and layer_baselines"):
        method.interact(x[:1], target=0, layer_baselines=0.5)
    with pytest.raises(InputError, match="layer_mask and layer_baselines need a layer"):
        SecondGlance(net).interact(x[:1], target=0, layer_baselines=0.5)


def test_a_surrogate_that_does_not_fit():
    for module, says in (
        (nn.Linear(3, 3), r"from \(rows, 4\) to \(rows, 4\), got a Linear that fails on such rows"),
        (nn.Linear(4, 3), r"from \(rows, 4\) to \(rows, 4\), got \(2, 3\) for 2 rows"),
    ):
        with pytest.raises(OptionError, match=says):
            SecondGlance(quadratic, surrogate=module).fit(X)
        with pytest.raises(OptionError, match=says):
            SecondGlance(quadratic, surrogate=module).interact(X[:1])


def test_an_attention_that_is_not_there():
    with pytest.raises(InputError, match="attention"):
        SecondGlance(relu_net(), gate="attention").interact(tokens()[:, :, :4], target=0)
    SecondGlance(TinyAttention(), gate="attention").interact(tokens(), target=0)


def test_units_that_a_table_does_not_have():
    (table,) = SecondGlance(quadratic).interact(X[:1])
    with pytest.raises(PlayerError, match=r"expected a unit in 0\.\.3 or one of 0, 1, 2, 3; got 'age'"):
        table.explain_pair("age", 0)
