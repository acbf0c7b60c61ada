"""The documentation site: generated pages are true, every page is listed, it builds without a foreign request."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlparse

import pytest
from doc_names import ROOT
from gan.plugins.manager import Plugins

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


class Page(HTMLParser):
    """Anchors, links, and what a browser would load, of one page."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loaded = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = {name: value for name, value in attrs if value}
        self.anchors.add(found.get("id"))
        if tag == "a":
            self.links.append(found.get("href", ""))
        self.loaded += [found[name] for name in ("src", "srcset", "poster") if name in found]
        self.loaded += [found.get("href", "")] if tag == "link" else []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` does; a warning is an error."""
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    folder = tmp_path_factory.mktemp("site").resolve()
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(DOCS), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_link_of_the_site_leads_somewhere_and_nothing_is_loaded_from_elsewhere(site):
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) > 30
    wrong = []
    for path, page in pages.items():
        wrong += [(path.name, found) for found in page.loaded if urlparse(found).netloc]
        for link in page.links:
            parts = urlparse(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages[target].anchors if target in pages else set()
            if not target.is_file() or (target in pages and parts.fragment and unquote(parts.fragment) not in known):
                wrong.append((path.name, link))
    assert wrong == []
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
def test_every_tutorial_is_offered_as_a_notebook(site):
    for page in sorted((DOCS / "tutorials").glob("*.md")):
        notebook = json.loads((site / "tutorials" / f"{page.stem}.ipynb").read_text(encoding="utf-8"))
        code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert code[0].startswith("import gan\n")
        assert f'href="{page.stem}.ipynb"' in (site / "tutorials" / f"{page.stem}.html").read_text(encoding="utf-8")
        assert "```python" not in json.dumps(notebook)


@pytest.mark.slow
def test_the_site_lists_recipes_and_settings_of_every_plugin(site):
    text = (site / "recipes.html").read_text(encoding="utf-8")
    for plugin in ("3d", "audio", "image", "music", "text", "video"):
        for hook in ("gan_recipes", "gan_architectures", "gan_modalities"):
            for found in Plugins.installed().entries(hook, plugin):
                assert found.entry.name in text, found.entry.name
    for key in ("training.minutes", "modality.resolution", "model.generator_width"):
        assert f">{key}<" in text, key
