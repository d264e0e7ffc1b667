"""BioCorEx: against loops, on planted factors, and as a scikit-learn estimator."""

from __future__ import annotations

import math
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from hoi_captum.corex import BioCorEx
from hoi_captum.errors import ConvergenceWarning, DataWarning, InputError, NotFittedError, OptionError
from tests.corex import bio_oracles as slow

SETTLED = {"max_iter": 500}


def planted(
    n: int = 500, factors: int = 4, size: int = 6, states: int = 2, gap: float = 2.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Independent factors, each with variables of its own that are shifted by its state: X and the states."""
    random = np.random.RandomState(seed)
    y = random.randint(0, states, (n, factors))
    return np.repeat(y, size, 1) * gap + random.randn(n, factors * size), y


def agreement(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of rows with the right state, states renamed as fits best."""
    table = np.zeros((int(found.max()) + 1, int(truth.max()) + 1))
    np.add.at(table, (found.astype(int), truth.astype(int)), 1)
    return float(table.max(1).sum() / table.sum())


def same_partition(labels: np.ndarray, groups: np.ndarray) -> bool:
    pairs = set(zip(labels.tolist(), groups.tolist(), strict=True))
    return len(pairs) == len(set(labels.tolist())) == len(set(groups.tolist()))


# ---------------------------------------------------------------- against loops
@pytest.mark.parametrize(("factors", "states"), [(1, 2), (3, 2), (2, 3)])
@pytest.mark.parametrize("gaps", [False, True])
def test_all_iterations_are_those_of_the_loops(factors, states, gaps):
    X, _ = planted(n=30, factors=2, size=3, seed=1)
    if gaps:
        X[np.random.RandomState(0).random_sample(X.shape) < 0.2] = np.nan
    model = BioCorEx(
        factors, n_states=states, standardize=False, n_permutations=0, max_iter=8, random_state=5
    )
    with pytest.warns(ConvergenceWarning, match="8 iterations"):
        model.fit(X)
    P, log_z, alpha, history = slow.fit(
        X, slow.normal_theta, factors, states, np.random.RandomState(5), 8, 1e-5
    )
    order = np.argsort(-log_z.mean(1), kind="stable")
    np.testing.assert_allclose(model.tc_history_, history, rtol=1e-8)
    np.testing.assert_allclose(model.tcs_, log_z.mean(1)[order], rtol=1e-8)
    np.testing.assert_allclose(model.alpha_, alpha[order], rtol=1e-8)
    np.testing.assert_allclose(model.posterior(X), P[order].transpose(1, 0, 2), rtol=1e-6, atol=1e-12)
    mi = slow.mutual_information(slow.normal_theta(X, P), slow.prior(P), X, P)[order]
    np.testing.assert_allclose(model.mi_, mi, rtol=1e-6, atol=1e-10)


def test_discrete_iterations_are_those_of_the_loops():
    random = np.random.RandomState(0)
    X = random.randint(0, 3, (30, 1)) * np.ones((1, 4)) + random.randint(0, 2, (30, 4))
    X[random.random_sample(X.shape) < 0.1] = np.nan
    model = BioCorEx(2, marginals="discrete", n_permutations=0, max_iter=6, random_state=5)
    with pytest.warns(ConvergenceWarning):
        model.fit(X)
    estimate = partial(slow.discrete_theta, n_values=4)
    _, log_z, _, history = slow.fit(X, estimate, 2, 2, np.random.RandomState(5), 6, 1e-5)
    np.testing.assert_allclose(model.tc_history_, history, rtol=1e-8)
    np.testing.assert_allclose(model.tcs_, np.sort(log_z.mean(1))[::-1], rtol=1e-8)
    assert model.state_log_probabilities_.shape == (2, 2, 4, 4)
    assert model.state_means_ is None


def test_stops_as_the_loops_do():
    X, _ = planted(n=40, factors=2, size=2, gap=4.0)
    model = BioCorEx(2, standardize=False, random_state=1, n_permutations=0, **SETTLED).fit(X)
    history = slow.fit(X, slow.normal_theta, 2, 2, np.random.RandomState(1), 500, 1e-5)[3]
    assert model.n_iter_ == len(history) < 500
    assert slow.has_settled(model.tc_history_.tolist(), 1e-5)
    assert not slow.has_settled(model.tc_history_[:-1].tolist(), 1e-5)


# ---------------------------------------------------------------- what is learned
def test_planted_factors_are_found():
    X, y = planted()
    model = BioCorEx(4, random_state=0, **SETTLED).fit(X)
    groups = np.repeat(np.arange(4), 6)
    assert same_partition(model.labels_, groups)
    states = model.transform(X) > 0.5
    for j in range(4):
        truth = y[:, groups[model.labels_ == j][0]]
        assert agreement(states[:, j], truth) > 0.97
    # six variables tell the state nearly for sure: TC = sum of I(X_i;Y) - I(X;Y) by integration
    own = model.mi_[model.labels_, np.arange(24)]
    x = np.linspace(-8, 10, 20001)
    density = [np.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi) for mean in (0.0, 2.0)]
    mixture = sum(density) / 2
    exact = np.trapezoid(sum(d * np.log(d / mixture) for d in density) / 2, x)
    assert own.mean() == pytest.approx(exact, abs=0.02)
    assert model.tcs_.mean() == pytest.approx(6 * exact - math.log(2), rel=0.06)
    np.testing.assert_allclose(model.factor_mi_, math.log(2), atol=0.03)


