"""Leave the user's model, and the random numbers, as they were found: also after an exception."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parallel import DataParallel, DistributedDataParallel

from hoi_captum.errors import InputError, TrainingModeWarning


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Restore the random states of torch (all devices), numpy and Python on exit."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002


def unwrapped(module: nn.Module) -> nn.Module:
    """The model that a module runs for its user: inside of ``torch.compile``, ``DataParallel`` and the like.

    Both hold the very modules that they were given, so that hooks, flags and names are those of the model.
    """
    while True:
        parallel = isinstance(module, DataParallel | DistributedDataParallel)
        inner = module.module if parallel else getattr(module, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def module_behind(forward_func: Any) -> nn.Module | None:
    """The model that a forward function runs, :func:`unwrapped`: itself, or what it names as ``module``."""
    module = forward_func if isinstance(forward_func, nn.Module) else getattr(forward_func, "module", None)
    return unwrapped(module) if isinstance(module, nn.Module) else None


def _modules_behind(forward_funcs: Iterable[Any]) -> list[nn.Module]:
    # not by their truth: a container is false where it is empty, and a compiled model may have no length
    return [m for m in map(module_behind, forward_funcs) if m is not None]


def warn_of_training_mode(*forward_funcs: Any) -> None:
    """Warn where dropout or batch statistics would make the outputs depend on chance or on the batch."""
    for model in _modules_behind(forward_funcs):
        noisy = [
            type(m).__name__ for m in model.modules() if m.training and isinstance(m, _DropoutNd | _NormBase)
        ]
        if noisy:
            warnings.warn(
                f"{type(model).__name__} is in training mode, where its {noisy[0]} layers make the outputs "
                "depend on chance or on the other rows; call model.eval() first",
                TrainingModeWarning,
                stacklevel=5,
            )


@contextmanager
def preserved_state(*forward_funcs: Any) -> Iterator[None]:
    """Restore train/eval flags, ``requires_grad``, running statistics and random states on exit.

    Args:
        forward_funcs: models or functions; of a function only a ``module`` that it names is seen.

    Returns:
        a context.

    Examples::

        >>> from hoi_captum.authoring import preserved_state
        >>> model = torch.nn.Dropout()
        >>> with preserved_state(model):
        ...     model.eval().training
        False
        >>> model.training
        True
    """
    models = _modules_behind(forward_funcs)
    training = [(m, m.training) for model in models for m in model.modules()]
    # batch norms in training mode update their buffers in every pass
    buffers = [(b, b.clone()) for m, flag in training if flag for b in m.buffers(recurse=False)]
    trainable = [(p, p.requires_grad) for model in models for p in model.parameters()]
    with preserved_rng():
        try:
            yield
        finally:
            for module, flag in training:
                module.training = flag
            for buffer, value in buffers:
                buffer.copy_(value)
            for parameter, flag in trainable:
                parameter.requires_grad_(flag)


def refuse_checkpointing(*forward_funcs: Any) -> None:
    """Refuse models that recompute activations in the reverse pass, where nothing is gated any more.

    Raises:
        InputError: a module has ``gradient_checkpointing`` on, in training mode, where it works.
    """
    for model in _modules_behind(forward_funcs):
        if any(m.training and getattr(m, "gradient_checkpointing", False) for m in model.modules()):
            raise InputError(
                f"{type(model).__name__} recomputes its activations (gradient checkpointing), which "
                "derivatives by gates do not survive; call model.eval(), or "
                "model.gradient_checkpointing_disable()"
            )


@contextmanager
def frozen(*forward_funcs: Any) -> Iterator[None]:
    """:func:`preserved_state`, with gradients by parameters switched off: those by inputs cost less."""
    with preserved_state(*forward_funcs):
        for model in _modules_behind(forward_funcs):
            model.requires_grad_(False)
        yield


@contextmanager
def frozen_for_derivatives(*forward_funcs: Any) -> Iterator[None]:
    """:func:`frozen`, and derivatives by gates can be taken, also where the caller wants none.

    Raises:
        InputError: as :func:`refuse_checkpointing`.
    """
    refuse_checkpointing(*forward_funcs)
    with frozen(*forward_funcs), torch.inference_mode(False):
        yield


@contextmanager
def single_thread() -> Iterator[None]:
    """One thread for torch's own loops while the context lasts.

    For long runs of small operations: waiting for other threads costs more than they save, and where
    other programs keep the cores busy it costs a hundred times more.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def evaluation_mode(*models: nn.Module) -> Iterator[None]:
    """Dropout and batch statistics off for the duration; every module's own flag back afterwards."""
    with preserved_state(*models):
        for model in _modules_behind(models):
            model.eval()
        yield
