"""What tables of interactions owe their readers: the declared kinds and orders, provenance, files."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from hoi_captum.core.cost import REVERSE
from hoi_captum.core.interactions import Interactions
from hoi_captum.testing.cases import MethodCases, smooth_case
from hoi_captum.testing.suite import assert_same_scores, scores_of

_SEEDS = ("seed", "random_state")


class ResultChecks(MethodCases):
    """Tables keep the contract of :class:`~hoi_captum.Interactions`."""

    def test_terms_are_what_the_class_declares(self) -> None:
        """Kinds and orders among those declared, finite scores, known players, nothing twice."""
        low, high = self.method.orders
        for table in self._tables():
            assert isinstance(table, Interactions)
            seen = set()
            for term in table:
                assert term.kind in self.method.kinds, f"{term.kind!r} is not among kinds {self.method.kinds}"
                assert low <= term.order <= (high or term.order), f"order {term.order}, declared {low, high}"
                assert np.isfinite(term.score), f"the score of {term.members} is {term.score}"
                key = (term.members, term.kind, term.scope)
                assert key not in seen, f"{key} is there twice"
                seen.add(key)

    def test_provenance_is_complete(self) -> None:
        """Method, options, target, model, passes, seconds and versions; JSON values only; the seed if any."""
        name = getattr(self.method, "name", "")
        case = smooth_case()
        method = self.build(case)
        for table in self.interact(method, case.inputs, **case.call):
            source = table.provenance
            assert source.method == name, f"expected method {name!r}, got {source.method!r}"
            assert source.model, "the model is not named"
            assert "1" in source.target, f"expected target 1, got {source.target!r}"
            spent = source.forward_passes + source.backward_passes
            assert spent > 0, "no pass of the model is counted"
            assert source.seconds > 0
            assert {"hoi-captum", "torch", "captum"} <= set(source.libraries)
            for part in (dict(source.options), dict(source.details)):
                json.dumps(part, allow_nan=False)
            for option, value in self.options.items():
                if option in _SEEDS:
                    continue  # has a field of its own
                assert option in source.options, f"the option {option} is not recorded"
                if isinstance(value, str | int | float):
                    recorded = source.options[option]
                    assert recorded == value, f"{option}={value!r} is recorded as {recorded!r}"
            for option in _SEEDS:
                seed = self.options.get(option, getattr(method, option, None))
                if seed is not None and source.seed != seed:
                    assert source.seed is None, f"expected seed {seed}, got {source.seed}"
                    assert self._seed_is_idle(option, seed), (
                        f"another {option} gives another answer: record it"
                    )

    def test_cost_is_what_is_spent(self) -> None:
        """``cost`` tells a batch's passes before they are made: an int exactly, else within a factor of two
        of what they are worth, a reverse one being one to five forward ones."""
        case = smooth_case()
        method = self.build(case)
        tell = getattr(method, "cost", None)
        cost = None if tell is None else tell(case.inputs, **case.call)
        if cost is None or cost.total is None:
            pytest.skip("the method does not tell its cost beforehand")
        # rows may share a table
        tables = {id(table): table for table in self.interact(method, case.inputs, **case.call)}.values()
        forward = sum(table.provenance.forward_passes for table in tables)
        backward = sum(table.provenance.backward_passes for table in tables)
        told = cost.total
        if isinstance(cost.passes, int):
            assert told == forward + backward, f"{told} passes were told, {forward + backward} made"
        least, most = (forward + backward) / 2, 2 * (forward + REVERSE * backward)
        assert least <= told <= most, f"about {told:g} passes were told, {forward} + {backward} made"

    def test_tables_survive_a_file(self) -> None:
        """``save`` and ``load`` give the same table of the same type."""
        for table in self._tables():
            with tempfile.TemporaryDirectory() as folder:
                path = table.save(Path(folder) / "table.safetensors")
                again = type(table).load(path)
            assert type(again) is type(table), f"a {type(table).__name__} came back as {type(again).__name__}"
            assert_same_scores(scores_of(again), scores_of(table), 0.0, "after a file")
            assert again.players == table.players
            assert again.base == table.base
            assert again.provenance.to_json() == table.provenance.to_json()
            assert again.arrays.keys() == table.arrays.keys()
            for name, array in table.arrays.items():
                np.testing.assert_array_equal(again.arrays[name], array)
            weights = [[term.weights for term in t] for t in (again, table)]
            assert weights[0] == weights[1], "the members' weights changed in a file"

    def test_results_cannot_be_changed(self) -> None:
        """Columns and arrays are read-only, fields frozen."""
        table = self._tables()[0]
        with pytest.raises(dataclasses.FrozenInstanceError):
            table.base = 1.0  # type: ignore[misc]
        columns = (table.scores, table.members, table.offsets, table.kinds, table.scopes, table.weights)
        for array in (*columns, *table.arrays.values()):
            assert array is None or not array.flags.writeable

    def _seed_is_idle(self, option: str, seed: int) -> bool:
        """Whether another seed gives the same table."""
        case = smooth_case()
        other = type(self)()
        other.__dict__["options"] = {**self.options, option: seed + 1}
        tables = (s.interact(s.build(case), case.inputs, **case.call)[0] for s in (self, other))
        one, another = map(scores_of, tables)
        return one == another

    def _tables(self) -> list[Interactions]:
        case = smooth_case()
        return self.interact(self.build(case), case.inputs, **case.call)
