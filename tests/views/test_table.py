from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.errors import InputError
from hoi_captum.views import interaction_table
from hoi_captum.views.table import unicode_bar


def printed(table, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    return console.file.getvalue()


def cells(table) -> list[list[str]]:
    return [[str(cell) for cell in row] for row in zip(*(c.cells for c in table.columns), strict=True)]


def test_rows_scores_and_order(review):
    table = interaction_table(review[0], k=3)
    assert [str(c.header) for c in table.columns] == ["#", "players", "kind", "order", "Teacher", "Pupil", ""]
    assert [r[:6] for r in cells(table)] == [
        ["1", "not · bad", "and", "2", "+2.00", "+1.50"],
        ["2", "bad", "and", "1", "-1.00", "–"],
        ["3", "bad · film", "or", "2", "–", "+0.75"],
    ]
    assert "3 of 6 sets of players; scores in log-odds" in printed(table)


def test_shared_keeps_what_stands_in_every_scope(review):
    assert [r[1] for r in cells(interaction_table(review[0], shared=True))] == [
        "not · bad",
        "not · bad · unfunny",
    ]


def test_one_scope_alone(review):
    table = interaction_table(review[0], scope="model:1")
    assert [r[4] for r in cells(table)] == ["+1.50", "+0.75", "+0.30"]
    assert str(table.columns[4].header) == "Pupil"


def test_markup_in_names_is_printed_literally(hostile):
    text = printed(interaction_table(hostile[0]))
    assert "<script>alert(1)</script> · [red]x" in text


def test_the_sign_is_printed_and_coloured(review):
    table = interaction_table(review[0])
    styles = {str(c): c.style for c in table.columns[4].cells}
    assert (styles["+2.00"], styles["-1.00"]) == ("blue", "red")


def test_three_scopes_fit_eighty_columns(row):
    table, _ = row
    assert max(len(line) for line in printed(interaction_table(table), 80).splitlines()) <= 80


def test_no_interactions_and_wrong_arguments(nothing, review):
    assert "no interactions" in printed(interaction_table(nothing))
    with pytest.raises(InputError, match="at least 1"):
        interaction_table(nothing, k=0)
    with pytest.raises(InputError, match=r"one of \['model:0', 'model:1'\], got 'model:9'"):
        interaction_table(review[0], scope="model:9")


@pytest.mark.parametrize(("share", "bar"), [(0, ""), (1, "██████"), (0.5, "███"), (1e-9, "▏"), (0.25, "█▌")])
def test_bars(share, bar):
    assert unicode_bar(share, 6) == bar.ljust(6)


class Knowing(Interactions):
    """A result that knows of some sets what they do when they are switched off."""

    def synergy(self, term: Term) -> float:
        return {(0, 1): 0.5, (1, 2): -0.25, (0, 1, 2): 1.0}.get(term.members, math.nan)


def known(members, cls=Knowing, **details):
    terms = [Term(m, "taylor", None, 3.0 - i) for i, m in enumerate(members)]
    return interaction_table(cls.from_terms("abc", terms, provenance=Provenance("m", details=details)))


def test_what_pairs_do_when_they_are_switched_off_stands_beside_their_scores():
    table = known([(0, 1), (0, 2), (1, 2)])
    assert [str(c.header) for c in table.columns][4:6] == ["score", "synergy"]
    assert [row[4:6] for row in cells(table)] == [["+3.00", "+0.500"], ["+2.00", "–"], ["+1.00", "-0.250"]]


def test_of_three_that_is_no_synergy():
    table = known([(0, 1, 2), (0, 1)])
    assert [str(c.header) for c in table.columns][5] == "switched off"
    assert [row[5] for row in cells(table)] == ["+1.00", "+0.50"]


@pytest.mark.parametrize(
    ("members", "options"),
    [([(0, 2)], {}), ([(0, 1)], {"mode": "occlusion"}), ([(0, 1, 2)], {"mode": "occlusion"})],
)
def test_there_is_no_such_column_where_it_would_tell_nothing(members, options):
    assert [str(c.header) for c in known(members, **options).columns][4:] == ["score", ""]


def test_nor_where_the_result_does_not_know():
    assert len(known([(0, 1)], cls=Interactions).columns) == 6
