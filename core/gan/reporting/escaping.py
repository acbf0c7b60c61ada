"""Escape text for terminals: names of files, recipes and answers of servers may hold control characters."""

from __future__ import annotations

import re

_HOSTILE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but for tab and line feed, those that turn the direction of text, and lone surrogates."""


def escaped(text: str) -> str:
    """The text with `_HOSTILE` characters written as ``\\u001b``: they could rewrite the terminal or hide a name."""
    return _HOSTILE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
