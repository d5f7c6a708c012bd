"""Sphinx configuration. The reference tables are generated from the code each time the documentation is built."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

from seclude import __version__  # noqa: E402 - after the path above

project = "Seclude"
author = "The Seclude authors"
copyright = "the Seclude authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "seclude_tables"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "reference/generated/*"]
# A policy has no lexer of its own; blocks of it are shown as they are.
highlight_language = "text"
# `Name` in a docstring is code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"

html_theme = "furo"
html_title = f"Seclude {release}"
html_copy_source = False
html_show_sphinx = False
