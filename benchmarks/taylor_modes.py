"""Which way of taking second derivatives finds an interaction that is known, in three kinds of model."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import single_threaded, table, write
from hoi_captum import TaylorCAM
from hoi_captum.core.softplus import SoftplusForReLU
from tests.methods import planted

N_IMAGES, N_SEQUENCES = 60, 40
PATCHES = torch.tensor([planted.PATCH_A, planted.PATCH_B])

IMAGE_MODES: dict[str, dict[str, Any]] = {
    "auto": {},
    "exact": {"mode": "exact"},
    **{f"softplus, beta {b}": {"mode": "softplus", "beta": float(b)} for b in (5, 10, 20, 50)},
    **{f"grad_diff, h {h}": {"mode": "grad_diff", "h": h} for h in (0.01, 0.1, 0.3, 0.5, 1.0)},
    **{
        f"stein, stdev {s}, {n} draws": {"mode": "stein", "stdev": s, "n_samples": n}
        for s, n in ((0.3, 64), (0.3, 512), (0.3, 2048), (0.1, 512), (0.5, 512))
    },
    "occlusion": {"mode": "occlusion"},
}
TEXT_MODES: dict[str, dict[str, Any]] = {
    "exact": {"mode": "exact"},
    "grad_diff": {"mode": "grad_diff"},
    "stein, 256 draws": {"mode": "stein", "n_samples": 256},
    "path": {"mode": "path"},
    "occlusion": {"mode": "occlusion"},
}


class Answer(NamedTuple):
    """What one call found."""

    pairs: Tensor  # (n, k, k)
    synergy: Tensor  # (n,) of each row's strongest pair
    mode: str
    gate: str
    seconds: float


def explained(
    model: nn.Module, inputs: Tensor, mask: Tensor | None, options: Mapping[str, Any], **arguments: Any
) -> Answer:
    options = dict(options)
    method = TaylorCAM(model, options.pop("layer", None), **options)
    started = time.process_time()  # others may use the machine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exact derivatives of ReLUs are zero, as they should
        tables = method.interact(inputs, feature_mask=mask, **arguments)
    seconds = time.process_time() - started
    return Answer(
        torch.from_numpy(np.stack([t.pairs for t in tables])),
        torch.tensor([t.synergy(t.top(1)[0]) if len(t) else float("nan") for t in tables]),
        " or ".join(sorted({t.provenance.details["mode"] for t in tables})),
        tables[0].provenance.details["gate"],
        seconds,
    )


def forward_seconds(model: nn.Module, inputs: Tensor) -> float:
    seconds = []
    for _ in range(20):
        started = time.process_time()
        with torch.no_grad():
            model(inputs)
        seconds.append(time.process_time() - started)
    return statistics.median(seconds)


def ordered(pairs: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's sizes of all pairs (n, p), and where the planted one stands among them (n,)."""
    k = pairs.shape[-1]
    members = torch.tensor(list(combinations(range(k), 2)))
    column = (members == truth.expand(len(pairs), 2).unsqueeze(1)).all(-1).int().argmax(1)
    return pairs[:, members[:, 0], members[:, 1]].abs(), column


def top1(pairs: Tensor, truth: Tensor) -> str:
    # all zero: nothing was found, whichever pair comes first
    hit = planted.found(pairs, truth) & (pairs.abs().amax((1, 2)) > 0)
    return f"{float(hit.double().mean()):.2f}"


def others(sizes: Tensor, column: Tensor) -> Tensor:
    """The strongest other pair, in parts of the planted one."""
    rest = sizes.scatter(1, column.unsqueeze(1), 0.0).amax(1)
    return rest / sizes.gather(1, column.unsqueeze(1)).squeeze(1)


def median_rank(pairs: Tensor, truth: Tensor) -> int:
    sizes, column = ordered(pairs, truth)
    return int((sizes > sizes.gather(1, column.unsqueeze(1))).sum(1).median()) + 1


# --- the ReLU network ---------------------------------------------------------------------------------------


