"""Bars of factors' members."""

from __future__ import annotations

import numpy as np
import pytest

from hoi_captum import views
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.provenance import Provenance
from hoi_captum.core.term import Term
from hoi_captum.errors import InputError

MI = np.array([[0.6, 0.0, 0.5, 0.01], [0.0, 0.3, 0.02, 0.25]])


@pytest.fixture
def table() -> Interactions:
    terms = [
        Term((0, 2), "corex", "cluster:0", 1.0, (0.5, 0.6)),
        Term((1, 3), "corex", "cluster:1", 3.0, (0.2, 1.25)),
        Term((0, 1, 3), "corex", "cluster:1", 2.0, (0.3, 0.1, 0.2)),
    ]
    return Interactions.from_terms(("u", "v", "w", "$x$"), terms, provenance=Provenance("m"))


def bars(ax) -> list[tuple[str, float]]:
    """Names and lengths, from the top."""
    names = [t.get_text() for t in ax.get_yticklabels()]
    return [(n, b.get_width()) for n, b in zip(names, ax.patches, strict=True)]


def test_factors_are_drawn_by_total_correlation_members_by_information(table):
    figure = views.VIEWS["factors"](table)
    assert [ax.get_title() for ax in figure.axes] == [
        "cluster:1: TC 3.00, 2 members",
        "cluster:1: TC 2.00, 3 members",
        "cluster:0: TC 1.00, 2 members",
    ]
    assert [bars(ax) for ax in figure.axes] == [
        [("$x$", 1.25), ("v", 0.2)],
        [("u", 0.3), ("$x$", 0.2), ("v", 0.1)],
        [("w", 0.6), ("u", 0.5)],
    ]
    assert len({ax.get_xlim() for ax in figure.axes}) == 1
    assert len({ax.get_ylim() for ax in figure.axes}) == 1


def test_a_factor_without_a_region_has_no_place():
    terms = [Term((0, 2), "corex", None, 1.0, (0.5, 0.6))]
    figure = views.factors_plot(Interactions.from_terms(("u", "v", "w"), terms, provenance=Provenance("m")))
    assert [ax.get_title() for ax in figure.axes] == ["TC 1.00, 2 members"]


def test_what_finds_no_room_is_told(table):
    figure = views.factors_plot(table, k=1, members=1)
    assert bars(figure.axes[0]) == [("$x$", 1.25)]
    assert figure.axes[0].get_title() == "cluster:1: TC 3.00, 1 of 2 members"
    assert figure.get_supxlabel() == "the 1 strongest of 3 factors"
    one = views.factors_plot(table, scope="cluster:0")
    assert len(one.axes) == 1
    assert one.get_supxlabel() == ""
    with pytest.raises(InputError, match="scope"):
        views.factors_plot(table, scope="cluster:9")


def test_a_factor_has_its_number_and_classes_have_a_place():
    terms = [
        Term((0, 1, 4), "corex", "cluster:1", 2.0, (0.9, 0.8, 0.1)),
        Term((2, 3), "corex", "cluster:1", 5.0, (0.7, 0.6)),
    ]
    arrays = {"tcs": np.array([5.0, 3.0, 2.0]), "n_neurons": np.array(4)}
    table = Interactions.from_terms(
        ("a", "b", "c", "d", "log p(x)"), terms, provenance=Provenance("m"), arrays=arrays
    )
    figure = views.factors_plot(table, members=2)
    assert [ax.get_title() for ax in figure.axes] == [
        "factor 0: TC 5.00, 2 members",
        "factor 2: TC 2.00, 2 of 3 members",
    ]
    assert bars(figure.axes[1]) == [("a", 0.9), ("log p(x)", 0.1)]


def test_terms_without_weights_are_no_factors(review):
    figure = views.factors_plot(*review)
    assert "have no weights" in figure.axes[0].texts[0].get_text()


def test_the_variables_of_most_information_are_named():
    figure = views.mi_bars_plot(MI, ["a", "b", "c", "d"], tcs=[1.0, 0.5], k=2)
    assert [bars(ax) for ax in figure.axes] == [[("a", 0.6), ("c", 0.5)], [("b", 0.3), ("d", 0.25)]]
    assert figure.axes[1].get_title() == "factor 1, total correlation 0.50"
    assert [t.get_text() for t in figure.axes[0].texts] == ["0.60", "0.50"]


def test_what_is_no_member_is_pale():
    ax = views.mi_bars_plot(MI, n_rows=500, factors=[1]).axes[0]
    colours = [b.get_facecolor() for b in ax.patches]
    assert [n for n, _ in bars(ax)] == ["x1", "x3", "x2", "x0"]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    plain = views.mi_bars_plot(MI[1]).axes[0].patches
    assert len({b.get_facecolor() for b in plain}) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mi": np.ones((2, 2, 2))}, "n_factors, n_features"),
        ({"mi": [[np.nan, 1.0]]}, "finite"),
        ({"mi": MI, "names": ["a"]}, "expected 4 names"),
        ({"mi": MI, "tcs": [1.0]}, "expected 2 tcs"),
        ({"mi": MI, "factors": [2]}, r"factors in 0\.\.1"),
        ({"mi": MI, "factors": []}, r"factors in 0\.\.1"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        views.mi_bars_plot(**arguments)
