"""Finds methods, adapters and views; one bad plugin never breaks the rest."""

from __future__ import annotations

import difflib
import inspect
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy
from captum.attr import Attribution

from hoi_captum import hookspecs
from hoi_captum.adapters.base import Adapter
from hoi_captum.core.row_method import RowMethod
from hoi_captum.errors import PluginError, PluginWarning, UnknownNameError
from hoi_captum.views.wording import Wording

DISABLE_VARIABLE = "HOI_CAPTUM_DISABLE_PLUGINS"
BUILT_IN = "hoi-captum"
_PREFIX = f"{hookspecs.PROJECT}_"
_KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Plugin:
    """What became of one plugin.

    Attributes:
        name: of its entry point.
        version: of the distribution it came with, or "".
        status: ``ok``, ``failed`` or ``disabled``.
        error: why it failed.
        methods, adapters, views: the names it registered (or, where it failed, tried to).
    """

    name: str
    version: str = ""
    status: str = "ok"
    error: str = ""
    methods: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    views: tuple[str, ...] = ()


@dataclass
class _Found:
    """Registrations of one plugin, taken over as a whole or not at all."""

    methods: dict[str, Any] = field(default_factory=dict)
    adapters: dict[str, Any] = field(default_factory=dict)
    views: dict[str, Any] = field(default_factory=dict)


class Registry:
    """The plugins of one process, loaded at first use, entry point by entry point.

    Args:
        points: entry points of the plugins. Default: those installed
        disabled: names of plugins to leave out, or ``{"all"}``.
    """

    def __init__(self, points: Iterable[EntryPoint], disabled: frozenset[str] = frozenset()) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._hooks = {name for name in vars(hookspecs) if name.startswith(_PREFIX)}
        self._all = _Found()
        self.plugins: list[Plugin] = []
        from hoi_captum import built_in

        self._load(BUILT_IN, "", lambda: built_in)
        for point in points:
            version = _version(point)
            if disabled & {point.name, "all"}:
                self.plugins.append(Plugin(point.name, version, "disabled", f"by {DISABLE_VARIABLE}"))
            else:
                self._load(point.name, version, point.load)

    @property
    def methods(self) -> dict[str, type]:
        return self._all.methods

    @property
    def adapters(self) -> dict[str, type[Adapter]]:
        return self._all.adapters

    def adapters_in_order(self) -> list[type[Adapter]]:
        """Adapters in the order in which they are asked: those of plugins first."""
        own = next(p.adapters for p in self.plugins if p.name == BUILT_IN)
        return sorted(self.adapters.values(), key=lambda a: a in [self.adapters[name] for name in own])

    @property
    def views(self) -> dict[str, Callable[..., Any]]:
        return self._all.views

    def method(self, name: str) -> type:
        """The method class of that name.

        Raises:
            UnknownNameError: nothing of that name; the closest names are given.
            PluginError: the name belongs to a plugin that failed.
        """
        if name in self.methods:
            return self.methods[name]
        failed = [p for p in self.plugins if p.status == "failed"]
        for plugin in failed:
            if name in plugin.methods or name == plugin.name:
                raise PluginError(
                    f"the method {name!r} is not available: plugin {plugin.name!r} {plugin.error}"
                )
        close = difflib.get_close_matches(name.lower().replace("_", "-"), self.methods, n=1, cutoff=0.4)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        hint += f"; there are {', '.join(sorted(self.methods))}"
        if failed:
            reasons = ", ".join(f"{p.name!r} {p.error}" for p in failed)
            hint += f"; it may belong to a plugin that failed to load: {reasons}"
        raise UnknownNameError(f"no method is called {name!r}{hint}")

    # ---------------------------------------------------------------- loading
    def _load(self, name: str, version: str, load: Callable[[], Any]) -> None:
        found = _Found()
        try:
            plugin = load()
            self._check_plugin(name, plugin)
            try:
                self._manager.register(plugin, name)
                self._call_hooks(plugin, found)
            except BaseException:
                self._manager.unregister(name=name)
                raise
        # whatever a stranger's code raises must not reach the others; only Ctrl-C passes
        except (Exception, SystemExit) as error:
            reason = (
                str(error) if isinstance(error, PluginError) else f"raised {type(error).__name__}: {error}"
            )
            self.plugins.append(_describe(name, version, found, "failed", reason))
            warnings.warn(f"plugin {name!r} was left out: it {reason}", PluginWarning, stacklevel=2)
            return
        for kind in ("methods", "adapters", "views"):
            getattr(self._all, kind).update(getattr(found, kind))
        self.plugins.append(_describe(name, version, found, "ok", ""))

    def _check_plugin(self, name: str, plugin: Any) -> None:
        if self._manager.has_plugin(name):
            raise PluginError("has the name of another plugin; rename its entry point")
        if self._manager.is_registered(plugin):
            raise PluginError(f"is the same as plugin {self._manager.get_name(plugin)!r}")
        wanted = getattr(plugin, "HOI_CAPTUM_API_VERSION", hookspecs.API_VERSION)
        if not isinstance(wanted, int) or wanted > hookspecs.API_VERSION:
            raise PluginError(
                f"was made for version {wanted!r} of the plugin contract and this is version "
                f"{hookspecs.API_VERSION}; update hoi-captum"
            )
        for attribute in dir(plugin):
            marked = self._manager.parse_hookimpl_opts(plugin, attribute) is not None
            if marked and attribute not in self._hooks:
                close = difflib.get_close_matches(attribute, self._hooks, n=1)
                hint = (
                    f"; did you mean {close[0]}?"
                    if close
                    else f"; hooks are {', '.join(sorted(self._hooks))}"
                )
                raise PluginError(f"implements an unknown hook {attribute}{hint}")
            if attribute in self._hooks and not marked:
                raise PluginError(f"defines {attribute} without the mark @hoi_captum.hookimpl")

    def _call_hooks(self, plugin: Any, found: _Found) -> None:
        others = [p for p in self._manager.get_plugins() if p is not plugin]
        for kind, check in (("methods", check_method), ("adapters", _check_adapter), ("views", _check_view)):
            taken, mine = getattr(self._all, kind), getattr(found, kind)

            def register(name: str, item: Any, *, kind=kind, check=check, taken=taken, mine=mine) -> None:  # type: ignore[no-untyped-def]
                if not isinstance(name, str) or not _KEBAB.fullmatch(name):
                    raise PluginError(
                        f"registers {kind} under {name!r}; names are kebab-case, such as 'my-method'"
                    )
                if name in taken or name in mine:
                    raise PluginError(f"registers {kind} under {name!r}, a name that is taken")
                mine[name] = item
                check(name, item)

            caller = self._manager.subset_hook_caller(f"{_PREFIX}register_{kind}", remove_plugins=others)
            caller(register=register)


