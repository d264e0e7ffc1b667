"""GraphSpectral: maps made in training and afterwards, learned graphs, the zoo's models, and the cost.

python -m benchmarks.graph_spectral
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

import hoi_captum as hoi
from benchmarks.harness import paired_ratio, single_threaded, table, write
from hoi_captum.graphs import GraphSpectralRegularizer, grid, learned_graph, spectral_groups
from hoi_captum.graphs.affinities import AFFINITIES
from hoi_captum.measures import morans_i

STEPS = 2000
SEEDS = (0, 1, 2)
# alpha, form
TRAININGS = (
    (0.0, "raw"),
    (0.01, "raw"),
    (0.03, "raw"),
    (0.1, "raw"),
    (0.03, "rayleigh"),
    (0.01, "heat"),
)
PERMUTATIONS = 999


@dataclass(frozen=True, eq=False)
class Digits:
    """scikit-learn's digits, in [0, 1], and a network 64-128-64-10 with ReLU that was trained on them."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    net: nn.Sequential

    @property
    def accuracy(self) -> float:
        return float((self.net(self.x_test).argmax(1) == self.y_test).double().mean())

    def activations(self) -> Tensor:
        """Of the layer of 64, on the test digits."""
        with torch.no_grad():
            return self.net[:4](self.x_test).double()


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def train(seed: int, alpha: float, form: str, **options: Any) -> Digits:
    x, y = load_digits(return_X_y=True)
    split = train_test_split((x / 16).astype(np.float32), y, test_size=0.3, stratify=y, random_state=0)
    seen, test, labels, test_labels = (torch.as_tensor(part) for part in split)
    torch.manual_seed(seed)
    net = network()
    adam = torch.optim.Adam(net.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(seed)
    with GraphSpectralRegularizer(net[3], "grid", alpha, form=form, **options) as regularizer:
        for _ in range(STEPS):
            rows = torch.randint(len(seen), (64,), generator=generator)
            loss = functional.cross_entropy(net(seen[rows]), labels[rows]) + regularizer.penalty()
            adam.zero_grad()
            loss.backward()
            adam.step()
    return Digits(seen, labels, test, test_labels, net.eval())


def moran(z: Tensor, y: Tensor) -> float:
    means = np.stack([z[y == digit].mean(0).numpy() for digit in range(10)])
    return morans_i(means, grid(64), n_permutations=0).value


def spread(values: list[float]) -> str:
    return f"{np.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def in_training() -> str:
    rows = []
    for alpha, form in TRAININGS:
        trained = [train(seed, alpha, form) for seed in SEEDS]
        z = [d.activations() for d in trained]
        rows.append(
            (
                f"{alpha:g}" if alpha else "0 (plain)",
                form if alpha else "-",
                spread([d.accuracy for d in trained]),
                spread([moran(a, d.y_test) for a, d in zip(z, trained, strict=True)]),
                spread([float((a == 0).all(0).double().mean()) for a in z]),
            )
        )
    text = (
        f"64-128-64-10 with ReLU, {STEPS:,} steps of Adam, the layer of 64 on an 8 x 8 grid; median of "
        f"{len(SEEDS)} seeds (least to most). Moran's I is that of the ten class-mean maps of test digits."
    )
    return text + "\n\n" + table(("alpha", "form", "accuracy", "Moran's I", "dead units"), rows)


def afterwards(digits: Digits) -> str:
    rows: list[tuple[object, ...]] = []
    ways: dict[str, dict[str, Any]] = {
        "probe (default)": {},
        "probe, alpha 0": {"alpha": 0.0},
        "layout": {"method": "layout"},
    }
    fitted = None
    for name, options in ways.items():
        started = time.perf_counter()
        fitted = hoi.GraphSpectral(digits.net, digits.net[3], **options).fit(digits.x)
        seconds = time.perf_counter() - started
        maps = fitted.class_maps(digits.x_test, digits.y_test, n_permutations=PERMUTATIONS)
        kept = fitted.accuracy_kept(digits.x_test, digits.y_test)
        rows.append(
            (
                name,
                f"{fitted.quality_.fve:.3f}",
                f"{kept.before:.4f} -> {kept.after:.4f}",
                f"{maps.moran.value:.2f}",
                f"{maps.edges.p:.3f}",
                f"{maps.separation.p:.3f}",
                f"{seconds:.1f}",
            )
        )
    assert fitted is not None
    chance = []
    for seed in range(20):
        order = torch.as_tensor(np.random.default_rng(seed).permutation(64))
        fitted.units_ = replace(fitted.units_, order=order)
        chance.append(fitted.class_maps(digits.x_test, digits.y_test, n_permutations=0).moran.value)
    rows.append(("random order (20)", "-", "-", f"{np.mean(chance):.2f}", "-", "-", "-"))
    columns = ("method", "FVE", "accuracy", "Moran's I", "p edges", "p separation", "fit, s")
    text = (
        f"The plain network of the first seed; p of {PERMUTATIONS} permutations, .001 is the least possible."
    )
    return text + "\n\n" + table(columns, rows)


def groups_of_noise() -> str:
    rows = []
    for affinity in AFFINITIES:
        found = []
        for noise in (0.2, 0.4, 0.5, 0.7, 1.0):
            scores = []
            for seed in range(6):
                z, groups = planted(seed, noise)
                scores.append(adjusted_rand_score(groups, spectral_groups(learned_graph(z, affinity))))
            found.append(f"{np.median(scores):.2f}")
        rows.append((affinity, *found))
    text = (
        "400 rows of 6 groups of 8 neurons, of which each is its group's latent times .5 to 1.5, plus noise; "
        "adjusted Rand index of the groups found, without their number (median of six seeds)."
    )
    return text + "\n\n" + table(("affinity", *(f"noise {n}" for n in (0.2, 0.4, 0.5, 0.7, 1.0))), rows)


def planted(seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(6), 8)
    latent = random.standard_normal((400, 6))
    z = latent[:, groups] * random.uniform(0.5, 1.5, 48) + noise * random.standard_normal((400, 48))
    return np.maximum(z, 0), groups


def zoo() -> str:
    rows = []
    cases: tuple[tuple[str, str, str, int], ...] = (
        ("digits-resnet", "layer3", "mean", 600),
        ("sentiment-bert-a", "bert.encoder.layer.1", "mean", 800),
        ("sentiment-llama-a", "model.layers.1", "last", 800),
        ("sentiment-llama-a", "model.layers.1", "mean", 800),
    )
    for name, layer, pooling, n in cases:
        loaded = hoi.zoo.load(name)
        model, other = loaded
        kind = "transforms" if name.startswith("digits") else "tokenizer"
        adapter = hoi.adapt(model, **{kind: other})
        raws, names = zip(*hoi.zoo.samples(name, n), strict=True)
        classes = sorted(set(names))
        data = [
            {**example, "labels": torch.tensor([classes.index(label)])}
            for example, label in zip(adapter.examples(raws), names, strict=True)
        ]
        cut = 2 * n // 3
        started = time.perf_counter()
        method = hoi.GraphSpectral(adapter.forward_func, model.get_submodule(layer), pooling=pooling)
        method.fit(data[:cut])
        seconds = time.perf_counter() - started
        maps = method.class_maps(data[cut:], n_permutations=PERMUTATIONS)
        rows.append(
            (
                name,
                f"{layer}, {pooling}",
                f"{method.quality_.fve:.3f}",
                f"{maps.moran.value:.2f}",
                f"{maps.edges.p:.3f}",
                f"{maps.separation.value:.3f} ({maps.separation.p:.3f})",
                f"{seconds:.0f}",
            )
        )
    columns = ("model", "layer, pooling", "FVE", "Moran's I", "p edges", "separation (p)", "fit, s")
    text = "Two thirds of the zoo's samples fit the map, the last third judges it by their labels."
    return text + "\n\n" + table(columns, rows)


def cost(digits: Digits) -> str:
    fitted = hoi.GraphSpectral(digits.net, digits.net[3]).fit(digits.x)
    x = digits.x_test[:256]

    def forward() -> None:
        with torch.no_grad():
            digits.net(x)

    def step(regularizer: GraphSpectralRegularizer | None, net: nn.Sequential) -> Callable[[], None]:
        def once() -> None:
            loss = functional.cross_entropy(net(digits.x[:64]), digits.y[:64])
            if regularizer is not None:
                loss = loss + regularizer.penalty()
            net.zero_grad()
            loss.backward()

        return once

    plain, penalised = network(), network()
    with GraphSpectralRegularizer(penalised[3], "grid", 0.03) as regularizer:
        in_step = paired_ratio(step(regularizer, penalised), step(None, plain), repeats=301)
    in_map = paired_ratio(lambda: fitted.neuron_map(x), forward, repeats=101)
    # the plain network is linear behind its layer, where pairs have nothing to do
    deep = nn.Sequential(*digits.net[:4], nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10)).eval()
    pairs = hoi.GraphSpectral(deep, deep[3], terms="pairs").fit(digits.x)
    row = x[:8]

    def bare() -> None:
        """64 reverse passes through the gradient of the layer's output, with nothing around them."""
        z = deep[:4](row).detach().requires_grad_()
        value = deep[4:](z)[:, 0].sum()
        (first,) = torch.autograd.grad(value, z, create_graph=True)
        for i in range(z.shape[1]):
            torch.autograd.grad(first[:, i].sum(), z, retain_graph=True)

    in_pairs = paired_ratio(lambda: pairs.interact(row, target=0), bare, repeats=21)
    rows = [
        ("a training step with the penalty / without (batch 64)", f"{in_step:.2f}"),
        ("neuron_map of 256 rows / one forward pass of them", f"{in_map:.2f}"),
        ("interact, pairs of 64 units, 8 rows / a bare loop of gradients", f"{in_pairs:.2f}"),
    ]
    text = (
        "On a network whose forward pass takes a fraction of a millisecond, so that fixed costs of a call "
        "weigh most."
    )
    return text + "\n\n" + table(("what", "ratio of times"), rows)


def main() -> None:
    single_threaded()
    warnings.simplefilter("ignore", hoi.errors.HoiWarning)
    plain = train(0, 0.0, "raw")
    write(
        "graph_spectral",
        "GraphSpectral: neuron maps",
        "python -m benchmarks.graph_spectral",
        [
            ("Maps made in training: digits", in_training()),
            ("Maps of the plain network: digits", afterwards(plain)),
            ("Groups of a learned graph", groups_of_noise()),
            ("Layers of the zoo's models", zoo()),
            ("Cost", cost(plain)),
        ],
    )


if __name__ == "__main__":
    main()