def test_three_states_are_found():
    X, y = planted(factors=2, states=3, gap=4.0, seed=3)
    model = BioCorEx(2, n_states=3, n_repeats=5, random_state=0, **SETTLED).fit(X)
    groups = np.repeat(np.arange(2), 6)
    assert same_partition(model.labels_, groups)
    states = model.transform(X)
    assert set(np.unique(states)) == {0.0, 1.0, 2.0}
    assert np.array_equal(states, model.posterior(X).argmax(2))
    for j in range(2):
        assert agreement(states[:, j], y[:, groups[model.labels_ == j][0]]) > 0.97
    np.testing.assert_allclose(model.factor_mi_, math.log(3), atol=0.05)


def test_discrete_factors_are_found_with_gaps():
    random = np.random.RandomState(0)
    y = random.randint(0, 2, (800, 3))
    X = np.where(random.random_sample((800, 18)) < 0.85, np.repeat(y, 6, 1), random.randint(0, 2, (800, 18)))
    X = X.astype(float)
    X[random.random_sample(X.shape) < 0.15] = -1
    model = BioCorEx(3, marginals="discrete", missing_values=-1, random_state=0, **SETTLED).fit(X)
    groups = np.repeat(np.arange(3), 6)
    assert same_partition(model.labels_, groups)
    states = model.transform(X) > 0.5
    for j in range(3):
        assert agreement(states[:, j], y[:, groups[model.labels_ == j][0]]) > 0.97


