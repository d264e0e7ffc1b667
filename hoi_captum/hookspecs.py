"""The whole plugin contract on one screen.

A plugin is a module (or object) behind an entry point of the group ``hoi_captum``. It implements any
of the hooks below, marked with :data:`hookimpl`, and may state the version of the contract it was
made for as ``HOI_CAPTUM_API_VERSION = 1``. Names are kebab-case.

    # my_package/plugin.py                     # pyproject.toml
    import hoi_captum as hoi                   [project.entry-points.hoi_captum]
                                               my-package = "my_package.plugin"
    @hoi.hookimpl
    def hoi_captum_register_methods(register):
        from my_package.method import MyMethod
        register("my-method", MyMethod)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pluggy

PROJECT = "hoi_captum"
ENTRY_POINT_GROUP = "hoi_captum"
#: Version of this contract; a plugin that was made for a newer one is left out.
API_VERSION = 1

hookspec = pluggy.HookspecMarker(PROJECT)
#: Marks the hooks of a plugin; see :func:`hoi_captum_register_methods`.
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def hoi_captum_register_methods(register: Callable[[str, type], None]) -> None:
    """Call ``register(name, cls)`` for each method class.

    The class is a ``captum.attr.Attribution`` with ``attribute``, ``interact`` and the class
    attributes ``kinds``, ``orders``, ``summary``; it is checked when it is registered.

    Examples::

        >>> class MyPlugin:  # or a module with such functions
        ...     @hoi.hookimpl
        ...     def hoi_captum_register_methods(self, register):
        ...         register("my-method", hoi.TaylorCAM)
        >>> MyPlugin().hoi_captum_register_methods(lambda name, cls: print(name, cls.__name__))
        my-method TaylorCAM
    """


@hookspec
def hoi_captum_register_adapters(register: Callable[[str, type], None]) -> None:
    """Call ``register(name, cls)`` for each model family, an ``adapters.Adapter`` subclass.

    Adapters of plugins are asked before the built-in ones whether they accept a model.
    """


@hookspec
def hoi_captum_register_views(register: Callable[[str, Callable[..., Any]], None]) -> None:
    """Call ``register(name, view)`` for each drawing.

    ``view(interactions, layout=None, *, title=None)`` gives a matplotlib Figure.
    """
