"""SecondGlance where the truth is known: the Hessian of its surrogate, peers, planted pairs, and the cost.

python -m benchmarks.second_glance
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import hoi_captum as hoi
from benchmarks.harness import single_threaded, table, write
from hoi_captum.core.arguments import Arguments
from hoi_captum.core.coalitions import Players
from hoi_captum.core.gates import InputGates
from hoi_captum.methods.second_glance.settings import DrawSettings
from tests.methods import planted
from tests.methods.second_glance import taught

EXPLAINED = 250
SEEDS = (0, 1, 2)
SURROGATES: dict[str, dict[str, Any]] = {
    "softplus (default)": {},
    "softplus, potential": {"symmetry": "potential"},
    "ridge (linear)": {"surrogate": "ridge"},
    "paper": {"surrogate": "paper"},
    "own: tanh 64-64": {},
}


def options_of(name: str) -> dict[str, Any]:
    if not name.startswith("own"):
        return SURROGATES[name]
    module = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4))
    return {"surrogate": module}


def hessians(tables: Sequence[hoi.SecondGlanceInteractions]) -> Tensor:
    """With their diagonals, (n, k, k)."""
    return torch.stack([torch.from_numpy(t.pairs + np.diag(t.curvature)) for t in tables])


def rms(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).square().mean().sqrt())


def correlation(found: Tensor, truth: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([found.flatten(), truth.flatten()]))[0, 1])


def fmt(values: Sequence[float], digits: int = 3) -> str:
    return f"{statistics.median(values):.{digits}f}"


# --- a product of two ---------------------------------------------------------------------------------------


def product_of_two(models: Sequence[nn.Module]) -> str:
    x = taught.inputs(1000, seed=5)
    truth = taught.hessian_of_pair(x)
    rows = []
    for n in (300, 1000, 3000):
        for name in SURROGATES:
            found: dict[str, list[float]] = {}
            for model in models:
                torch.manual_seed(0)  # of a module of one's own
                method = hoi.SecondGlance(model, **options_of(name))
                started = time.perf_counter()
                method.fit(taught.inputs(n, seed=1), 0)
                seconds = time.perf_counter() - started
                tables = method.interact(x, target=0)
                own = hessians(tables)
                quality = method.quality()
                for key, value in {
                    "r2": quality.pooled_r2,
                    "h12": float(own[:, 0, 1].mean()),
                    "spread": float(own[:, 0, 1].std()),
                    "rms": rms(own, truth),
                    "asymmetry": quality.asymmetry,
                    "zeros": quality.zero_fraction,
                    "sign": float((own[:, 0, 1] > 0).double().mean()),
                    "seconds": seconds,
                }.items():
                    found.setdefault(key, []).append(value)
            rows.append(
                (
                    n,
                    name,
                    fmt(found["r2"]),
                    f"{fmt(found['h12'])} ± {fmt(found['spread'])}",
                    f"{min(found['h12']):.3f} to {max(found['h12']):.3f}",
                    f"{fmt(found['rms'])} (worst {max(found['rms']):.3f})",
                    f"{fmt(found['asymmetry'])} (worst {max(found['asymmetry']):.3f})",
                    fmt(found["zeros"]),
                    fmt(found["sign"]),
                    f"{fmt(found['seconds'], 1)} s",
                )
            )
            print(rows[-1], flush=True)
    heads = ("rows", "surrogate", "R²", "H12", "its range", "rms error", "asymmetry", "zeros", "sign right")
    return table((*heads, "fit"), rows)


# --- peers on the same budget -------------------------------------------------------------------------------


def by_point(model: nn.Module, x: Tensor, way: str, value: float, budget: int) -> Tensor:
    """Hessians of each point alone, from its own gradients: differences, or Stein's estimate."""
    k = x.shape[1]

    def gradients(points: Tensor) -> Tensor:
        points = points.clone().requires_grad_()
        return torch.autograd.grad(model(points).sum(), points)[0].double()

    if way == "difference":
        steps = torch.cat([torch.eye(k), -torch.eye(k)]) * value
        assert len(steps) <= budget
        g = gradients((x.unsqueeze(1) + steps).flatten(0, 1)).view(len(x), 2 * k, k)
        found = (g[:, :k] - g[:, k:]) / (2 * value)
    else:
        half = budget // 2
        draws = value * torch.randn(half, k, generator=torch.Generator().manual_seed(0))
        steps = torch.cat([draws, -draws])
        g = gradients((x.unsqueeze(1) + steps).flatten(0, 1)).view(len(x), 2 * half, k)
        odd = (g[:, :half] - g[:, half:]) / 2
        found = torch.einsum("ni,bnj->bij", draws.double(), odd) / half / value**2
    return (found + found.transpose(1, 2)) / 2


