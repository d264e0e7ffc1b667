from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from hoi_captum import views
from hoi_captum.core.example import ImageLayout
from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.errors import InputError
from hoi_captum.views.outlines import centres, outlines
from hoi_captum.views.plots import order_sums
from hoi_captum.views.regions import hull


def png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def texts(figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]


def images(figure) -> list[np.ndarray]:
    return [np.asarray(i.get_array()) for ax in figure.axes for i in ax.images]


def test_the_matrix_is_that_of_the_table_scope_by_scope(review):
    table, layout = review
    figure = views.matrix_plot(table, layout)
    for drawn, scope in zip(images(figure), ("model:0", "model:1"), strict=True):
        np.testing.assert_array_equal(drawn, table.where(scope=scope).matrix())
    limits = [i.get_clim() for ax in figure.axes for i in ax.images]
    assert limits == [(-1.75, 1.75)] * 2  # one scale, symmetric about zero; kinds are added: 2 - 0.25
    assert [ax.get_title() for ax in figure.axes[:2]] == ["Teacher", "Pupil"]
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == list(table.players)
    assert "log-odds" in texts(figure)


def test_the_matrix_can_share_out_higher_orders(review):
    table = review[0]
    figure = views.matrix_plot(table, scope="model:0", spread=True)
    np.testing.assert_array_equal(images(figure)[0], table.where(scope="model:0").matrix(spread=True))


def test_a_table_of_triples_is_drawn_by_the_matrix_of_pairs_that_it_keeps():
    own = np.array([[0.0, 1.0, -3.0], [1.0, 0.0, 0.0], [-3.0, 0.0, 0.0]])
    terms, source = [Term((0, 1, 2), "taylor", None, 9.0)], Provenance("m", details={"unit": "logit"})
    table = Interactions.from_terms("abc", terms, provenance=source, arrays={"pairs": own})
    figure = views.matrix_plot(table)
    np.testing.assert_array_equal(images(figure)[0], own)
    assert figure.axes[0].images[0].get_clim() == (-3.0, 3.0)
    assert "cross derivative, in logit" in texts(figure)
    said = " ".join(texts(figure)).replace("\n", " ")
    assert "the method’s own, since the table lists larger sets alone" in said
    # what is listed, or asked for, goes first
    listed = Interactions.from_terms("abc", [*terms, Term((0, 1), "taylor", None, 5.0)], provenance=source)
    assert images(views.matrix_plot(listed))[0][0, 1] == 5.0
    assert "lists larger sets" not in " ".join(texts(views.matrix_plot(listed)))
    assert images(views.matrix_plot(table, spread=True))[0][0].tolist() == [0.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("kind", "score", "limits", "written"),
    [
        ("taylor", 0.5, (0.0, 2.0), {"2.00", "0.50"}),
        ("taylor", -0.5, (-2.0, 2.0), {"+2.00", "−0.50"}),
        ("cam", 0.5, (0.0, 2.0), {"2.00", "0.50"}),
        ("and", 0.5, (-2.0, 2.0), {"+2.00", "+0.50"}),
    ],
)
def test_the_matrix_has_two_sides_where_a_sign_tells_something(kind, score, limits, written):
    terms = [Term((0, 1), kind, None, 2.0), Term((1, 2), kind, None, score)]
    figure = views.matrix_plot(Interactions.from_terms("abc", terms, provenance=Provenance("m")))
    ax = figure.axes[0]
    assert ax.images[0].get_clim() == limits
    assert {t.get_text() for t in ax.texts} == written


def bars(ax) -> dict[tuple[float, bool], float]:
    return {(round(b.get_x(), 6), b.get_height() < 0): b.get_height() for b in ax.patches if b.get_height()}


def test_bars_are_the_sums_of_each_sign(review):
    table, _ = review
    figure = views.by_order_plot(table)
    for ax, scope in zip(figure.axes, ("model:0", "model:1"), strict=True):
        part = table.where(scope=scope)
        expected = [
            sum(t.score for t in part.where(kind=kind, order=order) if sign * t.score > 0)
            for kind, order, sign in itertools.product(("and", "or"), (1, 2, 3), (1, -1))
        ]
        heights = [b.get_height() for b in ax.patches if b.get_height()]
        assert sorted(heights) == pytest.approx(sorted(e for e in expected if e))
        low, high = ax.get_ylim()
        assert low < 0 < high
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_order_sums_keep_the_signs_apart_and_leave_out_what_is_not_finite():
    terms = [Term((0,), "k", None, s) for s in (1.0, 2.0, -4.0, np.nan, np.inf)]
    table = Interactions.from_terms("a", terms, provenance=Provenance("m"))
    assert order_sums(table) == {("k", 1): (3.0, -4.0)}