def image_modes(cnn: nn.Sequential, visible: planted.Images, any_size: planted.Images) -> str:
    truth = visible.interaction.double()
    rows = []
    for name, options in IMAGE_MODES.items():
        answer = explained(cnn, visible.pixels, planted.patch_mask(), options, target=0)
        forward = forward_seconds(cnn, visible.pixels)
        beside = explained(cnn, any_size.pixels, planted.patch_mask(), options, target=0).pairs
        score = answer.pairs[:, planted.PATCH_A, planted.PATCH_B]
        if bool(score.any()):
            local = others(*ordered(answer.pairs, PATCHES)).median()
            mean = others(*ordered(answer.pairs.abs().mean(0, keepdim=True), PATCHES))
            figures = (
                f"{float((score * truth).sum() / truth.square().sum()):.2f}",
                f"{np.corrcoef(score, truth)[0, 1]:.2f}",
                f"{float(local):.2f}",
                f"{float(mean):.2f}",
            )
        else:
            figures = ("0", "-", "-", "-")
        rows.append(
            (
                f"{name} ({answer.mode})" if name == "auto" else name,
                top1(answer.pairs, PATCHES),
                top1(beside, PATCHES),
                *figures,
                f"{1000 * answer.seconds / len(truth):.0f} ms",
                f"{answer.seconds / forward:.0f}",
            )
        )
        print(rows[-1], flush=True)
    return table(
        (
            "mode",
            "top-1, visible",
            "top-1, all contrasts",
            "slope",
            "correlation",
            "other / planted",
            "of means",
            "an image",
            "forward passes",
        ),
        rows,
    )


def by_size(cnn: nn.Sequential, data: planted.Images) -> str:
    pairs = explained(cnn, data.pixels, planted.patch_mask(), {}, target=0).pairs
    hit, size = planted.found(pairs, PATCHES), data.interaction.abs()
    rows = []
    for low, high in ((0.0, 0.05), (0.05, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 2.0)):
        inside = (size >= low) & (size < high)
        rows.append((f"{low} to {high}", int(inside.sum()), f"{float(hit[inside].double().mean()):.2f}"))
    rows.append(("all", len(size), f"{float(hit.double().mean()):.2f}"))
    return table(("abs(2 a b)", "images", "top-1 of auto"), rows)


def swapped(cnn: nn.Sequential) -> str:
    data = planted.images(2000, seed=99)
    figures = [f"R² {planted.r2(cnn, data):.3f} as it is"]
    for beta in (5.0, 10.0, 20.0, 50.0):
        with SoftplusForReLU(beta):
            figures.append(f"{planted.r2(cnn, data):.3f} with softplus, beta {beta:.0f}")
    return ", ".join(figures)


def layers(cnn: nn.Sequential, visible: planted.Images) -> str:
    """The second convolution's map has a position for each patch; the first one's has four."""
    rows = []
    for index, name in ((1, "first ReLU, 8 x 8"), (3, "second ReLU, 4 x 4"), (5, "third ReLU, 1 x 1")):
        answer = explained(cnn, visible.pixels, None, {"layer": cnn[index]}, target=0)
        side = int(answer.pairs.shape[-1] ** 0.5)
        if side == 1:
            rows.append((name, 1, answer.mode, "-", "-"))
            continue
        # where a position lies, in patches; the pair of patches that a pair of positions stands for
        place = torch.arange(side) * planted.GRID // side
        owner = (place.unsqueeze(1) * planted.GRID + place).flatten()
        summed = torch.zeros(len(answer.pairs), planted.N_PATCHES, planted.N_PATCHES, dtype=torch.float64)
        for i in range(len(owner)):
            summed[:, owner[i]].index_add_(1, owner, answer.pairs[:, i].abs())
        sizes, _ = ordered(answer.pairs, torch.tensor([0, 1]))
        members = torch.tensor(list(combinations(range(len(owner)), 2)))
        strongest = owner[members[sizes.argmax(1)]].sort(1).values
        hit = (strongest == PATCHES).all(1).double().mean()
        rows.append((name, len(owner), answer.mode, f"{float(hit):.2f}", top1(summed, PATCHES)))
    return table(
        ("gates on", "units", "auto's mode", "top pair lies in the patches", "after adding up by patch"), rows
    )


# --- BERT and LLaMA -----------------------------------------------------------------------------------------


def text_gates(model: planted.BertScores | planted.LlamaScores) -> dict[str, tuple[dict[str, Any], Any]]:
    weight = model.model.get_input_embeddings().weight.detach()
    mean = weight.mean(0).view(1, 1, -1).expand(1, planted.N_TOKENS + 2, -1)
    return {
        "embeddings, towards 0": ({"gate": "input"}, None),
        "embeddings, towards their mean": ({"gate": "input"}, mean),
        "attention": ({"gate": "attention"}, None),
        "values of the first layer": ({"gate": "value"}, None),
    }


