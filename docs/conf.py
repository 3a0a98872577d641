"""Sphinx's settings; `python -m docs` says how it is run and on what."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # docs, and ilo where it is not installed

project = "ilo"
author = "the authors of ilo"
version = release = version_of("ilo")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_codeautolink",
    "docs.docstrings",
    "docs.mathml",
]
exclude_patterns = ["README.md", "data/README.md", "notebooks/README.md"]

# Notebooks: shown as they are stored, never run.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # nothing is fetched from elsewhere; a stored widget is shown by its text
myst_enable_extensions = ["dollarmath", "attrs_inline"]
myst_heading_anchors = 3

# Docstrings: prose with `names` in single backticks. Names of ilo are in the reference, or exist (docs/docstrings.py);
# others are code.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!ilo\.).*"),  # torch, numpy, …: their references would have to be fetched
]
add_module_names = False
autodoc_preserve_defaults = True  # `ramp`, not <function ramp at …>
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False  # torch's and deepinv's are theirs
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_custom_sections = [("Source", "returns_style")]
python_maximum_signature_line_length = 88

# Names in the notebooks' code lead to the reference, and each entry of the reference to the notebooks.
codeautolink_autodoc_inject = True
codeautolink_concat_default = True
codeautolink_custom_blocks = {"ipython3": "sphinx_codeautolink.clean_ipython"}

suppress_warnings = ["config.cache"]  # codeautolink keeps a function among its settings, which no cache holds

html_theme = "pydata_sphinx_theme"
html_title = "ilo"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "header_links_before_dropdown": 7,
    "navbar_persistent": ["search-button"],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
}
html_context = {"default_mode": "auto"}
html_sidebars = {"index": [], "theorem": [], "data": []}
copyright = "the authors of ilo, MIT licence"
