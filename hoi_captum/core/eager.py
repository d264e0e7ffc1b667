"""Compiled models, run as they were before ``torch.compile``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def eager() -> Iterator[None]:
    """While it lasts, what was compiled runs uncompiled.

    Compiled code has no second derivatives, and once it is there it runs past hooks and function modes that
    come later, without a word. Where only outputs are asked for, it stays compiled.

    The stance is the process's: of two threads that overlap here, one may run compiled.
    """
    # without it nothing is compiled, and its import takes a second
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
