"""TaylorCAM: Grad-CAM raised to pairs and triples by cross derivatives."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar

from torch import Tensor, nn

from hoi_captum.adapters.outputs import OUTPUTS
from hoi_captum.core.cost import FEWER_UNITS, Cost, announce, check_units
from hoi_captum.core.gated_method import GatedMethod
from hoi_captum.core.gates import Gates
from hoi_captum.core.gating import gates_for, grid_of
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_choice, check_count, check_number
from hoi_captum.core.passes import PassSize
from hoi_captum.core.progress import progress_bar
from hoi_captum.core.provenance import describe_model
from hoi_captum.core.state import frozen_for_derivatives, warn_of_training_mode
from hoi_captum.errors import OptionError
from hoi_captum.methods.taylor_cam.explained import explained_output
from hoi_captum.methods.taylor_cam.findings import cost_beside, find, warn_of_zeros
from hoi_captum.methods.taylor_cam.found import Found
from hoi_captum.methods.taylor_cam.modes import MODES, Settings, choose_modes, operator_of
from hoi_captum.methods.taylor_cam.result import TaylorInteractions
from hoi_captum.methods.taylor_cam.triples import pairs_to_go_on_from

VARIANTS = ("taylor", "cam", "cam_basic")
SEARCHES = ("auto", "greedy", "all")

# what the paper's formulas can be taken by: their second factor is no gate that could be switched off
_MODES_OF = {
    "taylor": MODES,
    "cam": ("auto", "exact", "grad_diff", "stein", "softplus"),
    "cam_basic": ("auto", "exact", "softplus"),
}


class TaylorCAM(GatedMethod):
    r"""Pairs and triples of patches, words or positions that act together, by cross derivatives.

    Each unit u gets a gate, :math:`h'_u = b_u + \alpha_u (h_u - b_u)`; the score of a pair is

    .. math:: T_{ij} = \partial^2 f / \partial \alpha_i \partial \alpha_j = (h_i - b_i)^T H_{ij} (h_j - b_j)

    at :math:`\alpha = 1`, its term in the second-order Taylor expansion; that of a triple is the third-order
    one. T is exact, at k reverse passes for k units, where the model has second derivatives; ReLU networks
    have none worth the name, and a difference of gradients takes their place.

    Source: Lerman, Venuto, Kautz, Xu, "Explaining Local, Global, And Higher-Order Interactions In Deep
    Learning", ICCV 2021. The paper's own formulas are the variants ``cam`` and ``cam_basic``.

    A sign tells the direction of a local derivative, not synergy: an AND that is saturated has a negative
    one. :meth:`TaylorInteractions.synergy` tells what the strongest terms do when they are switched off.

    Args:
        forward_func (Callable): the model; gives (rows, ...), and ``target`` picks one number of each row.
        layer (nn.Module, optional): gate what this layer gives instead of the inputs. Its positions are not
            regions of the input: receptive fields overlap. Default: None
        device_ids (list[int], optional): of a ``DataParallel`` model. Default: None
        gate (str): ``input``, ``layer``, ``attention`` (log gate on all attention scores of a position),
            ``value`` (on its values in the first attention) or ``auto``: the layer where one is given, the
            attention of causal models and of those that take token ids, else the inputs. Default: auto
        order (int): 2 for pairs, 3 for triples. Default: 2
        variant (str): ``taylor``; ``cam``, the paper's :math:`E_{ij} = S_{ij}^2 + S_{ji}^2` with
            :math:`S_{ij} = \sum_k x_{ik} \sum_m H_{ik,jm}`; or ``cam_basic``, with
            :math:`S_{ij} = \sum_k x_{ik} \sum_{l,m} H_{lk,jm}`. Default: taylor
        mode (str): ``exact``; ``grad_diff``, gradients at gates 1 + h and 1 - h; ``stein``, smoothed by
            Gaussian gates; ``softplus`` in the place of ReLUs (their error is reported); ``occlusion``,
            f - f_i - f_j + f_ij; ``path``, exact derivatives along the path from the baseline; ``auto``:
            ``grad_diff`` where a ReLU, a max-pool or their like lies behind the gates, ``occlusion`` for rows
            of gates on attention at which the model is saturated, else ``exact``; a row's own mode is in the
            provenance of its table. Default: auto
        output (str): what is explained: ``logit`` (what forward_func gives), or of its scores (rows, classes)
            ``log_odds``, ``log_prob``, ``prob``, ``margin`` (to the runner-up). Second derivatives of
            saturated probabilities vanish, and those of a log_prob are the competition of classes.
            Default: logit
        h (float): of ``grad_diff``. Default: 0.5
        n_samples (int), stdev (float): of ``stein``. Default: 512, 0.3
        beta (float): of ``softplus``. Default: 10
        search (str): triples are searched among ``all`` pairs, or, ``greedy``, those of the ``top_k``
            strongest; ``auto`` is all up to 12 units. Default: auto
        top_k (int, optional): pairs to go on from. Default: the number of units
        synergy (int): for so many of the strongest terms, measure what they do when switched off. Default: 10
        max_players (int): largest number of units. Default: 256
        seed (int): of ``stein``. Default: 0

    Raises:
        OptionError: an option outside its range, or two that do not go together.
        InputError: forward_func is not callable, or layer no module.

    Examples::

        >>> method = hoi.TaylorCAM(lambda x: x[:, 0] * x[:, 1] + x[:, 2])
        >>> pair = method.interact(torch.tensor([[2.0, 3.0, 1.0]]))[0].top(1)[0]
        >>> pair.members, pair.kind, pair.score
        ((0, 1), 'taylor', 6.0)
    """

    name: ClassVar[str] = "taylor-cam"
    kinds: ClassVar[tuple[str, ...]] = ("taylor", "cam", "cam-basic")
    summary: ClassVar[str] = "pairs and triples of patches, words or positions, by cross derivatives"
    result: ClassVar[type[Interactions]] = TaylorInteractions

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module | None = None,
        device_ids: list[int] | None = None,
        *,
        gate: str = "auto",
        order: int = 2,
        variant: str = "taylor",
        mode: str = "auto",
        output: str = "logit",
        h: float = 0.5,
        n_samples: int = 512,
        stdev: float = 0.3,
        beta: float = 10.0,
        search: str = "auto",
        top_k: int | None = None,
        synergy: int = 10,
        max_players: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(forward_func, layer, device_ids, gate=gate, max_players=max_players)
        self.order = check_count("order", order, low=2)
        self.variant = check_choice("variant", variant, VARIANTS)
        self.output = check_choice("output", output, OUTPUTS)
        self.settings = Settings(
            mode=check_choice("mode", mode, MODES),
            h=check_number("h", h, low=1e-6, high=1.0),
            n_samples=check_count("n_samples", n_samples, low=2),
            stdev=check_number("stdev", stdev, low=1e-6),
            beta=check_number("beta", beta, low=1e-3),
            seed=check_count("seed", seed, low=0),
        )
        self.search = check_choice("search", search, SEARCHES)
        self.top_k = None if top_k is None else check_count("top_k", top_k)
        self.synergy = check_count("synergy", synergy, low=0)
        self._check_together()

    def _check_together(self) -> None:
        if self.order > 3:
            raise OptionError(
                f"expected order 2 or 3, got {self.order}; TaylorNID goes higher, for a few inputs of a table"
            )
        if self.order == 3 and self.variant != "taylor":
            raise OptionError(
                f"the variant {self.variant!r} is of pairs; expected variant='taylor' with order 3"
            )
        if self.settings.mode not in _MODES_OF[self.variant]:
            raise OptionError(
                f"expected a mode of {', '.join(_MODES_OF[self.variant])} with variant {self.variant!r}, got "
                f"{self.settings.mode!r}"
            )
        if self.gate in ("attention", "value") and self.variant != "taylor":
            raise OptionError(f"attention has no channels: expected variant='taylor', got {self.variant!r}")

    @property
    def multiplies_by_inputs(self) -> bool:
        """True: scores have the unit of the output, as gradient times input has."""
        return True

    # ---------------------------------------------------------------- one computation
    def _find(
        self,
        given: tuple[Any, ...],
        at_layer: tuple[Any, Any, bool],
        internal_batch_size: int | None,
        show_progress: bool,
    ) -> Found:
        started = time.perf_counter()
        warn_of_training_mode(*self._models())
        with frozen_for_derivatives(*self._models()):
            gate, gates = self._gates(given, at_layer)
            size = PassSize.for_inputs(gates.arguments.inputs, sought=False)
            if internal_batch_size is not None:
                size = PassSize(check_count("internal_batch_size", internal_batch_size))
            modes = choose_modes(self.settings.mode, self.variant, gates, size)
            cost = self._cost_of(gates, modes, size)
            announce(cost, gates.n_units, self.max_players, show=show_progress, ways_out=FEWER_UNITS)
            with progress_bar(f"{_either(modes)} derivatives", None, "row", show_progress) as bar:
                taken = operator_of(modes, self.settings, size, lambda rows: bar.update(max(rows - bar.n, 0)))
                findings = find(
                    gates,
                    taken,
                    variant=self.variant,
                    order=self.order,
                    search=self.search,
                    top_k=self.top_k,
                    synergy=self.synergy,
                )
            swap_error = taken.swap_error(gates)
        warn_of_zeros(findings, order=self.order, smooth="exact" in modes or "path" in modes)
        has_mask = given[4] is not None or at_layer[1] is not None
        return Found(
            findings=findings,
            gates=gates,
            gate=gate,
            modes=modes,
            swap_error=swap_error,
            target=str(given[2]),
            grid=None if has_mask else grid_of(gates),
            seconds=time.perf_counter() - started,
            seed=self.settings.seed if self.settings.mode == "stein" else None,
        )

    def _gates(self, given: tuple[Any, ...], at_layer: tuple[Any, Any, bool]) -> tuple[str, Gates]:
        return gates_for(
            self.gate,
            self.layer,
            self.device_ids,
            # read late: Captum's wrappers copy an instance and replace its forward_func
            explained_output(self.forward_func, self.output),
            given,
            at_layer,
            channels=self.variant != "taylor",
        )

    def _cost(self, given: tuple[Any, ...], at_layer: tuple[Any, Any, bool]) -> Cost:
        _, gates = self._gates(given, at_layer)
        size = PassSize.for_inputs(gates.arguments.inputs, sought=False)
        cost = self._cost_of(gates, choose_modes(self.settings.mode, self.variant, gates, size), size)
        check_units(cost, gates.n_units, self.max_players, ways_out=FEWER_UNITS)
        return cost

    def _cost_of(self, gates: Gates, modes: tuple[str, ...], size: PassSize) -> Cost:
        k, taken = gates.n_units, operator_of(modes, self.settings, size)
        pairs = pairs_to_go_on_from(k, self.search, self.top_k)
        passes = taken.cost(k) + (taken.cost_of_triples(k, pairs) if self.order == 3 else 0.0)
        passes += cost_beside(k, self.order, self.synergy)
        return Cost(f"{k} units, mode {_either(modes)!r}", float(passes), gates.n_examples)

    def _cells(self, found: Found) -> tuple[Tensor, ...]:
        return found.gates.spread(found.findings.node_scores())

    def _interactions(self, found: Found) -> list[TaylorInteractions]:
        kind = self.variant.replace("_", "-")
        model = describe_model(self.forward_func)
        return found.tables(kind, method=self.name, options=self.options(), model=(model,))

    def options(self) -> dict[str, Any]:
        """The constructor's options, for the provenance."""
        own = {
            name: getattr(self, name)
            for name in ("gate", "order", "variant", "output", "search", "top_k", "synergy", "max_players")
        }
        return own | asdict(self.settings)


def _either(modes: tuple[str, ...]) -> str:
    return " or ".join(sorted(set(modes)))