def test_arcs_say_the_scores_and_draw_or_dashed(review):
    table, layout = review
    figure = views.arc_plot(table, layout, scope="model:0")
    said = texts(figure)
    assert "+2.00" in said  # the pair
    assert "−0.60" in said  # the group of three
    assert [w for w in ("not", "a", "bad", "film", ",", "unfunny", ".") if w not in said] == []
    styles = {p.get_linestyle() for p in figure.axes[0].patches if type(p).__name__ == "PathPatch"}
    assert styles == {"solid", "dashed"} or styles == {"-", "--"}


def test_both_kinds_of_one_pair_of_neighbours_have_their_scores():
    terms = [Term((0, 1), "or", None, -0.85), Term((0, 1), "and", None, 0.68)]
    table = Interactions.from_terms(("not", "enough"), terms, provenance=Provenance("m"))
    assert {"−0.850", "+0.680"} <= set(texts(views.arc_plot(table)))


def test_words_never_overlap_whatever_their_length(row):
    table, _ = row
    figure = views.arc_plot(table)
    FigureCanvasAgg(figure).draw()
    boxes = [t.get_window_extent() for t in figure.axes[0].texts if t.get_text().startswith("a rather")]
    assert len(boxes) == 12
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("plot", ["network", "matrix"])
def test_twelve_long_names_do_not_overlap(row, plot):
    figure = views.VIEWS[plot](row[0])
    FigureCanvasAgg(figure).draw()
    ax = figure.axes[0]
    labels = ax.get_yticklabels() if plot == "matrix" else ax.texts
    boxes = [t.get_window_extent() for t in labels if t.get_text().startswith("a rather")]
    assert len(boxes) == 12
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(b.x0 >= 0 and b.x1 <= figure.bbox.width for b in boxes)


def test_regions_need_an_image(review):
    with pytest.raises(InputError, match="expected an ImageLayout to draw regions, got TextLayout"):
        views.region_plot(*review)


def test_regions_draw_the_image_and_list_the_strongest_terms(digit):
    table, layout = digit
    figure = views.region_plot(table, layout)
    best = next(iter(table.top(1)))
    assert any(table.label(best) in t for t in texts(figure))
    assert images(figure)[0].shape == (24, 24, 3)


@pytest.mark.parametrize(
    ("fixture", "expected"), [("review", "arcs"), ("digit", "pair-boxes"), ("row", "matrix")]
)
def test_the_default_plot_suits_the_layout(request, fixture, expected):
    table, layout = request.getfixturevalue(fixture)
    figure = views.default_plot(table, layout)
    same = views.VIEWS[expected](table, layout)
    assert texts(figure) == texts(same)
    assert png(views.default_plot(table, None))


def test_where_few_sets_have_a_score_the_default_plot_shows_them_together(digit, row):
    """Regions and a network; a matrix has nothing to show of triples."""
    sparse = [Term((0, 1), "and", None, 1.0), Term((2, 3), "or", None, -1.0)]
    table = Interactions.from_terms(digit[0].players, sparse, provenance=Provenance("m"))
    assert texts(views.default_plot(table, digit[1])) == texts(views.region_plot(table, digit[1]))
    assert texts(views.default_plot(table)) == texts(views.network_plot(table))
    triples = row[0].where(order=3)
    assert texts(views.default_plot(triples, row[1])) == texts(views.network_plot(triples))


@pytest.mark.parametrize("name", sorted(views.VIEWS))
def test_every_view_says_when_there_is_nothing(name, digit):
    figure = views.VIEWS[name](digit[0].take([]), digit[1])
    assert "no interactions" in texts(figure)
    assert png(figure)


@pytest.mark.parametrize("name", sorted(set(views.VIEWS) - {"pair-boxes", "regions"}))
def test_names_are_drawn_literally(name, hostile):
    figure = views.VIEWS[name](*hostile, title="$\\frac$")
    assert png(figure)  # matplotlib would raise on the broken mathematics
    assert "$\\frac$" in texts(figure)


