"""Ten functions whose interactions are known: do cross derivatives of a network trained on them find these?

TaylorNID (Lerman, Venuto, Kautz, Xu, ICCV 2021) against Neural Interaction Detection, which reads weights
(Tsang, Cheng, Liu, ICLR 2018), on the functions of the latter with the truths of the former.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.harness import single_threaded, table, write
from hoi_captum import Interactions, Provenance, TaylorNID, TaylorNIDInteractions, Term
from hoi_captum.core.arguments import Arguments
from hoi_captum.core.coalitions import Players
from hoi_captum.core.derivatives import hessian
from hoi_captum.core.gates import InputGates
from hoi_captum.measures import interaction_auc, r_precision
from hoi_captum.methods.taylor_nid import neural_interaction_detection
from hoi_captum.methods.taylor_nid.aggregation import AGGREGATES

Columns = NDArray[np.float64]
FEATURES = 10
WIDTHS = (FEATURES, 140, 100, 60, 20, 1)
TRAINING_ROWS, OTHER_ROWS = 10_000, 2_000
STEPS, BATCH, RATE = 4_000, 100, 1e-3
L1 = 5e-5  # NID's own nets are trained to have small weights
RANDOM_ROWS = 200
REPRESENTATIVES = ("mean", "median", "min", "max", "mode", "random")


@dataclass(frozen=True)
class Function:
    """A function of ten columns, (n, 10) to (n,), and the sets that truly interact in it."""

    formula: Callable[[Sequence[Columns]], Columns]
    truths: tuple[tuple[int, ...], ...]
    positive: bool = False  # inputs from (0, 1) and (.6, 1) in place of (-1, 1)

    def __call__(self, x: Columns) -> Columns:
        return self.formula(x.T)

    def draw(self, rows: int, seed: int) -> Columns:
        """Inputs, (rows, 10)."""
        generator = np.random.default_rng(seed)
        if not self.positive:
            return generator.uniform(-1, 1, (rows, FEATURES))
        x = generator.uniform(0, 1, (rows, FEATURES))
        narrow = [3, 4, 7, 9]
        x[:, narrow] = 0.6 + 0.4 * x[:, narrow]
        return x


def _f1(x: Sequence[Columns]) -> Columns:
    quotient = x[8] / x[9] * np.sqrt(x[6] / x[7])
    power = np.pi ** (x[0] * x[1]) * np.sqrt(2 * x[2])
    return power - np.arcsin(x[3]) + np.log(x[2] + x[4]) - quotient - x[1] * x[6]


def _f2(x: Sequence[Columns]) -> Columns:
    quotient = x[8] / (1 + abs(x[9])) * np.sqrt(abs(x[6]) / (1 + abs(x[7])))
    power = np.pi ** (x[0] * x[1]) * np.sqrt(2 * abs(x[2]))
    return power - np.arcsin(0.5 * x[3]) + np.log(abs(x[2] + x[4]) + 1) - quotient - x[1] * x[6]


def _f3(x: Sequence[Columns]) -> Columns:
    squares = np.log(x[3] ** 2 + x[4] ** 2 + x[6] ** 2 + x[7] ** 2)
    first = np.exp(abs(x[0] - x[1])) + abs(x[1] * x[2]) - (x[2] ** 2) ** abs(x[3])
    return first + squares + x[8] + 1 / (1 + x[9] ** 2)


def _f4(x: Sequence[Columns]) -> Columns:
    return _f3(x) + (x[0] * x[3]) ** 2


def _f5(x: Sequence[Columns]) -> Columns:
    first = 1 / (1 + x[0] ** 2 + x[1] ** 2 + x[2] ** 2)
    return first + np.sqrt(abs(x[3] + x[4])) + abs(x[5] + x[6]) + x[7] * x[8] * x[9]


def _f6(x: Sequence[Columns]) -> Columns:
    first = np.exp(abs(x[0] * x[1]) + 1) - np.exp(abs(x[2] + x[3]) + 1)
    return first + np.cos(x[4] + x[5] - x[7]) + np.sqrt(x[7] ** 2 + x[8] ** 2 + x[9] ** 2)


def _f7(x: Sequence[Columns]) -> Columns:
    first = (np.arctan(x[0]) + np.arctan(x[1])) ** 2 + np.maximum(x[2] * x[3] + x[5], 0)
    product = (1 + x[3] * x[4] * x[5] * x[6] * x[7]) ** -2
    return first - product + (abs(x[6]) / (1 + abs(x[8]))) ** 5 + sum(x)


def _f8(x: Sequence[Columns]) -> Columns:
    powers = 2 ** (x[2] + x[4] + x[5]) + 2 ** (x[2] + x[3] + x[4] + x[6])
    return x[0] * x[1] + powers + np.sin(x[6] * np.sin(x[7] + x[8])) + np.arccos(0.9 * x[9])


def _f9(x: Sequence[Columns]) -> Columns:
    first = np.tanh(x[0] * x[1] + x[2] * x[3]) * np.sqrt(abs(x[4])) + np.exp(x[4] + x[5])
    return first + np.log((x[5] * x[6] * x[7]) ** 2 + 1) + x[8] * x[9] + 1 / (1 + abs(x[9]))


def _f10(x: Sequence[Columns]) -> Columns:
    first = np.sinh(x[0] + x[1]) + np.arccos(np.tanh(x[2] + x[4] + x[6]))
    return first + np.cos(x[3] + x[4]) + 1 / np.cos(x[6] * x[8])


FUNCTIONS: Mapping[str, Function] = {
    "F1": Function(_f1, ((0, 1, 2), (2, 4), (6, 7, 8, 9), (1, 6)), positive=True),
    "F2": Function(_f2, ((0, 1, 2), (2, 4), (6, 7, 8, 9), (1, 6))),
    "F3": Function(_f3, ((0, 1), (1, 2), (2, 3), (3, 4, 6, 7))),
    "F4": Function(_f4, ((0, 1), (1, 2), (2, 3), (0, 3), (3, 4, 6, 7))),
    "F5": Function(_f5, ((0, 1, 2), (3, 4), (5, 6), (7, 8, 9))),
    "F6": Function(_f6, ((0, 1), (2, 3), (4, 5, 7), (7, 8, 9))),
    "F7": Function(_f7, ((0, 1), (2, 3, 5), (3, 4, 5, 6, 7), (6, 8))),
    "F8": Function(_f8, ((0, 1), (2, 4, 5), (2, 3, 4, 6), (6, 7, 8))),
    "F9": Function(_f9, ((0, 1, 2, 3, 4), (4, 5), (5, 6, 7), (8, 9))),
    "F10": Function(_f10, ((0, 1), (2, 4, 6), (3, 4), (6, 8))),
}


@dataclass(frozen=True)
class Split:
    """Standardised columns (rows, 10) and values (rows,), float32; the first are for training."""

    x: Tensor
    y: Tensor

    @classmethod
    def of(cls, function: Function, seed: int) -> Split:
        x = function.draw(TRAINING_ROWS + OTHER_ROWS, seed)
        scaled = []
        for values in (x, function(x)):
            fitted = values[:TRAINING_ROWS]
            scaled.append(torch.tensor((values - fitted.mean(0)) / fitted.std(0), dtype=torch.float32))
        return cls(*scaled)

    @property
    def rows(self) -> Tensor:
        """What a method may see, (10,000, 10) float64."""
        return self.x[:TRAINING_ROWS].double()


def train(
    data: Split, activation: type[nn.Module], seed: int, *, steps: int = STEPS, l1: float = 0.0
) -> nn.Sequential:
    """An MLP of the paper's widths, by Adam at a rate that falls to zero; float64 when it is done."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in pairwise(WIDTHS):
        layers += [nn.Linear(before, after), activation()]
    net = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(TRAINING_ROWS, (BATCH,))
        loss = (net(data.x[rows])[:, 0] - data.y[rows]).square().mean()
        if l1:
            loss = loss + l1 * sum(p.abs().sum() for p in net.parameters() if p.dim() > 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False).double()


