"""TaylorCAM on trained models of which it is known which pair acts together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hoi_captum as hoi
from hoi_captum.errors import DataWarning
from hoi_captum.methods.taylor_cam.result import TaylorInteractions
from tests.methods import planted

PAIR = torch.tensor([planted.PATCH_A, planted.PATCH_B])
N = 60


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def matrices(tables: list[TaylorInteractions]) -> Tensor:
    return torch.from_numpy(np.stack([table.pairs for table in tables]))


def share(pairs: Tensor, truth: Tensor) -> float:
    """Of the rows in which the strongest pair is the planted one."""
    return float(planted.found(pairs, truth).double().mean())


def of_truth(pairs: Tensor, truth: Tensor) -> Tensor:
    """The planted pair's score in each row."""
    truth = truth.expand(len(pairs), 2)
    return pairs[torch.arange(len(pairs)), truth[:, 0], truth[:, 1]]


def chosen(tables: list[TaylorInteractions]) -> set[tuple[str, str]]:
    return {(t.provenance.details["mode"], t.provenance.details["gate"]) for t in tables}


# --- a ReLU network on striped patches ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def visible() -> planted.Images:
    """Images in which every patch shows stripes, so that the pair acts in each."""
    return planted.images(N, seed=7, least_contrast=0.2)


def on_images(cnn: nn.Module, data: planted.Images, **options: Any) -> list[TaylorInteractions]:
    method = hoi.TaylorCAM(cnn, **options)
    return method.interact(data.pixels, target=0, feature_mask=planted.patch_mask())


def test_the_network_has_learnt_its_task(cnn: nn.Sequential) -> None:
    assert planted.r2(cnn, planted.images(2000, seed=99)) >= 0.97
    assert not [m for m in cnn.modules() if isinstance(m, nn.GELU | nn.Tanh | nn.Sigmoid | nn.Softplus)]


def test_auto_compares_gradients_and_finds_the_patches(cnn: nn.Sequential, visible: planted.Images) -> None:
    tables = on_images(cnn, visible)
    assert chosen(tables) == {("grad_diff", "input")}
    pairs = matrices(tables)
    assert share(pairs, PAIR) >= 0.95  # 1.00; asked for is .85
    truth = visible.interaction
    score = of_truth(pairs, PAIR)
    assert np.corrcoef(score, truth)[0, 1] >= 0.85
    assert float((score.sign() == truth.sign()).double().mean()) >= 0.95


def test_what_is_missed_is_where_the_patches_hardly_act(cnn: nn.Sequential) -> None:
    """Contrasts down to 0: 2 a b is below .1 in one of seven images."""
    data = planted.images(100, seed=7)
    pairs = matrices(on_images(cnn, data))
    hit, size = planted.found(pairs, PAIR), data.interaction.abs()
    assert 10 <= int((size < 0.1).sum()) <= 20
    assert share(pairs, PAIR) >= 0.8
    assert float(hit[size >= 0.1].double().mean()) >= 0.95
    assert bool(hit[size >= 0.25].all())


def test_over_a_data_set_nothing_comes_near_the_patches(cnn: nn.Sequential) -> None:
    mean = matrices(on_images(cnn, planted.images(100, seed=8))).abs().mean(0, keepdim=True)
    assert share(mean, PAIR) == 1
    strongest = mean.flatten().sort(descending=True).values  # each pair twice
    assert strongest[2] <= 0.15 * strongest[0]


@pytest.mark.parametrize("mode", ["exact", "path"])
def test_exact_derivatives_of_relus_are_zero(cnn: nn.Sequential, visible: planted.Images, mode: str) -> None:
    with pytest.warns(DataWarning, match="ReLUs and their like"):
        tables = on_images(cnn, visible, mode=mode)
    assert not matrices(tables).any()
    assert not any(len(table) for table in tables)


@pytest.mark.parametrize(
    ("mode", "options", "correlation", "slope"),
    [
        ("occlusion", {}, 0.99, (0.9, 1.1)),
        ("stein", {"n_samples": 128}, 0.85, (0.5, 0.9)),
        ("softplus", {}, 0.85, (0.4, 1.1)),
    ],
)
def test_the_other_modes_find_the_patches(
    cnn: nn.Sequential,
    visible: planted.Images,
    mode: str,
    options: dict[str, Any],
    correlation: float,
    slope: tuple[float, float],
) -> None:
    tables = on_images(cnn, visible, mode=mode, **options)
    pairs, truth = matrices(tables), visible.interaction.double()
    assert share(pairs, PAIR) >= 0.85
    score = of_truth(pairs, PAIR)
    assert np.corrcoef(score, truth)[0, 1] >= correlation
    assert slope[0] <= float((score * truth).sum() / truth.square().sum()) <= slope[1]
    assert ("swap_error" in tables[0].provenance.details) == (mode == "softplus")


def test_gates_on_a_convolution_find_the_positions(cnn: nn.Sequential, visible: planted.Images) -> None:
    """Positions of this layer see a patch and a rim of one pixel: those of the patches have to be found."""
    tables = hoi.TaylorCAM(cnn, cnn[3]).interact(visible.pixels, target=0)
    assert chosen(tables) == {("grad_diff", "layer")}
    assert len(tables[0].players) == planted.N_PATCHES
    assert share(matrices(tables), PAIR) >= 0.8


