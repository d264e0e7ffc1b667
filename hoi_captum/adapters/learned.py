r"""Learning the masked state: the baseline under which a model's players interact least.

The loss of a baseline is the size of the interaction between two random groups of players,

.. math:: E\,|v(S_1 \cup S_2 \cup S_3) - v(S_1 \cup S_3) - v(S_2 \cup S_3) + v(S_3)|

over samples and disjoint :math:`S_1, S_2, S_3`, all other players masked with it (Ren, Zhou, Chen, Zhang,
"Can we faithfully represent absence states to compute Shapley values on a DNN?", ICLR 2023; used for words
by Chen, Lou, Huang, Zhang, ICLR 2024).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hoi_captum.adapters.base import Adapter, example_options
from hoi_captum.adapters.baselines import LearnedBaseline, name_of
from hoi_captum.core.arguments import Arguments
from hoi_captum.core.coalitions import Players
from hoi_captum.core.example import Example
from hoi_captum.core.options import check_count, check_number
from hoi_captum.core.progress import progress_bar
from hoi_captum.core.state import evaluation_mode, frozen
from hoi_captum.errors import HoiError, InputError, ModelOutputError

_MOMENTUM = 0.9  # the authors'
_STEEPEST = 1.0  # norm at which a gradient is cut: a normalised zero embedding has one of any size
_HELD_OUT_ROUNDS = 5  # times the draws for each held-out sample: the choice of the epoch is not to be chance
_PATIENCE = 20  # epochs without a smaller held-out loss, after which the search ends
_LEAST_EFFECT = 0.5  # the part of |v(N) - v(empty)| at the start that a baseline has to leave
_SMALLEST_EFFECT = 1e-9


class Sizes(NamedTuple):
    """What a loss is made of, each a mean: sizes of interactions, and of the whole effect v(N) - v(empty)."""

    interaction: Tensor
    effect: Tensor

    def loss(self, effect_at_start: float) -> float:
        """Interactions in parts of the effect: the one at the start, or the present one where it is smaller.

        A smaller effect counts, since a baseline that makes v flat removes the interactions with the effect.
        A larger one does not: a baseline that drives v(empty) far away from all that v is for real inputs
        would otherwise be the best.
        """
        return float(self.interaction) / max(min(float(self.effect), effect_at_start), _SMALLEST_EFFECT)


def mean_sizes(sizes: Sequence[Sizes]) -> Sizes:
    """The mean over samples, without gradients."""
    interactions, effects = zip(*((s.interaction.detach(), s.effect.detach()) for s in sizes), strict=True)
    return Sizes(torch.stack(interactions).mean(), torch.stack(effects).mean())


@dataclass(frozen=True)
class LearningGame:
    """The masked game of one sample, differentiable in the baseline.

    Attributes:
        arguments: the forward function, the input (1, ...) and the target.
        players: of the input.
        axis: the dimension of the input along which the baseline has its values.
        full: v(N), which no baseline changes.
    """

    arguments: Arguments
    players: Players
    axis: int
    full: float = math.nan

    def values(self, coalitions: Tensor, baseline: Tensor) -> Tensor:
        """v of coalitions (m, n) bool, (m,) float64; cells of absent players are at ``baseline`` (k,)."""
        x = self.arguments.inputs[0]
        shape = [1] * x.dim()
        shape[self.axis] = -1
        present = self.players.presence(coalitions.to(x.device), 0)
        masked = torch.where(present, x, baseline.to(x).view(shape))
        rows = torch.zeros(len(coalitions), dtype=torch.long, device=x.device)
        return self.arguments.run((masked,), rows).double()

    def sizes(self, sets: Tensor, baseline: Tensor) -> Sizes:
        """The sizes over draws (draws, 4, n) of :func:`draw_sets`, in one pass of 4 draws + 1 rows."""
        nobody = torch.zeros_like(sets[0, :1])
        values = self.values(torch.cat((sets.flatten(0, 1), nobody)), baseline)
        union, first, second, rest = values[:-1].view(-1, 4).unbind(1)
        return Sizes((union - first - second + rest).abs().mean(), (self.full - values[-1]).abs())


def draw_sets(n: int, draws: int, generator: torch.Generator) -> Tensor:
    r"""Random coalitions of disjoint S1, S2, S3, (draws, 4, n) bool.

    A player each is drawn for S1 and S2, which are thus never empty; every other player goes to S1, S2, S3
    or to none of them with equal chance. The four coalitions of a draw are, in this order,
    :math:`S_1 \cup S_2 \cup S_3`, :math:`S_1 \cup S_3`, :math:`S_2 \cup S_3` and :math:`S_3`.
    """
    place = torch.randint(4, (draws, n), generator=generator)
    order = torch.rand(draws, n, generator=generator).argsort(1)
    place.scatter_(1, order[:, :2], torch.tensor([[0, 1]]).expand(draws, 2))
    first, second, third = (place == group for group in range(3))
    return torch.stack((first | second | third, first | third, second | third, third), dim=1)


def fit_baseline(
    adapter: Adapter,
    samples: Any,
    *,
    target: Any = None,
    draws: int = 10,
    epochs: int = 100,
    learning_rate: float = 1e-3,
    held_out: float = 0.25,
    seed: int = 0,
    show_progress: bool = False,
    **given: Any,
) -> LearnedBaseline:
    """Learn a baseline for an adapter's model.

    Arguments, result and errors as those of :func:`hoi_captum.learn_baseline`; ``given`` are options of the
    adapter's ``example``.
    """
    check_count("draws", draws)
    check_count("epochs", epochs)
    check_number("learning_rate", learning_rate, low=0, high=1e6)
    check_number("held_out", held_out, low=0, high=1)
    check_count("seed", seed, low=0)
    axis = getattr(adapter, "baseline_axis", None)
    if axis is None:
        raise InputError(
            f"{type(adapter).__name__} does not say along which dimension of its inputs a baseline has its "
            "values (baseline_axis), so none can be learned"
        )
    with (
        evaluation_mode(adapter.model),
        frozen(adapter.model),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        examples, targets, skipped = _examples(adapter, samples, target, given)
        start, scale = start_and_scale(examples, axis)
        games = [_game(adapter, e, t, axis, start) for e, t in zip(examples, targets, strict=True)]
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(games), generator=generator).tolist()
        n_held_out = min(max(round(held_out * len(games)), 1), len(games) - 1)
        search = _Search(
            [games[i] for i in order[n_held_out:]],
            [games[i] for i in order[:n_held_out]],
            draws,
            generator,
        )
        search.run(start, scale, epochs, learning_rate, show_progress)
    # as the model's passes see it, or in float32 where these are in half precision
    dtype = torch.promote_types(examples[0].inputs.dtype, torch.float32)
    return LearnedBaseline(
        value=search.best.to(dtype).cpu(),
        start=_name_of_start(examples[0], given),
        losses=tuple(search.losses),
        training_losses=tuple(search.training_losses),
        effects=tuple(search.effects),
        epoch=search.epoch,
        seed=seed,
        n_training=len(games) - n_held_out,
        n_held_out=n_held_out,
        n_skipped=skipped,
        model=adapter.name,
    )


class _Search:
    """Stochastic gradient descent, a step for each training sample; the held-out samples choose the epoch."""

    def __init__(
        self,
        training: Sequence[LearningGame],
        held_out: Sequence[LearningGame],
        draws: int,
        generator: torch.Generator,
    ) -> None:
        self._training, self._held_out = training, held_out
        self._draws, self._generator = draws, generator
        # the same draws in each epoch, so that the losses differ by the baseline alone
        self._fixed = [[self._drawn(game) for _ in range(_HELD_OUT_ROUNDS)] for game in held_out]
        self.losses: list[float] = []
        self.effects: list[float] = []
        self.training_losses: list[float] = []
        self.best = torch.empty(0)
        self.epoch = 0

    def run(self, start: Tensor, scale: Tensor, epochs: int, learning_rate: float, show: bool) -> None:
        """Search from ``start``, in units of ``scale`` (k,)."""
        with torch.no_grad():
            at_start = mean_sizes([game.sizes(self._drawn(game), start) for game in self._training])
        present, effect = at_start, float(at_start.effect)
        self._judge(start)
        moved = torch.zeros_like(start, requires_grad=True)
        optimizer = torch.optim.SGD([moved], lr=learning_rate, momentum=_MOMENTUM)
        with progress_bar("learning a baseline", epochs, "epoch", show) as bar:
            for epoch in range(1, epochs + 1):
                present = self._pass_through(present, effect, start, scale, moved, optimizer)
                self.training_losses.append(present.loss(effect))
                if not self._judge((start + scale * moved).detach()):
                    break
                bar.update()
                if epoch - self.epoch >= _PATIENCE:
                    break

    def _pass_through(
        self,
        before: Sizes,
        effect: float,
        start: Tensor,
        scale: Tensor,
        moved: Tensor,
        optimizer: torch.optim.Optimizer,
    ) -> Sizes:
        """One epoch; the sizes as they were at each step."""
        # the loss is a ratio of means: its gradient, from one sample at a time, is that of the difference
        # interaction - ratio * effect with the ratio held fixed (Dinkelbach)
        shrunk = float(before.effect) < effect
        ratio = before.loss(effect) if shrunk else 0.0
        unit = max(float(before.effect) if shrunk else effect, _SMALLEST_EFFECT)
        met = []
        for i in torch.randperm(len(self._training), generator=self._generator).tolist():
            game = self._training[i]
            sizes = game.sizes(self._drawn(game), start + scale * moved)
            (gradient,) = torch.autograd.grad((sizes.interaction - ratio * sizes.effect) / unit, moved)
            moved.grad = gradient * (_STEEPEST / gradient.norm().clamp(min=_STEEPEST))
            optimizer.step()
            met.append(sizes)
        return mean_sizes(met)

    def _judge(self, baseline: Tensor) -> bool:
        """Take note of a baseline's held-out loss, and keep the best; False where it is not finite."""
        with torch.no_grad():
            sizes = mean_sizes(
                [
                    game.sizes(sets, baseline)
                    for game, rounds in zip(self._held_out, self._fixed, strict=True)
                    for sets in rounds
                ]
            )
        effect = float(sizes.effect)
        loss = sizes.loss(self.effects[0] if self.effects else effect)
        if not math.isfinite(loss):
            if not self.losses:
                raise ModelOutputError(
                    "the model's output is not finite where the baseline to start from masks its input; give "
                    "another one (baseline=...)"
                )
            return False
        self.losses.append(loss)
        self.effects.append(effect)
        smaller = loss < self.losses[self.epoch] and effect >= _LEAST_EFFECT * self.effects[0]
        if smaller or len(self.losses) == 1:
            self.best, self.epoch = baseline, len(self.losses) - 1
        return True

    def _drawn(self, game: LearningGame) -> Tensor:
        return draw_sets(game.players.count, self._draws, self._generator)


