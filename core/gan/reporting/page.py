"""HTML page of generated artefacts, to be opened in a browser, with the metrics of the run.

The page needs no network and no files but those of the folder in which it lies. The modality decides how an artefact is
shown (`gan.contracts.Modality.show`); `gan.contracts.media.shown_by_type` covers the types of files that browsers know.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from gan.contracts import Modality
from gan.errors import BadData
from gan.reporting.tables import metric_rows, number_rows
from gan.source import SourceFile, list_source
from gan.storage.durable import make_dirs, sync_tree, write_text
from gan.storage.run_folder import PREVIEW

MAX_ARTEFACTS = 48
"""Artefacts on a page; it says how many more there are."""
TEMPLATE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
).get_template("page.html")

Show = Callable[[Modality, Sequence[tuple[SourceFile, str]], Path], Iterable[tuple[str, str]]]
"""(modality, (file, link) of each artefact, the page's folder) -> (HTML, reason why there is none) of each."""


def write_page(
    folder: Path,
    modality: Modality,
    artefacts: Sequence[Path],
    summary: Mapping[str, Any] | None = None,
    health: Mapping[str, Any] | None = None,
    show: Show | None = None,
) -> Path:
    """Write ``folder/page/index.html`` and the files that it needs beside it; returns its path.

    `artefacts` are files below `folder`, or elsewhere on the same disk; links to them are relative, so that the folder
    can be moved. `summary` is a `gan.reporting.result.Result.summary`, whose metrics and plots are shown. `health`
    has the ``lines`` and the ``picture`` of a report about the training (`gan.watch.report`). Exceptions of
    `Modality.show` are passed on, except `BadData`, which becomes the caption of the file. `show` calls it in another
    way, for artefacts that somebody else may have made (`gan.data.foreign.show`).
    """
    page = folder / "page"
    make_dirs(page)
    header, rows = metric_rows(summary) if summary is not None and summary["metrics"] else ([], [])
    files = [SourceFile(path.name, path, None, path.stat().st_size) for path in artefacts[:MAX_ARTEFACTS]]
    shown = [(file, _link(file.path, page)) for file in files]
    figures = [
        {"link": link, "name": file.name, "shown": html, "error": error}
        for (file, link), (html, error) in zip(shown, (show or _show)(modality, shown, page), strict=True)
    ]
    text = TEMPLATE.render(
        title=folder.resolve().name,
        policy=content_policy(figure["shown"] for figure in figures),
        figures=figures,
        left_out=max(0, len(artefacts) - MAX_ARTEFACTS),
        summary=summary,
        header=header,
        rows=rows,
        numbers=number_rows(summary) if summary is not None else [],
        live=None,
        health=health,
        health_picture=_link(Path(health["picture"]), page) if health is not None and health["picture"] else "",
        pictures=[_link(Path(path), page) for path in summary["pictures"]] if summary is not None else [],
    )
    write_text(page / "index.html", text)
    sync_tree(page)
    return page / "index.html"


def content_policy(shown: Iterable[str]) -> str:
    """The Content-Security-Policy of a page: files beside it and the scripts that `shown` holds, and no network.

    A name or a text that was shown without escaping could therefore neither run a script nor load or send anything.
    """
    shown = list(shown)
    scripts = {script for html in shown for script in re.findall(r"<script>(.*?)</script>", html, re.DOTALL)}
    digests = sorted(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    sources = [f"'sha256-{digest}'" for digest in digests]
    if any(re.search(r"<script [^>]*src=", html) for html in shown):  # a viewer that its modality wrote beside the page
        sources += ["'self'", "file:"]
    allowed = " ".join(sources) or "'none'"
    return (
        "default-src 'none'; img-src 'self' file: data: blob:; media-src 'self' file: data: blob:; "
        f"style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; form-action 'none'"
    )


def artefacts_in(folder: Path, modality: Modality) -> list[Path]:
    """The artefacts of the modality that lie directly in `folder`. Raises `BadData` if there are none."""
    files = [file for file in list_source(folder, modality.suffixes).files if file.path.parent == folder]
    found = [file.path for file in files if file.member is None and file.name != PREVIEW]
    if not found:
        raise BadData(f"holds no files of a known kind ({', '.join(modality.suffixes)})", folder)
    return found


def _show(modality: Modality, shown: Sequence[tuple[SourceFile, str]], folder: Path) -> Iterator[tuple[str, str]]:
    for file, link in shown:
        try:
            html, error = modality.show(file, link, folder), ""
        except BadData as bad_data:
            html, error = "", bad_data.reason
        yield html, error


def _link(path: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(path, page)).as_posix())
