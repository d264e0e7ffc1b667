"""Seeing, and changing, what a model calls, without touching the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode


class Rewriting(TorchFunctionMode, ABC):
    """While active, every call of a PyTorch function goes through :meth:`call`.

    Functions that call others are told of as a whole: what is inside of them is not seen.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self.call(func, args, kwargs or {})

    @abstractmethod
    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What is given in the place of ``func(*args, **kwargs)``."""