PEERS = {
    **{f"gradient differences, h {h}": ("difference", h) for h in (0.05, 0.2, 0.4)},
    **{f"Stein, s {s}": ("stein", s) for s in (0.1, 0.2, 0.4)},
}


def same_budget(models: Mapping[str, tuple[nn.Module, Tensor, Tensor, int]]) -> str:
    """All of them have 3,000 gradients to explain 250 points with: 12 for each point, or 3,000 rows of "
    "data."""
    budget = 12 * EXPLAINED
    rows = []
    for name, (model, x, truth, width) in models.items():
        found = {peer: by_point(model, x, *how, 12) for peer, how in PEERS.items()}
        data = taught.inputs(budget, seed=1, width=width)
        for symmetry in ("average", "potential"):
            method = hoi.SecondGlance(model, symmetry=symmetry).fit(data, 0)
            found[f"SecondGlance, {symmetry}"] = hessians(method.interact(x, target=0))
        for peer, own in found.items():
            off = ~torch.eye(width, dtype=torch.bool)
            pairs = f"{correlation(own[:, off], truth[:, off]):.3f}"
            rows.append((name, peer, f"{rms(own, truth):.3f}", f"{correlation(own, truth):.3f}", pairs))
            print(rows[-1], flush=True)
    return table(("network", "method", "rms error", "correlation, all entries", "of pairs"), rows)


def smooth_function(x: Tensor) -> Tensor:
    return torch.sin(2 * x[:, 0] * x[:, 1]) + x[:, 2] * x[:, 3].exp() + (x[:, 4] + x[:, 0]).square() / 2


def networks() -> dict[str, tuple[nn.Module, Tensor, Tensor, int]]:
    x4, x6 = taught.inputs(EXPLAINED, seed=5), taught.inputs(EXPLAINED, seed=5, width=6)
    found: dict[str, tuple[nn.Module, Tensor, Tensor, int]] = {
        "ReLU, x1 x2 + x3 (truth: the function's)": (
            taught.teach(taught.pair),
            x4,
            taught.hessian_of_pair(x4),
            4,
        )
    }
    plain = x6.double().requires_grad_()
    first = torch.autograd.grad(smooth_function(plain).sum(), plain, create_graph=True)[0]
    truth = torch.stack(
        [torch.autograd.grad(first[:, i].sum(), plain, retain_graph=True)[0] for i in range(5)], 1
    )
    truth = torch.cat([truth, truth.new_zeros(len(truth), 1, 6)], 1).detach()
    relu = taught.teach(smooth_function, width=6)
    found["ReLU, six features (truth: the function's)"] = (relu, x6, truth, 6)
    for name, activation in (("GELU", nn.GELU), ("tanh", nn.Tanh)):
        model = taught.teach(smooth_function, activation, width=6)
        found[f"{name}, six features (truth: autograd)"] = (model, x6, taught.exact_hessian(model, x6), 6)
    return found


# --- triples ------------------------------------------------------------------------------------------------


def triples() -> str:
    x = taught.inputs(500, seed=5)
    sets = ((0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3))
    rows = []
    for seed in SEEDS:
        model = taught.teach(taught.triple, seed=seed, steps=4000)
        for name, options in {
            "M3 (default)": {},
            "twice differentiated": {"third": "autodiff"},
            "ridge (quadratic)": {"surrogate": "ridge"},
        }.items():
            method = hoi.SecondGlance(model, order=3, **options).fit(taught.inputs(5000, seed=1), 0)
            tables = method.interact(x, target=0)
            scores = [[{t.members: t.score for t in row}.get(s, 0.0) for s in sets] for row in tables]
            found = np.array(scores)
            rows.append(
                (
                    seed,
                    name,
                    f"{found[:, 0].mean():.3f} ± {found[:, 0].std():.3f}",
                    f"{np.abs(found[:, 1:].mean(0)).max():.3f}",
                    f"{method.quality().pooled_r2:.3f}",
                    f"{method.quality().third_r2:.3f}",
                )
            )
            print(rows[-1], flush=True)
    return table(
        ("seed", "third derivatives", "T123 (truth 1)", "largest other mean", "R²", "R² of M3"), rows
    )


# --- planted pairs ------------------------------------------------------------------------------------------

LOCAL: dict[str, dict[str, Any]] = {
    "uniform .5 to 1.5, ridge (default)": {},
    "gaussian .3, ridge (SmoothHess)": {"sampling": "gaussian", "width": 0.3},
    "uniform 0 to 2, ridge": {"width": 1.0},
    "bernoulli, ridge": {"sampling": "bernoulli"},
}


