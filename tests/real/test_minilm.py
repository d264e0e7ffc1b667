"""A MiniLM that judges reviews, against plain calls of transformers."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import Tensor

import hoi_captum as hoi
from hoi_captum.errors import FidelityWarning
from tests.real.conftest import Reviewer

pytestmark = pytest.mark.real

TEXT = "not a good film"
NOT, _, GOOD, FILM = range(4)
COALITIONS = torch.tensor(list(product((False, True), repeat=4)))
POSITIVE = 1
LEARNED_FROM = 120  # held-out reviews that the methods for layers learn from


def log_odds(reviewer: Reviewer, texts: list[str]) -> Tensor:
    """Of "positive"; with [MASK] in a text where a word is switched off."""
    batch = reviewer.adapter.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = reviewer.adapter.model(**batch).logits
    return (logits[:, POSITIVE] - logits[:, 1 - POSITIVE]).double()


@pytest.fixture(scope="module")
def values(reviewer: Reviewer) -> Tensor:
    """Of all coalitions of TEXT's words, rows counted in binary with the first word as the highest bit."""
    texts = [
        " ".join(word if here else "[MASK]" for word, here in zip(TEXT.split(), row, strict=True))
        for row in COALITIONS.tolist()
    ]
    return log_odds(reviewer, texts)


@pytest.fixture(scope="module")
def judged(reviewer: Reviewer) -> Tensor:
    """Of the held-out reviews, one by one."""
    return torch.cat([log_odds(reviewer, [text]) for text in reviewer.texts])


@pytest.fixture(scope="module")
def neurons(reviewer: Reviewer) -> Tensor:
    """The last layer of the reviews that are learned from: the mean over each one's tokens."""
    states = []
    with torch.no_grad():
        for text in reviewer.texts[:LEARNED_FROM]:
            ids = reviewer.adapter.tokenizer(text, return_tensors="pt")
            states.append(reviewer.adapter.model.bert(**ids).last_hidden_state[0].mean(0))
    return torch.stack(states)


def test_it_has_learned_to_judge(reviewer: Reviewer, judged: Tensor) -> None:
    right = (judged > 0) == (reviewer.labels == POSITIVE)
    assert len(right) == 205
    assert right.float().mean() > 0.78


def test_not_turns_good(reviewer: Reviewer, values: Tensor) -> None:
    table = hoi.explain(reviewer.adapter, TEXT, target="positive").interactions
    total = float(values[-1] - values[0])
    assert float(table.scores.sum()) == pytest.approx(total, abs=1e-4)
    told = torch.full_like(values, float(table.base))
    for term in table:
        members = COALITIONS[:, list(term.members)]
        told += term.score * (members.all(1) if term.kind == "and" else members.any(1))
    # what is allowed is relative to the effect
    torch.testing.assert_close(told, values, rtol=0, atol=0.021 * abs(total))
    # "good film" speaks for the film, and "not" takes more than that away
    of = {frozenset(np.flatnonzero(row)): float(v) for row, v in zip(COALITIONS, values, strict=True)}
    assert of[frozenset({1, GOOD, FILM})] - of[frozenset({1, FILM})] > 1
    assert of[frozenset({NOT, 1, GOOD, FILM})] < of[frozenset({1, FILM})]
    effects = {(term.members, term.kind): term.score for term in table}
    assert effects[(NOT,), "and"] < -1
    assert effects[(GOOD, FILM), "and"] > 0.5


