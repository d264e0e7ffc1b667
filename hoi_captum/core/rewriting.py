"""Seeing, and changing, what a model calls, without touching the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from torch.overrides import TorchFunctionMode

from hoi_captum.core.eager import eager


class Rewriting(TorchFunctionMode, ABC):
    """While active, every call of a PyTorch function goes through :meth:`call`.

    Functions that call others are told of as a whole: what is inside of them is not seen. What was compiled
    runs uncompiled.
    """

    def __enter__(self) -> Self:
        # a compiled model would take the mode into its code, with what it remembers between calls
        self._eager = eager()
        self._eager.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._eager.__exit__(*raised)

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