def _version(point: EntryPoint) -> str:
    # what an interrupted uninstall leaves has no metadata: None, or an error in later Pythons
    try:
        found: str | None = point.dist.version if point.dist else None
    except Exception:
        found = None
    return found or ""


def _describe(name: str, version: str, found: _Found, status: str, error: str) -> Plugin:
    return Plugin(
        name, version, status, error, tuple(found.methods), tuple(found.adapters), tuple(found.views)
    )


def check_method(name: str, cls: Any) -> None:
    """Whether a class may be registered as a method.

    Args:
        name: under which it is to be registered.
        cls: the class.

    Raises:
        PluginError: it is no Captum class, has another name, lacks a verb or an argument of Captum's, or does
            not say its kinds, orders and summary.
    """

    def wrong(what: str) -> PluginError:
        return PluginError(f"registers the method {name!r}, {what}")

    if not isinstance(cls, type) or not issubclass(cls, Attribution):
        raise wrong(f"which is no subclass of captum.attr.Attribution: {cls!r}")
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise wrong(f"whose class lacks {', '.join(missing)}")
    own = getattr(cls, "name", None if issubclass(cls, RowMethod) else name)
    if own != name:  # by which its results are known
        raise wrong(f"whose class calls itself {own!r}; set name = {name!r} in it")
    for verb in ("attribute", "interact"):
        function = getattr(cls, verb, None)
        if not callable(function):
            raise wrong(f"whose class has no {verb}()")
        parameters = list(inspect.signature(function).parameters)
        if parameters[1:2] != ["inputs"] or not {"target", "additional_forward_args"} <= set(parameters):
            raise wrong(
                f"whose {verb}() takes {parameters[1:]}; expected Captum's arguments: inputs first, "
                "target and additional_forward_args among them"
            )
    if not hasattr(cls.attribute, "__wrapped__"):  # type: ignore[attr-defined]
        raise wrong("whose attribute() lacks @captum.log.log_usage(), which Captum's NoiseTunnel needs")
    kinds, orders = getattr(cls, "kinds", None), getattr(cls, "orders", None)
    if not isinstance(kinds, tuple) or not kinds or not all(isinstance(k, str) for k in kinds):
        raise wrong(f"whose kinds are {kinds!r}; expected a tuple of strings, such as ('and', 'or')")
    if not _is_order_range(orders):
        raise wrong(f"whose orders are {orders!r}; expected (lowest, highest), highest None for no limit")
    summary = getattr(cls, "summary", None)
    if not isinstance(summary, str) or not summary.strip() or "\n" in summary:
        raise wrong(f"whose summary is {summary!r}; expected one line for the table of methods")
    known = {f.name for f in fields(Wording)}
    if isinstance(words := getattr(cls, "wording", None), Mapping) and (
        unknown := sorted(set(words) - known)
    ):
        raise wrong(f"whose wording has {', '.join(unknown)}; expected some of {', '.join(sorted(known))}")