def start_and_scale(examples: Sequence[Example], axis: int) -> tuple[Tensor, Tensor]:
    r"""Where the search starts, and how far it may be to its end: (k,) float64 each.

    Returns:
        *tuple* of the mean of the examples' baselines over the players' cells, and for each of the k values
        :math:`\sqrt k` times the root mean square distance of the players' cells from it. In this unit the
        inputs are at a distance of about 1, whatever the size of embeddings or the units of columns.
    """
    tables = [_cells(example, axis) for example in examples]
    count = torch.stack([present.sum(0) for _, _, present in tables]).sum(0).clamp(min=1)
    start = torch.stack([(masked * present).sum(0) for _, masked, present in tables]).sum(0) / count
    squares = torch.stack([((x - start).square() * present).sum(0) for x, _, present in tables]).sum(0)
    return start, (squares / count * len(start)).sqrt()


def _cells(example: Example, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, baselines and whether a player has the cell, (cells, k) each."""
    x = example.inputs
    whole = (x.double(), example.baselines.double(), (example.feature_mask >= 0).expand(x.shape))
    first, second, third = (t.movedim(axis, -1).flatten(0, -2) for t in whole)
    return first, second, third


def _game(adapter: Adapter, example: Example, target: Any, axis: int, start: Tensor) -> LearningGame:
    objective = adapter.objective(target, example)
    arguments = Arguments(objective.forward_func, example.inputs, None, objective.target)
    players = Players.from_feature_mask(arguments.inputs, (example.feature_mask,))
    game = LearningGame(arguments, players, axis)
    with torch.no_grad():
        everybody = torch.ones(1, players.count, dtype=torch.bool)
        return replace(game, full=float(game.values(everybody, start)))


def _examples(
    adapter: Adapter, samples: Any, target: Any, given: Mapping[str, Any]
) -> tuple[list[Example], list[Any], int]:
    """The samples that have an interaction, their targets, and how many have none."""
    raw = _as_list(samples)
    target = target.tolist() if hasattr(target, "tolist") else target  # an array of columns
    if isinstance(target, list) and len(target) != len(raw):
        raise InputError(f"expected a target for each of {len(raw)} samples, got {len(target)}")
    targets = target if isinstance(target, list) else [target] * len(raw)
    example_options(adapter, given)  # an option that no sample can have is told before them

    def make(**more: Any) -> list[Example]:
        made = []
        for i, (sample, wanted) in enumerate(zip(raw, targets, strict=True)):
            try:
                made.append(adapter.example(sample, **example_options(adapter, {**given, **more}, wanted)))
            except HoiError as error:
                raise InputError(f"sample {i}: {error}") from error
        return made

    examples = make()
    starts = Counter((e.notes or {}).get("baseline") for e in examples)
    if len(starts) > 1:  # chosen for each sample: the search needs one to start from
        examples = make(baseline=starts.most_common(1)[0][0])
    kept = [i for i, example in enumerate(examples) if len(example.names) > 1]
    if len(kept) < 2:
        raise InputError(
            f"expected two samples or more with two players or more each, one to learn from and one to judge "
            f"by; got {len(kept)} of {len(raw)}"
        )
    return [examples[i] for i in kept], [targets[i] for i in kept], len(raw) - len(kept)


def _name_of_start(example: Example, given: Mapping[str, Any]) -> str:
    noted = (example.notes or {}).get("baseline")
    if noted is not None:
        return str(noted)
    return "default" if given.get("baseline") is None else name_of(given["baseline"])


def _as_list(samples: Any) -> list[Any]:
    if hasattr(samples, "iterrows"):  # a data frame; to walk through it gives the columns' names
        return [row for _, row in samples.iterrows()]
    try:
        if isinstance(samples, str | bytes | Mapping):
            raise TypeError
        return list(samples)
    except TypeError:
        raise InputError(
            f"expected samples to be a list of texts, images or rows, got {type(samples).__name__}"
        ) from None
