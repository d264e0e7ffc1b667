"""Leave the user's model, and the random numbers, as they were found: also after an exception."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


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


@contextmanager
def preserved_state(*forward_funcs: Any) -> Iterator[None]:
    """Restore train/eval flags, ``requires_grad``, running statistics and random states on exit.

    Args:
        forward_funcs: models or plain functions; only modules have flags to restore.
    """
    models = [f for f in forward_funcs if isinstance(f, nn.Module)]
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
        for model in models:
            model.eval()
        yield