def share(tables: Sequence[hoi.SecondGlanceInteractions], truth: Tensor) -> str:
    pairs = torch.from_numpy(np.stack([t.pairs for t in tables]))
    return f"{float(planted.found(pairs, truth).double().mean()):.2f}"


def significance(tables: Sequence[hoi.SecondGlanceInteractions], truth: Tensor) -> str:
    """The planted pair's score in standard errors, median over rows."""
    truth = truth.expand(len(tables), 2).tolist()
    ratios = [abs(t.pairs[i, j]) / t.stderr[i, j] for t, (i, j) in zip(tables, truth, strict=True)]
    return f"{np.median(ratios):.1f}"


def text_models() -> dict[str, planted.BertScores | planted.LlamaScores]:
    return {
        "BERT, 2 x 64": planted.train_bert(),
        "LLaMA, 2 x 64": planted.train_llama(),
        "LLaMA, 4 x 128": planted.train_llama(width=128, layers=4),
        "LLaMA, 4 x 128, seed 1": planted.train_llama(1, width=128, layers=4),
    }


def around_inputs(cnn: nn.Module, texts: Mapping[str, planted.BertScores | planted.LlamaScores]) -> str:
    patches = torch.tensor([planted.PATCH_A, planted.PATCH_B])
    visible = planted.images(60, seed=7, least_contrast=0.2)
    rows = []
    for name, options in LOCAL.items():
        method = hoi.SecondGlance(cnn, **options)
        tables = method.interact(visible.pixels, target=0, feature_mask=planted.patch_mask())
        scores = torch.tensor([t.pairs[planted.PATCH_A, planted.PATCH_B] for t in tables])
        agreement = f"{np.corrcoef(scores, visible.interaction)[0, 1]:.2f}"
        rows.append(_local_row("ReLU CNN", name, tables, patches, agreement))
    data = planted.sequences(40, seed=7, both=True)
    for model_name, model in texts.items():
        target = 1 if isinstance(model, planted.BertScores) else planted.YES
        embeddings = planted.embed(model, data.ids)
        for name, options in LOCAL.items():
            method = hoi.SecondGlance(model, **options)
            tables = method.interact(embeddings, target=target, feature_mask=planted.token_mask())
            rows.append(_local_row(model_name, name, tables, data.pairs, "-"))
    heads = ("model", "draws", "gates", "top-1", "R²", "pair / standard error", "correlation with 2 a b")
    return table(heads, rows)


def _local_row(
    model: str,
    draws: str,
    tables: Sequence[hoi.SecondGlanceInteractions],
    truth: Tensor,
    agreement: str,
) -> tuple[object, ...]:
    details = [t.provenance.details for t in tables]
    r2 = f"{np.mean([d['r2'] for d in details]):.2f}"
    row = (model, draws, details[0]["gate"], share(tables, truth), r2, significance(tables, truth), agreement)
    print(row, flush=True)
    return row


def learned(cnn: nn.Module, texts: Mapping[str, planted.BertScores | planted.LlamaScores]) -> str:
    patches = torch.tensor([planted.PATCH_A, planted.PATCH_B])
    rows = []
    explained = planted.images(100, seed=7)
    for n in (500, 2000, 8000):
        data = planted.images(n, seed=21)
        method = hoi.SecondGlance(cnn).fit(data.pixels, 0, feature_mask=planted.patch_mask())
        tables = method.interact(explained.pixels, target=0)
        rows.append(_learned_row("ReLU CNN, patches by pca", n, method, tables, patches))
    test = planted.sequences(40, seed=7, both=True)
    for name, model in texts.items():
        target = 1 if isinstance(model, planted.BertScores) else planted.YES
        for n in (1000, 3000):
            data = planted.sequences(n, seed=31)
            method = hoi.SecondGlance(model, force=True).fit(
                planted.embed(model, data.ids), target, feature_mask=words(data.ids)
            )
            tables = method.interact(
                planted.embed(model, test.ids), target=target, feature_mask=words(test.ids)
            )
            rows.append(_learned_row(f"{name}, tokens by presence", n, method, tables, torch.tensor([0, 1])))
    heads = (
        "model and units",
        "rows",
        "R²",
        "asymmetry",
        "top-1 of rows",
        "over the data",
        "other / planted",
    )
    return table((*heads, "fit"), rows)


def words(ids: Tensor) -> Tensor:
    """The unit of each position: its token, wherever it stands; the first and last token are none."""
    mask = ids - planted.TOKEN_A
    mask[:, 0] = mask[:, -1] = -1
    return mask.unsqueeze(-1)