def r_squared(net: nn.Module, data: Split) -> float:
    """On rows that were not trained on."""
    x, y = data.x[TRAINING_ROWS:].double(), data.y[TRAINING_ROWS:].double()
    return float(1 - (net(x)[:, 0] - y).square().mean() / y.var())


def over_random_rows(net: nn.Module, data: Split, seed: int) -> Interactions:
    """The mean absolute Hessian over rows drawn at random, without representatives."""
    generator = torch.Generator().manual_seed(seed)
    x = data.rows[torch.randperm(TRAINING_ROWS, generator=generator)[:RANDOM_ROWS]]
    gates = InputGates(Arguments(net, x), Players.from_feature_mask((x,), None))
    mean = hessian(gates, wrt=("shift", "shift")).abs().mean(0)
    terms = [Term(pair, "taylor", None, float(mean[pair])) for pair in combinations(range(FEATURES), 2)]
    return Interactions.from_terms(
        [str(i) for i in range(FEATURES)], terms, provenance=Provenance("mean |H|")
    )


Figures = dict[str, float]


def judge(function: Function, trial: int) -> tuple[Figures, TaylorNIDInteractions]:
    """All figures of one function and trial, and the table of the cross derivatives."""
    data, truths = Split.of(function, trial), function.truths
    smooth = train(data, nn.GELU, trial)
    nets = {
        "GELU": smooth,
        "ReLU": train(data, nn.ReLU, trial),
        "ReLU, L1": train(data, nn.ReLU, trial, l1=L1),
    }
    figures = {f"R2 {name}": r_squared(net, data) for name, net in nets.items()}

    def found(order: int, search: str) -> TaylorNIDInteractions:
        method = TaylorNID(smooth, order=order, search=search, seed=trial).fit(data.rows)
        return method.interact(data.rows[:1])[0]

    greedy = found(5, "greedy")
    figures["taylor 2"] = interaction_auc(greedy, truths, 2)
    figures["mean |H| 2"] = interaction_auc(over_random_rows(smooth, data, trial), truths, 2)
    figures["taylor 3 greedy"] = interaction_auc(greedy, truths, 3)
    figures["taylor 4 greedy"] = interaction_auc(greedy, truths, 4)
    for search in ("entity", "all"):
        figures[f"taylor 3 {search}"] = interaction_auc(found(3, search), truths, 3)
    figures["taylor R"] = r_precision(greedy, truths)
    for name, net in nets.items():
        pairs = neural_interaction_detection(net)
        beginnings = neural_interaction_detection(net, 5, every_pair=False)
        figures[f"NID {name} 2"] = interaction_auc(pairs, truths, 2)
        figures[f"NID {name} 3"] = interaction_auc(beginnings, truths, 3)
        figures[f"NID {name} 4"] = interaction_auc(beginnings, truths, 4)
        figures[f"NID {name} R"] = r_precision(beginnings, truths)
    return figures, greedy


