"""A page to open in a browser: what was made, seen, heard or read, beside its numbers.

It needs no network and no file but those of the folder it stands in. How an artefact is shown there is its modality's
to say (`gan.contracts.Modality.show`); `shown_by_type` does for the kinds of file that browsers know.
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gan.contracts import Modality
from gan.errors import BadData
from gan.reporting.tables import metric_rows
from gan.source import SourceFile, list_source
from gan.storage.durable import make_dirs, sync_tree, write_text
from gan.storage.run_folder import PREVIEW

MOST = 48
"""Artefacts that a page shows; the others lie beside them."""
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#222;background:#fdfcf8}
main{display:flex;flex-wrap:wrap;gap:1.5em;align-items:flex-end}
figure{margin:0;max-width:100%}img,video{max-width:100%}main img{min-width:8em;image-rendering:pixelated}
audio{display:block;width:100%}pre{white-space:pre-wrap;font:inherit;max-width:42em;margin:0}
figcaption,p{color:#666}table{border-collapse:collapse}
td,th{padding:.2em .8em;text-align:left;border-top:1px solid #ddd}
code{background:#eee;padding:.1em .3em}
"""


def write_page(
    folder: Path, modality: Modality, artefacts: Sequence[Path], summary: Mapping[str, Any] | None = None
) -> Path:
    """Write ``folder/page/index.html`` and what it needs beside it; its path.

    `artefacts` are files below `folder`, or elsewhere on the same disk; links to them are relative, so that the folder
    can be moved. `summary` is a `gan.reporting.result.Result.summary` whose numbers and pictures are shown, too. What
    `Modality.show` raises passes, but for `BadData`, which becomes the file's caption.
    """
    place = folder / "page"
    make_dirs(place)
    figures = [_figure(path, modality, place) for path in artefacts[:MOST]]
    left_out = len(artefacts) - len(figures)
    more = f"<p>and {left_out:,} more beside them</p>" if left_out > 0 else ""
    title = folder.resolve().name
    head = _head(summary) if summary is not None else ""
    tail = _tail(summary, place) if summary is not None else ""
    write_text(
        place / "index.html",
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n<h1>{html.escape(title)}</h1>\n{head}<p>Made by a machine.</p>\n"
        f"<main>\n{''.join(figures)}</main>\n{more}{tail}</html>\n",
    )
    sync_tree(place)
    return place / "index.html"


def artefacts_in(folder: Path, modality: Modality) -> list[Path]:
    """The files of `folder` itself that are artefacts of this kind of data. Raises `BadData` when there are none."""
    files = [file for file in list_source(folder, modality.suffixes).files if file.path.parent == folder]
    found = [file.path for file in files if file.member is None and file.name != PREVIEW]
    if not found:
        raise BadData(f"holds no files of a known kind ({', '.join(modality.suffixes)})", folder)
    return found


def _figure(path: Path, modality: Modality, place: Path) -> str:
    link = _link(path, place)
    name = html.escape(path.name)
    try:
        shown = modality.show(SourceFile(path.name, path, None, path.stat().st_size), link, place)
        said = ""
    except BadData as error:
        shown, said = "", f": {html.escape(error.reason)}"
    return f'<figure>{shown}<figcaption><a href="{link}">{name}</a>{said}</figcaption></figure>\n'


def _link(path: Path, place: Path) -> str:
    return quote(Path(os.path.relpath(path, place)).as_posix())


def _head(summary: Mapping[str, Any]) -> str:
    said = f"{summary['architecture']} on {summary['data']}: {summary['samples']:,} samples shown"
    return f"<p>{html.escape(said)}</p>\n"


def _tail(summary: Mapping[str, Any], place: Path) -> str:
    parts = []
    if summary["metrics"]:
        header, rows = metric_rows(summary)
        cells = [f"<tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in header)}</tr>"]
        cells += [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
        parts.append(f"<h2>Numbers</h2>\n<table>{''.join(cells)}</table>\n")
    pictures = "".join(f'<p><img src="{_link(Path(path), place)}" alt=""></p>' for path in summary["pictures"])
    run = html.escape(str(summary["run"]))
    parts.append(f"<h2>Training</h2>\n{pictures}\n")
    parts.append(f"<h2>More</h2>\n<p><code>gan generate {run} --count 16 --seed 1 --out more</code></p>\n")
    return "".join(parts)