def _is_order_range(orders: Any) -> bool:
    if not isinstance(orders, tuple) or len(orders) != 2:
        return False
    low, high = orders
    return isinstance(low, int) and low >= 1 and (high is None or (isinstance(high, int) and high >= low))


def _check_adapter(name: str, cls: Any) -> None:
    if not isinstance(cls, type) or not issubclass(cls, Adapter):
        raise PluginError(f"registers the adapter {name!r}, which is no subclass of Adapter: {cls!r}")
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise PluginError(f"registers the adapter {name!r}, which lacks {', '.join(missing)}")
    if not isinstance(getattr(cls, "family", None), str):
        raise PluginError(f"registers the adapter {name!r}, which has no family; expected its name")


def _check_view(name: str, view: Any) -> None:
    if not callable(view):
        raise PluginError(f"registers the view {name!r}, which is not callable: {view!r}")


@cache
def registry() -> Registry:
    """The registry of this process."""
    disabled = frozenset(filter(None, re.split(r"[,\s]+", os.environ.get(DISABLE_VARIABLE, ""))))
    return Registry(entry_points(group=hookspecs.ENTRY_POINT_GROUP), disabled)


def methods() -> dict[str, type]:
    """All registered method classes by name, sorted."""
    return dict(sorted(registry().methods.items()))


def get_method(name: str) -> type:
    """The class of a method, ``get_method("generalizable-and-or")``.

    Args:
        name (str): as :func:`hoi_captum.methods` lists it.

    Returns:
        *type*: a class with ``attribute`` and ``interact``.

    Raises:
        UnknownNameError: no such method; a similar name is suggested.
        PluginError: the method's plugin failed to load; says why.

    Examples::

        >>> hoi.get_method("generalizable-and-or") is hoi.GeneralizableAndOr
        True
        >>> hoi.get_method("taylor-cm")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.UnknownNameError: no method is called 'taylor-cm' (did you mean ...
    """
    return registry().method(name)


def plugins() -> list[Plugin]:
    """Every plugin found, with what it registered or why it was left out; the built-in one first.

    Returns:
        *list[Plugin]*: with ``name``, ``version``, ``status`` (``ok``, ``failed``, ``disabled``), ``error``
        and the names of ``methods``, ``adapters`` and ``views``.

    Examples::

        >>> first = hoi.plugins()[0]
        >>> first.name, first.status, first.methods[0]
        ('hoi-captum', 'ok', 'generalizable-and-or')
    """
    return list(registry().plugins)