def by_function(figures: Mapping[str, Sequence[Figures]], columns: Mapping[str, str]) -> str:
    """Means over the trials, a row for each function, and the means of these."""
    rows: list[list[object]] = []
    for name, trials in figures.items():
        rows.append([name, *(cell(t[key] for t in trials) for key in columns.values())])
    rows.append(["**mean**", *(f"**{over_all(figures, key):.3f}**" for key in columns.values())])
    return table(("", *columns), rows)


def cell(values: Iterable[float]) -> str:
    """A mean; a dash where no truth has the order."""
    mean = fmean(values)
    return "–" if np.isnan(mean) else f"{mean:.3f}"


def over_all(figures: Mapping[str, Sequence[Figures]], key: str) -> float:
    return float(np.nanmean([t[key] for trials in figures.values() for t in trials]))


def choices(
    tables: Mapping[str, Sequence[TaylorNIDInteractions]], order: int
) -> list[tuple[float, tuple[str, ...], str]]:
    """The mean AUC of all 63 choices of representatives with all 5 aggregations, best first."""
    of_order = {name: [t.where(order=order) for t in trials] for name, trials in tables.items()}
    found = []
    for size in range(1, len(REPRESENTATIVES) + 1):
        for chosen in combinations(REPRESENTATIVES, size):
            for how in AGGREGATES:
                aucs = [
                    interaction_auc(found_there.aggregated(chosen, how), FUNCTIONS[name].truths, order)
                    for name, trials in of_order.items()
                    for found_there in trials
                ]
                found.append((fmean(aucs), chosen, how))
    return sorted(found, key=lambda row: -row[0])


