"""The site: `make docs` builds it into build/site from the pages here, README and the studies."""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

import recondoor

REPOSITORY = Path(__file__).parents[1]
# Notebooks draw their figures without a display.
os.environ.setdefault("MPLBACKEND", "agg")

project = "recondoor"
author = "The recondoor contributors"
version = release = recondoor.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]

# The root of the sources is the repository, so that a link works here as it does in the checkout.
include_patterns = ["docs/**", "studies/*/*.md", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = [".*", "build", "dist", "runs", "sweeps", "audits", "docs/tutorials/work", "src"]
root_doc = "docs/index"

html_theme = "furo"
html_title = "recondoor"
# The first page lies one folder down, beside its neighbours.
html_extra_path = ["_first"]
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

default_role = "literal"  # what stands in single backticks in a docstring
nitpicky = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False

FOLDER = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s:#]+)\)")


def _as_page(app: Sphinx, name: str, source: list[str]) -> None:
    """Leave the words of links to folders, which a site cannot show; give each page a title."""
    page = Path(app.srcdir, name)

    def replaced(link: re.Match[str]) -> str:
        return link[1] if (page.parent / link[2]).is_dir() else link[0]

    source[0] = FOLDER.sub(replaced, source[0])
    if name.startswith("studies/") and not source[0].startswith("# "):
        source[0] = f"# {page.parent.name}: {page.name}\n\n{source[0]}"


def setup(app: Sphinx) -> None:
    """Let Sphinx call what is defined here."""
    app.connect("source-read", _as_page)