@pytest.mark.parametrize("name", sorted(views.VIEWS))
def test_scores_that_are_not_finite_do_not_stop_a_view(name, digit):
    terms = [Term((0, 1), "k", None, np.nan), Term((1, 2), "k", None, 1.0), Term((0,), "k", None, np.inf)]
    table = Interactions.from_terms(digit[0].players, terms, provenance=Provenance("m"))
    assert png(views.VIEWS[name](table, digit[1]))


def test_many_scopes_are_cut_and_the_figure_says_so():
    terms = [Term((0, 1), "k", f"cluster:{i}", float(i)) for i in range(1, 10)]
    table = Interactions.from_terms("ab", terms, provenance=Provenance("m"))
    figure = views.by_order_plot(table)
    assert [ax.get_title() for ax in figure.axes] == [f"cluster:{i}" for i in range(4, 10)]
    assert "the 6 strongest of 9 scopes" in texts(figure)


@pytest.mark.parametrize("plot", ["network", "regions"])
def test_the_list_below_touches_neither_note_nor_legend(digit, plot):
    figure = views.VIEWS[plot](*digit, title="A title")
    FigureCanvasAgg(figure).draw()
    ax, below = figure.axes[0], figure.legends[0].get_window_extent()
    listed = [t.get_window_extent() for t in ax.texts if "  taylor  " in t.get_text()]
    assert len(listed) == 6
    assert min(box.y0 for box in listed) > below.y1


def test_forty_players_and_more_get_numbers_for_names():
    terms = [Term((i, i + 1), "k", None, 1.0) for i in range(59)]
    table = Interactions.from_terms([f"p{i}" for i in range(60)], terms, provenance=Provenance("m"))
    assert images(views.matrix_plot(table))[0].shape == (60, 60)
    assert any("24 players with the most interaction, of 60" in t for t in texts(views.network_plot(table)))


def test_importing_views_loads_no_drawing_library():
    import subprocess
    import sys

    code = (
        "import sys, hoi_captum.views as v; v.VIEWS['matrix'];"
        "print([m for m in ('matplotlib', 'captum', 'jinja2', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- geometry
def test_outlines_of_squares_rings_and_touching_corners():
    mask = np.array([[0, 0, 1], [0, 0, -1], [2, -1, 2]])
    loops = outlines(mask)
    assert set(loops) == {0, 1, 2}
    assert sorted(loops[0][0]) == [(0, 0), (0, 2), (2, 0), (2, 2)]
    assert sorted(len(loop) for loop in loops[2]) == [4, 4]
    ring = np.zeros((3, 3), dtype=int)
    ring[1, 1] = -1
    assert sorted(sorted(loop) for loop in outlines(ring)[0]) == [
        [(0, 0), (0, 3), (3, 0), (3, 3)],
        [(1, 1), (1, 2), (2, 1), (2, 2)],
    ]


@pytest.mark.parametrize("seed", range(5))
def test_outlines_enclose_the_area_of_the_region(seed):
    mask = np.random.default_rng(seed).integers(-1, 3, (9, 11))
    for player, loops in outlines(mask).items():
        # shoelace; holes turn the other way, so they subtract
        area = sum(
            a[0] * b[1] - b[0] * a[1]
            for loop in loops
            for a, b in zip(loop, loop[1:] + loop[:1], strict=True)
        )
        assert area / 2 == (mask == player).sum()


def test_centres_lie_inside():
    ring = np.zeros((5, 5), dtype=int)
    ring[1:4, 1:4] = -1
    x, y = centres(ring)[0]
    assert ring[int(y), int(x)] == 0
    assert centres(np.zeros((2, 2), dtype=int)) == {0: (1.0, 1.0)}


def test_hull():
    assert hull([(0, 0), (2, 0), (1, 1), (0, 2), (2, 2)]) == [(0, 0), (2, 0), (2, 2), (0, 2)]
    assert hull([(0, 0), (1, 1), (2, 2)]) == [(0, 0), (2, 2)]


def test_background_and_missing_players_are_left_out():
    mask = torch.full((4, 4), -1)
    mask[0, 0] = 1
    layout = ImageLayout(torch.zeros(4, 4, 3), mask)
    table = Interactions.from_terms("ab", [Term((0, 1), "k", None, 1.0)], provenance=Provenance("m"))
    assert png(views.region_plot(table, layout))
