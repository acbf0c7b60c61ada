"""HTML for the media types that browsers can display: pictures, sound, video and plain text."""

from __future__ import annotations

import html
import mimetypes

from gan.source import SourceFile

LONGEST = 20_000
"""Maximum number of bytes shown of a text."""
_TYPES = mimetypes.MimeTypes()
"""Python's built-in types only, so that the result does not depend on the machine's configuration."""


def shown_by_type(file: SourceFile, link: str) -> str:
    """Return HTML that shows a picture, sound, video or UTF-8 text, by the suffix of `file`; ``""`` for other files.

    `link` is the relative link from the page to the file. Raises `BadData` if the file cannot be read.
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
