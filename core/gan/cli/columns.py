"""Prints tables as aligned columns of plain text.

Not with rich, which wraps cells at 80 columns where the output is piped, so that `grep` no longer finds whole rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from gan.cli.terminal import echo


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print `rows`, the first one being the header. The last column is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
