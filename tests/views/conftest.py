"""Small tables with known numbers, one for each layout."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from hoi_captum.core.example import ImageLayout, TableLayout, TextLayout
from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance

HOSTILE = "<script>alert(1)</script>"
MARKUP = "[red]x"
MATHS = "$5 & $\\frac"


@pytest.fixture
def review() -> tuple[Interactions, TextLayout]:
    """Two models on "not a bad film, un-funny": and/or terms of order 1 to 3."""
    pieces = (
        ("not", 0), (" ", -1), ("a", 1), (" ", -1), ("bad", 2), (" ", -1), ("film", 3), (",", -1), (" ", -1),
        ("un", 4), ("funny", 4), (".", -1),
    )  # fmt: skip
    terms = [
        Term((0,), "and", "model:0", -0.5),
        Term((2,), "and", "model:0", -1.0),
        Term((0, 2), "and", "model:0", 2.0),
        Term((0, 2), "and", "model:1", 1.5),
        Term((0, 2), "or", "model:0", -0.25),
        Term((2, 3), "or", "model:1", 0.75),
        Term((0, 2, 4), "and", "model:0", -0.6),
        Term((0, 2, 4), "and", "model:1", 0.3),
    ]
    source = Provenance(
        method="some-method",
        options={"batch_size": 64},
        target="positive",
        model=("Teacher", "Pupil"),
        seed=7,
        forward_passes=4096,
        seconds=75.25,
        details={"unit": "log-odds", "gap": [0.5, 0.25], "warnings": ["masking disturbs Pupil"]},
    )
    table = Interactions.from_terms(
        ("not", "a", "bad", "film", "unfunny"),
        terms,
        base={"model:0": 0.1, "model:1": -0.2},
        provenance=source,
    )
    return table, TextLayout(pieces)


@pytest.fixture
def digit() -> tuple[Interactions, ImageLayout]:
    """Nine regions of a grey ramp, all sets up to three, one nameless scope."""
    ramp = torch.linspace(0.2, 0.6, 24).expand(24, 24)[..., None].repeat(1, 1, 3)
    mask = torch.arange(24)[:, None] // 8 * 3 + torch.arange(24) // 8
    rng = np.random.default_rng(0)
    terms = [
        Term(s, "taylor", None, float(rng.normal() / order))
        for order in (1, 2, 3)
        for s in itertools.combinations(range(9), order)
    ]
    names = tuple(
        f"{row} {column}" for row in ("top", "middle", "bottom") for column in ("left", "mid", "right")
    )
    return Interactions.from_terms(names, terms, provenance=Provenance("m")), ImageLayout(ramp, mask)


@pytest.fixture
def row() -> tuple[Interactions, TableLayout]:
    """Twelve columns with long names, pairs and triples."""
    names = tuple(f"a rather long column name number {i}" for i in range(12))
    rng = np.random.default_rng(1)
    terms = [
        Term(s, "hessian", None, float(rng.normal()))
        for order in (1, 2, 3)
        for s in itertools.combinations(range(12), order)
    ]
    layout = TableLayout(names, tuple(range(12)), tuple(range(12)))
    return Interactions.from_terms(names, terms, provenance=Provenance("m")), layout


@pytest.fixture
def hostile() -> tuple[Interactions, TextLayout]:
    """Names that are HTML, rich markup and broken mathematics."""
    names = (HOSTILE, MARKUP, MATHS, "line\nbreak\u2028")
    terms = [Term((0,), "and", None, 1.0), Term((0, 1), "and", None, -2.0), Term((1, 2, 3), "or", None, 0.5)]
    source = Provenance(
        HOSTILE, options={HOSTILE: HOSTILE}, target=HOSTILE, model=(HOSTILE,), details={"warnings": [HOSTILE]}
    )
    layout = TextLayout(tuple((n, i) for i, n in enumerate(names)))
    return Interactions.from_terms(names, terms, provenance=source), layout


@pytest.fixture
def nothing() -> Interactions:
    """Three players, no term."""
    return Interactions.from_terms(("a", "b", "c"), [], provenance=Provenance("m"))
