"""What GraphSpectral says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MapQuality:
    """How good a map is, on samples that taught it nothing.

    Attributes:
        fve: fraction of the layer's variance explained by the units (standardised neurons); 1 for a layout,
            which only moves them.
        roughness: mean Rayleigh quotient of the units; that of strangers is about the mean degree.
        dead: share of units that never vary.
        constant: neurons that never vary.
        n_samples: that taught.
        n_judged: that judged.
    """

    fve: float
    roughness: float
    dead: float
    constant: int
    n_samples: int
    n_judged: int


@dataclass(frozen=True)
class AccuracyKept:
    """What becomes of the model where the layer is what the units say of it.

    Attributes:
        before, after: accuracy of the model, and with the layer replaced; against its own predictions
            ``before`` is 1 where the data had no labels.
        agreement: share of rows with the same prediction.
        n_rows: rows.
    """

    before: float
    after: float
    agreement: float
    n_rows: int
