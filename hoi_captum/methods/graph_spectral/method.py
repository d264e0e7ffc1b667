"""GraphSpectral: a layer laid out on a graph, so that it can be looked at."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from captum.log import log_usage
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.options import check_choice
from hoi_captum.core.provenance import Provenance, describe_model
from hoi_captum.errors import InputError
from hoi_captum.methods.graph_spectral.class_maps import ClassMaps
from hoi_captum.methods.graph_spectral.pairs import MapPairs, first_derivatives, pairs_of
from hoi_captum.methods.graph_spectral.reading import MapReader
from hoi_captum.methods.graph_spectral.terms import edge_terms, group_terms

RELEVANCES = ("activation", "gradient_x_activation", "interaction")


class GraphSpectral(MapReader):
    r"""A layer's neurons as a map: neighbours on a graph are active together.

    ``method="probe"`` learns units u of the layer z of a trained network, which itself stays as it is,

    .. math:: \min \; \text{mse}(z, V u + c) + \alpha \, \text{mean}_b
        \frac{\tilde u_b^T L \tilde u_b}{\tilde u_b^T \tilde u_b}, \qquad u = \text{ReLU}(W z + b)

    with z standardised and L the Laplacian of the graph. ``method="layout"`` moves the neurons themselves to
    the nodes, so that those that correlate are neighbours. Classes then show as regions of the map, and
    groups of units that are active together can be followed to the inputs (:meth:`pull_back`), and their
    joint effect on the output measured by gates that are spliced into the model (``terms="pairs"``).

    To train a network whose layer is such a map: :class:`hoi_captum.GraphSpectralRegularizer`.

    Source: Tong et al., "Interpretable neuron structuring with graph spectral regularization",
    arXiv 1810.00424; probe and layout are ours.

    Args:
        forward_func (Callable): the model, or any function that runs it.
        layer (torch.nn.Module): whose output (or input, see :meth:`fit`) is mapped.
        device_ids (list[int], optional): of a ``DataParallel`` model. Default: None
        graph: ``grid``, ``torus``, ``ring``, ``line``, ``tree``, ``star``, ``hierarchical``, ``learned`` (of
            what is active together), (h, w) of a grid, an adjacency (n, n), or a
            :class:`~hoi_captum.graphs.NeuronGraph`. Default: grid
        method (str): ``probe`` or ``layout``. Default: probe
        n_nodes (int, optional): units of a probe. Default: None (the graph's, or 64)
        alpha (float): weight of the probe's smoothness, of any layer's scale. Default: 0.1
        pooling (str or Pooling): ``each`` token or position is a sample of its own, and a row's map their
            mean (over those that an attention mask leaves; ``Pooling("each", mask=1)`` says which additional
            argument that is); or first pooled by ``mean``, the ``last`` token, or with ``none`` every cell a
            neuron. Default: each
        neuron_dim (int, optional): dimension of the neurons in the layer. Default: None (the last of
            three, otherwise the first behind the rows)
        terms (str): what :meth:`interact` gives: ``groups`` of units, ``edges`` of the graph, or ``pairs`` of
            units (of groups, where ``n_groups`` is given) by their joint effect on the target.
            Default: groups
        n_groups (int, optional): groups of units that are active together. Default: None (where the
            eigenvalues of the co-activations jump most)
        affinity (str, optional): of a learned graph, see :func:`hoi_captum.graphs.learned_graph`. Default:
            None (``knn`` of a probe, ``adaptive`` of a layout)
        n_swaps (int, optional): annealed swaps of a layout. Default: None (60,000)
        max_steps (int), learning_rate (float): of the probe's training. Default: 3000, 0.003
        held_out (float): share of the rows that judge the map and teach it nothing. Default: 0.1
        force (bool): accept units that explain less than half of the layer. Default: False
        max_players (int): most units of ``pairs``. Default: 256
        random_state (int): seed. Default: 42

    Attributes:
        graph_: the :class:`~hoi_captum.graphs.NeuronGraph` of the k units.
        quality_: a :class:`MapQuality`: variance explained on held-out samples, roughness, dead units.
        groups_, membership_: (k,) the group of each unit (-1: none), and its correlation with the group.
        unit_mean_, unit_std_: (k,) of the inputs' maps (where they have several samples, of a thousand).

    Raises:
        OptionError, InputError: arguments that cannot be used.

    Examples::

        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        >>> data = torch.randn(300, 4)
        >>> method = hoi.GraphSpectral(net, net[1], graph=(2, 4), method="layout").fit(data)
        >>> method.neuron_map(data[:3]).shape
        torch.Size([3, 2, 4])
    """

    name: ClassVar[str] = "graph-spectral"
    kinds: ClassVar[tuple[str, ...]] = ("group", "edge", "taylor")
    orders: ClassVar[tuple[int, int | None]] = (1, None)
    summary: ClassVar[str] = "neuron maps: a layer laid out on a graph, and what is active together there"
    unit: ClassVar[str] = "standard deviations"
    learning: ClassVar[str] = "laying out the neurons, or teaching the probe"

    # ---------------------------------------------------------------- Captum's verb, and ours
    def has_convergence_delta(self) -> bool:
        return False

    @log_usage()
    def attribute(self, inputs: Any, target: Any = None, additional_forward_args: Any = None) -> Any:
        r"""The part of the layer's activation that the map explains, V u + c.

        Args:
            inputs (Tensor or tuple[Tensor, ...]): input, batch in dimension 0.
            target (int, tuple, Tensor or list, optional): as in Captum; only checked. Default: None
            additional_forward_args (Any, optional): as in Captum. Default: None

        Returns:
            *Tensor* or *tuple[Tensor, ...]* of **attributions**: shaped like what the layer gives, in the
            unit of its activations; a pooled neuron's value stands at each of its tokens or positions.

        Raises:
            NotFittedError: before :meth:`fit`.
            InputError: arguments that do not fit.

        Examples::

            >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
            >>> data = torch.randn(300, 4)
            >>> method = hoi.GraphSpectral(net, net[1], method="layout").fit(data)
            >>> method.attribute(data[:3], target=1).shape
            torch.Size([3, 8])
        """
        rows = self._explained(inputs, target, additional_forward_args)
        samples = self.pooling.samples(rows.tensors, rows.arguments.additional)
        said = self.units_.decode(self.units_.encode(samples.values))
        tensors = self.pooling.spread_samples(said, rows.shapes)
        return tensors if len(tensors) > 1 else tensors[0]

    @log_usage()
    def interact(
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        *,
        show_progress: bool = False,
    ) -> list[Interactions]:
        r"""What of the map is active together in each row.

        Args:
            inputs, additional_forward_args: as in :meth:`attribute`.
            target: as in Captum; of ``pairs`` the output that they act on, else only checked. Default: None
            show_progress: of ``pairs``: the cost, and a bar on stderr. Default: False

        Returns:
            *list[Interactions]*, one for each row, of the units (of groups, for ``pairs`` with ``n_groups``):

            - ``groups``: a term for each group of units that are active together over the data, its score how
              much more its units are active here than usual (their mean, in standard deviations), its weights
              how much each belongs to it.
            - ``edges``: a term for each edge, :math:`A_{ij} s_i s_j` with standardised activations s: above 0
              where both are more active than usual, or both less.
            - ``pairs``: cross derivatives of the target by gates of both; differences with both switched off
              where a ReLU behind the layer hides derivatives (``provenance.details["mode"]``).

            ``arrays`` has the row's ``units`` (k,), ``groups``, ``adjacency`` and ``map_shape``.

        Raises:
            NotFittedError, InputError: as :meth:`attribute`.
            TooManyPlayersError: more units than ``max_players``, of ``pairs``.

        Examples::

            >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
            >>> data = torch.randn(300, 4)
            >>> method = hoi.GraphSpectral(net, net[1], method="layout").fit(data)
            >>> method.interact(data[:1])[0].top(1)[0].kind
            'group'
        """
        started = time.perf_counter()
        rows = self._explained(inputs, target, additional_forward_args)
        maps = self._maps(rows)
        arrays = [self._arrays(own) for own in maps]
        if self.terms == "pairs":
            found = pairs_of(self, rows, show_progress)
            seconds = time.perf_counter() - started
            return [
                found.table(i, own, self._provenance(target, seconds, found)) for i, own in enumerate(arrays)
            ]
        standard = (maps - self.unit_mean_) / self.unit_std_
        provenance = self._provenance(target, time.perf_counter() - started)
        return [
            Interactions.from_terms(
                self.unit_names,
                edge_terms(self.graph_, s)
                if self.terms == "edges"
                else group_terms(self.groups_, self.membership_, s),
                provenance=provenance,
                arrays=own,
            )
            for s, own in zip(standard, arrays, strict=True)
        ]

    # ---------------------------------------------------------------- maps
    def neuron_map(
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        *,
        relevance: str = "activation",
        each: bool = False,
    ) -> Tensor:
        """The map of each row, to be looked at.

        Args:
            inputs, additional_forward_args: as in :meth:`attribute`.
            target: as in Captum; needed for any other relevance than the activation. Default: None
            relevance: ``activation`` of the units; ``gradient_x_activation``, the derivative of the target
                by each unit's gate; ``interaction``, each unit's sum of absolute ``pairs``. Default:
                activation
            each: a map for each token or position (of activations). Default: False (their mean)

        Returns:
            Tensor (B, h, w), or (B, m, h, w) of m tokens or positions; (1, k) for graphs that are no
            picture. NaN where the picture has no unit, or a mask leaves the token out.

        Raises:
            NotFittedError, InputError: as :meth:`attribute`.
        """
        check_choice("relevance", relevance, RELEVANCES)
        if each and relevance != "activation":
            raise InputError(f"expected relevance='activation' with each=True, got {relevance!r}")
        rows = self._explained(inputs, target, additional_forward_args)
        if relevance == "gradient_x_activation":
            values = first_derivatives(self, rows).numpy()
        elif relevance == "interaction":
            values = np.abs(pairs_of(self, rows, False, of_units=True).pairs.numpy()).sum(-1)
        elif each:
            samples = self.pooling.samples(rows.tensors, rows.arguments.additional)
            values = self.units_.encode(samples.values).double().cpu().numpy()
            values[~samples.kept.cpu().numpy()] = np.nan
        else:
            values = self._maps(rows)
        return torch.as_tensor(self.graph_.as_map(values))

    def class_maps(
        self,
        data: Any,
        labels: Any = None,
        *,
        names: Mapping[int, str] | Sequence[str] | None = None,
        additional_forward_args: Any = None,
        internal_batch_size: int | None = None,
        n_permutations: int = 999,
        show_progress: bool = False,
    ) -> ClassMaps:
        """Mean maps of classes, and the segmentation: the class that each unit is most active for.

        Args:
            data: as in :meth:`fit`; rather not the same rows.
            labels: (rows,) integers, of data given whole. Default: None (the batches bring theirs)
            names: of the classes, by label. Default: None
            additional_forward_args, internal_batch_size, show_progress: as in :meth:`fit`.
            n_permutations: of the tests. Default: 999

        Raises:
            NotFittedError: before :meth:`fit`.
            InputError: data without labels, or of one class.
        """
        maps, found = [], []
        for rows in self._rows_of(
            self.forward_func, data, labels, additional_forward_args, internal_batch_size, show_progress
        ):
            if rows.labels is None:
                raise InputError("expected labels: give labels=..., or batches that bring them")
            maps.append(self._maps(rows))
            found.append(rows.labels.numpy())
        return ClassMaps.of(
            np.concatenate(maps),
            np.concatenate(found),
            self.graph_,
            names=names,
            n_permutations=n_permutations,
            seed=self.random_state,
        )

    # ---------------------------------------------------------------- what a result says of itself
    def _passes(self) -> float | None:
        return None if self.terms == "pairs" else 1  # of pairs it hangs on the units that were found

    def _arrays(self, units: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        return {
            "units": units,
            "groups": self.groups_,
            "adjacency": self.graph_.adjacency,
            "map_shape": np.array(self.graph_.map_shape),
        }

    def _provenance(self, target: Any, seconds: float, pairs: MapPairs | None = None) -> Provenance:
        q = self.quality_
        details: dict[str, Any] = {
            "layer": self.layer_name_,
            "fve": q.fve,
            "dead": q.dead,
            "fit_rows": self.fit_rows_,
            "fit_seconds": self.fit_seconds_,
        }
        about = f"{self.graph_.name} of {self.units_.count} units of {self.layer_name_}, FVE {q.fve:.2f}"
        if pairs is None:
            details["about"] = about
        else:
            details |= {"mode": pairs.mode, "how": about, "unit": ""}
        return Provenance(
            method=self.name,
            options=self._parts()[0] | {"graph": str(self.graph)},
            target=str(target),
            model=(describe_model(self.forward_func),),
            seed=self.random_state,
            forward_passes=1 if pairs is None else pairs.forward_passes,
            backward_passes=0 if pairs is None else pairs.backward_passes,
            seconds=seconds,
            details=details,
        )
