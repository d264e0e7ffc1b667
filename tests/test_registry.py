"""Plugins as they are in life: real distributions on the path, good ones and broken ones side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest
import torch
from torch import nn

import hoi_captum as hoi
from hoi_captum import built_in, hookspecs
from hoi_captum.adapters.tabular import TabularAdapter
from hoi_captum.errors import InputError, PluginError, PluginWarning, UnknownNameError
from hoi_captum.registry import BUILT_IN, DISABLE_VARIABLE, Plugin, Registry, registry

METHOD = """
import torch
from captum.attr import Attribution
from captum.log import log_usage
from hoi_captum import Interactions, Provenance, Term

class MyMethod(Attribution):
    kinds = ("pair",)
    orders = (2, 2)
    summary = "products of the first two inputs"

    def __init__(self, forward_func, *, scale=1.0):
        super().__init__(forward_func)
        self.scale = scale

    @log_usage()
    def attribute(self, inputs, baselines=None, target=None, additional_forward_args=None, feature_mask=None):
        return inputs * self.scale

    @log_usage()
    def interact(self, inputs, baselines=None, target=None, additional_forward_args=None, feature_mask=None):
        score = self.scale * float(inputs[0, 0] * inputs[0, 1])
        return [
            Interactions.from_terms(
                [str(i) for i in range(inputs.shape[1])],
                [Term((0, 1), "pair", None, score)],
                provenance=Provenance(method="my-method"),
            )
        ]
"""
REGISTER = """
from hoi_captum import hookimpl

@hookimpl
def hoi_captum_register_methods(register):
    register("my-method", MyMethod)
"""
ADAPTER = """
from hoi_captum.adapters.tabular import TabularAdapter

class MyAdapter(TabularAdapter):
    family = "mine"

    @classmethod
    def accepts(cls, model, *, tokenizer, transforms):
        return getattr(model, "is_mine", False)

@hookimpl
def hoi_captum_register_adapters(register):
    register("my-family", MyAdapter)
"""
VIEW = """
@hookimpl
def hoi_captum_register_views(register):
    from matplotlib.figure import Figure

    def view(interactions, layout=None, *, title=None):
        figure = Figure()
        figure.suptitle(f"{len(interactions)} of mine")
        return figure

    register("my-view", view)
