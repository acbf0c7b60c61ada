"""Settings of the documentation site: ``make docs`` builds it from the pages of this folder into ``docs/_build``.

Each tutorial is also offered as a notebook, which is written beside its page, and the page of recipes is completed.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import recipe_tables

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


def notebook(page: str) -> dict[str, Any]:
    """A Jupyter notebook (format 4) of a page: its blocks of Python as cells of code, and the text between them."""
    cells: list[dict[str, Any]] = []
    for place, part in enumerate(re.split(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)):
        if part.strip():
            cell = {"metadata": {}, "source": part.strip().splitlines(keepends=True)}
            code = {"cell_type": "code", "execution_count": None, "outputs": []}
            cells.append(cell | (code if place % 2 else {"cell_type": "markdown"}))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}


def _complete(app: Any, name: str, source: list[str]) -> None:
    folder, _, tutorial = name.rpartition("/")
    if name == "recipes":
        source[0] += "\n" + recipe_tables.text()
    if folder == "tutorials":
        source[0] += f'\n<a href="{tutorial}.ipynb" download>This page as a notebook</a>\n'


def _write_notebooks(app: Any, error: Exception | None) -> None:
    if error is None and app.builder.name == "html":
        for page in Path(__file__).parent.glob("tutorials/*.md"):
            target = Path(app.outdir, "tutorials", page.stem).with_suffix(".ipynb")
            target.write_text(json.dumps(notebook(page.read_text(encoding="utf-8")), indent=1), encoding="utf-8")


def setup(app: Any) -> None:
    """Offer the notebooks and complete the page of recipes."""
    app.connect("source-read", _complete)
    app.connect("build-finished", _write_notebooks)
