"""Settings of the documentation site: ``make docs`` builds it from the pages of this folder into ``docs/_build``."""

from __future__ import annotations

import tomllib
from pathlib import Path

project = "gan"
author = "the authors of gan"
copyright = "the authors of gan, MIT licence"
release = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "version"
]
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "gan"
html_show_sphinx = False
myst_heading_anchors = 3
# links to files of the repository beside the site, which a test follows; code with dots in place of a part
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]