def test_a_hole_says_nothing_and_nan_is_as_a_number():
    X, y = planted(n=300, factors=3)
    holes = np.random.RandomState(0).random_sample(X.shape) < 0.2
    nan = BioCorEx(3, random_state=0, **SETTLED).fit(np.where(holes, np.nan, X))
    number = BioCorEx(3, random_state=0, missing_values=-99, **SETTLED).fit(np.where(holes, -99.0, X))
    assert np.array_equal(nan.mi_, number.mi_)
    assert same_partition(nan.labels_, np.repeat(np.arange(3), 6))
    for j in range(3):
        truth = y[:, np.flatnonzero(nan.labels_ == j)[0] // 6]
        assert agreement(nan.transform(np.where(holes, np.nan, X))[:, j] > 0.5, truth) > 0.95
    np.testing.assert_allclose(
        nan.transform(np.full((2, 18), np.nan)), np.exp(nan.log_prior_[:, 1])[None].repeat(2, 0), rtol=1e-9
    )
    assert nan.score(np.full((2, 18), np.nan)) == pytest.approx(0.0, abs=1e-12)


def test_noise_has_no_total_correlation():
    X = np.random.RandomState(0).randn(500, 12)
    model = BioCorEx(3, random_state=0, max_iter=100, tol=1e-3).fit(X)
    assert model.tc_ < 0.5
    shares = (model.mi_ > 0).mean()
    plain = BioCorEx(3, random_state=0, max_iter=100, tol=1e-3, n_permutations=0).fit(X)
    assert shares < 0.9 < (plain.mi_ > 0).mean()


def test_standardising_is_what_finds_factors_in_small_units():
    X, _ = planted()
    model = BioCorEx(4, random_state=0, **SETTLED).fit(X)
    scales = np.random.RandomState(1).uniform(1e-3, 1e3, X.shape[1])
    moved = BioCorEx(4, random_state=0, **SETTLED).fit(X * scales + 1e3 * scales)
    np.testing.assert_allclose(moved.tcs_, model.tcs_, rtol=1e-6)
    np.testing.assert_allclose(moved.mi_, model.mi_, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(moved.scale_, model.scale_ * scales)
    # in [0, 1] every variance is below the floor
    unit = (X - X.min(0)) / (X.max(0) - X.min(0))
    with pytest.warns(DataWarning, match="no factor explains total correlation.*standardize=True"):
        raw = BioCorEx(4, random_state=0, standardize=False, **SETTLED).fit(unit)
    assert raw.tc_ < 0.05 < 3.0 < model.tc_
    lower = BioCorEx(4, random_state=0, standardize=False, min_variance=1e-4, **SETTLED).fit(unit)
    assert lower.tc_ > 3.0
    assert np.array_equal(raw.scale_, np.ones(24))


def test_smoothing_keeps_the_factors():
    X, _ = planted(n=100)
    model = BioCorEx(4, smooth=True, random_state=0, tol=1e-3, **SETTLED).fit(X)
    assert same_partition(model.labels_, np.repeat(np.arange(4), 6))
    assert model.tc_ > 4.0


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e200, 1e300])
def test_no_scale_is_too_small_or_too_large(size):
    X, _ = planted(n=200)
    ours, same = (BioCorEx(4, random_state=0, n_permutations=2, **SETTLED).fit(x) for x in (X * size, X))
    np.testing.assert_allclose(ours.tcs_, same.tcs_, rtol=1e-6)
    np.testing.assert_allclose(ours.transform(X * size), same.transform(X), atol=1e-6)


def test_a_column_that_varies_by_rounding_is_constant():
    X, _ = planted(n=200)
    flat = 0.3 * (1 + 2 * np.finfo(float).eps * (np.arange(200) % 2))
    small = 0.3 * (1 + 1e-13 * np.random.RandomState(0).randn(200))
    model = BioCorEx(4, random_state=0, **SETTLED).fit(np.column_stack([X, flat, small]))
    assert model.scale_[24] == 1.0
    assert model.scale_[25] == pytest.approx(3e-14, rel=0.2)
    assert model.labels_[24] == -1


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize("seed", range(10))
def test_smoothing_does_not_end_at_its_random_start(n, seed):
    random = np.random.default_rng(seed)
    z = random.integers(0, 2, (n, 2)) * 2 - 1
    X = np.concatenate([1.5 * z[:, [j]] + random.normal(size=(n, 5)) for j in (0, 1)], axis=1)
    plain, smooth = (BioCorEx(2, smooth=s, random_state=seed, n_permutations=2).fit(X) for s in (False, True))
    assert same_partition(smooth.labels_, np.repeat([0, 1], 5))
    assert smooth.tcs_.min() > 1.6  # of 2 nats
    np.testing.assert_allclose(smooth.tcs_, plain.tcs_, rtol=0.1)
    # the last phase is smoothed: its history begins anew
    assert slow.has_settled(smooth.tc_history_[plain.n_iter_ :].tolist(), 1e-5)
    np.testing.assert_array_equal(smooth.tc_history_[: plain.n_iter_], plain.tc_history_)


@pytest.mark.parametrize("seed", range(5))
def test_an_idle_factor_takes_nothing_from_another_when_smoothed(seed):
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 6))
    X[:, 1] = X[:, 0] + 0.1 * random.normal(size=200)  # one pair, and two factors for it
    options = {"marginals": "discrete", "n_permutations": 2, "random_state": seed, "max_iter": 200}
    plain, smooth = (BioCorEx(2, smooth=s, **options).fit(X > 0) for s in (False, True))
    assert plain.tcs_[0] > 0.5
    np.testing.assert_allclose(smooth.tcs_, [plain.tcs_[0], 0.0], atol=0.01)


