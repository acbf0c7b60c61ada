"""HTML for the media types that browsers show without help."""

from __future__ import annotations

import html
import mimetypes

from gan.source import SourceFile

LONGEST = 20_000
"""Bytes of one text that are shown."""
_TYPES = mimetypes.MimeTypes()
"""The types that Python itself knows, whatever the machine has been told."""


def shown_by_type(file: SourceFile, link: str) -> str:
    """HTML for pictures, sounds, films and texts in UTF-8 by the ending of `file`; nothing for other files.

    `link` leads from the page to the file. Raises `BadData` when the file cannot be read.
    """
    kind = (_TYPES.guess_type(file.name)[0] or "").partition("/")[0]
    if kind == "image":
        return f'<img src="{link}" alt="">'
    if kind in ("audio", "video"):
        return f'<{kind} controls preload="none" src="{link}"></{kind}>'
    content = file.data()
    if b"\0" in content[:LONGEST]:
        return ""
    text = content[:LONGEST].decode("utf-8", "replace") + ("…" if len(content) > LONGEST else "")
    return f"<pre>{html.escape(text)}</pre>"
