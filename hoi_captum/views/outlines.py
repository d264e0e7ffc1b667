"""The outlines and the centres of the regions of a mask, and hulls of points."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

Loop = list[tuple[int, int]]
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # along the top of a pixel, its right, bottom and left side


def outlines(mask: NDArray[np.int64]) -> dict[int, list[Loop]]:
    """The border of each region as closed loops of corners (x, y), in pixel units.

    Pixel (row, column) covers the square from (column, row) to (column + 1, row + 1). Holes are loops of
    their own, so regions are filled by the even-odd rule. Background (-1) has no outline.

    Args:
        mask: (H, W) player ids, or -1.
    """
    return {int(player): _loops(mask == player) for player in np.unique(mask[mask >= 0])}


def _loops(inside: NDArray[np.bool_]) -> list[Loop]:
    padded = np.pad(inside, 1)
    # directed edges that keep the region to the right: from corner to corner, (x, y)
    follow: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for (dx, dy), (row, column) in zip(_STEPS, ((-1, 0), (0, 1), (1, 0), (0, -1)), strict=True):
        outside = ~np.roll(padded, (-row, -column), (0, 1))
        for r, c in np.argwhere(padded & outside) - 1:
            # the side towards (row, column), walked clockwise around the pixel
            x = int(c) + (1 if (row, column) in ((0, 1), (1, 0)) else 0)
            y = int(r) + (1 if (row, column) in ((1, 0), (0, -1)) else 0)
            follow[x, y].append((x + dx, y + dy))
    loops = []
    while follow:
        start = next(iter(follow))
        loop = [start]
        while True:
            here = loop[-1]
            there = follow[here].pop()
            if not follow[here]:
                del follow[here]
            if there == start:
                break
            loop.append(there)
        loops.append(_corners(loop))
    return loops


def _corners(loop: Loop) -> Loop:
    """The loop without the points that lie on a straight line between their neighbours."""
    return [
        b
        for a, b, c in zip(loop[-1:] + loop[:-1], loop, loop[1:] + loop[:1], strict=True)
        if (b[0] - a[0]) * (c[1] - b[1]) != (b[1] - a[1]) * (c[0] - b[0])
    ]


def centres(mask: NDArray[np.int64]) -> dict[int, tuple[float, float]]:
    """A point (x, y) inside each region: the middle of the pixel that is nearest to its mean position."""
    found = {}
    for player in np.unique(mask[mask >= 0]):
        pixels = np.argwhere(mask == player)
        mean = pixels.mean(0)
        row, column = pixels[((pixels - mean) ** 2).sum(1).argmin()]
        # the mean itself where it lies inside, so that even-sized squares get their true middle
        inside = mask[tuple(np.floor(mean + 0.5).astype(int))] == player
        y, x = mean if inside else (row, column)
        found[int(player)] = (float(x) + 0.5, float(y) + 0.5)
    return found


def region_patch(loops: list[Loop], colour: str) -> Any:
    """The outline of a region as a matplotlib patch that stands out from any image, whole at its border."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    outline = Path.make_compound_path(*(Path([*loop, loop[0]], closed=True) for loop in loops))
    return PathPatch(
        outline, fill=False, ec=colour, lw=2.2, path_effects=white_halo(), zorder=4, clip_on=False
    )


def white_halo() -> list[Any]:
    """Path effects of a line of 2.2 points that stands out from any image."""
    from matplotlib.patheffects import Normal, withStroke

    return [withStroke(linewidth=5.0, foreground="white"), Normal()]


def hull(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The convex hull of points, anticlockwise in the picture; of points on a line, its two ends."""
    ordered = sorted(set(points))
    if len(ordered) < 3:
        return ordered

    def half(chain: list[tuple[float, float]]) -> list[tuple[float, float]]:
        out: list[tuple[float, float]] = []
        for p in chain:
            while len(out) > 1:
                (ax, ay), (bx, by) = out[-2:]
                if (bx - ax) * (p[1] - ay) - (by - ay) * (p[0] - ax) > 0:
                    break
                out.pop()
            out.append(p)
        return out[:-1]

    return half(ordered) + half(ordered[::-1])
