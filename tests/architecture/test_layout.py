"""Rules about the source that no linter knows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "hoi_captum"
MODULES = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))
LONGEST = 400

# what needs no docstring of its own, and why
UNDOCUMENTED = {
    "built_in.py": {  # the hooks' docstrings are those of hookspecs.py
        "hoi_captum_register_adapters",
        "hoi_captum_register_methods",
        "hoi_captum_register_views",
    },
    "methods/and_or/operators.py": {"and_adjoint", "or_adjoint"},  # transposes of and_values, or_values
}

# modules without a test file of their name: where they are tested, and why there
TESTED_ELSEWHERE = {
    "__init__.py": ("test_public_names.py", "its names are all it has"),
    "__main__.py": ("test_cli.py", "one call, made by the tests in a process"),
    "authoring.py": ("test_authoring.py", "its names are all it has"),
    "built_in.py": ("test_registry.py", "a plugin like any other"),
    "preparation.py": ("test_explanation.py", "what explain and estimate do first"),
    "core/arguments.py": ("core/test_games.py", "what a masked game is given"),
    "core/differentiable.py": ("core/test_derivatives.py", "what derivatives need, and refuse"),
    "core/gated_method.py": ("methods/taylor_cam/test_method.py", "a base class; the method stands on it"),
    "core/gating.py": ("methods/taylor_cam/test_method.py", "which gates a call gets"),
    "core/pair_table.py": ("methods/taylor_cam/test_result.py", "a base class; the results stand on it"),
    "core/layer_method.py": ("methods/local_corex/test_method.py", "a base class; the method stands on it"),
    "core/coalition_method.py": ("core/test_row_method.py", "a base class; what a row method is made of"),
    "core/derivative_method.py": ("core/test_row_method.py", "a base class; what a row method is made of"),
    "core/rewriting.py": ("core/test_layer_norm.py", "a base class; what is rewritten stands on it"),
    "core/term.py": ("core/test_interactions.py", "a row of the table"),
    "errors.py": ("test_explanation.py", "classes without code; each test of an error uses them"),
    "hookspecs.py": ("test_registry.py", "a contract; the plugins there keep and break it"),
    "inputs.py": ("test_explanation.py", "the first half of explain()"),
    "saved.py": ("test_explanation.py", "the other half of Explanation.save and load"),
    "methods/and_or/admm.py": ("methods/and_or/test_solver.py", "a solver is judged by the optimum it finds"),
    "methods/and_or/constraints.py": ("methods/and_or/test_solver.py", "part of the solver"),
    "methods/and_or/extraction.py": ("methods/and_or/test_solver.py", "part of the solver"),
    "methods/and_or/objective.py": ("methods/and_or/test_solver.py", "part of the solver"),
    "methods/and_or/sgd.py": ("methods/and_or/test_solver.py", "a solver like the other"),
    "methods/and_or/spin.py": ("methods/and_or/test_operators.py", "a basis for the operators"),
    "methods/graph_spectral/class_maps.py": ("methods/graph_spectral/test_maps.py", "a verb of the method"),
    "methods/graph_spectral/learning.py": ("methods/graph_spectral/test_digits.py", "what the method learns"),
    "methods/graph_spectral/map_gates.py": ("methods/graph_spectral/test_interact.py", "gates of the pairs"),
    "methods/graph_spectral/method.py": ("methods/graph_spectral/test_attribute.py", "Captum's verb"),
    "methods/graph_spectral/pairs.py": ("methods/graph_spectral/test_interact.py", "terms of the method"),
    "methods/graph_spectral/probe.py": ("methods/graph_spectral/test_digits.py", "what the method learns"),
    "methods/graph_spectral/reading.py": ("methods/graph_spectral/test_maps.py", "verbs of the method"),
    "methods/graph_spectral/results.py": ("methods/graph_spectral/test_digits.py", "what the verbs give"),
    "methods/graph_spectral/samples.py": (
        "methods/graph_spectral/test_digits.py",
        "what the method learns from",
    ),
    "methods/graph_spectral/saving.py": ("methods/graph_spectral/test_maps.py", "save() and load()"),
    "methods/graph_spectral/terms.py": ("methods/graph_spectral/test_interact.py", "terms of the method"),
    "methods/graph_spectral/units.py": ("methods/graph_spectral/test_attribute.py", "what a map is made of"),
    "methods/local_corex/ablation.py": ("methods/local_corex/test_method.py", "a verb of the method"),
    "methods/local_corex/class_scores.py": ("methods/local_corex/test_method.py", "the classes of factors"),
    "methods/local_corex/perturbation.py": ("methods/local_corex/test_method.py", "a verb of the method"),
    "methods/local_corex/regions.py": ("methods/local_corex/test_method.py", "what the method learns"),
    "methods/local_corex/results.py": ("methods/local_corex/test_method.py", "what the verbs give"),
    "methods/local_corex/saving.py": ("methods/local_corex/test_method.py", "save() and load()"),
    "methods/and_or/result.py": ("methods/and_or/test_method.py", "what the method gives"),
    "methods/second_glance/calls.py": ("methods/second_glance/test_method.py", "what a call does"),
    "methods/second_glance/directions.py": ("methods/second_glance/test_units.py", "units of a fit"),
    "methods/second_glance/factors.py": ("methods/second_glance/test_units.py", "units of a fit"),
    "methods/second_glance/found.py": (
        "methods/second_glance/test_method.py",
        "the tables that a call gives",
    ),
    "methods/second_glance/judging.py": ("methods/second_glance/test_fidelity.py", "what a fit is worth"),
    "methods/second_glance/learned.py": ("methods/second_glance/test_fit.py", "what fit() keeps"),
    "methods/second_glance/presence.py": ("methods/second_glance/test_units.py", "units of a fit"),
    "methods/second_glance/result.py": ("methods/second_glance/test_over_data.py", "what the method gives"),
    "methods/second_glance/spaces.py": ("methods/second_glance/test_units.py", "where units come from"),
    "methods/taylor_nid/learned.py": ("methods/taylor_nid/test_method.py", "what fit() keeps"),
    "methods/taylor_nid/questions.py": ("methods/taylor_nid/test_method.py", "what rows ask and share"),
    "methods/taylor_nid/settings.py": ("methods/taylor_nid/test_method.py", "the options"),
    "methods/taylor_nid/sources.py": ("methods/taylor_nid/test_method.py", "where the derivatives come from"),
    "core/cost.py": ("methods/taylor_cam/test_method.py", "what a call announces"),
    "methods/taylor_cam/findings.py": ("methods/taylor_cam/test_variants.py", "the variants' formulas"),
    "methods/taylor_cam/found.py": ("methods/taylor_cam/test_method.py", "the tables that a call gives"),
    "methods/taylor_cam/explained.py": ("methods/taylor_cam/test_method.py", "the option output"),
    "scaffold/__init__.py": ("test_scaffold.py", "its one function"),
    "testing/cases.py": ("testing/test_built_in.py", "what the checks stand on"),
    "testing/contract.py": ("testing/test_broken.py", "each check catches a broken method"),
    "testing/families.py": ("testing/test_broken.py", "each check catches a broken method"),
    "testing/interactions.py": ("testing/test_broken.py", "each check catches a broken method"),
    "testing/results.py": ("testing/test_broken.py", "each check catches a broken method"),
    "testing/rewriting.py": ("testing/test_suite.py", "messages of the checks"),
    "testing/state.py": ("testing/test_broken.py", "each check catches a broken method"),
    "views/__init__.py": ("views/test_plots.py", "VIEWS is the list of the plots"),
    "views/beside.py": ("views/test_side_by_side.py", "its one function"),
    "views/arcs.py": ("views/test_plots.py", "one of the plots"),
    "views/charts.py": ("views/test_page.py", "part of the page"),
    "views/facts.py": ("views/test_page.py", "part of the page"),
    "views/frames.py": ("views/test_screes.py", "axes of the plots of factors"),
    "views/inputs.py": ("views/test_page.py", "part of the page"),
    "views/labels.py": ("views/test_words.py", "names and numbers in words"),
    "views/lines.py": ("views/test_plots.py", "the words under the arcs"),
    "views/network.py": ("views/test_plots.py", "one of the plots"),
    "views/neuron_graphs.py": ("views/test_neuron_maps.py", "one of the plots"),
    "views/outlines.py": ("views/test_plots.py", "part of the plot of regions"),
    "views/palette.py": ("views/test_plots.py", "colours"),
    "views/regions.py": ("views/test_plots.py", "one of the plots"),
    "views/shares.py": ("views/test_page.py", "part of the page"),
    "zoo/__init__.py": ("zoo/test_zoo.py", "the zoo's public functions"),
    "zoo/batching.py": ("zoo/test_training.py", "part of the training"),
    "zoo/cards.py": ("zoo/test_zoo.py", "the cards of the models"),
    "zoo/digits.py": ("zoo/test_zoo.py", "half of the models"),
    "zoo/held_out.py": ("zoo/test_zoo.py", "the samples of the models"),
    "zoo/loading.py": ("zoo/test_zoo.py", "load()"),
    "zoo/measure.py": ("zoo/test_training.py", "part of the training"),
    "zoo/relations_training.py": ("zoo/test_training.py", "part of the training"),
    "zoo/reviews.py": ("zoo/test_training.py", "the data of the training"),
    "zoo/storage.py": ("zoo/test_training.py", "what the training writes"),
    "zoo/teacher.py": ("zoo/test_training.py", "part of the training"),
    "zoo/text.py": ("zoo/test_training.py", "half of the training"),
    "zoo/train.py": ("zoo/test_training.py", "the command of the training"),
}


def source(module: str) -> str:
    return (PACKAGE / module).read_text(encoding="utf-8")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def public_definitions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def test_the_rules_see_the_package() -> None:
    assert {"__init__.py", "cli.py", "core/games.py", "methods/and_or/method.py"} <= set(MODULES)
    assert "core.games" not in {n for m in MODULES for n in imported(ast.parse(source(m)))}
    assert "captum.attr" in set(imported(ast.parse(source("registry.py"))))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_short(module: str) -> None:
    assert len(source(module).splitlines()) <= LONGEST


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not [m for m in MODULES if drawers & set(Path(m).with_suffix("").parts)]


@pytest.mark.parametrize("module", MODULES)
def test_nothing_runs_code_from_a_file(module: str) -> None:
    tree = ast.parse(source(module))
    runs_code = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "torch.load"}
    assert not runs_code & set(imported(tree))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in {"torch.load", "eval", "exec", "pickle.load", "pickle.loads"}
        for keyword in node.keywords:
            if keyword.arg in ("trust_remote_code", "allow_pickle"):
                assert isinstance(keyword.value, ast.Constant), called
                assert keyword.value.value is False, called


@pytest.mark.parametrize("module", MODULES)
def test_nothing_private_to_captum_is_used(module: str) -> None:
    tree = ast.parse(source(module))
    private = [
        name
        for name in imported(tree)
        if name.split(".")[0] == "captum" and any(part.startswith("_") for part in name.split("."))
    ]
    assert not private
    for node in ast.walk(tree):  # captum.attr._core without importing it by name
        if isinstance(node, ast.Attribute) and node.attr in ("_utils", "_core"):
            assert not ast.unparse(node).startswith("captum.")


@pytest.mark.parametrize("module", MODULES)
def test_what_is_public_is_documented(module: str) -> None:
    tree = ast.parse(source(module))
    if tree.body:
        assert ast.get_docstring(tree)
    bare = {node.name for node in public_definitions(tree) if not ast.get_docstring(node)}
    assert bare == UNDOCUMENTED.get(module, set())


def own_test(module: str) -> str:
    path = Path(module)
    return (path.parent / f"test_{path.name}").as_posix()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_its_test_file(module: str) -> None:
    tree = ast.parse(source(module))
    only_imports = Path(module).name == "__init__.py" and not list(public_definitions(tree))
    if only_imports and module not in TESTED_ELSEWHERE:
        return
    place, reason = TESTED_ELSEWHERE.get(module, (own_test(module), "by its name"))
    assert (ROOT / "tests" / place).is_file(), f"tests/{place} ({reason}) is missing"


def test_the_list_of_exceptions_is_up_to_date() -> None:
    assert set(TESTED_ELSEWHERE) <= set(MODULES)
    assert set(UNDOCUMENTED) <= set(MODULES)
    assert all(reason for _, reason in TESTED_ELSEWHERE.values())
