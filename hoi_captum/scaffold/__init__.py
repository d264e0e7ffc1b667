"""``hoi-captum new-plugin``: a distribution that installs, registers and passes its tests."""

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from hoi_captum import authoring
from hoi_captum.core.options import check_choice
from hoi_captum.errors import FileError, InputError
from hoi_captum.registry import BUILT_IN, methods

PREFIX = "hoi-captum-"
FAMILIES = ("game", "gradient", "layer")
_LONGEST = 60
_TAKEN = {*authoring.__all__, "Any", "Callable", "ClassVar", "All"}  # names in the modules that are written
_KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class PluginNames:
    """The names of one plugin, all made of that of its method.

    Attributes:
        method: under which it is registered, ``shapley-pairs``.
        distribution: what pip installs, ``hoi-captum-shapley-pairs``.
        module: ``hoi_captum_shapley_pairs``.
        cls: ``ShapleyPairs``.
    """

    method: str
    distribution: str
    module: str
    cls: str

    @classmethod
    def of(cls, name: str) -> PluginNames:
        """From the method's name, with or without ``hoi-captum-`` in front.

        Raises:
            InputError: a name that is not kebab-case, or of a class that is taken.
        """
        method = name.removeprefix(PREFIX)
        if not _KEBAB.fullmatch(method) or len(method) > _LONGEST:
            raise InputError(
                f"expected a name in kebab-case, such as 'shapley-pairs', of at most {_LONGEST} letters, got "
                f"{name!r}; method, class and module are called by it"
            )
        distribution = PREFIX + method
        class_name = "".join(part.capitalize() for part in method.split("-"))
        if keyword.iskeyword(class_name) or class_name in _TAKEN or method == BUILT_IN:
            raise InputError(f"{name!r} cannot be the name of a method of yours: it is taken; choose another")
        return cls(method, distribution, distribution.replace("-", "_"), class_name)


def new_plugin(name: str, *, into: Path | str = ".", family: str = "game") -> Path:
    """Write a plugin with a method that works, to be changed into one's own.

    Args:
        name: of the method, in kebab-case: ``shapley-pairs`` makes the distribution
            ``hoi-captum-shapley-pairs``.
        into: the folder in which that of the plugin is made. Default: the present one
        family: ``game``, a method that asks for the model's values of coalitions; ``gradient``, one that
            differentiates it; or ``layer``, one that learns from what a layer gives. Default: ``game``

    Returns:
        the plugin's folder.

    Raises:
        InputError: a name that is not kebab-case, or that a method has.
        OptionError: another family.
        FileError: there is such a folder, or it cannot be written. Nothing is left half-written.
    """
    check_choice("family", family, FAMILIES)
    names = PluginNames.of(name)
    _check_free(names)
    parent = Path(into)
    folder = parent / names.distribution
    if folder.exists():
        raise FileError(f"{folder} is there already; remove it, or choose another name or folder")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        # made beside its place, and moved there when it is whole
        with tempfile.TemporaryDirectory(dir=parent, prefix=".new-plugin-") as temporary:
            draft = Path(temporary) / names.distribution
            for path, text in _contents(names, family).items():
                target = draft / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            shutil.move(draft, folder)
    except OSError as error:
        raise FileError(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder


def _check_free(names: PluginNames) -> None:
    if names.method in methods():
        raise InputError(f"a method is called {names.method!r} already; choose another name")


def _contents(names: PluginNames, family: str) -> Mapping[str, str]:
    """The files by their path in the plugin's folder."""
    places = {
        "pyproject.toml": "pyproject.toml.j2",
        "README.md": "README.md.j2",
        f"{names.module}.py": f"{family}.py.j2",
        f"tests/test_{names.module}.py": f"test_{family}.py.j2",
        ".github/workflows/test.yml": "test.yml.j2",
        ".gitignore": "gitignore.j2",
    }
    return {path: _rendered(template, names) for path, template in places.items()}


def _rendered(template: str, names: PluginNames) -> str:
    from jinja2 import Environment, StrictUndefined

    text = files(__name__).joinpath("templates", template).read_text(encoding="utf-8")
    # other marks than usual: those of a workflow are jinja's
    environment = Environment(
        variable_start_string="<<",
        variable_end_string=">>",
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # code, and no page
    )
    return environment.from_string(text).render(names=names)
