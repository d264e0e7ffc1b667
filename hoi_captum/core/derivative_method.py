"""The base class of methods that differentiate a model by its inputs."""

from __future__ import annotations

from abc import abstractmethod

from captum.attr import GradientAttribution

from hoi_captum.core.gates import InputGates
from hoi_captum.core.options import check_count
from hoi_captum.core.passes import PassSize
from hoi_captum.core.row_method import Answer, Call, RowMethod


class DerivativeMethod(RowMethod, GradientAttribution):
    """Base of methods that explain rows by derivatives along their players.

    A subclass says in :meth:`_explain` what it makes of the gates of all rows: derivatives by a player's gate
    (:mod:`hoi_captum.core.derivatives`) are derivatives by its cells, contracted with input - baseline.
    Parameters are frozen meanwhile. Methods that also explain layers or attention stand on
    :class:`~hoi_captum.core.gated_method.GatedMethod`.

    Examples::

        >>> from hoi_captum.authoring import Answer, DerivativeMethod, Term, gradient
        >>> class Slopes(DerivativeMethod):
        ...     name, kinds, orders, summary = "slopes", ("single",), (1, 1), "input times gradient"
        ...     complete = False
        ...     def _explain(self, gates, size, show_progress):
        ...         return [
        ...             Answer([Term((i,), "single", None, float(v)) for i, v in enumerate(row)], row)
        ...             for row in gradient(gates)
        ...         ]
        >>> Slopes(lambda x: x[:, 0] * x[:, 1]).attribute(torch.tensor([[2.0, 3.0]]))
        tensor([[6., 6.]])
    """

    @abstractmethod
    def _explain(self, gates: InputGates, size: PassSize, show_progress: bool) -> list[Answer]:
        """One answer for each row.

        Args:
            gates: of the inputs' players; ``gates.arguments`` has the inputs and the baselines.
            size: how many model rows go into one pass.
            show_progress: as given.
        """

    def _answers(self, call: Call) -> list[Answer]:
        self._check(call.players.count)
        gates = InputGates(call.arguments, call.players, partial=True)
        if call.internal_batch_size is None:
            size = PassSize.for_inputs(call.arguments.inputs, sought=False)
        else:
            size = PassSize(check_count("internal_batch_size", call.internal_batch_size))
        return self._explain(gates, size, call.show_progress)