def test_smoothing_has_half_of_the_iterations_at_least():
    X, _ = planted(n=60)
    with pytest.warns(ConvergenceWarning):
        plain = BioCorEx(4, random_state=1, max_iter=4).fit(X)
    with pytest.warns(ConvergenceWarning):
        smooth = BioCorEx(4, smooth=True, random_state=1, max_iter=9).fit(X)
    np.testing.assert_array_equal(smooth.tc_history_[:4], plain.tc_history_)
    with pytest.warns(ConvergenceWarning):
        longer = BioCorEx(4, random_state=1, max_iter=9).fit(X)
    assert abs(longer.tc_history_[4] - smooth.tc_history_[4]) > 0.01


def test_nothing_to_explain_is_said():
    X = np.random.RandomState(0).randn(500, 1)
    with pytest.warns(DataWarning, match="no factor explains total correlation"):
        model = BioCorEx(2, random_state=0).fit(X)
    assert model.tcs_.max() < 0.01


def test_constants_belong_to_no_factor():
    X, _ = planted()
    X[:, [3, 9]] = 7.0, 0.1
    model = BioCorEx(4, random_state=0, **SETTLED).fit(X)
    assert np.array_equal(np.flatnonzero(model.labels_ == -1), [3, 9])
    assert bool((model.mi_[:, [3, 9]] == 0).all())
    assert model.scale_[[3, 9]].tolist() == [1.0, 1.0]


def test_learned_attributes_hang_together():
    X, _ = planted()
    model = BioCorEx(5, random_state=0, max_iter=200, tol=1e-3).fit(X)
    assert bool((np.diff(model.tcs_) <= 0).all())
    assert model.tc_ == pytest.approx(model.tcs_.sum(), rel=1e-12)
    assert model.tc_ == pytest.approx(model.tc_history_[-1], rel=1e-12)
    assert model.score(X) == pytest.approx(model.tc_, rel=1e-9)
    assert model.n_iter_ == len(model.tc_history_)
    assert model.mi_.shape == model.alpha_.shape == (5, 24)
    assert model.state_means_.shape == model.state_variances_.shape == (5, 2, 24)
    np.testing.assert_allclose(np.exp(model.log_prior_).sum(1), 1.0)
    posterior = model.posterior(X)
    np.testing.assert_allclose(posterior.sum(2), 1.0, rtol=1e-12)
    assert np.array_equal(posterior[..., 1], model.transform(X))


def test_more_rows_than_the_structure_is_judged_by():
    X, y = planted(n=12_000, factors=3, size=4)
    model = BioCorEx(3, random_state=0, n_permutations=2, tol=1e-4, **SETTLED).fit(X)
    groups = np.repeat(np.arange(3), 4)
    assert same_partition(model.labels_, groups)
    states = model.transform(X) > 0.5
    for j in range(3):
        assert agreement(states[:, j], y[:, groups[model.labels_ == j][0]]) > 0.94


def test_repeats_keep_the_best_start():
    X, _ = planted(n=150, factors=5, size=3, gap=1.5)
    options = {"max_iter": 100, "tol": 1e-3, "n_permutations": 0}
    random = np.random.RandomState(2)
    single = [BioCorEx(5, random_state=random, **options).fit(X).tc_ for _ in range(4)]
    best = BioCorEx(5, random_state=2, n_repeats=4, **options).fit(X)
    assert best.tc_ == pytest.approx(max(single), rel=1e-12)
    assert max(single) > min(single) + 1e-3


def test_the_same_seed_gives_the_same_model():
    X, _ = planted(n=200)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    torch_state = torch.get_rng_state()
    one, other = (BioCorEx(4, random_state=3, **SETTLED).fit(X) for _ in range(2))
    assert np.array_equal(one.mi_, other.mi_)
    assert np.array_equal(one.transform(X), other.transform(X))
    assert not np.array_equal(one.mi_, BioCorEx(4, random_state=4, **SETTLED).fit(X).mi_)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(torch_state, torch.get_rng_state())


