"""Drawings of interactions: figures, tables for the terminal, and a page.

``VIEWS`` maps the name of each plot to a function ``(interactions, layout=None, **options) -> Figure``.
Nothing here loads matplotlib, Captum, rich or jinja2 before it is called for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hoi_captum.core.lazy import lazy_getattr

if TYPE_CHECKING:
    from hoi_captum.core.example import Layout
    from hoi_captum.core.interactions import Interactions
    from hoi_captum.views.beside import side_by_side
    from hoi_captum.views.boxes import pair_boxes_plot
    from hoi_captum.views.captum import image_figure, text_html, text_record
    from hoi_captum.views.changes import accuracy_change_plot
    from hoi_captum.views.factors import factors_plot, mi_bars_plot
    from hoi_captum.views.fidelity import faithfulness_plot
    from hoi_captum.views.maps import map_plot
    from hoi_captum.views.neuron_maps import (
        class_maps_plot,
        map_words_html,
        neuron_graph_plot,
        neuron_map_plot,
        neuron_maps_plot,
        segmentation_plot,
    )
    from hoi_captum.views.page import render_page, save_page
    from hoi_captum.views.partners import partner_html, partner_maps_plot, partner_records
    from hoi_captum.views.perturbation import perturbation_plot
    from hoi_captum.views.pivoted import PivotedTerms, pivot
    from hoi_captum.views.pixels import pixel_map_plot
    from hoi_captum.views.plots import (
        arc_plot,
        by_order_plot,
        default_plot,
        matrix_plot,
        network_plot,
        region_plot,
    )
    from hoi_captum.views.ratios import shared_ratio_plot
    from hoi_captum.views.screes import choice_plot, scree_plot
    from hoi_captum.views.sharing import shared_plot
    from hoi_captum.views.strength import strength_curves_plot, strength_plot
    from hoi_captum.views.table import interaction_table

__all__ = [
    "VIEWS",
    "PivotedTerms",
    "accuracy_change_plot",
    "arc_plot",
    "by_order_plot",
    "choice_plot",
    "class_maps_plot",
    "default_plot",
    "factors_plot",
    "faithfulness_plot",
    "image_figure",
    "interaction_table",
    "map_plot",
    "map_words_html",
    "matrix_plot",
    "mi_bars_plot",
    "network_plot",
    "neuron_graph_plot",
    "neuron_map_plot",
    "neuron_maps_plot",
    "pair_boxes_plot",
    "partner_html",
    "partner_maps_plot",
    "partner_records",
    "perturbation_plot",
    "pivot",
    "pixel_map_plot",
    "region_plot",
    "render_page",
    "save_page",
    "scree_plot",
    "segmentation_plot",
    "shared_plot",
    "shared_ratio_plot",
    "side_by_side",
    "strength_curves_plot",
    "strength_plot",
    "text_html",
    "text_record",
]

_HOMES = {
    "beside": ("side_by_side",),
    "boxes": ("pair_boxes_plot",),
    "captum": ("image_figure", "text_html", "text_record"),
    "changes": ("accuracy_change_plot",),
    "factors": ("factors_plot", "mi_bars_plot"),
    "fidelity": ("faithfulness_plot",),
    "maps": ("map_plot",),
    "neuron_maps": (
        "class_maps_plot",
        "map_words_html",
        "neuron_graph_plot",
        "neuron_map_plot",
        "neuron_maps_plot",
        "segmentation_plot",
    ),
    "page": ("render_page", "save_page"),
    "partners": ("partner_html", "partner_maps_plot", "partner_records"),
    "perturbation": ("perturbation_plot",),
    "pivoted": ("PivotedTerms", "pivot"),
    "pixels": ("pixel_map_plot",),
    "plots": ("arc_plot", "by_order_plot", "default_plot", "matrix_plot", "network_plot", "region_plot"),
    "ratios": ("shared_ratio_plot",),
    "screes": ("choice_plot", "scree_plot"),
    "sharing": ("shared_plot",),
    "strength": ("strength_curves_plot", "strength_plot"),
    "table": ("interaction_table",),
}


__getattr__ = lazy_getattr(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)


def _on_call(function: str, what: str) -> Callable[..., Any]:
    """A view that loads its module when it is called."""

    def view(interactions: Interactions, layout: Layout | None = None, **options: Any) -> Any:
        return __getattr__(function)(interactions, layout, **options)

    view.__name__ = view.__qualname__ = function
    view.__doc__ = what
    return view


#: The drawings by name: functions ``(interactions, layout=None, **options)`` that give a matplotlib Figure.
VIEWS: dict[str, Callable[..., Any]] = {
    "arcs": _on_call("arc_plot", "A text with arcs for pairs and beads for larger groups."),
    "by-order": _on_call("by_order_plot", "Sums of positive and of negative scores by order."),
    "factors": _on_call("factors_plot", "The strongest factors, with the information of their members."),
    "matrix": _on_call("matrix_plot", "Player by player, single players on the diagonal."),
    "network": _on_call("network_plot", "Players on a circle, pairs as lines."),
    "neuron-map": _on_call("neuron_map_plot", "A layer's map with its groups, of neuron maps."),
    "pair-boxes": _on_call("pair_boxes_plot", "The strongest pairs on the image: boxes, and a line between."),
    "partners": _on_call("partner_maps_plot", "What the players that interact most interact with."),
    "regions": _on_call("region_plot", "An image with its regions, lines for pairs, shapes for groups."),
    "shared": _on_call("shared_plot", "What all models share, and what each has for itself."),
    "strength": _on_call("strength_plot", "Absolute effects from the largest to the smallest."),
}
