"""A conformance suite: checks as methods, of which some do not apply, and waivers that are strict."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from hoi_captum.core.interactions import Interactions

Scores = dict[tuple[tuple[int, ...], str, str], float]


class Suite:
    """Base of the suites: a class whose ``test_*`` methods pytest collects in an author's subclass.

    Class attributes:
        waivers: reasons by the names of checks that the method does not pass, and need not. A waived check
            has to fail: one that passes is reported, so that no waiver outlives its reason.

    Raises:
        TypeError: a waiver of a check that there is not, or without a reason; when the class is made.
    """

    waivers: ClassVar[Mapping[str, str]] = {}
    # random weights deserve the warnings that methods give of them
    pytestmark = pytest.mark.filterwarnings("ignore::hoi_captum.errors.HoiWarning")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, reason in vars(cls).get("waivers", {}).items():
            check = getattr(cls, name, None)
            if not name.startswith("test_") or not callable(check):
                close = difflib.get_close_matches(name, cls.checks(), n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise TypeError(f"{cls.__name__} waives {name!r}, which is no check of it{hint}")
            if not isinstance(reason, str) or not reason.strip():
                raise TypeError(f"{cls.__name__} waives {name!r} without a reason; say why it need not hold")
            setattr(cls, name, _waived(check, reason))

    @classmethod
    def checks(cls) -> list[str]:
        """The names of all checks."""
        return sorted(name for name in dir(cls) if name.startswith("test_"))


def _waived(check: Callable[..., Any], reason: str) -> Callable[..., Any]:
    @functools.wraps(check)
    def waived(self: Any) -> None:
        check(self)

    marked: Callable[..., Any] = pytest.mark.xfail(strict=True, reason=reason)(waived)
    return marked


def needs(function: Callable[..., Any], *names: str) -> None:
    """Skip a check that asks for arguments which the method does not take."""
    missing = [name for name in names if name not in inspect.signature(function).parameters]
    if missing:
        pytest.skip(f"{function.__qualname__} takes no {', '.join(missing)}")


def scores_of(table: Interactions) -> Scores:
    """Scores by (members, kind, scope)."""
    return {(t.members, t.kind, t.scope or ""): t.score for t in table}


def assert_same_scores(found: Scores, expected: Scores, tolerance: float, what: str) -> None:
    """Equal within a tolerance, in parts of the largest score; a term that is not there has the score 0."""
    largest = max([abs(v) for v in (*found.values(), *expected.values())], default=0.0)
    for key in found.keys() | expected.keys():
        came, wanted = found.get(key, 0.0), expected.get(key, 0.0)
        members, kind, scope = key
        named = f"{kind} of players {members}" + (f" in {scope}" if scope else "")
        assert abs(came - wanted) <= tolerance * max(largest, 1e-12), (
            f"{what}: expected {wanted:.9g} for {named}, got {came:.9g}"
        )


def assert_close(found: Any, expected: Any, tolerance: float, what: str) -> None:
    """Tensors, or tuples of them, equal within a tolerance in parts of the largest number."""
    pairs = zip(as_tuple(found), as_tuple(expected), strict=True)
    for came, wanted in pairs:
        assert came.shape == wanted.shape, f"{what}: expected shape {wanted.shape}, got {came.shape}"
        came, wanted = came.detach().double(), wanted.detach().double()
        scale = max(float(wanted.abs().max()), 1e-12) if wanted.numel() else 1.0
        worst = float((came - wanted).abs().max()) if wanted.numel() else 0.0
        assert worst <= tolerance * scale, f"{what}: they differ by {worst:.3g}, the largest is {scale:.3g}"


def as_tuple(value: Any) -> tuple[Tensor, ...]:
    """A tensor, or a tuple of them, as a tuple."""
    return value if isinstance(value, tuple) else (value,)


def snapshot(model: torch.nn.Module) -> dict[str, Any]:
    """What a call may not change of a model: flags, hooks, numbers, gradients."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "training flags": [m.training for m in model.modules()],
        "hooks": [[list(getattr(m, h)) for h in hooks] for m in model.modules()],
        "forward methods": ["forward" in vars(m) for m in model.modules()],
        "modules": [type(m) for m in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "parameters": [p.detach().clone() for p in model.parameters()],
        "buffers": [b.clone() for b in model.buffers()],
    }


def assert_unchanged(before: Mapping[str, Any], after: Mapping[str, Any], when: str) -> None:
    """Compare two snapshots."""
    for part, value in before.items():
        assert _same(value, after[part]), f"the model's {part} changed {when}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    return bool(one == other)
