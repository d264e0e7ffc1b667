"""Multilinear games say what brute force finds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hoi_captum.core.coalitions import all_coalitions
from hoi_captum.core.mobius import moebius_transform, shapley_values
from hoi_captum.errors import InputError
from hoi_captum.testing import MultilinearGame, planted_pair, planted_triple, two_alike

ROW = torch.tensor([1.0, -0.5, 0.8, 1.5, 0.6], dtype=torch.float64)
WITH_BASE = MultilinearGame(5, {(): 2.5, (0, 2, 4): -1.0, (1, 2): 0.5, (3,): 2.0, (0, 1, 2, 3, 4): 3.0})
GAMES = {
    "pair": planted_pair(),
    "triple": planted_triple(),
    "alike": two_alike(),
    "with a base": WITH_BASE,
    "a sum": planted_pair().plus(WITH_BASE, -0.5),
}


@pytest.fixture(params=GAMES, ids=str)
def game(request: pytest.FixtureRequest) -> MultilinearGame:
    return GAMES[request.param]


def values(game: MultilinearGame) -> Tensor:
    """v of all coalitions, absent players' cells being 0."""
    return game(ROW * all_coalitions(game.n))


def test_dividends_are_the_moebius_transform(game: MultilinearGame) -> None:
    found = game.dividends(ROW)
    for present, wanted in zip(all_coalitions(5)[1:], moebius_transform(values(game))[1:], strict=True):
        members = tuple(present.nonzero()[:, 0].tolist())
        assert found.get(members, 0.0) == pytest.approx(float(wanted), abs=1e-12)
    assert () not in found


def test_the_base_is_the_empty_coalitions_value(game: MultilinearGame) -> None:
    assert game.base() == float(values(game)[0])


def test_shapley_values_are_those_of_the_table(game: MultilinearGame) -> None:
    torch.testing.assert_close(game.shapley_values(ROW), shapley_values(values(game)))


def test_cross_derivatives_are_autograds(game: MultilinearGame) -> None:
    wanted = torch.autograd.functional.hessian(
        lambda gates: game((gates * ROW)[None])[0], torch.ones_like(ROW)
    )
    torch.testing.assert_close(game.cross_derivatives(ROW), wanted, check_stride=False)


def test_a_sum_is_the_sum_of_the_values() -> None:
    f, g = planted_pair(), MultilinearGame(3, {(0, 2): 1.0, (1,): 4.0})
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(f.plus(g, 2.0)(x), f(x) + 2 * g(x))
    assert g.plus(f).n == 5
    assert f.coefficients == planted_pair().coefficients


def test_renamed_players_have_the_cells_of_their_new_names() -> None:
    order = [3, 0, 4, 1, 2]  # player i becomes order[i]
    moved = torch.empty_like(ROW)
    moved[order] = ROW
    for f in GAMES.values():
        torch.testing.assert_close(f.renamed(order)(moved[None]), f(ROW[None]))
    assert planted_pair().renamed(order).coefficients == {(1, 3): 2.0, (0,): 1.0, (4,): -0.5}


def test_each_row_is_a_game() -> None:
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    together = planted_triple()(x)
    assert together.shape == (4,)
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, torch.cat([planted_triple()(row[None]) for row in x]))


def test_named_games_are_what_they_say() -> None:
    assert float(planted_pair().shapley_values(ROW)[4]) == 0.0
    assert max(planted_triple().dividends(ROW).items(), key=lambda item: abs(item[1]))[0] == (0, 1, 3)
    x = ROW.clone()
    x[1] = x[2]
    shares = two_alike().shapley_values(x)
    assert float(shares[1]) == float(shares[2]) != 0.0


def test_no_game_of_nothing_has_terms() -> None:
    game = MultilinearGame(2, {})
    assert game.dividends(torch.ones(2)) == {}
    assert game(torch.ones(3, 2)).tolist() == [0.0] * 3
    assert MultilinearGame(2, {(0, 1): 1.0}).dividends(torch.tensor([1.0, 0.0])) == {}


@pytest.mark.parametrize("members", [(1, 0), (0, 0), (0, 3), (-1,)])
def test_members_are_sorted_players(members: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"expected sorted players of 0\.\.2"):
        MultilinearGame(3, {members: 1.0})
