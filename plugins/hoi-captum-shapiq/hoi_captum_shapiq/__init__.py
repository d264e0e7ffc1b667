"""shapiq for hoi-captum: its estimators as a method, its games over our models, and tables both ways.

======================  ============================================================================
ShapiqInteractions      the method ``shapiq``: k-SII, SII, STII, FSII, FBII and BII of any model
to_shapiq, from_shapiq  a table as ``shapiq.InteractionValues``, and back
TableGame               a masked model as a ``shapiq.Game``, for everything else that shapiq can do
exact_interactions      the indices of all coalitions' values, without shapiq
======================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hoi_captum.authoring import hookimpl as hookimpl
from hoi_captum_shapiq.exact import exact_interactions
from hoi_captum_shapiq.method import ShapiqInteractions
from hoi_captum_shapiq.tables import from_shapiq, to_shapiq

if TYPE_CHECKING:
    from hoi_captum_shapiq.game import TableGame

__all__ = ["ShapiqInteractions", "TableGame", "exact_interactions", "from_shapiq", "to_shapiq"]

HOI_CAPTUM_API_VERSION = 1


@hookimpl
def hoi_captum_register_methods(register: Callable[[str, type], None]) -> None:
    register("shapiq", ShapiqInteractions)


def __getattr__(name: str) -> Any:
    # a subclass of shapiq.Game: shapiq takes a second to import, which other methods need not wait for
    if name == "TableGame":
        from hoi_captum_shapiq.game import TableGame

        return TableGame
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
