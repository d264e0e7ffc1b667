"""How Sphinx builds the site: ``make docs``. The extensions of our own are in ``docs/extensions``."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "hoi-captum"
author = "the authors of hoi-captum"
release = version = installed_version("hoi-captum")
language = "en"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "docstrings",
    "mathjax_offline",
    "offline",
    "staging",
]
exclude_patterns = ["generated/README.md", "generated/command-line.md"]  # parts of other pages

# pages
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # `make tutorials` runs the notebooks; here they are shown as they were run
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # would be fetched from outside
nb_merge_streams = True

# reference
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}  # which is a long union
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # signatures have the types
napoleon_use_rtype = False
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
add_module_names = False

nitpicky = True

html_theme = "furo"
html_title = "hoi-captum"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_selector = "div:not(.output) > div.highlight > pre"
