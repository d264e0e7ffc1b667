"""Small smooth models whose full Hessians can be taken, and what gates must make of these."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

CLASSES = 3
HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_hooks",
    "_backward_pre_hooks",
)


# --- models, all float64 ------------------------------------------------------------------------------------


def smooth_cnn() -> nn.Sequential:
    """(B, 2, 6, 6) -> (B, 3); ``[1]`` is a batch norm (3, 6, 6), ``[3]`` a map (4, 3, 3)."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.GELU(),
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(36, 8),
        nn.Softplus(),
        nn.Linear(8, CLASSES),
    ).double()
    nn.init.uniform_(net[1].running_mean, -0.2, 0.2)
    nn.init.uniform_(net[1].running_var, 0.5, 1.5)
    nn.init.uniform_(net[1].weight, 0.5, 1.5)
    return net.eval()


class Twice(nn.Module):
    """A layer that runs twice, and one that gives a tuple with None; (B, 4) -> (B, 3)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.shared, self.pair = nn.Linear(4, 4), Pair()
        self.head = nn.Linear(8, CLASSES)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.shared(torch.tanh(self.shared(x))))

    def tail(self, x: Tensor) -> Tensor:
        """From what the last run of the shared layer gives."""
        left, _, right = self.pair(x)
        return self.end(left, right)

    def end(self, left: Tensor, right: Tensor) -> Tensor:
        """From what the pair gives."""
        return self.head(torch.cat((left * right, left.exp() + right.sin()), 1)).tanh()


class Pair(nn.Module):
    """A layer that gives two tensors with None between them."""

    def forward(self, x: Tensor) -> tuple[Tensor, None, Tensor]:
        return x.sigmoid(), None, x.square()


class TinyAttention(nn.Module):
    """One head pair over (B, T, H), in the ways attention is written; (B, T, H) -> (B, 3).

    Args:
        how: ``fused`` (scaled_dot_product_attention), ``grouped`` (it with fewer key heads), or ``softmax``.
        causal: by ``is_causal`` where fused, else by a mask.
        mask: ``bool`` or ``float`` for a mask that hides position 1.
    """

    def __init__(self, how: str = "fused", *, causal: bool = False, mask: str = "", width: int = 4) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.how, self.causal, self.mask = how, causal, mask
        self.query, self.output = nn.Linear(width, width), nn.Linear(width, width)
        key_width = width // 2 if how == "grouped" else width
        self.key, self.value = nn.Linear(width, key_width), nn.Linear(width, key_width)
        self.head = nn.Linear(width, CLASSES)
        self.double().eval()

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """``bias`` is added to the scores, (B, 1, T, T)."""
        size = x.shape[1]
        q, k, v = (self._heads(part(x)) for part in (self.query, self.key, self.value))
        hidden = torch.zeros(size, size, dtype=torch.bool)
        if self.mask:
            hidden[:, 1] = True
        if self.causal:
            hidden |= torch.ones(size, size, dtype=torch.bool).triu(1)
        hidden.fill_diagonal_(False)
        mask = torch.zeros(size, size, dtype=x.dtype).masked_fill(hidden, -torch.inf)
        grouped = {"enable_gqa": True} if self.how == "grouped" else {}
        if self.how == "softmax":
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + mask
            weights = functional.softmax(scores if bias is None else scores + bias, dim=-1)
            attended = weights @ v
        elif bias is not None:
            attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask + bias, **grouped)
        elif self.causal and not self.mask:
            attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True, **grouped)
        else:
            given = {"bool": ~hidden, "float": mask}.get(self.mask)
            attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=given, **grouped)
        y = x + self.output(attended.transpose(1, 2).flatten(2))
        return self.head(y[:, -1] if self.causal else y.mean(1)).tanh()

    @staticmethod
    def _heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, 2)).transpose(1, 2)


# --- oracles ------------------------------------------------------------------------------------------------


def full_hessian(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """All second derivatives of a number by all cells of one row, (N, N)."""
    with sdpa_kernel(SDPBackend.MATH):
        return torch.autograd.functional.hessian(lambda cells: f(cells.view_as(x)).sum(), x.reshape(-1))


def directions(
    variable: str, x: Tensor, baseline: Tensor | float, mask: Tensor, k: int, axis: int | None
) -> Tensor:
    """How each gate (or channel) moves the cells of one row, (k or C, N).

    Args:
        x: (1, ...) one row.
        mask: of this row, broadcastable to it.
        axis: of the channels.
    """
    if variable == "channels":
        along = torch.arange(x.shape[axis]) if axis is not None else torch.zeros(1, dtype=torch.int64)
        shape = [1] * x.dim()
        if axis is not None:
            shape[axis] = -1
        owner = along.view(shape).expand(x.shape).reshape(-1)
        k = len(along)
    else:
        owner = mask.expand(x.shape).reshape(-1)
    moved = torch.stack([(owner == unit).to(x.dtype) for unit in range(k)])
    return moved * (x - baseline).reshape(-1) if variable == "scale" else moved


def nested(f: Callable[[Tensor], Tensor], at: Tensor, order: int) -> Tensor:
    """All derivatives of some order of a number by (k,) variables, (k, ..., k), one at a time."""
    at = at.clone().requires_grad_()
    level = f(at)
    for _ in range(order):
        found = [
            torch.autograd.grad(entry, at, create_graph=True, allow_unused=True, materialize_grads=True)[0]
            if entry.requires_grad
            else torch.zeros_like(at)
            for entry in level.reshape(-1)
        ]
        level = torch.stack(found).view(*level.shape, len(at))
    return level.detach()


def by_differences(f: Callable[[Tensor], Tensor], at: Tensor, members: tuple[int, ...], h: float) -> float:
    """A mixed derivative by central differences: 2^order values."""
    total = 0.0
    for signs in product((1, -1), repeat=len(members)):
        moved = at.clone()
        sign = 1
        for unit, direction in zip(members, signs, strict=True):
            moved[unit] += direction * h
            sign *= direction
        total += sign * float(f(moved))
    return total / (2 * h) ** len(members)


def hooks(*models: nn.Module) -> int:
    """How many hooks hang on models."""
    return sum(len(getattr(m, name)) for model in models for m in model.modules() for name in HOOKS)


def kernels() -> tuple[bool, ...]:
    """Which attention kernels are allowed."""
    cuda = torch.backends.cuda
    return (
        cuda.flash_sdp_enabled(),
        cuda.mem_efficient_sdp_enabled(),
        cuda.math_sdp_enabled(),
        cuda.cudnn_sdp_enabled(),
    )
