"""What a map shows of classes: mean maps, the segmentation, and whether chance would do as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoi_captum.core.options import check_count
from hoi_captum.errors import InputError
from hoi_captum.graphs.neuron_graph import NeuronGraph
from hoi_captum.measures.neuron_maps import (
    Tested,
    class_separation,
    dead_units,
    morans_i,
    same_class_edges,
)


@dataclass(frozen=True, eq=False)
class ClassMaps:
    """Maps of classes.

    Attributes:
        graph: of k units.
        classes: labels, in order.
        names: one for each class.
        means: (classes, k) mean activations.
        counts: (classes,) rows.
        segments: (k,) place in ``classes`` of the class that each unit is most active for; -1 of dead units.
        moran: of the mean maps, p by permuting the units.
        edges: share of edges that join units of one segment, p by permuting the units.
        separation: share of the maps' variance between classes, p by permuting the rows' labels. (Smooth
            maps make neat segments of any labels: only both p together say that classes are there.)
    """

    graph: NeuronGraph
    classes: tuple[int, ...]
    names: tuple[str, ...]
    means: NDArray[np.float64]
    counts: NDArray[np.int64]
    segments: NDArray[np.int64]
    moran: Tested
    edges: Tested
    separation: Tested

    @classmethod
    def of(
        cls,
        maps: NDArray[np.float64],
        labels: NDArray[np.int64],
        graph: NeuronGraph,
        *,
        names: Mapping[int, str] | Sequence[str] | None = None,
        n_permutations: int = 999,
        seed: int = 0,
    ) -> ClassMaps:
        """From the maps of rows.

        Args:
            maps: (rows, k).
            labels: (rows,).
            graph: of k units.
            names: of the classes: by label. Default: None (the labels)
            n_permutations, seed: of the tests.

        Raises:
            InputError: fewer than two classes, or a label without a name.
        """
        check_count("n_permutations", n_permutations, low=0)
        classes = tuple(np.unique(labels).tolist())
        if len(classes) < 2:
            raise InputError(f"expected rows of at least two classes, got {len(classes)}")
        means = np.stack([maps[labels == c].mean(0) for c in classes])
        segments = np.where(dead_units(maps), -1, means.argmax(0)).astype(np.int64)
        options = {"n_permutations": n_permutations, "seed": seed}
        try:
            if isinstance(names, Sequence) and classes[0] < 0:  # which would count from the end
                raise LookupError(classes[0])
            named = tuple(str(c if names is None else names[c]) for c in classes)
        except (LookupError, TypeError) as error:
            raise InputError(f"expected names for the classes {list(classes)}: {error!r}") from error
        return cls(
            graph=graph,
            classes=classes,
            names=named,
            means=means,
            counts=np.array([(labels == c).sum() for c in classes]),
            segments=segments,
            moran=morans_i(means, graph, **options),
            edges=same_class_edges(segments, graph, **options),
            separation=class_separation(maps, labels, **options),
        )

    @property
    def maps(self) -> NDArray[np.float64]:
        """(classes, h, w) mean maps; NaN where the picture has no unit."""
        return self.graph.as_map(self.means)

    @property
    def contrasts(self) -> NDArray[np.float64]:
        """(classes, h, w) mean maps minus that of all classes."""
        return self.graph.as_map(self.means - self.means.mean(0))

    @property
    def segmentation(self) -> NDArray[np.float64]:
        """(h, w) of ``segments``; NaN where the picture has no unit."""
        return self.graph.as_map(self.segments)

    def __str__(self) -> str:
        def said(what: str, tested: Tested) -> str:
            return f"{what} {tested.value:.2f} (chance {tested.chance:.2f}, p {tested.p:.3f})"

        return (
            f"{len(self.classes)} classes, {int(self.counts.sum())} rows: "
            f"{said('Moran I of class means', self.moran)}, {said('edges within a segment', self.edges)}, "
            f"{said('variance between classes', self.separation)}"
        )