def of_choices(ranked: Sequence[tuple[float, tuple[str, ...], str]]) -> str:
    values = [value for value, _, _ in ranked]
    singles = {chosen[0]: value for value, chosen, how in ranked if len(chosen) == 1 and how == "mean"}
    every = {how: value for value, chosen, how in ranked if chosen == REPRESENTATIVES}
    named = [
        ("best", f"{values[0]:.3f}", f"{ranked[0][2]} of {', '.join(ranked[0][1])}"),
        ("median of the 315", f"{np.median(values):.3f}", ""),
        ("worst", f"{values[-1]:.3f}", f"{ranked[-1][2]} of {', '.join(ranked[-1][1])}"),
        *((f"{how} of all six", f"{value:.3f}", "") for how, value in every.items()),
        *((f"the {name} row alone", f"{value:.3f}", "") for name, value in singles.items()),
    ]
    return table(("", "AUC", "which"), named)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--trials", type=int, default=3, help="data sets and nets of each function. Default: 3"
    )
    trials = parser.parse_args().trials
    single_threaded()
    figures: dict[str, list[Figures]] = {}
    tables: dict[str, list[TaylorNIDInteractions]] = {}
    for name, function in FUNCTIONS.items():
        found = [judge(function, trial) for trial in range(trials)]
        figures[name], tables[name] = [f for f, _ in found], [t for _, t in found]
        means = {key: cell(f[key] for f in figures[name]) for key in figures[name][0]}
        print(name, means, flush=True)
    nets = ("GELU", "ReLU", "ReLU, L1")
    nid = {order: {f"NID, {net}": f"NID {net} {order}" for net in nets} for order in ("2", "3", "4", "R")}
    grown = {f"cross derivatives, {s}": f"taylor 3 {s}" for s in ("greedy", "entity", "all")}
    verdicts = [
        (
            f"order {order}",
            f"{over_all(figures, ours):.3f}",
            *(f"{over_all(figures, f'NID {net} {order}'):.3f}" for net in nets),
        )
        for order, ours in (("2", "taylor 2"), ("3", "taylor 3 greedy"), ("4", "taylor 4 greedy"))
    ]
    write(
        "tnid_synthetic",
        "Interactions of ten known functions",
        f"python -m benchmarks.tnid_synthetic --trials {trials}",
        [
            (
                "Means over the functions",
                f"AUC of telling true sets from others, {trials} trials of each function. Nets "
                f"{'-'.join(map(str, WIDTHS))}, Adam {RATE:g} falling to 0, {STEPS:,} steps of {BATCH} out "
                f"of {TRAINING_ROWS:,} standardised rows. Cross derivatives are of the GELU net, the mean of "
                "their absolute values at six representative rows; larger sets grow greedily from the ten "
                "best. NID reads the weights of the same net, of a ReLU net, and of a ReLU net trained with "
                f"{L1:g} times the sum of its absolute weights.\n\n"
                + table(("", "cross derivatives", *(f"NID, {net}" for net in nets)), verdicts),
            ),
            (
                "Pairs (order 2), AUC",
                "Also the mean absolute Hessian over "
                f"{RANDOM_ROWS} random rows in place of six representatives.\n\n"
                + by_function(
                    figures,
                    {"cross derivatives": "taylor 2", f"{RANDOM_ROWS} random rows": "mean |H| 2"} | nid["2"],
                ),
            ),
            ("Triples (order 3), AUC", by_function(figures, grown | nid["3"])),
            (
                "R-precision, orders 2 to 5",
                "Of the pruned ranking of all orders together.\n\n"
                + by_function(figures, {"cross derivatives": "taylor R"} | nid["R"]),
            ),
            ("R2 of the nets on other rows", by_function(figures, {net: f"R2 {net}" for net in nets})),
            (
                "Which rows, and how aggregated: order 2",
                "All 63 choices of representatives with all 5 aggregations, mean AUC over the functions.\n\n"
                + of_choices(choices(tables, 2)),
            ),
        ],
    )


if __name__ == "__main__":
    main()
