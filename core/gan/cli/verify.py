"""The command `gan verify`: read everything that decides a result again and name what is damaged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gan.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from gan.data.scrub import Scrub


@click.command(epilog="Example: gan verify runs/music-musegan-0001")
@click.argument("target", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def verify(target: Path, as_json: bool) -> None:
    """Read everything that decides a result of a run again and name what is damaged.

    These are the checkpoints, the recipe, the manifest, the records, what the modality learned from the data, and the
    packed data if they are in the cache. Every file is compared with its SHA-256 when it was written; nothing is
    changed. RUN may also be a cache; `gan data verify` does the same for your own. The exit code is 4 if anything is
    damaged.
    """
    from gan.data.scrub import is_cache, scrub_cache

    if any(os.path.lexists(target / name) for name in ("recipe.yaml", "manifest.json")):
        from gan.training.scrub import scrub_run

        show(scrub_run(target), as_json)
    elif is_cache(target):
        show(scrub_cache(target), as_json)
    else:
        raise UsageError(f"{target} is neither a run folder (it holds no recipe.yaml) nor a cache")


def show(found: Scrub, as_json: bool) -> None:
    """Print a scrub. Raises `CheckpointError` if anything is damaged."""
    from gan.cli.terminal import echo

    if as_json:
        from gan.cli.progress import print_json

        print_json(vars(found))
    else:
        for path in found.sound:
            echo(f"sound    {path}")
        for path, note in found.notes.items():
            echo(f"note     {path}: {note}")
        for path, complaint in found.damaged.items():
            echo(f"damaged  {path}: {complaint}")
    if found.damaged:
        number = len(found.damaged)
        raise CheckpointError(f"{number} of {number + len(found.sound)} are damaged: {', '.join(found.damaged)}")
