"""Several tables as one: a scope for each, their terms as they were, and panels on one scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hoi_captum import views
from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.errors import InputError
from hoi_captum.methods.second_glance import SecondGlance

NAMES = ("age", "balance", "calls", "days")


def drawn(seed: int, terms: int, scope: str | None = None, names=NAMES, **more) -> Interactions:
    """Sets of one to three players with random scores."""
    generator = np.random.default_rng(seed)
    sets = [tuple(sorted(generator.choice(4, 1 + i % 3, replace=False).tolist())) for i in range(terms)]
    source = Provenance(f"method {seed}", details={"unit": "logit"})
    made = [Term(s, f"kind {seed}", scope, float(generator.normal())) for s in sets]
    return Interactions.from_terms(names, made, provenance=source, **more)


def images(figure) -> list:
    return [image for ax in figure.axes for image in ax.images]


def test_a_scope_for_each_table_and_its_terms_as_they_were():
    tables = {"a film": drawn(0, 7), "a bad film": drawn(1, 4), "Δ": drawn(2, 1)}
    whole = views.side_by_side(tables)
    assert len(whole) == 12
    assert whole.players == NAMES
    assert whole.scope_names == ("a bad film", "a film", "Δ")  # in alphabetical order
    for name, table in tables.items():
        found = [(t.members, t.kind, t.score) for t in whole.where(scope=name)]
        assert found == [(t.members, t.kind, t.score) for t in table]
        np.testing.assert_allclose(whole.where(scope=name).matrix(), table.matrix())
    assert whole.provenance == tables["a film"].provenance


def test_one_table_and_tables_that_went_through_a_file(tmp_path):
    table = drawn(0, 5)
    alone = views.side_by_side({"alone": table})
    assert [(t.members, t.score) for t in alone] == [(t.members, t.score) for t in table]
    whole = views.side_by_side({"z": table, "a": drawn(1, 3)})
    again = Interactions.load(whole.save(tmp_path / "both.safetensors"))
    assert again == whole
    assert again.scope_names == ("a", "z")


def test_weights_stay_where_all_tables_have_them():
    terms = [Term((0, 2), "corex", None, 1.0, (0.25, 0.75)), Term((1,), "corex", None, 2.0, (1.0,))]
    one = Interactions.from_terms(NAMES, terms, provenance=Provenance("m"))
    other = Interactions.from_terms(NAMES, terms[:1], provenance=Provenance("m"))
    whole = views.side_by_side({"one": one, "other": other})
    assert [t.weights for t in whole] == [(0.25, 0.75), (1.0,), (0.25, 0.75)]
    assert views.side_by_side({"one": one, "plain": drawn(0, 2)}).weights is None


def test_a_panel_for_each_on_one_scale():
    x = torch.tensor([[1.0, 2.0, 3.0], [-2.0, 1.0, 0.5], [1.0, 0.1, 1.0]], dtype=torch.float64)
    rows = SecondGlance(lambda v: v[:, 0] * v[:, 1] - 4 * v[:, 1] * v[:, 2]).interact(x)
    names = ("1: third", "2: first", "3: second")
    figure = views.matrix_plot(views.side_by_side(dict(zip(names, rows, strict=True))))
    assert tuple(ax.get_title() for ax in figure.axes[:3]) == names
    assert len(images(figure)) == 3
    for image, table in zip(images(figure), rows, strict=True):
        np.testing.assert_allclose(np.asarray(image.get_array()), table.matrix(), rtol=1e-12)
    largest = max(np.abs(t.pairs).max() for t in rows)
    assert [i.get_clim() for i in images(figure)] == [pytest.approx((-largest, largest))] * 3


def test_other_drawings_have_panels_too():
    whole = views.side_by_side({"one": drawn(0, 6), "other": drawn(1, 6)})
    for view in ("network", "by-order"):
        figure = views.VIEWS[view](whole)
        titles = [ax.get_title() for ax in figure.axes]
        assert "one" in titles
        assert "other" in titles


@pytest.mark.parametrize("tables", [{}, None, {"a": None}, {"a": np.eye(3)}, {"a": [drawn(0, 2)]}])
def test_what_is_no_table(tables):
    with pytest.raises(InputError, match=r"expected tables by name, \{'first': table, \.\.\.\}, got"):
        views.side_by_side(tables)


def test_tables_without_names():
    with pytest.raises(InputError, match="expected tables by name"):
        views.side_by_side([drawn(0, 2), drawn(1, 2)])


def test_tables_of_other_players():
    other = drawn(1, 3, names=("age", "income", "calls", "days"))
    says = "same players, got age, balance, calls, days and, in 'b', age, income, calls, days; with_players"
    with pytest.raises(InputError, match=says):
        views.side_by_side({"a": drawn(0, 3), "b": other})
    whole = views.side_by_side({"a": drawn(0, 3), "b": other.with_players(NAMES)})
    assert len(whole) == 6


def test_tables_with_scopes_of_their_own():
    first, second = (drawn(i, 3, scope=f"model:{i}", base={f"model:{i}": 0.5}) for i in (0, 1))
    both = views.side_by_side({"model:0": first, "model:1": second})
    with pytest.raises(InputError, match=r"of one scope each, got \('model:0', 'model:1'\) in"):
        views.side_by_side({"a": drawn(0, 3), "b": both})
    whole = views.side_by_side({"a": drawn(0, 3), "b": both.where(scope="model:1")})
    assert len(whole) == 6
    assert whole.scope_names == ("a", "b")


def test_one_scope_of_a_table_is_a_table():
    scoped = drawn(1, 3, scope="model:0", base={"model:0": 0.5})
    whole = views.side_by_side({"a": drawn(0, 3), "b": scoped.where(scope="model:0")})
    assert len(whole) == 6
