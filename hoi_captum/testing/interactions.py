"""What interactions owe: dummies, symmetry, linearity, shifts, planted terms, completeness, permutations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest
import torch

from hoi_captum.core.interactions import Interactions
from hoi_captum.testing.cases import Case, MethodCases
from hoi_captum.testing.games import MultilinearGame, planted_pair, planted_triple, two_alike
from hoi_captum.testing.models import noise
from hoi_captum.testing.suite import Scores, assert_close, assert_same_scores, scores_of

# no two of them alike, none of them zero
_ROW = torch.tensor([[1.0, -0.5, 0.8, 1.5, 0.6]], dtype=torch.float64)


class InteractionChecks(MethodCases):
    """Checks with games whose interactions are known, for methods whose players are cells of the inputs.

    Class attributes:
        exactness: of comparisons on the games, which are float64, in parts of the largest score.
            Default: 1e-6
        complete: whether all scores together are v(all present) - v(all masked), and attributions, too.
            Default: None (what the method says of itself)
    """

    exactness: ClassVar[float] = 1e-6
    complete: ClassVar[bool | None] = None

    def test_a_dummy_has_no_part(self) -> None:
        """A player that changes nothing is in no term and has no share."""
        attributions, scores = self._play(planted_pair())
        size = max(map(abs, scores.values()), default=0.0)
        for (members, kind, _), score in scores.items():
            if 4 in members:
                assert abs(score) <= self.exactness * size, f"{kind} {members} has {score} with a dummy in it"
        assert abs(float(attributions[0, 4])) <= self.exactness * float(attributions.abs().max())

    def test_players_that_can_be_exchanged_have_equal_scores(self) -> None:
        """Two players with the same part in the game, and the same value."""
        alike = [0, 1, 1, 3, 4]  # the third player is a copy of the second
        attributions, scores = self._play(two_alike(), alike)
        exchange = {1: 2, 2: 1}
        swapped = {_renamed(key, exchange): score for key, score in scores.items()}
        assert_same_scores(swapped, scores, self.exactness, "players exchanged")
        assert_close(attributions[:, 1], attributions[:, 2], self.exactness, "players exchanged")

    def test_it_is_linear_in_the_model(self) -> None:
        """The answer for f + 2 g is the answer for f and twice the answer for g."""
        f, g = planted_pair(), two_alike()
        together = self._play(f.plus(g, 2.0))[1]
        one, other = self._play(f)[1], self._play(g)[1]
        keys = one.keys() | other.keys()
        expected = {key: one.get(key, 0.0) + 2.0 * other.get(key, 0.0) for key in keys}
        assert_same_scores(together, expected, self.exactness, "f + 2 g")

    def test_a_constant_changes_no_term(self) -> None:
        """f + 3 has the interactions of f."""
        shifted = planted_pair().plus(MultilinearGame(5, {(): 3.0}))
        attributions, scores = self._play(shifted)
        bases = self._table(shifted).base
        for base in bases.values() if isinstance(bases, Mapping) else [bases]:
            # a method that does not look at the baseline has none
            assert base == 0 or abs(base - 3.0) <= self.exactness * 3.0, f"v(all masked) is 3, base {base}"
        expected = self._play(planted_pair())
        assert_same_scores(scores, expected[1], self.exactness, "f + 3")
        assert_close(attributions, expected[0], self.exactness, "f + 3")

    def test_planted_terms_are_found(self) -> None:
        """The strongest term of several players is the planted one, and its score has the effect's sign."""
        low, high = self.method.orders
        planted: list[tuple[MultilinearGame, tuple[int, ...]]] = []
        if low <= 2 <= (high or 2):
            planted.append((planted_pair(), (0, 3)))
        if low <= 3 <= (high or 3):
            planted.append((planted_triple(), (0, 1, 3)))
        found = 0
        for game, members in planted:
            table = self._table(game)
            alike = [t for t in table if t.order == len(members)]
            if not alike:
                continue  # an order that these options leave out
            best = max(alike, key=lambda t: abs(t.score))
            assert best.members == members, f"planted {members}, the strongest is {best}"
            effect = game.dividends(_ROW[0])[members]
            assert best.score * effect > 0, f"planted {members} with {effect:+.3g}, found {best.score:+.3g}"
            found += 1
        assert found or not planted, "no term of the planted orders was found in any game"
        attributions = self._play(planted_pair())[0]
        assert bool((attributions != 0).any()), "nobody has a share of a game that is not constant"

    def test_all_scores_together_are_the_effect(self) -> None:
        """Of a complete method: terms, and attributions, add up to v(all present) - v(all masked)."""
        claimed = self.complete
        if claimed is None:
            claimed = getattr(self.build(self._case(planted_pair(), list(range(5)))), "complete", False)
        if not claimed:
            pytest.skip("it does not claim completeness (complete = True)")
        for game in (planted_pair(), planted_triple(), two_alike()):
            attributions, scores = self._play(game)
            effect = float(game(_ROW)[0]) - game.base()
            bases = self._table(game).base
            for base in bases.values() if isinstance(bases, Mapping) else [bases]:
                assert abs(base - game.base()) <= self.exactness * max(abs(effect), 1.0), f"base {base}"
            assert abs(sum(scores.values()) - effect) <= self.exactness * max(abs(effect), 1.0)
            assert abs(float(attributions.sum()) - effect) <= self.exactness * max(abs(effect), 1.0)

    def test_renamed_players_have_renamed_terms(self) -> None:
        """The order of the players has no part in the answer."""
        order = [3, 0, 4, 1, 2]  # player i becomes order[i]
        game = planted_triple().plus(two_alike())
        back = sorted(range(5), key=order.__getitem__)  # who player i was
        attributions, scores = self._play(game.renamed(order), back)
        plain = self._play(game)
        expected = {_renamed(key, dict(enumerate(order))): score for key, score in plain[1].items()}
        assert_same_scores(scores, expected, self.exactness, "players renamed")
        assert_close(attributions[:, order], plain[0], self.exactness, "players renamed")

    # ---------------------------------------------------------------- what the checks use
    def _case(self, game: MultilinearGame, columns: Sequence[int]) -> Case:
        background = 1.0 + noise(400, game.n, seed=7).double()
        return Case(game, _ROW[:, columns], None, {}, background[:, columns])

    def _table(self, game: MultilinearGame) -> Interactions:
        case = self._case(game, list(range(game.n)))
        return self.interact(self.build(case), case.inputs)[0]

    def _play(self, game: MultilinearGame, columns: Sequence[int] = range(5)) -> tuple[Any, Scores]:
        """Attributions and scores for the row, whose cells stand in a given order."""
        case = self._case(game, list(columns))
        method = self.build(case)
        return self.attribute(method, case.inputs), scores_of(self.interact(method, case.inputs)[0])


def _renamed(
    key: tuple[tuple[int, ...], str, str], names: Mapping[int, int]
) -> tuple[tuple[int, ...], str, str]:
    members, kind, scope = key
    return tuple(sorted(names.get(i, i) for i in members)), kind, scope
