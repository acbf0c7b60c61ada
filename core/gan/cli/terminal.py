"""Text on the terminal: names of files, recipes and answers of servers may hold anything, also control characters."""

from __future__ import annotations

from typing import Any

import click

from gan.reporting.escaping import escaped

__all__ = ["echo", "escaped"]


def echo(text: Any = "", *, err: bool = False, nl: bool = True) -> None:
    """`click.echo` of `escaped` text."""
    click.echo(escaped(str(text)), err=err, nl=nl)
