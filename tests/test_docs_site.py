"""The documentation site: generated pages are true, every page is listed, it builds without a foreign request."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import pytest
from doc_names import ROOT

DOCS = ROOT / "docs"


def test_the_reference_of_commands_is_what_they_say():
    spec = importlib.util.spec_from_file_location("make_commands", DOCS / "make_commands.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "commands.md").read_text(encoding="utf-8") == module.page()


def test_every_page_is_in_the_contents():
    listed = set(re.findall(r"^([\w/-]+)$", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE))
    pages = {
        path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md") if "_build" not in path.parts
    }
    assert pages - {"index"} == listed


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_asks_nobody(tmp_path):
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for kind in (r"<script[^>]*src=", r"<link[^>]*rel=\"stylesheet\"[^>]*href=", r"<img[^>]*src="):
            assert not re.search(kind + r'"(?:https?:)?//', text), page
