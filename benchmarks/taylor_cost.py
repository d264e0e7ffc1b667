"""What TaylorCAM's derivatives cost, in forward passes of the model, and whether ``auto`` picks well."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.models import resnet18

from benchmarks.harness import single_threaded, table, write
from hoi_captum import zoo
from hoi_captum.core.arguments import Arguments
from hoi_captum.core.attention_gates import AttentionGates
from hoi_captum.core.coalitions import Players
from hoi_captum.core.derivatives import STRATEGIES, gradient, grow, hessian
from hoi_captum.core.differences import gradient_differences, occlusion, stein
from hoi_captum.core.gates import Gates, InputGates, LayerGates, cells_of_a_grid
from hoi_captum.inputs import adapt

UNITS = 16
FEW = 5  # too few to try both strategies
ROUNDS = 3


class Case(NamedTuple):
    """Gates on a model, for batches of so many rows."""

    name: str
    gates: Callable[[int], Gates]
    batches: tuple[int, ...] = (1,)
    units: int = UNITS


def image_cases() -> Iterator[Case]:
    """resnet18 of random weights: what they are does not change the cost."""
    torch.manual_seed(0)
    model = resnet18(weights=None).eval()
    images = torch.randn(1, 3, 112, 112)
    sides = int(UNITS**0.5)

    def arguments(rows: int) -> Arguments:
        return Arguments(model, images[:rows], target=0)

    def on_inputs(rows: int) -> Gates:
        given = arguments(rows)
        return InputGates(
            given, Players.from_feature_mask(given.inputs, cells_of_a_grid(given.inputs, sides))
        )

    def on_layer3(rows: int) -> Gates:  # 7 x 7 positions, as 4 x 4 units
        return LayerGates(arguments(rows), model.layer3, cells_of_a_grid((torch.empty(1, 256, 7, 7),), sides))

    def on_layer4(rows: int) -> Gates:  # 4 x 4 positions
        return LayerGates(arguments(rows), model.layer4)

    yield Case("resnet18, input", on_inputs)
    yield Case("resnet18, layer3", on_layer3)
    yield Case("resnet18, layer4", on_layer4)


def text_cases(kinds: tuple[str, ...] = ("bert", "llama"), units: int = UNITS) -> Iterator[Case]:
    """The zoo's models on a review of so many players."""
    for kind in kinds:
        name, options = f"sentiment-{kind}-a", {"template": "review : {} sentiment :"}
        adapter = adapt(f"zoo:{name}")
        made = (
            adapter.example(text, **(options if kind == "llama" else {})) for text, _ in zoo.samples(name)
        )
        example = next(e for e in made if len(e.names) == units)

        def arguments(rows: int, forward=adapter.forward_func, e=example) -> Arguments:
            return Arguments(forward, e.inputs.repeat(rows, 1, 1), e.baselines, target=1)

        def on_inputs(rows: int, arguments=arguments, e=example) -> Gates:
            given = arguments(rows)
            return InputGates(given, Players.from_feature_mask(given.inputs, (e.feature_mask,)))

        def on_attention(rows: int, arguments=arguments, e=example) -> Gates:
            given = arguments(rows)
            return AttentionGates(given, Players.from_feature_mask(given.inputs, (e.feature_mask,)))

        yield Case(f"{kind.upper()}, input", on_inputs, (1, 4), units)
        yield Case(f"{kind.upper()}, attention", on_attention, (1, 4), units)


def timed(function: Callable[[], object]) -> float:
    """CPU seconds, of one thread: others may use the machine."""
    started = time.process_time()
    function()
    return time.process_time() - started


def automatic(gates: Gates) -> Tensor:
    """The strategy ``auto`` on gates that it has not seen."""
    gates.vectorised = None
    return hessian(gates)


class Clock:
    """Costs in forward passes of the batch, taken right before and after the call."""

    def __init__(self, gates: Gates) -> None:
        given = gates.arguments
        self._rows = torch.arange(gates.n_examples)

        def forward() -> None:
            with torch.no_grad():
                given.run(given.inputs, self._rows)

        self._forward = forward
        self.seconds = min(timed(forward) for _ in range(10))

    def __call__(self, call: Callable[[], object]) -> float:
        before = [timed(self._forward) for _ in range(5)]
        seconds = timed(call)
        after = [timed(self._forward) for _ in range(5)]
        return seconds / statistics.median(before + after)


