"""SecondGlance: Hessians of ReLU networks from a surrogate of their gradients."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from hoi_captum.core.batches import batches
from hoi_captum.core.cost import GRADIENT, Cost
from hoi_captum.core.gated_method import GatedMethod
from hoi_captum.core.gates import Gates
from hoi_captum.core.gating import gates_for
from hoi_captum.core.options import check_count, check_flag
from hoi_captum.core.provenance import describe_model
from hoi_captum.core.state import frozen_for_derivatives, warn_of_training_mode
from hoi_captum.errors import NotFittedError, OptionError
from hoi_captum.methods.second_glance import calls
from hoi_captum.methods.second_glance.found import Found
from hoi_captum.methods.second_glance.judging import Quality, check_fidelity
from hoi_captum.methods.second_glance.learned import (
    Learned,
    OneTarget,
    Origin,
    key_of,
    learn_units,
    targets_of,
)
from hoi_captum.methods.second_glance.over_data import table_over_data
from hoi_captum.methods.second_glance.result import SecondGlanceInteractions
from hoi_captum.methods.second_glance.saving import OWN, read_fitted, write_fitted
from hoi_captum.methods.second_glance.settings import (
    DrawSettings,
    LearnSettings,
    check_space,
    check_surrogate,
    kind_around,
)


class SecondGlance(GatedMethod):
    r"""Pairs and triples by the derivatives of a surrogate that was taught the model's gradients.

    A ReLU network is piecewise linear and has no second derivatives. Its gradients differ from place to place
    all the same, and a smooth second model M2 that has learned them, units to gradient, has a Jacobian: the
    Hessian of the network as it is seen from a little further away.

    .. math:: g(x) = \nabla_z f(x), \qquad M_2(z) \approx g, \qquad
        H_{ij} = \partial M_{2,j} / \partial z_i \approx \partial^2 f / \partial z_i \partial z_j

    It comes in two forms. **Learned**: after :meth:`fit` on many rows, one surrogate serves for all of them;
    its units are features of a table, regions of images (``mean`` or ``pca``), words that come and go
    (``presence``), or factors of a layer. **Around one input**: without ``fit``, gates are drawn around each
    explained row, and a surrogate of the gradients there is read at the row; units are patches, words or
    positions, as of TaylorCAM, and scores have standard errors.

    Source: Shahid, Rahulamathavan, Dogan, "Second Glance", xAI 2024 (CEUR Vol-3793, paper 25). The linear
    surrogate of Gaussian draws is Stein's estimator (SmoothHess: Torop et al., NeurIPS 2023).

    A sign tells the direction of a derivative, not synergy: ``explain_pair`` of the result puts it in words.

    Args:
        forward_func (Callable): the model; gives (rows, ...), and ``target`` picks one number of each row.
        layer (nn.Module, optional): learned, its units are factors of this layer's pooled neurons, and
            attributions are shaped like all that it gives, (B, C, H, W) or (B, T, H); around one input, its
            positions, without the channels. Default: None
        device_ids (list[int], optional): of a ``DataParallel`` model. Default: None
        order (int): 2 for pairs, 3 for triples. Default: 2
        surrogate (str or nn.Module): ``softplus``, two smooth layers and a linear output; ``paper``, its bank
            network (ReLU, ReLU, sigmoid, tanh, gradients scaled to [-1, 1]); ``ridge``, linear (quadratic
            for order 3); a module from (rows, k) to (rows, k), which is copied; or ``auto``: softplus for
            a fit, ridge around one input. Default: auto
        symmetry (str): ``average`` of the Jacobian and its transpose; ``potential``: the softplus surrogate
            is itself the gradient of a network, and its Jacobian symmetric, which few rows and sharp networks
            are better learned by; ``auto``: where average explains less than 0.8, the better. Default: auto
        third (str): third derivatives by a second ``surrogate`` of the first one's Jacobian (the paper's
            M3), or by ``autodiff`` of the first. Default: surrogate
        units (str): what a unit of the inputs is to a fit: the ``mean`` of its cells, how much it shows their
            leading principal component (``pca``), its ``presence``, or ``auto``: the cell where each unit
            has one, ``presence`` where rows have masks of their own, else ``pca``. Default: auto
        factors (str), n_factors (int): of a layer, by ``pca`` or by ``corex``. Default: pca, 8
        gate (str): around one input, and with ``presence``: ``input``, ``layer``, ``attention``, ``value`` or
            ``auto``, as of TaylorCAM. Default: auto
        sampling (str), width (float): gates around one input are drawn ``uniform`` in 1 - width to 1 + width,
            ``gaussian`` around 1 with this standard deviation, or ``bernoulli``: 0 or 1, which looks
            farthest and suits models that are flat around the input. Default: uniform, 0.5
        n_samples (int, optional): gradients for each row around it. Default: None (ridge: the larger of 128
            and 8 k, for order 3 of 256 and 4 k (k + 1); a network: of 1,000 and 50 k)
        hidden (int, optional): neurons in each layer of a surrogate. Default: None (the larger of 64 and 4 k)
        max_steps (int), learning_rate (float): of a training; it ends earlier where held-out rows gain
            nothing for 1,000 steps. Default: 6000, 0.01
        validation (float): share of the rows that teach nothing: half of them tell when to stop, the other
            half, which nothing has seen, give R^2. Default: 0.2
        force (bool): accept a fit whose R^2 on held-out rows is below 0.5. Default: False
        max_players (int): largest number of units. Default: 256
        seed (int): of draws, splits and initial weights. Default: 0

    Raises:
        OptionError: an option outside its range, or two that do not go together.
        InputError: forward_func is not callable, or layer no module.

    Examples::

        >>> model = lambda x: x[:, 0] * x[:, 1] + x[:, 2]
        >>> data = 2 * torch.rand(500, 3) - 1
        >>> method = hoi.SecondGlance(model, surrogate="ridge").fit(data)
        >>> pair = method.interact(data[:1])[0].top(1)[0]
        >>> pair.members, pair.kind, round(pair.score, 1)
        ((0, 1), 'hessian', 1.0)
    """

    name: ClassVar[str] = "second-glance"
    kinds: ClassVar[tuple[str, ...]] = ("hessian",)
    summary: ClassVar[str] = "Hessians of ReLU networks, from a surrogate of their gradients"
    result: ClassVar[type[SecondGlanceInteractions]] = SecondGlanceInteractions
    needs_fit: ClassVar[bool] = False

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module | None = None,
        device_ids: list[int] | None = None,
        *,
        order: int = 2,
        surrogate: str | nn.Module = "auto",
        symmetry: str = "auto",
        third: str = "surrogate",
        units: str = "auto",
        factors: str = "pca",
        n_factors: int = 8,
        gate: str = "auto",
        sampling: str = "uniform",
        width: float = 0.5,
        n_samples: int | None = None,
        hidden: int | None = None,
        max_steps: int = 6000,
        learning_rate: float = 0.01,
        validation: float = 0.2,
        force: bool = False,
        max_players: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(forward_func, layer, device_ids, gate=gate, max_players=max_players)
        self.order = check_count("order", order, low=2)
        if self.order > 3:
            raise OptionError(f"expected order 2 or 3, got {order}; TaylorNID goes higher, for a few inputs")
        self.learning = LearnSettings(hidden, symmetry, third, max_steps, learning_rate, validation, seed)
        self.drawing = DrawSettings(sampling, width, n_samples, seed)
        self.surrogate = check_surrogate(surrogate, symmetry)
        check_space(units, factors, n_factors, force)
        self.units, self.factors, self.n_factors, self.force = units, factors, n_factors, force
        self.seed = seed
        self._learned: Learned | None = None

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether scores have the unit of the output: by gates, around one input or by presence."""
        return self._learned is None or self._learned.space.by_gates

    @property
    def players_are_neurons(self) -> bool:
        """Whether units are factors of a layer, which the input's layout does not show."""
        return self._learned is not None and self.layer is not None

    @property
    def fit_kind(self) -> str | nn.Module:
        """The surrogate of a fit: ``auto`` is softplus there."""
        return "softplus" if self.surrogate == "auto" else self.surrogate

    # ---------------------------------------------------------------- learning
    def fit(
        self,
        data: Any,
        target: Any = None,
        *,
        baselines: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        names: Sequence[str] | None = None,
        internal_batch_size: int | None = None,
        attribute_to_layer_input: bool = False,
        show_progress: bool = False,
    ) -> Self:
        """Draw the gradients of the model on data, and teach them to the surrogate.

        Args:
            data: a Tensor (N, ...) or a tuple of them, a Dataset or an iterable of batches (a DataLoader,
                Examples). 1,000 rows or 50 for each unit are a good number. Units of ``pca``, and factors,
                are those of the first 1,024 rows: shuffle them.
            target: the output to learn, as in Captum but the same for all rows; a list of targets to learn a
                surrogate for each. Default: None (the output is one number for each row)
            baselines: with ``presence`` what an absent unit's cells are, as in Captum. Default: None (0)
            additional_forward_args: as in Captum. Default: None
            feature_mask: unit ids of the inputs' cells. One mask for all rows; with ``presence`` each row may
                have its own, in which the same id is the same word. Default: None (every cell is a unit)
            names: of the units, also of those that no row has. Default: None (their numbers)
            internal_batch_size: rows in one pass, of data given whole. Default: 64
            attribute_to_layer_input: learn from what enters the layer. Default: False
            show_progress: bars on stderr. Default: False

        Returns:
            itself. What an earlier fit had learned is replaced only where all went well.

        Raises:
            InputError: no rows, fewer than units, rows unlike each other, a forward function without
                gradients, or gradients that are the same in all rows; its subclasses say which.
            ModelOutputError: gradients that are not finite.
            FidelityError: R^2 below 0.5 on held-out rows, without ``force``.

        A FidelityWarning is given where R^2 is below 0.8.
        """
        started = time.perf_counter()
        check_flag("show_progress", show_progress)
        check_flag("attribute_to_layer_input", attribute_to_layer_input)
        warn_of_training_mode(*self._models())
        targets = targets_of(target)
        given = batches(
            data,
            additional_forward_args=additional_forward_args,
            feature_mask=feature_mask,
            baselines=baselines,
            batch_size=internal_batch_size,
        )
        origin = Origin(
            forward_func=self.forward_func,
            layer=self.layer,
            device_ids=self.device_ids,
            units=self.units,
            gate=self.gate,
            factors=self.factors,
            n_factors=self.n_factors,
            at_input=attribute_to_layer_input,
            one_mask=feature_mask is not None,
            names=() if names is None else tuple(names),
            max_players=self.max_players,
            seed=self.seed,
        )
        with frozen_for_derivatives(*self._models()):
            space, learned = learn_units(
                given,
                targets,
                self.fit_kind,
                origin,
                self.learning,
                self.order,
                rows=len(data) if isinstance(data, Tensor) else None,
                show_progress=show_progress,
            )
        check_fidelity({key: one.quality for key, one in learned.items()}, force=self.force)
        self._learned = Learned(space, origin.names or space.names(), learned, time.perf_counter() - started)
        return self

    def fit_cost(self, rows: int) -> Cost:
        """What :meth:`fit` on so many rows, and then explaining one, would spend."""
        return Cost(f"{rows:,} rows of data", float(GRADIENT), 1, GRADIENT * rows, "teaching the surrogate")

    def quality(self, target: Any = None) -> Quality:
        """How far the surrogate of a target can be trusted: R^2, asymmetry, zeros.

        Args:
            target: as of :meth:`fit`. Default: None (the one that was learned; of several the first)

        Raises:
            NotFittedError: before :meth:`fit`.
            TargetError: not learned.
        """
        return self._target(target).quality

    def over_data(self, target: Any = None) -> SecondGlanceInteractions:
        """What the model combines over all of the data that it was fitted on.

        Args:
            target: as of :meth:`quality`.

        Returns:
            SecondGlanceInteractions: the score of a pair (triple) is the mean size of its derivative;
            ``mean`` has the signed means, ``explain_pair`` the shares of rows in which one amplifies, or
            dampens, the other.

        Raises:
            NotFittedError, TargetError: as :meth:`quality`.
        """
        return table_over_data(
            self._fitted(),
            self._target(target),
            method=self.name,
            options=self.options(),
            model=(describe_model(self.forward_func),),
            seed=self.seed,
        )

    # ---------------------------------------------------------------- files
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write what :meth:`fit` learned to a ``.safetensors`` file; the model itself is not in it.

        Raises:
            NotFittedError: before :meth:`fit`.
            FileError: the file cannot be written.
        """
        return write_fitted(self, self._fitted(), path)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        forward_func: Callable[..., Any],
        layer: nn.Module | None = None,
        device_ids: list[int] | None = None,
        *,
        surrogate: nn.Module | None = None,
    ) -> Self:
        """A fitted method from a file of :meth:`save`, for the same model.

        Args:
            path: of the file.
            forward_func, layer, device_ids: as of the constructor.
            surrogate: a module like the one that was taught, where that was one of your own; its weights do
                not matter.

        Raises:
            FileError: the file cannot be read, or is none of ours.
            OptionError: a layer or a module too many, or missing.
        """
        method, learned = read_fitted(cls, path, forward_func, layer, device_ids, surrogate)
        method._learned = learned
        return method

    # ---------------------------------------------------------------- explaining
    def _find(
        self,
        given: tuple[Any, ...],
        at_layer: tuple[Any, Any, bool],
        internal_batch_size: int | None,
        show_progress: bool,
    ) -> Found:
        timed = calls.Timed.from_now(str(given[2]))
        warn_of_training_mode(*self._models())
        with frozen_for_derivatives(*self._models()):
            if self._learned is not None:
                calls.check_same_units(self._learned, given[4], at_layer)
                return calls.learned_rows(
                    self._learned,
                    self.forward_func,
                    given,
                    self.order,
                    internal_batch_size=internal_batch_size,
                    show_progress=show_progress,
                    timed=timed,
                )
            return calls.rows_around(
                *self._gates(given, at_layer),
                kind_around(self.surrogate, self.learning.symmetry),
                self.drawing,
                self.learning,
                self.order,
                internal_batch_size=internal_batch_size,
                max_players=self.max_players,
                show_progress=show_progress,
                masked=given[4] is not None or at_layer[1] is not None,
                timed=timed,
            )

    def _gates(self, given: tuple[Any, ...], at_layer: tuple[Any, Any, bool]) -> tuple[str, Gates]:
        # read late: Captum's wrappers copy an instance and replace its forward_func
        return gates_for(self.gate, self.layer, self.device_ids, self.forward_func, given, at_layer)

    def _cost(self, given: tuple[Any, ...], at_layer: tuple[Any, Any, bool]) -> Cost:
        if self._learned is not None:
            return calls.cost_learned(self.forward_func, given)
        kind, (_, gates) = kind_around(self.surrogate, self.learning.symmetry), self._gates(given, at_layer)
        return calls.cost_around(gates, kind, self.drawing, self.order, self.max_players)

    def _cells(self, found: Found) -> tuple[Tensor, ...]:
        return found.spread(found.node_scores())

    def _interactions(self, found: Found) -> list[SecondGlanceInteractions]:
        model = (describe_model(self.forward_func),)
        return found.tables(method=self.name, options=self.options(), model=model, seed=self.seed)

    def options(self) -> dict[str, Any]:
        """The constructor's options but the seed, for the provenance; a module of one's own is ``own``."""
        kind = self.surrogate if isinstance(self.surrogate, str) else OWN
        names = ("order", "units", "factors", "n_factors", "gate", "force", "max_players")
        own = {name: getattr(self, name) for name in names} | {"surrogate": kind}
        both = own | asdict(self.learning) | asdict(self.drawing)
        return {name: value for name, value in both.items() if name != "seed"}

    def _fitted(self) -> Learned:
        if self._learned is None:
            raise NotFittedError("this SecondGlance has learned nothing yet; call fit(data, target) first")
        return self._learned

    def _target(self, target: Any) -> OneTarget:
        learned = self._fitted()
        return next(iter(learned.targets.values())) if target is None else learned.of(key_of(target))
