"""LayerLocalCorEx: groups of neurons that share information, per region of the data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from captum.log import log_usage
from numpy.typing import NDArray
from torch import Tensor, nn

from hoi_captum.core.interactions import Interactions
from hoi_captum.core.layer_method import scoring
from hoi_captum.core.options import check_choice, check_number
from hoi_captum.core.state import preserved_state
from hoi_captum.corex.factors import corex_table, factor_terms
from hoi_captum.methods.local_corex.ablation import RegionCounts, run_masked
from hoi_captum.methods.local_corex.perturbation import STARTS, check_strengths, direction_of, run_shifted
from hoi_captum.methods.local_corex.regions import LayerRegions
from hoi_captum.methods.local_corex.results import Ablation, Perturbation


class LayerLocalCorEx(LayerRegions):
    r"""Groups of a layer's neurons that share information, found per region of the data manifold.

    Rows are put into clusters (PHATE and k-means) and a CorEx is learned for the activations of each: it
    finds latent factors Y_j that explain the total correlation of the neurons,

    .. math:: TC(X) = \sum_i H(X_i) - H(X)

    so that neurons belong together by what they know of the same factor, I(Y_j; X_i) in nats.

    Source: Kerby, White, Moon, "Exploring higher-order neural network node interactions with total
    correlation", sections 2 and 3.4; Ver Steeg, Galstyan, "Low complexity Gaussian latent factor models
    and a blessing of dimensionality", 2017, for the linear estimator.

    Args:
        forward_func (Callable): the model, or any function that runs it.
        layer (torch.nn.Module): whose output (or input, see :meth:`fit`) is explained. For :meth:`ablate`
            choose the activation, not the linear layer before it.
        device_ids (list[int], optional): of a ``DataParallel`` model. Default: None
        n_factors (int): factors of each cluster; superfluous ones get a total correlation near 0.
            Default: 30
        n_clusters (int, optional): regions of the data. Default: None (one for each 200 rows, at most 20)
        pooling (str or Pooling): how a layer's cells become neurons: ``mean`` over tokens (those that an
            attention mask among the additional arguments leaves) or positions, ``last`` token, or ``none``:
            every cell is a neuron. The mask is told by its shape and its 0 and 1; where there are token types
            too give it first, or say its place, ``Pooling("mean", mask=1)`` (mask=None: there is none).
            Default: ``mean``
        neuron_dim (int, optional): dimension of the neurons in the layer. Default: None (the last of
            three, otherwise the first behind the rows)
        include_logits (bool or Sequence[int]): also give CorEx the log-softmax of the outputs, of all
            classes or of these, so that factors can be told by the classes they concern.
            ``forward_func`` must give logits or log-probabilities. Default: False
        class_names (Sequence[str] or Callable, optional): of the outputs, or a function of their number.
            Default: None (their numbers)
        partition (str): what the regions are found in: ``layer`` (what CorEx gets) or ``inputs``
            (as in the paper's image networks). Default: ``layer``
        estimator (optional): a CorEx to be fitted in each cluster. Default: None
            (``LinearCorEx(n_factors, gaussianize="outliers")``, as the paper's networks)
        embedder, clusterer (optional): of the partition, as in :class:`hoi_captum.corex.LocalCorEx`.
            Default: PHATE to ten dimensions, and k-means
        factor (int, optional): the factor that :meth:`attribute` shows. Default: None (the one that knows
            most of the target's class where ``include_logits`` has it; otherwise the strongest)
        min_rows (int): a smaller region gets no CorEx. Default: 50
        threshold (float, optional): nats from which a neuron belongs to a factor. Default: None (found for
            each factor, see :func:`hoi_captum.corex.factor_members`)
        n_jobs (int, optional): clusters fitted at once. Default: None (1)
        random_state (int): seed. Default: 42

    Attributes:
        local_: the fitted :class:`hoi_captum.corex.LocalCorEx`; its ``models_`` hold ``mi_``, ``tcs_``, ...
        neuron_names_: one name for each neuron.
        class_columns_: the classes whose log-probabilities were included.
        means_: (clusters, neurons) mean activations.

    Examples::

        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        >>> data = torch.randn(300, 4)
        >>> method = hoi.LayerLocalCorEx(net, net[1], n_factors=3, n_clusters=1).fit(data)
        >>> method.attribute(data[:2]).shape
        torch.Size([2, 8])
    """

    name: ClassVar[str] = "layer-local-corex"
    kinds: ClassVar[tuple[str, ...]] = ("corex",)
    orders: ClassVar[tuple[int, int | None]] = (1, None)
    summary: ClassVar[str] = "groups of neurons that share information, per region of the data"
    unit: ClassVar[str] = "nats"
    class_options: ClassVar[tuple[str, ...]] = ("include_logits",)
    learning: ClassVar[str] = "finding the regions, and a CorEx for each"

    # ---------------------------------------------------------------- Captum's verb, and ours
    def has_convergence_delta(self) -> bool:
        return False

    @log_usage()
    def attribute(self, inputs: Any, target: Any = None, additional_forward_args: Any = None) -> Any:
        r"""How much each neuron knows of a factor of the row's region, I(Y_j; X_i).

        Args:
            inputs (Tensor or tuple[Tensor, ...]): input, batch in dimension 0.
            target (int, tuple, Tensor or list, optional): as in Captum. It chooses the factor where
                ``include_logits`` has its class and ``factor`` was left out; else it is only checked.
                Default: None
            additional_forward_args (Any, optional): as in Captum. Default: None

        Returns:
            *Tensor* or *tuple[Tensor, ...]* of **attributions**: shaped like what the layer gives, in nats;
            a pooled neuron's value stands at each of its tokens or positions.

        Raises:
            NotFittedError: before :meth:`fit`.
            InputError: arguments that do not fit, or a factor that there is not.

        Rows in a region that was too small for a CorEx get zeros, and a DataWarning.

        Examples::

            >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
            >>> data = torch.randn(300, 4)
            >>> method = hoi.LayerLocalCorEx(net, net[1], n_clusters=1, n_factors=2).fit(data)
            >>> method.attribute(data[:3], target=1).shape
            torch.Size([3, 8])
        """
        rows, clusters = self._explained(inputs, target, additional_forward_args)
        factors = self._chosen(rows, clusters)
        n = len(self.neuron_names_)
        values = np.zeros((len(clusters), n))
        for i, (k, j) in enumerate(zip(clusters, factors, strict=True)):
            if self._known(k):
                values[i] = self._model(k).mi_[j, :n]
        return self._spread(torch.as_tensor(values), rows)

    @log_usage()
    def interact(
        self, inputs: Any, target: Any = None, additional_forward_args: Any = None
    ) -> list[Interactions]:
        r"""The groups of neurons in each row's region.

        Args:
            inputs, target, additional_forward_args: as in :meth:`attribute`; the target has no effect here.

        Returns:
            *list[Interactions]*, one for each row: a term for each factor of the region, its members those
            above the threshold with their I(Y_j; X_i) as weights, its score the total correlation that the
            factor explains (nats), its scope the region, ``cluster:3``. Players are the neurons, and the
            classes' log-probabilities where they were included. ``arrays`` has ``factor_values``, the
            row's own; ``tcs`` of all of the region's factors, which tell a term's factor; and
            ``n_neurons``: players behind these are classes.

        Raises:
            NotFittedError, InputError: as :meth:`attribute`.

        Examples::

            >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
            >>> data = torch.randn(300, 4)
            >>> method = hoi.LayerLocalCorEx(net, net[1], n_clusters=1, n_factors=2).fit(data)
            >>> strongest = method.interact(data[:1])[0].top(1)[0]
            >>> strongest.kind, strongest.scope
            ('corex', 'cluster:0')
        """
        started = time.perf_counter()
        rows, clusters = self._explained(inputs, target, additional_forward_args)
        values = [
            self._model(k).transform(row[None])[0] if self._known(k) else np.zeros(0)
            for k, row in zip(clusters, self._matrix(rows), strict=True)
        ]
        tables = {k: self._factors(k) for k in set(clusters)}
        seconds = time.perf_counter() - started
        return [
            replace(
                tables[k],
                arrays=self._arrays(k) | {"factor_values": own},
                provenance=self._provenance(k, target, seconds),
            )
            for k, own in zip(clusters, values, strict=True)
        ]

    def _arrays(self, cluster: int) -> dict[str, NDArray[Any]]:
        """What tells a drawing which factor a term is, and which players are classes."""
        tcs = self._model(cluster).tcs_ if self._known(cluster) else np.zeros(0)
        return {"tcs": tcs, "n_neurons": np.array(len(self.neuron_names_))}

    def _factors(self, cluster: int) -> Interactions:
        """The factors of a region as terms, strongest first."""
        scope, terms = f"cluster:{cluster}", []
        if self._known(cluster):
            terms = factor_terms(
                self._model(cluster),
                n_rows=int(self.local_.cluster_sizes_[cluster]),
                scope=scope,
                threshold=self.threshold,
                # a class that a factor all but determines would leave the neurons out
                n_judged=len(self.neuron_names_),
            )
        return corex_table(self.player_names, terms, self.local_, {}, base={scope: 0.0})

    # ---------------------------------------------------------------- what the paper does with factors
    def perturb(
        self,
        inputs: Any,
        factor: int = 0,
        strength: float | Sequence[float] = 1.0,
        *,
        cluster: int | None = None,
        direction: str | None = None,
        around: str = "inputs",
        decoder: Callable[..., Tensor] | None = None,
        decoder_layer: nn.Module | None = None,
        additional_forward_args: Any = None,
    ) -> Perturbation:
        """Move the layer along a factor and run the rest of the network.

        Args:
            inputs: rows that the network is run with.
            factor: along which to move.
            strength: s for -s, 0 and s, or a sequence of strengths; the tokens or positions that neurons were
                read from move by it. Default: 1
            cluster: whose factor. Default: None (the region of the first row)
            direction: what a strength of 1 adds to the neurons: ``signed-mi`` (I(Y_j; X_i) with the sign of
                the correlation, so that the factor rises), ``mi`` (the paper's, whatever the sign) or
                ``factor`` (what a standard deviation of the factor changes in ``inverse_transform``).
                Default: None (``signed-mi``; ``mi`` where the estimator knows no sign, as BioCorEx)
            around: where to start: ``inputs`` (each row's own layer) or ``cluster`` (the region's mean, as in
                the paper). Default: ``inputs``
            decoder: draws what the network has made of it: a function of what ``decoder_layer`` gives.
            decoder_layer: at or behind the perturbed layer. Default: None (the perturbed layer)
            additional_forward_args: as in Captum.

        Returns:
            Perturbation: ``.outputs`` (S, B, ...), ``.decoded`` (S, B, ...).

        Raises:
            NotFittedError: before :meth:`fit`.
            InputError, OptionError: arguments that cannot be used.
        """
        strengths = check_strengths(strength)
        check_choice("around", around, STARTS)
        rows, clusters = self._explained(inputs, None, additional_forward_args, plain=True)
        k = clusters[0] if cluster is None else cluster
        n = len(self.neuron_names_)
        along = direction_of(self._model(k, factor), factor, direction)[:n]
        start = torch.as_tensor(self.means_[k]) - rows.neurons.cpu() if around == "cluster" else 0.0
        shifts = [(start + s * torch.as_tensor(along)).expand(len(rows), n) for s in strengths]
        with preserved_state(self.forward_func):
            outputs, decoded = run_shifted(
                rows, self.layer, self.pooling, shifts, decoder, decoder_layer, at_input=self._at_input
            )
        return Perturbation(np.asarray(strengths), outputs, decoded, along, k, factor)

    def ablate(
        self,
        data: Any,
        factor: int,
        n_neurons: int,
        *,
        cluster: int,
        labels: Any = None,
        value: float = 0.0,
        additional_forward_args: Any = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Ablation:
        """Silence a factor's top neurons and see which regions suffer.

        The neurons are set where the layer ends (or begins), so that a batch norm behind a linear layer
        cannot bring them back: choose the activation as the layer. The weights are not touched.

        Args:
            data: as in :meth:`fit`; labels come with the batches, or as ``labels``.
            factor, cluster: whose neurons.
            n_neurons: how many, those of largest I(Y_j; X_i) first.
            labels: (rows,) classes, of data given whole. Default: None (the whole model's own predictions)
            value: what the neurons are set to, at every token or position. Default: 0
            additional_forward_args, internal_batch_size, show_progress: as in :meth:`fit`.

        Returns:
            Ablation: accuracy and class probabilities by region, before and after.

        Raises:
            NotFittedError: before :meth:`fit`.
            InputError, ModelOutputError: arguments or outputs (no logits) that cannot be used.
        """
        check_number("value", value)
        neurons = self.top_neurons(cluster, factor, n_neurons)
        chosen = torch.zeros(1, len(self.neuron_names_))
        chosen[0, list(neurons)] = 1
        forward = scoring(self.forward_func)
        counts = RegionCounts()
        with preserved_state(self.forward_func):
            for rows in self._stream(
                forward,
                data,
                labels=labels,
                additional_forward_args=additional_forward_args,
                batch_size=internal_batch_size,
                at_input=self._at_input,
                show_progress=show_progress,
                label="ablation",
            ):
                masks = self.pooling.spread(chosen.expand(len(rows), -1), rows.shapes)
                after = run_masked(rows, self.layer, masks, value, at_input=self._at_input)
                counts.add(self._clusters(rows), rows.output, after, rows.labels)
        return counts.result(neurons, cluster, factor, value)