"""
GOOD = METHOD + REGISTER + ADAPTER + VIEW


class Site:
    """A directory with plugins, each with its metadata as an installer writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def install(self, name: str, source: str, *, version: str = "1.2", metadata: bool = True) -> str:
        module = f"hoi_test_plugin_{len(self.modules)}_{name.replace('-', '_')}"
        (self.folder / f"{module}.py").write_text(source, encoding="utf-8")
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{hookspecs.ENTRY_POINT_GROUP}]\n{name} = {module}\n")
        self.modules.append(module)
        return module

    def points(self) -> list[EntryPoint]:
        found = distributions(path=[str(self.folder)])
        points = [p for d in found for p in d.entry_points if p.group == hookspecs.ENTRY_POINT_GROUP]
        return sorted(points, key=lambda p: p.value)  # in the order of installation

    def registry(self, *, fails: int = 0) -> Registry:
        """A fresh registry of these plugins alone; every failure gives one warning."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            made = Registry(self.points())
        assert [w.category for w in caught] == [PluginWarning] * fails
        failed = [p for p in made.plugins if p.status == "failed"]
        for warning, plugin in zip(caught, failed, strict=True):
            assert str(warning.message) == f"plugin {plugin.name!r} was left out: it {plugin.error}"
        return made


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv(DISABLE_VARIABLE, raising=False)
    registry.cache_clear()
    yield made
    registry.cache_clear()
    for module in made.modules:
        sys.modules.pop(module, None)


def plugin_of(made: Registry, name: str) -> Plugin:
    (found,) = [p for p in made.plugins if p.name == name]
    return found


# ---------------------------------------------------------------- what comes with the library
def test_built_ins_come_through_the_hook_of_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: dict[str, object] = {}
    built_in.hoi_captum_register_methods(registered.__setitem__)
    built_in.hoi_captum_register_adapters(registered.__setitem__)
    built_in.hoi_captum_register_views(registered.__setitem__)
    made = Registry([])
    assert made.methods | made.adapters | made.views == registered
    assert made.methods["generalizable-and-or"] is hoi.GeneralizableAndOr
    assert made.plugins == [
        Plugin(
            BUILT_IN,
            methods=tuple(made.methods),
            adapters=tuple(made.adapters),
            views=tuple(made.views),
        )
    ]
    # and no other way: without its hook there is no method
    monkeypatch.delattr(built_in, "hoi_captum_register_methods")
    assert Registry([]).methods == {}


def test_methods_and_plugins_give_copies_in_order() -> None:
    assert list(hoi.methods()) == sorted(hoi.methods())
    assert hoi.methods()["generalizable-and-or"] is hoi.GeneralizableAndOr
    hoi.methods().clear()
    hoi.plugins().clear()
    assert hoi.get_method("generalizable-and-or") is hoi.GeneralizableAndOr
    assert hoi.plugins()[0].name == BUILT_IN


@pytest.mark.parametrize("name", ["generalisable-and-or", "Generalizable_And_Or", "generalizable"])
def test_a_misspelt_method_is_answered_with_a_suggestion(name: str) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'generalizable-and-or'") as caught:
        hoi.get_method(name)
    assert repr(name) in str(caught.value)


def test_a_name_like_no_other_gets_the_list_and_no_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"no method is called 'xyz'; there are generalizable-and-or"):
        Registry([]).method("xyz")


# ---------------------------------------------------------------- a good plugin
def test_a_good_plugin_registers_method_adapter_and_view(site: Site) -> None:
    site.install("mine", GOOD, version="3.4")
    made = site.registry()
    assert plugin_of(made, "mine") == Plugin(
        "mine", "3.4", "ok", "", ("my-method",), ("my-family",), ("my-view",)
    )
    assert made.method("my-method").__name__ == "MyMethod"
    assert {"generalizable-and-or", "my-method"} <= set(made.methods)


def test_a_plugins_method_adapter_and_view_work_in_one_call(site: Site, tmp_path: Path) -> None:
    module = site.install("mine", GOOD)
    model = nn.Linear(3, 2)
    model.is_mine = True
    assert (
        type(hoi.adapt(model)).__module__ == module
    )  # asked before the built-in one, which takes all modules
    assert type(hoi.adapt(nn.Linear(3, 2))) is TabularAdapter

    explanation = hoi.explain(model, [2.0, 5.0, 7.0], method="my-method", target=1, scale=0.5)
    assert [(t.members, t.kind, t.score) for t in explanation.interactions] == [((0, 1), "pair", 5.0)]
    assert explanation.interactions.players == ("x0", "x1", "x2")
    assert explanation.interactions.provenance.target == "1"
    torch.testing.assert_close(explanation.attributions, torch.tensor([[1.0, 2.5, 3.5]]))

    assert explanation.plot("my-view").get_suptitle() == "1 of mine"
    saved = explanation.save(tmp_path / "mine.png", view="my-view")
    assert saved.read_bytes().startswith(b"\x89PNG")


def test_options_and_models_that_a_plugins_method_does_not_take(site: Site) -> None:
    site.install("mine", GOOD)
    model = nn.Linear(2, 2)
    with pytest.raises(InputError, match="MyMethod has no option forward_func; it has scale"):
        hoi.explain(model, [1.0, 2.0], method="my-method", forward_func=3)
    with pytest.raises(InputError, match="MyMethod explains one model, got a list of 2"):
        hoi.explain([model, model], [1.0, 2.0], method="my-method")
    with pytest.raises(InputError, match="MyMethod explains inputs, not layers"):
        hoi.explain(model, [1.0, 2.0], method="my-method", layer=model)


def test_an_adapter_that_raises_is_passed_over(site: Site) -> None:
    site.install("bad", GOOD.replace('return getattr(model, "is_mine", False)', "return model.no_such_thing"))
    with pytest.warns(PluginWarning, match=r"MyAdapter was passed over: its accepts\(\) raised Attribute"):
        assert type(hoi.adapt(nn.Linear(3, 2))) is TabularAdapter


# ---------------------------------------------------------------- broken plugins
DUPLICATE = METHOD + REGISTER.replace("my-method", "generalizable-and-or")
BROKEN = {
    "import-error": ("import no_such_module_anywhere", "raised ModuleNotFoundError: No module named"),
    "newer-version": ("HOI_CAPTUM_API_VERSION = 2\n" + GOOD, "was made for version 2 of the plugin contract"),
    "misspelt-hook": (
        METHOD + REGISTER.replace("_methods(", "_method("),
        "unknown hook hoi_captum_register_method; did you mean hoi_captum_register_methods",
    ),
    "duplicate-name": (DUPLICATE, "registers methods under 'generalizable-and-or', a name that is taken"),
    "wrong-class": (
        METHOD.replace("(Attribution)", "") + REGISTER.replace("my-", "wrong-"),
        "no subclass of captum.attr.Attribution",
    ),
}
MORE_BROKEN = {
    "syntax-error": ("def half(:", "raised SyntaxError"),
    "exit-at-import": ("raise SystemExit(3)", "raised SystemExit: 3"),
    "version-in-words": ("HOI_CAPTUM_API_VERSION = '1'\n" + GOOD, "was made for version '1'"),
    "unmarked-hook": (GOOD.replace("@hookimpl\n", ""), "without the mark @hoi_captum.hookimpl"),
    "wrong-argument": (METHOD + REGISTER.replace("(register)", "(registry)"), "raised PluginValidationError"),
    "raising-hook": (GOOD + "\n    raise OSError('no licence')", "raised OSError: no licence"),
    "camel-case": (METHOD + REGISTER.replace("my-method", "MyMethod"), "names are kebab-case"),
    "no-name": (METHOD + REGISTER.replace('"my-method"', "None"), "registers methods under None"),
    "twice": (METHOD + REGISTER + '    register("my-method", MyMethod)\n', "a name that is taken"),
}
WRONG_CLASSES = {
    "an instance": (REGISTER, REGISTER.replace("MyMethod)", "MyMethod(len))"), "no subclass of captum"),
    "no interact": ("def interact(", "def interactions(", r"whose class has no interact\(\)"),
    "interact of other arguments": (
        "def interact(self, inputs, baselines=None",
        "def interact(self, x, baselines=None",
        r"whose interact\(\) takes \['x', 'baselines'",
    ),
    "attribute without target": (
        "def attribute(self, inputs, baselines=None, target=None",
        "def attribute(self, inputs, baselines=None",
        r"whose attribute\(\) takes .*expected Captum's arguments",
    ),
    "no additional_forward_args": (", additional_forward_args=None", "", "expected Captum's arguments"),
    "no log_usage": (
        "    @log_usage()\n    def attribute",
        "    def attribute",
        "lacks @captum.log.log_usage",
    ),
    "kinds in a list": ('("pair",)', '["pair"]', r"whose kinds are \['pair'\]"),
    "no kinds": ('("pair",)', "()", r"whose kinds are \(\)"),
    "kinds of numbers": ('("pair",)', '("pair", 2)', "whose kinds are"),
    "no orders": ("    orders = (2, 2)\n", "", "whose orders are None"),
    "one order": ("(2, 2)", "(2,)", r"whose orders are \(2,\)"),
    "order nought": ("(2, 2)", "(0, 2)", r"whose orders are \(0, 2\)"),
    "orders turned round": ("(2, 2)", "(3, 2)", r"whose orders are \(3, 2\)"),
    "no summary": ('    summary = "products of the first two inputs"\n', "", "whose summary is None"),
    "blank summary": ('"products of the first two inputs"', '" "', "whose summary is ' '"),
    "long summary": ('"products of the first two inputs"', r'"two\nlines"', "expected one line"),
}
WRONG_OTHERS = {
    "adapter of no family": (
        '    family = "mine"\n',
        "    family = None\n",
        "'my-family', which has no family",
    ),
    "adapter that is none": (
        '("my-family", MyAdapter)',
        '("my-family", int)',
        "which is no subclass of Adapter",
    ),
    "abstract adapter": (
        "from hoi_captum.adapters.tabular import TabularAdapter",
        "from hoi_captum.adapters import Adapter as TabularAdapter",
        "'my-family', which lacks default_layer, example, scores",
    ),
    "view that is no function": (
        '("my-view", view)',
        '("my-view", "matrix")',
        "'my-view', which is not callable",
    ),
}


@pytest.mark.parametrize("name", [*BROKEN, *MORE_BROKEN])
def test_a_broken_plugin_is_reported_and_harms_nobody(site: Site, name: str) -> None:
    source, reason = (BROKEN | MORE_BROKEN)[name]
    site.install(name, source)
    site.install("afterwards", GOOD)
    made = site.registry(fails=1)
    broken = plugin_of(made, name)
    assert (broken.status, broken.version) == ("failed", "1.2")
    assert reason in broken.error
    assert made.methods["generalizable-and-or"] is hoi.GeneralizableAndOr
    # nothing of the broken one is left behind, so the next may use the same names
    assert plugin_of(made, "afterwards").status == "ok"
    assert made.method("my-method").__module__ == site.modules[1]


@pytest.mark.parametrize("what", [*WRONG_CLASSES, *WRONG_OTHERS])
def test_a_class_that_breaks_the_contract_is_refused_at_registration(site: Site, what: str) -> None:
    old, new, reason = (WRONG_CLASSES | WRONG_OTHERS)[what]
    assert old in GOOD
    site.install("wrong", GOOD.replace(old, new))
    made = site.registry(fails=1)
    with pytest.raises(PluginError, match=reason):
        raise PluginError(plugin_of(made, "wrong").error)
    assert set(made.methods) == set(Registry([]).methods)
    with pytest.raises(PluginError, match=reason):
        made.method("my-method")


def test_the_method_of_a_failed_plugin_says_why(site: Site) -> None:
    site.install("mine", GOOD + "\n    raise OSError('no licence')")
    made = site.registry(fails=1)
    assert (made.methods.keys(), made.adapters.keys(), made.views.keys()) == (
        Registry([]).methods.keys(),
        Registry([]).adapters.keys(),
        Registry([]).views.keys(),
    )
    assert plugin_of(made, "mine").methods == ("my-method",)
    with pytest.raises(
        PluginError, match=r"'my-method' is not available: plugin 'mine' raised OSError: no lic"
    ):
        made.method("my-method")


def test_an_unknown_method_names_the_plugins_that_failed_before_they_could_tell_their_methods(
    site: Site,
) -> None:
    site.install("half-way", "import no_such_module_anywhere")
    made = site.registry(fails=1)
    with pytest.raises(
        UnknownNameError, match=r"'half-way' raised ModuleNotFoundError: No module named 'no_such"
    ):
        made.method("my-method")


def test_control_c_while_a_plugin_loads_is_not_a_broken_plugin(site: Site) -> None:
    site.install("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        Registry(site.points())


def test_two_plugins_of_one_name(site: Site) -> None:
    site.install("same", GOOD)
    site.install("same", GOOD.replace("my-", "your-"))
    site.install("third", GOOD.replace("my-", "their-"))
    made = site.registry(fails=1)
    assert [(p.status, p.methods) for p in made.plugins[1:]] == [
        ("ok", ("my-method",)),
        ("failed", ()),
        ("ok", ("their-method",)),
    ]
    assert made.plugins[2].error == "has the name of another plugin; rename its entry point"


def test_the_name_of_a_plugin_that_failed_is_free_again(site: Site) -> None:
    site.install("same", GOOD + "\n    raise OSError('no licence')")
    site.install("same", GOOD)
    made = site.registry(fails=1)
    assert [p.status for p in made.plugins[1:]] == ["failed", "ok"]
    assert made.method("my-method").__module__ == site.modules[1]


def test_a_plugin_cannot_take_the_place_of_the_built_in_one(site: Site) -> None:
    site.install(BUILT_IN, GOOD)
    site.install("third", GOOD)
    made = site.registry(fails=1)
    assert [p.status for p in made.plugins] == ["ok", "failed", "ok"]
    assert made.adapters_in_order()[0].family == "mine"


def test_one_module_under_two_names(site: Site) -> None:
    module = site.install("first", GOOD)
    info = site.folder / "again-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: again\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{hookspecs.ENTRY_POINT_GROUP}]\nsecond = {module}\n")
    made = site.registry(fails=1)
    assert plugin_of(made, "first").status == "ok"
    assert plugin_of(made, "second").error == "is the same as plugin 'first'"


def test_a_plugin_without_metadata_still_works(site: Site) -> None:
    site.install("leftover", GOOD, metadata=False)
    leftover = plugin_of(site.registry(), "leftover")
    assert (leftover.status, leftover.version) == ("ok", "")


# ---------------------------------------------------------------- switching plugins off
@pytest.mark.parametrize(("value", "left"), [("mine", {"other"}), ("all", set()), (" other, mine ", set())])
def test_plugins_are_switched_off_by_name_or_all(
    site: Site, monkeypatch: pytest.MonkeyPatch, value: str, left: set[str]
) -> None:
    mine = site.install("mine", GOOD)
    site.install("other", GOOD.replace("my-", "other-"))
    monkeypatch.setenv(DISABLE_VARIABLE, value)
    by_name = {p.name: p for p in hoi.plugins()}
    assert {name for name in ("mine", "other") if by_name[name].status == "ok"} == left
    assert by_name["mine"] == Plugin("mine", "1.2", "disabled", "by HOI_CAPTUM_DISABLE_PLUGINS")
    assert mine not in sys.modules  # not even imported
    assert "my-method" not in hoi.methods()
    assert "generalizable-and-or" in hoi.methods()


# ---------------------------------------------------------------- a process of its own
def test_a_process_with_five_broken_plugins_and_a_good_one(site: Site) -> None:
    for name, (source, _) in BROKEN.items():
        site.install(name, source)
    site.install("mine", GOOD)
    environment = os.environ | {"PYTHONPATH": str(site.folder)}
    done = subprocess.run(
        [sys.executable, "-m", "hoi_captum", "methods", "--json"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["my-method"] == {
        "name": "my-method",
        "class": "MyMethod",
        "orders": "2",
        "kinds": ["pair"],
        "summary": "products of the first two inputs",
        "plugin": "mine",
    }
    assert rows["generalizable-and-or"]["plugin"] == BUILT_IN
    lines = done.stderr.splitlines()
    for name, (_, reason) in BROKEN.items():
        (line,) = [li for li in lines if li.startswith(f"warning: plugin {name!r} was left out: it ")]
        assert reason in line
    assert len(lines) == len(BROKEN)
