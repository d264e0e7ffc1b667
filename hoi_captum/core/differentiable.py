"""What it takes to differentiate a model more than once, and which of its steps do not bear it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from hoi_captum.core.eager import eager
from hoi_captum.core.layer_norm import WrittenOutLayerNorm
from hoi_captum.errors import InputError

# nodes of an autograd graph whose second derivative is zero wherever it exists
_PIECEWISE = (
    "Relu",
    "LeakyRelu",
    "Prelu",
    "RreluWith",
    "Hardtanh",
    "Threshold",
    "Hardsigmoid",
    "Hardshrink",
    "Softshrink",
    "Abs",
    "AdaptiveMaxPool",
    "FractionalMaxPool",
    "Max",  # pools, of two tensors, along axes
    "Amax",
    "Min",
    "Amin",
    "CompiledFunction",  # of an ahead-of-time compiler: what is in it cannot be seen
)
# the code of every function that has this mark
_ONCE = torch.autograd.function.once_differentiable(lambda _: None).__code__


@contextmanager
def differentiable(order: int = 2) -> Iterator[None]:
    """Gradients on, whatever the caller's mode, and every step in a form that has right derivatives.

    Attention takes the kernel that has second derivatives, layer norms are written out where third ones are
    wanted, and what was compiled by ``torch.compile`` runs as it was before.

    Args:
        order: of the derivatives that will be taken. Default: 2

    Raises:
        InputError: the model cannot be differentiated (so often), in words.
    """
    norms = WrittenOutLayerNorm() if order > 2 else nullcontext()
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            sdpa_kernel(SDPBackend.MATH),
            norms,
            eager(),
        ):
            yield
    except RuntimeError as error:
        message = _explained(str(error))
        if message is None:
            raise
        raise InputError(message) from error


_OTHER_MODES = "use a mode without second derivatives: 'grad_diff', 'stein' or 'occlusion'"


def _explained(text: str) -> str | None:
    """What to say of an error of autograd; None where it is none."""
    if "modified by an inplace operation" in text:
        return (
            "a value that the derivatives need was changed in place; build the model with inplace=False "
            f"(nn.ReLU(inplace=True) and x += ... do that), or {_OTHER_MODES}"
        )
    if "checkpoint" in text.lower():
        return (
            "the model recomputes activations in the reverse pass (torch.utils.checkpoint), which "
            "derivatives by gates do not survive; switch checkpointing off"
        )
    unsupported = "not implemented" in text or "does not support" in text or "not currently support" in text
    if (unsupported and ("derivative" in text or "double backward" in text)) or "donated" in text:
        return _no_second_derivative(text.splitlines()[0])
    return None


def _no_second_derivative(why: str) -> str:
    return (
        f"the model has a step that cannot be differentiated so often ({why}); load attention with "
        "attn_implementation='eager' where it is one of a package of its own, give the model as it was "
        f"before it was compiled, or {_OTHER_MODES}"
    )


def any_piecewise(value: Tensor, leaf: Tensor) -> bool:
    """Whether a step from a leaf to a value has no second derivative worth the name."""
    return any(map(_is_piecewise, _steps(value, leaf)))


def _is_piecewise(node: Any) -> bool:
    name = type(node).__name__
    # a clamp at 0 is a ReLU; other bounds guard a division or a logarithm
    is_relu = name.startswith("Clamp") and getattr(node, "_saved_min", None) == 0
    return is_relu or name.startswith(_PIECEWISE)


def check_twice(value: Tensor, leaf: Tensor) -> None:
    """Refuse steps whose second derivative torch would take for zero, without a word.

    Raises:
        InputError: a custom function that is marked as differentiable once, or a compiled model.
    """
    for node in _steps(value, leaf):
        if type(node).__name__.startswith("CompiledFunction"):
            raise InputError(_no_second_derivative("it was compiled"))
        function: Any = getattr(node, "_forward_cls", None)
        if getattr(getattr(function, "backward", None), "__code__", None) is _ONCE:
            raise InputError(_no_second_derivative(f"{function.__name__} is marked @once_differentiable"))


def check_norms(value: Tensor, leaf: Tensor) -> None:
    """Refuse layer norms that could not be written out, since their third derivatives are wrong.

    Raises:
        InputError: there is one, inside of TorchScript say.
    """
    if any(type(node).__name__.startswith("NativeLayerNorm") for node in _steps(value, leaf)):
        raise InputError(
            "the model has a layer norm that cannot be written out (inside of TorchScript), and PyTorch's "
            "own third derivative of it is wrong; give the model as it was before torch.jit, or use order=2"
        )


def _steps(value: Tensor, leaf: Tensor) -> set[Any]:
    """The nodes of the autograd graph that lead from a leaf to a value.

    Parameters and inputs with gradients have steps in the graph, too, that no gate leads to.
    """
    users: dict[Any, list[Any]] = {}  # of what each node gives
    stack, found = [value.grad_fn], set()
    while stack:
        node = stack.pop()
        for parent, _ in () if node is None else node.next_functions:
            if parent not in users:
                stack.append(parent)
            users.setdefault(parent, []).append(node)
    stack = [node for node in users if getattr(node, "variable", None) is leaf]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(users.get(node, ()))
    return found