# --- BERT and LLaMA on an AND of two tokens -----------------------------------------------------------------


@pytest.fixture(scope="module")
def holding_both() -> planted.Sequences:
    return planted.sequences(N, seed=7, both=True)


@pytest.fixture(params=["bert", "llama"])
def model(request: pytest.FixtureRequest) -> planted.BertScores | planted.LlamaScores:
    scores: planted.BertScores | planted.LlamaScores = request.getfixturevalue(request.param)
    return scores


def on_tokens(
    model: planted.BertScores | planted.LlamaScores, data: planted.Sequences, **options: Any
) -> list[TaylorInteractions]:
    target = 1 if isinstance(model, planted.BertScores) else planted.YES
    method = hoi.TaylorCAM(model, **options)
    return method.interact(planted.embed(model, data.ids), target=target, feature_mask=planted.token_mask())


def test_the_transformers_have_learnt_their_task(
    model: planted.BertScores | planted.LlamaScores,
) -> None:
    assert planted.accuracy(model, planted.sequences(2000, seed=99)) == 1


def test_auto_finds_the_two_tokens(
    model: planted.BertScores | planted.LlamaScores, holding_both: planted.Sequences
) -> None:
    tables = on_tokens(model, holding_both)
    is_bert = isinstance(model, planted.BertScores)
    # a model so sure of an AND is flat around it: its attention is switched off instead
    assert chosen(tables) == {("exact", "input") if is_bert else ("occlusion", "attention")}
    assert share(matrices(tables), holding_both.pairs) >= 0.95


def test_the_derivative_of_a_saturated_and_is_negative_though_its_synergy_is_positive(
    model: planted.BertScores | planted.LlamaScores, holding_both: planted.Sequences
) -> None:
    tables = on_tokens(model, holding_both, mode="exact")
    tops = [table.top(1)[0] for table in tables]
    assert np.mean([t.score < 0 for t in tops]) >= 0.95
    assert np.mean([table.synergy(t) > 1 for table, t in zip(tables, tops, strict=True)]) >= 0.95


@pytest.mark.parametrize(
    "options",
    [
        {"gate": "attention"},
        {"gate": "attention", "mode": "exact"},
        {"gate": "value"},
        {"mode": "grad_diff"},
        {"mode": "occlusion"},
        {"output": "margin"},
    ],
    ids=lambda options: "-".join(options.values()),
)
def test_other_gates_modes_and_outputs_find_the_two_tokens(
    model: planted.BertScores | planted.LlamaScores, holding_both: planted.Sequences, options: dict[str, Any]
) -> None:
    pairs = matrices(on_tokens(model, holding_both, **options))
    assert share(pairs, holding_both.pairs) >= 0.95


def test_token_ids_are_explained_by_attention(
    bert: planted.BertScores, llama: planted.LlamaScores, holding_both: planted.Sequences
) -> None:
    """Ids have no scale, so auto gates the attention; on the LLaMA as it does for embeddings."""
    mask = planted.token_mask()[..., 0]

    def from_ids(ids: Tensor) -> Tensor:
        return llama.model(input_ids=ids, use_cache=False).logits[:, -1]

    tables = hoi.TaylorCAM(from_ids).interact(holding_both.ids, target=planted.YES, feature_mask=mask)
    assert chosen(tables) == {("occlusion", "attention")}
    torch.testing.assert_close(
        matrices(tables), matrices(on_tokens(llama, holding_both)), rtol=1e-3, atol=1e-4
    )
    tables = hoi.TaylorCAM(lambda ids: bert.model(input_ids=ids).logits).interact(
        holding_both.ids, target=1, feature_mask=mask
    )
    assert {gate for _, gate in chosen(tables)} == {"attention"}
    assert share(matrices(tables), holding_both.pairs) >= 0.95


def test_embedding_gates_of_a_llama_are_flat_where_its_norm_undoes_them(
    llama: planted.LlamaScores, holding_both: planted.Sequences
) -> None:
    r"""RMSNorm(alpha e) = RMSNorm(e): near 1 a scaled embedding is the same to the first block.

    Only at 0 does the token go, so that occlusion sees all of the interaction and the derivative next to
    nothing of it; on deeper models what remains ranks the wrong pairs first. Hence attention in auto.
    """
    flat = of_truth(matrices(on_tokens(llama, holding_both, gate="input")), holding_both.pairs)
    exact = matrices(on_tokens(llama, holding_both, gate="attention", mode="exact"))
    gated = of_truth(exact, holding_both.pairs)
    assert float(flat.abs().mean()) <= 0.02 * float(gated.abs().mean())
    switched = [
        of_truth(matrices(on_tokens(llama, holding_both, gate=g, mode="occlusion")), holding_both.pairs)
        for g in ("input", "attention")
    ]
    assert float(switched[0].mean()) >= 0.8 * float(switched[1].mean()) > 1
