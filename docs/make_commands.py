"""Writes docs/commands.md, the reference of the command line, from the help of the commands.

python docs/make_commands.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from gan.cli import group

HEAD = """# Commands

What each command prints with `--help`, written by `python docs/make_commands.py`. The flags of a run (its options and
conditions) are listed by `gan generate RUN --help`.
"""


def described(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """(name, help) of a command and of those below it."""
    wide = {"max_content_width": 100, "terminal_width": 100, "help_option_names": ["-h", "--help"]}
    context = click.Context(command, info_name=name, parent=parent, **wide)
    if parent is not None:
        yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None:
                yield from described(found, below, context)


def page() -> str:
    """The text of the page."""
    parts = [f"## {name}\n\n```text\n{text}\n```\n" for name, text in described(group, "gan")]
    return "\n".join([HEAD, *parts])


if __name__ == "__main__":
    Path(__file__).with_name("commands.md").write_text(page(), encoding="utf-8")
