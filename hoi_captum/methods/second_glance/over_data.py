"""What a surrogate says over all of the data that it was taught from, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from hoi_captum.core.provenance import Provenance
from hoi_captum.methods.second_glance.found import pairs_of, table_of, triples_of
from hoi_captum.methods.second_glance.learned import Learned, OneTarget
from hoi_captum.methods.second_glance.result import SecondGlanceInteractions


def table_over_data(
    learned: Learned,
    one: OneTarget,
    *,
    method: str,
    options: Mapping[str, Any],
    model: tuple[str, ...],
    seed: int,
) -> SecondGlanceInteractions:
    """The mean sizes of a target's derivatives.

    Args:
        learned, one: by the fit, and the target of it.
        method, options, model, seed: for the provenance.
    """
    over, quality = one.over_data, one.quality
    sizes = torch.from_numpy(over.size).clone().fill_diagonal_(0.0)
    members, scores = pairs_of(sizes)
    if over.third is not None:
        everyone = torch.ones(len(sizes), dtype=torch.bool)
        members, scores = triples_of(torch.from_numpy(over.third), everyone)
    arrays = {
        "pairs": sizes.numpy(),
        "main": over.gradient,
        "curvature": over.mean.diagonal(),
        "mean": over.mean,
        "amplifies": over.amplifies,
        "dampens": over.dampens,
    }
    details = {
        "mode": "size",
        "data_rows": quality.rows,
        "r2": quality.pooled_r2,
        "asymmetry": quality.asymmetry,
        "zero_fraction": quality.zero_fraction,
        "fit_seconds": learned.seconds,
        "how": f"surrogate of {quality.rows:,} gradients, R² {quality.pooled_r2:.2f}",
    } | ({} if learned.space.by_gates else {"unit": ""})
    target = next(key for key, value in learned.targets.items() if value is one)
    provenance = Provenance(
        method=method, options=options, target=str(target), model=model, seed=seed, details=details
    )
    return table_of(learned.names, members, scores, arrays, provenance)