def test_cross_derivatives(reviewer: Reviewer, values: Tensor) -> None:
    """Gates move each word from [MASK] to itself; Hessian by autograd through a plain call."""
    adapter, ids = reviewer.adapter, reviewer.adapter.tokenizer(TEXT)["input_ids"]
    words = adapter.model.get_input_embeddings().weight.detach()
    mask = words[adapter.tokenizer.mask_token_id]

    def value(gates: Tensor) -> Tensor:
        on_tokens = torch.cat((torch.ones(1), gates, torch.ones(1))).unsqueeze(1)
        logits = adapter.model(inputs_embeds=(mask + on_tokens * (words[ids] - mask)).unsqueeze(0)).logits[0]
        return logits[POSITIVE] - logits[1 - POSITIVE]

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = torch.autograd.functional.hessian(value, torch.ones(4))
    table = hoi.explain(adapter, TEXT, "taylor-cam", target="positive").interactions
    found = {term.members: term.score for term in table}
    for pair in combinations(range(4), 2):
        assert found[pair] == pytest.approx(float(expected[pair]), abs=1e-4)
    assert table.top(1)[0].members == (NOT, GOOD)
    # and switched off: f - f_i - f_j + f_ij
    off = float(values[0b1111] - values[0b0111] - values[0b1101] + values[0b0101])
    assert table.synergy(table.top(1)[0]) == pytest.approx(off, abs=1e-3)
    assert off < -1


def test_switched_off_pair_by_pair(reviewer: Reviewer, values: Tensor) -> None:
    table = hoi.explain(
        reviewer.adapter, TEXT, "taylor-cam", target="positive", mode="occlusion"
    ).interactions
    for term in table:
        i, j = (1 << (3 - member) for member in term.members)
        full = 0b1111
        off = float(values[full] - values[full - i] - values[full - j] + values[full - i - j])
        assert term.score == pytest.approx(off, abs=1e-3)
    assert table.top(1)[0].members == (NOT, GOOD)


def test_a_second_glance_says_how_little_it_saw(reviewer: Reviewer) -> None:
    """Between a word and [MASK] this model is far from quadratic: the surrogate has to say so."""
    table = hoi.explain(reviewer.adapter, TEXT, "second-glance", target="positive").interactions
    assert 0.2 < table.provenance.details["r2"] < 0.8


def test_a_factor_of_the_last_layer_is_the_sentiment(
    reviewer: Reviewer, judged: Tensor, neurons: Tensor
) -> None:
    reviews = reviewer.texts[:LEARNED_FROM]
    explanation = hoi.explain(
        reviewer.adapter,
        TEXT,
        "layer-local-corex",
        background=reviews,
        n_factors=4,
        n_clusters=1,
        include_logits=True,
    )
    table = explanation.interactions
    first = table.top(1)[0]
    names = [table.players[i] for i in first.members]
    assert {"log p(negative)", "log p(positive)"} <= set(names)
    assert first.score > 5 * table.top(2)[1].score
    strongest = max(
        (weight, name) for weight, name in zip(first.weights, names, strict=True) if name.startswith("neuron")
    )[1]
    neuron = neurons[:, int(strongest.removeprefix("neuron "))].double()
    assert abs(np.corrcoef(neuron, judged[:LEARNED_FROM])[0, 1]) > 0.75


def test_a_map_of_the_last_layer_keeps_what_the_model_says(reviewer: Reviewer, judged: Tensor) -> None:
    adapter = reviewer.adapter
    rows = [
        {**example, "labels": label.view(1)}
        for example, label in zip(adapter.examples(reviewer.texts), reviewer.labels, strict=True)
    ]
    method = hoi.GraphSpectral(
        adapter.forward_func, adapter.default_layer(), n_nodes=144, alpha=0.01, max_steps=600
    )
    with pytest.warns(FidelityWarning, match=r"the units explain \d\d%"):  # few reviews taught them
        method.fit(rows[:LEARNED_FROM])
    kept = method.accuracy_kept(rows[LEARNED_FROM:])
    right = (judged > 0) == (reviewer.labels == POSITIVE)
    assert kept.before == pytest.approx(float(right[LEARNED_FROM:].float().mean()))
    assert kept.after >= kept.before - 0.05
    assert method.class_maps(rows[LEARNED_FROM:]).separation.p < 0.01
