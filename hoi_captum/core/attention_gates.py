"""Gates on what is attended to, in transformers whose attention can be seen."""

from __future__ import annotations

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from hoi_captum.core.arguments import Arguments
from hoi_captum.core.attention import AttentionProbe, GatedAttention, probe_attention
from hoi_captum.core.coalitions import Players
from hoi_captum.core.gates import Gates, copies_of
from hoi_captum.errors import InputError, PlayerError


class AttentionGates(Gates):
    r"""Gates on what is attended to: :math:`\log \alpha_j` is added to each attention score of key j.

    At 1 it is the model; towards 0 nothing looks at position j any more, in no layer. A position goes on to
    see itself, and the gate of the last position of a causal model (before any padding), at which nothing
    else looks, is put on its own score instead. Works on transformers whose positions are those of the first
    input, (B, T) or (B, T, H), and that call PyTorch's attention or a softmax over (rows, heads, T, T) scores
    themselves; ``nn.MultiheadAttention`` hides both.

    Args:
        arguments: the forward function and its inputs.
        players: of the positions; a mask may not tell cells of one position apart.
        values: instead multiply the value vectors of position j in the first layer's attention by its gate.
        attention: what is known of the model's attention. Default: found by running it once
        partial: as of :class:`Gates`.

    Attributes:
        attention: what is known of the model's attention.
        values: as given.

    Raises:
        InputError: the forward function does no such attention.
        PlayerError: units that divide a position.
    """

    _SMALLEST = 1e-4  # of a gate; its logarithm is added to scores

    def __init__(
        self,
        arguments: Arguments,
        players: Players,
        *,
        values: bool = False,
        attention: AttentionProbe | None = None,
        partial: bool = False,
    ) -> None:
        super().__init__(arguments, players, arguments.inputs, arguments.baselines, partial=partial)
        found = probe_attention(arguments) if attention is None else attention
        if found is None:
            raise InputError(
                "the forward function does no attention over the positions of its first input, (B, T) or "
                f"(B, T, H), here {tuple(arguments.inputs[0].shape)}; use gate='input' or a layer, or load "
                "a HuggingFace model with attn_implementation='sdpa' or 'eager' (nn.MultiheadAttention and "
                "nn.TransformerEncoder do not let theirs be seen)"
            )
        self.attention, self.values = found, values
        self._positions = Players((_owners(players.masks[0]),), players.count)

    def _run(
        self, rows: Tensor, scale: Tensor | None, shift: Tensor | None, channels: Tensor | None
    ) -> Tensor:
        if shift is not None or channels is not None:
            raise InputError(
                "attention has no shift: expected variant='taylor' with attention or value gates"
            )
        inputs = copies_of(self.arguments.inputs, rows)
        if scale is None:
            return self.arguments.run(inputs, rows)
        on_positions = self._positions.on_cells(scale, 0, rows, background=1).expand(len(rows), -1)
        if not self.values:
            on_positions = on_positions.clamp(min=self._SMALLEST)
        # the kernel that is differentiable twice, also on the way forward
        gated = GatedAttention(on_positions, self.attention, rows, values=self.values)
        with sdpa_kernel(SDPBackend.MATH), gated:
            return self.arguments.run(inputs, rows)


def _owners(mask: Tensor) -> Tensor:
    """The unit of each position, (1 or B, T)."""
    if mask.dim() < 2:
        raise PlayerError(
            f"expected inputs (B, T) or (B, T, H) with positions to gate, got a mask {mask.shape}"
        )
    flat = mask.reshape(*mask.shape[:2], -1)
    if bool((flat != flat[..., :1]).any()):
        raise PlayerError("attention gates switch whole positions: expected one unit for each, got several")
    return flat[..., 0]