def text_modes(models: Mapping[str, planted.BertScores | planted.LlamaScores]) -> tuple[str, str, str]:
    data = planted.sequences(N_SEQUENCES, seed=7, both=True)
    index = torch.arange(N_SEQUENCES)
    rows, signs, automatic = [], [], []
    for name, model in models.items():
        embeddings = planted.embed(model, data.ids)
        target = 1 if isinstance(model, planted.BertScores) else planted.YES
        automatically = explained(model, embeddings, planted.token_mask(), {}, target=target)
        share = float((automatically.synergy > 0).double().mean())
        automatic.append(
            (
                name,
                automatically.mode,
                automatically.gate,
                f"**{top1(automatically.pairs, data.pairs)}**",
                f"{share:.2f}",
                f"{1000 * automatically.seconds / N_SEQUENCES:.0f} ms",
                f"{automatically.seconds / forward_seconds(model, embeddings):.0f}",
            )
        )
        for gate, (options, baselines) in text_gates(model).items():
            found, positive = [], []
            for mode in TEXT_MODES.values():
                pairs = explained(
                    model,
                    embeddings,
                    planted.token_mask(),
                    options | mode,
                    target=target,
                    baselines=baselines,
                ).pairs
                found.append(f"{top1(pairs, data.pairs)} / {median_rank(pairs, data.pairs)}")
                score = pairs[index, data.pairs[:, 0], data.pairs[:, 1]]
                positive.append(f"{float((score > 0).double().mean()):.2f} ({float(score.mean()):+.2g})")
            rows.append((name, gate, *found))
            signs.append((name, gate, *positive))
            print(rows[-1], signs[-1], flush=True)
    heads = ("model", "gates", *TEXT_MODES)
    chosen = ("model", "mode", "gate", "top-1", "synergy above 0", "a sequence", "forward passes")
    return table(chosen, automatic), table(heads, rows), table(heads, signs)


if __name__ == "__main__":
    single_threaded()
    cnn = planted.train_cnn()
    visible = planted.images(N_IMAGES, seed=7, least_contrast=0.2)
    any_size = planted.images(100, seed=7)
    models = {
        "BERT, 2 x 64": planted.train_bert(),
        "LLaMA, 2 x 64": planted.train_llama(),
        "LLaMA, 4 x 128": planted.train_llama(width=128, layers=4),
        "LLaMA, 4 x 128, seed 1": planted.train_llama(1, width=128, layers=4),
    }
    accuracies = {name: planted.accuracy(m, planted.sequences(2000, seed=99)) for name, m in models.items()}
    automatic, found, signs = text_modes(models)
    write(
        "taylor_modes",
        "TaylorCAM: which derivative finds what is known",
        "python -m benchmarks.taylor_modes",
        [
            (
                "A ReLU network that has learnt 2 a b + c - d / 2",
                "Images of 4 x 4 striped patches, a to d the contrasts of four of them; one pair of 120 "
                "interacts. Top-1: the share of images whose strongest pair it is. "
                f"*Visible*: {N_IMAGES} images with contrasts of .2 to 1; *all contrasts*: "
                f"{len(any_size.targets)} with 0 to 1, in {int((any_size.interaction.abs() < 0.1).sum())} of "
                "which abs(2 a b) is below .1. Slope and correlation: of the pair's score against 2 a b. "
                "Other / planted: the strongest other pair in parts of the planted one, median over images, "
                "and of the mean over images. CPU time is a batch's, also in forward passes of that batch, "
                "with the occlusion of the ten strongest pairs.\n\n"
                f"{image_modes(cnn, visible, any_size)}\n\n"
                f"The swap of ReLUs changes the model: {swapped(cnn)}.",
            ),
            (
                "What auto misses",
                "1000 images, contrasts of 0 to 1: misses are images in which the pair hardly acts.\n\n"
                + by_size(cnn, planted.images(1000, seed=11)),
            ),
            ("Gates on layers of that network", layers(cnn, visible)),
            (
                "BERT and LLaMA that tell whether two tokens are both there: auto",
                f"{N_SEQUENCES} sequences of ten tokens that hold both; accuracies "
                + ", ".join(f"{a:.3f} ({name})" for name, a in accuracies.items())
                + ". Deep LLaMAs are saturated where both tokens are there: little is left of the derivative "
                "at 1, and it ranks other pairs first; a difference of gradients over h = .5, the path and "
                f"occlusion look further (below).\n\n{automatic}",
            ),
            ("Other gates and modes: top-1 / median rank of the pair among 45", found),
            (
                "Share of sequences where the pair's score is above 0 (and its mean)",
                "The AND is saturated where both tokens are there: its local derivative is below 0, what is "
                f"lost when they go is above.\n\n{signs}",
            ),
        ],
    )
