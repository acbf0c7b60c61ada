"""The command `gan page`: an HTML page of the artefacts of a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gan.cli import installed
from gan.cli.completion import RUN
from gan.cli.terminal import echo
from gan.errors import UsageError
from gan.plugins.models import refuse_packed

if TYPE_CHECKING:
    from gan.storage.run_folder import RunFolder


@click.command(epilog="Example: gan generate RUN --out more && gan page RUN more")
@click.argument("run_folder", metavar="RUN", type=RUN)
@click.argument("folder", metavar="[FOLDER]", required=False, type=click.Path(path_type=Path))
@click.option("--live", is_flag=True, help="Renew the page of a run that still trains, until it ends.")
@click.pass_context
def page(ctx: click.Context, run_folder: Path, folder: Path | None, live: bool) -> None:
    """Write an HTML page that shows or plays the artefacts of a run.

    With FOLDER, the page shows the samples that `gan generate` has written there. It is FOLDER/page/index.html, or
    RUN/page/index.html, which `gan run` writes as well. It needs no network. Of a run that has not ended it shows how
    far it is.
    """
    from gan.storage.run_folder import RunFolder

    run = RunFolder.open(run_folder)
    if folder is None:
        refuse_packed(run_folder)
    if live and folder is not None:
        raise UsageError("--live shows a run while it trains; leave out FOLDER")
    if folder is None and not run.result.is_file():
        _of_training(run, live)
        return
    from gan.data.foreign import show
    from gan.generation.loading import load_modality, resolve_run
    from gan.reporting.page import artefacts_in, write_page
    from gan.reporting.result import read_result
    from gan.watch.report import health_of

    modality = load_modality(run, resolve_run(run, installed(ctx)))
    if folder is None:
        summary = read_result(run).summary()
        health = health_of(run)
        echo(write_page(run.path, modality, artefacts_in(run.samples, modality), summary, health, show))
    else:
        echo(write_page(folder, modality, artefacts_in(folder, modality), show=show))


def _of_training(run: RunFolder, live: bool) -> None:
    """Write the page of a run that has not ended, with `live` again and again until it has."""
    from gan.reporting.live_page import RENEWED, write_live_page
    from gan.reporting.manifest import read_manifest

    echo(write_live_page(run))
    while live and not run.result.is_file():
        time.sleep(RENEWED)
        if not run.result.is_file():
            write_live_page(run)
        if run.manifest.is_file() and read_manifest(run.manifest).get("exit"):
            return
