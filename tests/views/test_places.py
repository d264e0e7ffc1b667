from __future__ import annotations

import numpy as np
import pytest
import torch

from hoi_captum import views
from hoi_captum.core.example import ImageLayout, TableLayout, TextLayout
from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.errors import InputError
from hoi_captum.views.places import check_places, player_count


def grid_of(cells: int) -> ImageLayout:
    mask = torch.arange(cells * cells).reshape(cells, cells).repeat_interleave(28 // cells, 0)
    return ImageLayout(torch.full((28, 28, 3), 0.5), mask.repeat_interleave(28 // cells, 1))


def table_of(players: int) -> Interactions:
    terms = [Term((0, 1), "taylor", None, 1.0), Term((1, 2), "taylor", None, -0.5)]
    return Interactions.from_terms([f"u{i}" for i in range(players)], terms, provenance=Provenance("m"))


SENTENCE = TextLayout((("not", 0), (" ", -1), ("a", 1), (" ", -1), ("film", 2), (".", -1)))
ROW = TableLayout(("x", "y", "fixed"), (0.0, 1.0, 2.0), (0, 1, -1))


@pytest.mark.parametrize(
    ("layout", "count"),
    [
        (grid_of(7), 49),
        (ImageLayout(torch.zeros(2, 2, 3), torch.full((2, 2), -1)), 0),
        (SENTENCE, 3),
        (TextLayout(()), 0),
        (ROW, 2),
    ],
)
def test_players_are_counted_by_the_highest_id(layout, count):
    assert player_count(layout) == count
    check_places(count, layout)
    for other in {count + 1, max(count - 1, 0)} - {count}:
        with pytest.raises(InputError, match=rf"of the {other} players of the table, got one of {count};"):
            check_places(other, layout)


def test_no_layout_fits_any_table_and_a_player_may_have_no_place():
    check_places(5, None)
    check_places(3, TextLayout((("a", 0), ("b", 2))))


def test_the_error_names_a_grid_that_fits():
    with pytest.raises(InputError, match=r"=\(14, 14\)\).* ImageLayout\(image, mask\) with ids 0\.\.195"):
        check_places(196, grid_of(7))
    with pytest.raises(InputError, match=r"players=\(rows, columns\)\)"):
        check_places(195, grid_of(7))


@pytest.mark.parametrize("draw", ["pair-boxes", "regions", "partners"])
@pytest.mark.parametrize(("units", "cells"), [(196, 7), (49, 14)])
def test_no_drawing_puts_units_on_the_cells_of_another_grid(draw, units, cells):
    with pytest.raises(InputError, match=rf"ImageLayout of the {units} players .* got one of {cells**2}"):
        views.VIEWS[draw](table_of(units), grid_of(cells))


@pytest.mark.parametrize("draw", ["arcs", "partners"])
@pytest.mark.parametrize("players", [2, 4])
def test_no_drawing_leaves_out_words_without_a_word(draw, players):
    with pytest.raises(InputError, match=rf"TextLayout of the {players} players .* got one of 3"):
        views.VIEWS[draw](table_of(4) if players == 4 else pair_of_two(), SENTENCE)


def pair_of_two() -> Interactions:
    return Interactions.from_terms("ab", [Term((0, 1), "k", None, 1.0)], provenance=Provenance("m"))


@pytest.mark.parametrize("layout", [grid_of(7), SENTENCE, ROW], ids=lambda layout: type(layout).__name__)
def test_the_page_is_refused_too(layout):
    with pytest.raises(InputError, match=rf"{type(layout).__name__} of the 5 players"):
        views.render_page(table_of(5), layout)


@pytest.mark.parametrize("make", [views.text_record, views.partner_records])
def test_records_are_refused_too(make):
    with pytest.raises(InputError, match="TextLayout of the 5 players"):
        make(table_of(5), SENTENCE)


@pytest.mark.parametrize("players", [48, 196])
def test_values_of_players_that_the_image_does_not_have(players):
    with pytest.raises(InputError, match=rf"of the {players} players .* got one of 49"):
        views.image_figure(np.ones(players), grid_of(7))
