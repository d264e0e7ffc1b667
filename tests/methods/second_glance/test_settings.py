"""The options' ranges, and the numbers that follow from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from torch import nn

from hoi_captum.errors import OptionError
from hoi_captum.methods.second_glance.settings import (
    DrawSettings,
    LearnSettings,
    check_space,
    check_surrogate,
)


def learning(**options) -> LearnSettings:
    usual = {"hidden": None, "symmetry": "average", "third": "surrogate", "max_steps": 6000}
    return LearnSettings(**usual | {"learning_rate": 0.01, "validation": 0.2, "seed": 0} | options)


def drawing(**options) -> DrawSettings:
    return DrawSettings(**{"sampling": "uniform", "width": 0.5, "n_samples": None, "seed": 0} | options)


# ---------------------------------------------------------------- of the training
@pytest.mark.parametrize(
    "options",
    [
        {"hidden": 1},
        {"hidden": np.int64(7)},
        {"symmetry": "auto"},
        {"symmetry": "potential"},
        {"third": "autodiff"},
        {"max_steps": 1},
        {"learning_rate": 1e-8},
        {"learning_rate": 1},
        {"validation": 0.01},
        {"validation": 0.9},
        {"seed": 12},
    ],
)
def test_options_of_the_training_reach_to_their_limits(options):
    ((name, value),) = options.items()
    assert getattr(learning(**options), name) == value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "expected hidden to be an int >= 1, got 0"),
        ({"hidden": 64.0}, r"expected hidden to be an int >= 1, got 64\.0"),
        ({"hidden": True}, "expected hidden to be an int >= 1, got True"),
        ({"symmetry": "raw"}, "expected symmetry to be one of auto, average, potential; got 'raw'"),
        ({"symmetry": None}, "expected symmetry to be one of auto, average, potential; got None"),
        ({"third": "ridge"}, "expected third to be one of surrogate, autodiff; got 'ridge'"),
        ({"max_steps": 0}, "expected max_steps to be an int >= 1, got 0"),
        ({"max_steps": 1e3}, r"expected max_steps to be an int >= 1, got 1000\.0"),
        ({"learning_rate": 0.0}, r"expected learning_rate to be a number in \[1e-08, 1\], got 0\.0"),
        ({"learning_rate": 1.01}, r"expected learning_rate to be a number in \[1e-08, 1\], got 1\.01"),
        ({"learning_rate": math.nan}, "expected learning_rate to be a number .*, got nan"),
        ({"learning_rate": "0.1"}, "expected learning_rate to be a number .*, got '0.1'"),
        ({"validation": 0.0}, r"expected validation to be a number in \[0\.01, 0\.9\], got 0\.0"),
        ({"validation": 0.91}, r"expected validation to be a number in \[0\.01, 0\.9\], got 0\.91"),
        ({"validation": 200}, r"expected validation to be a number in \[0\.01, 0\.9\], got 200"),
        ({"seed": -1}, "expected seed to be an int >= 0, got -1"),
        ({"seed": None}, "expected seed to be an int >= 0, got None"),
    ],
)
def test_options_of_the_training_outside_their_range(options, message):
    with pytest.raises(OptionError, match=message):
        learning(**options)


def test_the_width_of_a_surrogate():
    assert [learning().width(k) for k in (1, 16, 17, 100)] == [64, 64, 68, 400]
    assert [learning(hidden=5).width(k) for k in (1, 100)] == [5, 5]


# ---------------------------------------------------------------- of the draws
@pytest.mark.parametrize(
    "options",
    [
        {"width": 1e-3},
        {"width": 1.0},
        {"sampling": "gaussian", "width": 10.0},
        {"sampling": "bernoulli", "width": 10},
        {"n_samples": 8},
    ],
)
def test_options_of_the_draws_reach_to_their_limits(options):
    found = drawing(**options)
    assert {name: getattr(found, name) for name in options} == options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sampling": "normal"},
            "expected sampling to be one of uniform, gaussian, bernoulli; got 'normal'",
        ),
        ({"width": 0.0009}, r"expected width to be a number in \[0\.001, 10\], got 0\.0009"),
        ({"sampling": "gaussian", "width": 10.5}, r"expected width to be a number .*, got 10\.5"),
        ({"width": 1.001}, r"expected width of at most 1 with sampling='uniform', .*, got 1\.001"),
        ({"width": math.nan}, "expected width to be a number .*, got nan"),
        ({"n_samples": 7}, "expected n_samples to be an int >= 8, got 7"),
        ({"n_samples": 100.0}, r"expected n_samples to be an int >= 8, got 100\.0"),
        ({"n_samples": True}, "expected n_samples to be an int >= 8, got True"),
    ],
)
def test_options_of_the_draws_outside_their_range(options, message):
    with pytest.raises(OptionError, match=message):
        drawing(**options)


@pytest.mark.parametrize(
    ("units", "order", "network", "expected"),
    [
        (2, 2, False, 128),
        (16, 2, False, 128),
        (17, 2, False, 136),
        (100, 2, False, 800),
        (7, 3, False, 256),  # 4 * 7 * 8 are fewer
        (8, 3, False, 288),
        (2, 2, True, 1000),
        (20, 3, True, 1000),
        (21, 2, True, 1050),
    ],
)
def test_how_many_gradients_are_drawn(units, order, network, expected):
    assert drawing().samples(units, order, network=network) == expected


def test_a_number_of_gradients_that_is_given_is_made_even():
    for network in (False, True):
        found = [drawing(n_samples=n).samples(50, 3, network=network) for n in (8, 9, 10, 501)]
        assert found == [8, 10, 10, 502]


# ---------------------------------------------------------------- of surrogates and units
@pytest.mark.parametrize("name", ["auto", "softplus", "paper", "ridge"])
def test_surrogates_have_names(name):
    for symmetry in ("auto", "average"):
        assert check_surrogate(name, symmetry) == name


def test_a_module_is_a_surrogate():
    module = nn.Linear(2, 2)
    for symmetry in ("auto", "average"):
        assert check_surrogate(module, symmetry) is module


@pytest.mark.parametrize(
    ("surrogate", "symmetry", "message"),
    [
        ("mlp", "average", "expected surrogate to be one of auto, softplus, paper, ridge; got 'mlp'"),
        (nn.Linear, "average", "expected surrogate to be one of .*; got <class"),
        (None, "average", "expected surrogate to be one of .*; got None"),
        ("ridge", "potential", "surrogate 'ridge' is no potential's gradient: expected surrogate='softplus'"),
        ("paper", "potential", "surrogate 'paper' is no potential's gradient: expected surrogate='softplus'"),
        (nn.Linear(2, 2), "potential", "expected symmetry='average' or 'auto' with it"),
    ],
)
def test_surrogates_that_are_refused(surrogate, symmetry, message):
    with pytest.raises(OptionError, match=message):
        check_surrogate(surrogate, symmetry)


def test_a_softplus_surrogate_may_have_a_potential():
    assert check_surrogate("softplus", "potential") == "softplus"


@pytest.mark.parametrize("units", ["auto", "mean", "pca", "presence"])
@pytest.mark.parametrize("factors", ["pca", "corex"])
def test_options_of_units(units, factors):
    check_space(units, factors, 2, force=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("max", "pca", 8, False), "expected units to be one of auto, mean, pca, presence; got 'max'"),
        (("auto", "ica", 8, False), "expected factors to be one of pca, corex; got 'ica'"),
        (("auto", "pca", 1, False), "expected n_factors to be an int >= 2, got 1"),
        (("auto", "pca", 8, 1), "expected force to be True or False, got 1"),
    ],
)
def test_options_of_units_outside_their_range(given, message):
    with pytest.raises(OptionError, match=message):
        check_space(*given)
