"""The strongest pairs on an image, each in a picture of its own: boxes, and a line between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.example import ImageLayout, Layout
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_count
from hoi_captum.core.term import Term
from hoi_captum.errors import InputError
from hoi_captum.views.labels import decimals_for, format_score, join_names, joined, largest, shorten
from hoi_captum.views.outlines import Loop, centres, hull, outlines, region_patch, white_halo
from hoi_captum.views.pairs import role_note, role_of
from hoi_captum.views.palette import INK, sign_colour
from hoi_captum.views.panels import draw_empty, finish, grid, legend, only_scope, without_effect
from hoi_captum.views.places import check_places
from hoi_captum.views.wording import caution_of, score_label, sign_handles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 3.1  # inches of a panel
_HEAD = 0.66  # and of the two lines above it


def pair_boxes_plot(
    interactions: Interactions,
    layout: Layout | None = None,
    *,
    k: int = 6,
    order: int | None = None,
    scope: str | None = None,
    title: str | None = None,
) -> Figure:
    r"""The strongest pairs and larger sets on the image, a panel for each: their regions, joined by a line.

    A line joins the centres of a pair, a polygon those of three players and more. Colour is the sign of the
    score; where the table knows how a set acts together (its ``synergy``), the panel says so.

    Args:
        interactions: the table to draw.
        layout: an ImageLayout. Default: None
        k: number of panels, at most. Default: 6
        order: draw sets of this order alone (2: pairs). Default: None (2 and above)
        scope: draw this scope alone. Default: None (all)
        title: of the figure. Default: None

    Returns:
        Figure: panels from the strongest to the weakest.

    Raises:
        InputError: the layout is not that of an image, or not of as many players.
        OptionError: k below 1.

    Examples::

        >>> from hoi_captum.core.example import ImageLayout
        >>> layout = ImageLayout(torch.zeros(2, 4, 3), torch.tensor([[0, 0, 1, 1]]).expand(2, 4))
        >>> table = hoi.measures.k_sii(torch.tensor([0.0, -1.0, 0.5, 2.0])).with_players(["left", "right"])
        >>> hoi.views.pair_boxes_plot(table, layout).axes[0].get_title()
        '1. left · right'
    """
    if not isinstance(layout, ImageLayout):
        raise InputError(
            f"expected an ImageLayout to draw boxes, got {type(layout).__name__}; "
            "arc_plot draws the pairs of a text, matrix_plot those of anything else"
        )
    check_places(len(interactions.players), layout)
    check_count("k", k)
    table = only_scope(interactions, scope)
    wanted = table.orders > 1 if order is None else table.orders == order
    sets = table.take(np.nonzero(wanted & np.isfinite(table.scores))[0])
    shown = sets.top(k)
    image, mask = (np.asarray(part.detach().cpu()) for part in (layout.image.float(), layout.mask))
    height = _WIDTH * float(np.clip(image.shape[0] / image.shape[1], 0.4, 2.0))
    figure, axes = grid(max(len(shown), 1), 2 if len(shown) == 4 else 3, _WIDTH, height + _HEAD)
    figure.set_layout_engine("constrained", h_pad=0.09)  # boxes at the border reach out of their image
    for ax in axes:
        _draw_image(ax, image)
    if not len(shown):
        draw_empty(axes[0])
        return finish(figure, title)
    loops, middle = outlines(mask), centres(mask)
    decimals = decimals_for(largest(shown.scores))
    roles = []
    for rank, (term, ax) in enumerate(zip(shown, axes, strict=True), start=1):
        roles.append(role_of(shown, term))
        names = join_names(shown.players, term.members, limit=4, width=max(42 // term.order, 8))
        ax.set_title(
            shorten(f"{rank}. {names}", 54),
            fontsize=10 if len(names) < 38 else 7.5,
            pad=21,
            color=INK,
            parse_math=False,
        )
        said = [format_score(term.score, decimals), roles[-1]]
        said += [shorten(term.scope, 16)] if term.scope and len(sets.scope_names) > 1 else []
        ax.annotate(
            "   ".join(filter(None, said)),
            (0.5, 1.0),
            xycoords="axes fraction",
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=10,
            color=sign_colour(term.score),
            parse_math=False,
        )
        _draw_set(ax, term, loops, middle)
    legend(figure, sign_handles(shown))
    orders = set(sets.orders.tolist())
    what = "pairs" if orders == {2} else f"sets of {orders.pop()}" if len(orders) == 1 else "sets"
    notes = [f"numbers: {score_label(shown)}"] if score_label(shown) != "score" else []
    notes += [f"the {len(shown)} strongest of {len(sets):,} {what}"] if len(shown) < len(sets) else []
    notes += [without_effect(sets), caution_of(shown)]
    notes += [role_note(term.order for term, role in zip(shown, roles, strict=True) if role)]
    return finish(figure, title, joined(*notes))


def _draw_image(ax: Axes, image: NDArray[np.float32]) -> None:
    height, width = image.shape[:2]
    # a little pale, so that the boxes stand out
    ax.imshow(0.2 + 0.8 * np.clip(image, 0, 1), extent=(0, width, height, 0), interpolation="nearest")
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.axis("off")


def _draw_set(
    ax: Axes, term: Term, loops: dict[int, list[Loop]], middle: dict[int, tuple[float, float]]
) -> None:
    from matplotlib.patches import Polygon

    colour = sign_colour(term.score)
    seen = [m for m in term.members if m in middle]  # a player that the mask does not show has no place
    points = [middle[m] for m in seen]
    look: dict[str, Any] = {"ec": colour, "lw": 2.2, "joinstyle": "round", "path_effects": white_halo()}
    if len(points) > 2:
        points = hull(points)
        ax.add_patch(Polygon(points, fc=colour, ec="none", alpha=0.2, zorder=2))
    if len(points) > 1:
        ax.add_patch(Polygon(points, closed=len(points) > 2, fill=False, zorder=3, **look))
    for player in seen:
        ax.add_patch(region_patch(loops[player], colour))
        ax.plot(*middle[player], "o", ms=5.5, color=colour, mec="white", zorder=5)