def _learned_row(
    name: str,
    n: int,
    method: hoi.SecondGlance,
    tables: Sequence[hoi.SecondGlanceInteractions],
    truth: Tensor,
) -> tuple[object, ...]:
    over = method.over_data()
    best = over.top(2)
    hit = best[0].members == tuple(truth.tolist())
    quality = method.quality()
    row = (
        name,
        n,
        f"{quality.pooled_r2:.2f}",
        f"{quality.asymmetry:.2f}",
        share(tables, truth),
        "found" if hit else "missed",
        f"{best[1].score / best[0].score:.3f}",
        f"{over.provenance.details['fit_seconds']:.1f} s",
    )
    print(row, flush=True)
    return row


# --- cost ---------------------------------------------------------------------------------------------------


def cost(cnn: nn.Module) -> str:
    """A call around one input against a bare loop over the same gates' gradients, run in turn."""
    image = planted.images(8, seed=7)
    mask = planted.patch_mask()
    method = hoi.SecondGlance(cnn)
    arguments = Arguments(cnn, image.pixels, None, 0)
    gates = InputGates(arguments, Players.from_feature_mask(arguments.inputs, mask))
    samples = DrawSettings("uniform", 0.5, None, 0).samples(planted.N_PATCHES, 2, network=False)
    points = 0.5 + torch.rand(samples, planted.N_PATCHES, generator=torch.Generator().manual_seed(0))

    def call() -> None:
        method.interact(image.pixels, target=0, feature_mask=mask)

    def loop() -> None:
        for row in range(len(image.targets)):
            for part in points.split(64):
                scale = part.clone().requires_grad_()
                value = gates.run(torch.full((len(part),), row), scale=scale)
                torch.autograd.grad(value.sum(), scale)

    ratios = []
    call(), loop()
    for _ in range(9):
        times = []
        for function in (call, loop):
            started = time.perf_counter()
            function()
            times.append(time.perf_counter() - started)
        ratios.append(times[0] / times[1])
    low, high = min(ratios), max(ratios)
    return (
        f"{samples} gradients for each of 8 images of 16 patches: {statistics.median(ratios):.2f} times the "
        f"bare loop (median of 9 runs in turn; {low:.2f} to {high:.2f}). The rest is the regression with "
        "its standard errors, the gradient at the image itself, and the tables."
    )


if __name__ == "__main__":
    single_threaded()
    warnings.simplefilter("ignore")  # of R^2, which is in the tables
    cnn, texts = planted.train_cnn(), text_models()
    pairs = [taught.teach(taught.pair, seed=seed) for seed in SEEDS]
    figures = ", ".join(f"{taught.r2(model, taught.pair):.4f}" for model in pairs)
    known = networks()
    write(
        "second_glance",
        "SecondGlance: what a surrogate of the gradients tells of second derivatives",
        "python -m benchmarks.second_glance",
        [
            (
                "A ReLU network that has learned x1 x2 + x3 (x4 does nothing)",
                "4-64-64-64-1, inputs uniform in [-1, 1]; H12 is 1 and every other entry 0. Medians of three "
                f"networks (R² {figures}); ± is over 1,000 points. rms error: over all 16 entries.\n\n"
                f"{product_of_two(pairs)}",
            ),
            (
                "Peers on the same budget",
                f"{12 * EXPLAINED:,} gradients to explain {EXPLAINED} points: 12 at each point for gradient "
                "differences (which use 8 or all 12 of them) and for Stein's estimate (antithetic draws), "
                "or one surrogate of as many rows of data. On smooth networks a difference over a small "
                "step is all but the derivative itself, and needs no surrogate; on ReLU networks it sees a "
                f"few kinks or none.\n\n{same_budget(known)}",
            ),
            ("Triples: ReLU networks that have learned x1 x2 x3 + x4, 5,000 rows", triples()),
            (
                "Planted pairs, around one input",
                "ReLU CNN: 60 images of 4 x 4 patches with contrasts of .2 to 1, one pair of 120 "
                "interacts. Texts: 40 sequences of ten tokens that hold both tokens of an AND, one pair of "
                "45. 128 gradients for each row. R² is of gradients left out one by one: a linear "
                "surrogate of curved gradients may explain little of them and find the pair all the same; "
                "whether it did is what the standard errors say. Deep LLaMAs are saturated where both "
                f"tokens are there.\n\n{around_inputs(cnn, texts)}",
            ),
            (
                "Planted pairs, learned from data",
                "Patches by the leading principal component of each, explained on 100 images with all "
                "contrasts; tokens by their presence, wherever they stand: 25 units, 300 pairs. Over the "
                "data: whether the planted pair has the largest mean size, and the next in parts of "
                f"it.\n\n{learned(cnn, texts)}",
            ),
            ("Cost", cost(cnn)),
        ],
    )
