"""TaylorNID: cross derivatives at the rows that stand for the data, against differences and a closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

import hoi_captum as hoi
from hoi_captum import zoo
from tests.matrix.oracles import Matrix, cross_differences, gated_logit, strongest
from tests.matrix.page import Check
from tests.matrix.routes import Ask
from tests.matrix.samples import Sample, with_images, with_texts

METHOD = hoi.TaylorNID
_ROWS = "mean sizes of the cross derivatives of all pairs at two rows of the data, {}; here the strongest"
FACTS = {
    "BERT": _ROWS.format("by gates on embeddings, equal those of central differences"),
    "LLaMA": _ROWS.format("by gates on attention, equal those of central differences"),
    "CNN": _ROWS.format("of log p by gates on pixels, are the softmax's alone: J' (p p' - diag p) J"),
}
TEXTS = (
    "not a bad film",
    "a very good movie",
    "the plot was bad",
    "one of the best",
    "it is so dull",
    "not very funny film",
)
IMAGES = 12


@pytest.fixture
def learning(sample: Sample, tmp_path: Path) -> Sample:
    """With a few rows to learn from."""
    if sample.is_text:
        return with_texts(sample, TEXTS, tmp_path / "texts.txt")
    return with_images(
        sample, [image for image, _ in zoo.samples("digits-resnet", IMAGES)], tmp_path / "images"
    )


def nearest(rows: Tensor) -> list[int]:
    """Which rows are nearest to all cells' means, and to their maxima."""
    cells = rows.flatten(1).double().numpy()
    return [int(np.square(cells - centre).sum(1).argmin()) for centre in (cells.mean(0), cells.max(0))]


def of_log_prob(sample: Sample) -> Matrix:
    """By gates, of log p of the target, for a network whose logits bend nowhere near."""
    gates = torch.ones(sample.players).double()
    slopes = jacobian(lambda g: sample.run(sample.model, sample.gated(g[None]))[0], gates)
    with torch.no_grad():
        p = sample.run(sample.model, sample.masked.inputs)[0].softmax(0)
    found: Tensor = slopes.T @ (torch.outer(p, p) - p.diag()) @ slopes
    return found.numpy()


def test_cross_derivatives_at_rows_of_the_data(learning: Sample, family: str, ask: Ask, check: Check) -> None:
    assert learning.background is not None
    rows = torch.cat(list(learning.background.tensors))
    chosen = nearest(rows)
    assert len(set(chosen)) == 2
    sizes = []
    for row in chosen:
        at_row = learning.at(rows[[row]]).in_double()
        if learning.is_text:
            sizes.append(np.abs(cross_differences(gated_logit(at_row), learning.players)))
        else:
            sizes.append(np.abs(of_log_prob(at_row)))
    expected = np.mean(sizes, axis=0)
    table = ask(
        learning,
        METHOD,
        "logit" if learning.is_text else "log_prob",
        representatives=("mean", "max"),
        multiply_by_inputs=True,
        gate="attention" if family == "LLaMA" else "input",
    )
    assert table.provenance.details["rows"] == dict(zip(("mean", "max"), chosen, strict=True))
    measured = table.matrix()
    off_diagonal = ~np.eye(learning.players, dtype=bool)
    size = expected[off_diagonal].max()
    np.testing.assert_allclose(measured[off_diagonal], expected[off_diagonal], rtol=0, atol=0.002 * size)
    pair = strongest(expected)
    assert table.top(1)[0].members == pair
    check(float(expected[pair]), float(measured[pair]), rel=0.002)