def triples(gates: Gates) -> Tensor:
    """Greedy order 3: the Hessian, and k strongest pairs differentiated once more."""
    pairs = automatic(gates)
    every = torch.combinations(torch.arange(gates.n_units), 2)
    strength = pairs[:, every[:, 0], every[:, 1]].abs()
    return grow(gates, every[strength.topk(gates.n_units).indices])


def strategies(cases: list[Case]) -> tuple[str, float]:
    """The three strategies in turn; the table, and the worst ratio of auto to the better of the others.

    Each case has two such ratios, that of medians and the median of its rounds'; the worse counts.
    """
    rows, worst = [], 0.0
    for case in cases:
        for batch in case.batches:
            gates = case.gates(batch)
            clock = Clock(gates)
            hessian(gates)  # a first call loads and allocates
            calls: tuple[Callable[[], object], ...] = (
                lambda g=gates: hessian(g, strategy="loop"),
                lambda g=gates: hessian(g, strategy="batched"),
                lambda g=gates: automatic(g),
            )
            rounds = [[clock(call) for call in calls] for _ in range(ROUNDS)]
            loop, batched, auto = (statistics.median(costs) for costs in zip(*rounds, strict=True))
            ratio = auto / min(loop, batched)
            paired = statistics.median(c[2] / min(c[:2]) for c in rounds)
            worst = max(worst, ratio, paired)
            rows.append(
                (
                    case.name,
                    case.units,
                    batch,
                    f"{1000 * clock.seconds:.1f} ms",
                    *(f"{cost:.0f}" if cost >= 10 else f"{cost:.1f}" for cost in (loop, batched, auto)),
                    f"**{ratio:.2f}**",
                    f"{paired:.2f}",
                )
            )
            print(rows[-1], flush=True)
    columns = (
        "gates",
        "units",
        "rows",
        "a forward pass",
        *STRATEGIES[1:],
        "auto",
        "auto / better one",
        "median of its rounds",
    )
    return table(columns, rows), worst


def operators(cases: list[Case]) -> str:
    rows = []
    for case in cases:
        gates = case.gates(1)
        pairs = torch.combinations(torch.arange(gates.n_units), 2)
        calls: dict[str, Callable[[], object]] = {
            "gradient": lambda g=gates: gradient(g),
            "exact": lambda g=gates: automatic(g),
            "grad_diff": lambda g=gates: gradient_differences(g),
            "stein, 64 draws": lambda g=gates: stein(g, n_samples=64),
            "occlusion, 120 pairs": lambda g=gates, p=pairs: occlusion(g, p),
            "exact order 3, greedy": lambda g=gates: triples(g),
        }
        clock = Clock(gates)
        costs = []
        for call in calls.values():
            call()
            costs.append(statistics.median(clock(call) for _ in range(ROUNDS)))
        rows.append((case.name, *(f"{cost:.0f}" if cost >= 10 else f"{cost:.1f}" for cost in costs)))
        print(rows[-1], flush=True)
    return table(("gates", *calls), rows)


if __name__ == "__main__":
    single_threaded()
    torch.manual_seed(0)
    cases = [*image_cases(), *text_cases()]
    text, worst = strategies([*cases, *text_cases(("llama",), FEW)])
    intro = (
        "CPU time of a call divided by that of one forward pass of the same rows without gradient, taken "
        f"around it (median of {ROUNDS} rounds, strategies in turn). Asked is that `auto` never costs twice "
        f"the better of the others: the worst ratio in the last two columns is **{worst:.2f}**. Where "
        "nothing is left to differentiate (a linear model behind the gates) all stop after the gradient."
    )
    write(
        "taylor_cost",
        "TaylorCAM: cost of cross derivatives",
        "python -m benchmarks.taylor_cost",
        [
            ("Exact Hessian: loop, batched, auto", f"{intro}\n\n{text}"),
            (f"All operators, {UNITS} units, one row, in forward passes", operators(cases)),
        ],
    )