# ---------------------------------------------------------------- kinds of data
def test_tensors_and_frames():
    X, _ = planted(n=200)
    model = BioCorEx(4, random_state=0, **SETTLED)
    mi = model.fit(X).mi_
    assert np.array_equal(clone(model).fit(torch.from_numpy(X)).mi_, mi)
    frame = pd.DataFrame(X, columns=[f"gene {i}" for i in range(24)])
    named = clone(model).set_output(transform="pandas").fit(frame)
    assert np.array_equal(named.mi_, mi)
    assert list(named.feature_names_in_) == list(frame.columns)
    assert list(named.transform(frame).columns) == [f"biocorex{j}" for j in range(4)]
    with pytest.raises(InputError, match="feature names"):
        named.transform(frame.rename(columns={"gene 0": "gene X"}))
    scaled = make_pipeline(StandardScaler(), clone(model)).fit(X)
    np.testing.assert_allclose(scaled[-1].tcs_, model.tcs_, rtol=1e-6)


def test_a_value_never_seen_says_nothing():
    X = np.repeat(np.random.RandomState(0).randint(0, 2, (100, 1)), 4, 1).astype(float)
    model = BioCorEx(1, marginals="discrete", random_state=0, **SETTLED).fit(X)
    rows = np.array([[0, 0, 0, 9], [0, 0, 0, np.nan], [1, 1, 1, 0.5], [1, 1, 1, np.nan]])
    found = model.transform(rows)
    assert found[0] == found[1]
    assert found[2] == found[3]
    assert abs(found[0] - found[2]) > 0.99


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("n_factors", 0),
        ("n_states", 1),
        ("marginals", "poisson"),
        ("smooth", 1),
        ("standardize", "yes"),
        ("min_variance", 0.0),
        ("n_permutations", -1),
        ("n_repeats", 0),
        ("max_iter", 0),
        ("tol", -1.0),
        ("tol", math.nan),
        ("missing_values", "?"),
        ("random_state", "x"),
        ("verbose", 2),
    ],
)
def test_an_unusable_option(option, value):
    with pytest.raises(OptionError, match=option):
        BioCorEx(2).set_params(**{option: value}).fit(np.eye(4))


@pytest.mark.parametrize(
    ("X", "says"),
    [
        (np.ones((1, 3)), "1 sample"),
        (np.full((5, 3), 0.1), "columns that vary"),
        (np.full((5, 3), np.nan), "columns that vary"),
        (np.array([[1.0, np.inf], [0.0, 1.0]]), "infinity"),
        (np.zeros(4), "1D array"),
        (np.array([["a"], ["b"]]), "could not convert"),
    ],
)
def test_data_that_cannot_be_used(X, says):
    with pytest.raises(InputError, match=says):
        BioCorEx(2).fit(X)


@pytest.mark.parametrize("value", [-1.0, 0.5, 32.0])
def test_discrete_data_are_whole_numbers(value):
    X = np.array([[0.0, 1.0], [1.0, 0.0], [value, 1.0]])
    with pytest.raises(InputError, match=r"whole numbers 0\.\.31"):
        BioCorEx(1, marginals="discrete").fit(X)


def test_nan_where_nothing_may_be_missing():
    with pytest.raises(InputError, match=r"missing_values=np\.nan"):
        BioCorEx(1, missing_values=None).fit(np.array([[1.0, np.nan], [0.0, 1.0]]))


def test_before_fit():
    for call in (BioCorEx().transform, BioCorEx().posterior, BioCorEx().score):
        with pytest.raises(NotFittedError, match="fit"):
            call(np.eye(3))
        with pytest.raises(SklearnNotFittedError):
            call(np.eye(3))


def test_progress_on_stderr(capsys):
    X, _ = planted(n=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        BioCorEx(2, max_iter=3, random_state=0, verbose=True).fit(X)
        shown = capsys.readouterr()
        BioCorEx(2, max_iter=3, random_state=0).fit(X)
    assert "Bio CorEx" in shown.err
    assert shown.out == ""
    assert capsys.readouterr().err == ""


# a check stops fits after 5 iterations, others have nothing to explain
@pytest.mark.filterwarnings("ignore::hoi_captum.errors.HoiWarning")
@parametrize_with_checks([BioCorEx(n_factors=2, random_state=0), BioCorEx(2, n_states=3, smooth=True)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)
