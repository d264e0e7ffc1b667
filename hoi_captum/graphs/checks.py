"""What a layer must give to have its neurons laid out."""

from __future__ import annotations

from torch import Size, Tensor

from hoi_captum.errors import InputError


def check_cells(tensor: Tensor, neuron_dim: int | None) -> None:
    """Refuse what would be taken for rows of neurons and is not.

    Raises:
        InputError: a layer without a dimension of neurons, or that has no dimension ``neuron_dim``.
    """
    shape: Size = tensor.shape
    if len(shape) < 2:
        raise InputError(
            f"expected a layer that gives (rows, neurons) or more dimensions, got shape {tuple(shape)}; give "
            "data with rows in dimension 0 (x[None] for a single row)"
        )
    if neuron_dim is not None and not (-len(shape) < neuron_dim < len(shape)):
        raise InputError(
            f"expected neuron_dim to be a dimension behind the rows of what the layer gives, {tuple(shape)}; "
            f"got {neuron_dim}"
        )
