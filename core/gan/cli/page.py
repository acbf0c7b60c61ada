"""The command `gan page`: an HTML page of the artefacts of a run."""

from __future__ import annotations

from pathlib import Path

import click

from gan.cli import installed
from gan.cli.terminal import echo


@click.command(epilog="Example: gan generate RUN --out more && gan page RUN more")
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("folder", metavar="[FOLDER]", required=False, type=click.Path(path_type=Path))
@click.pass_context
def page(ctx: click.Context, run_folder: Path, folder: Path | None) -> None:
    """Write an HTML page that shows or plays the artefacts of a run.

    With FOLDER, the page shows the samples that `gan generate` has written there. It is FOLDER/page/index.html, or
    RUN/page/index.html, which `gan run` writes as well. It needs no network.
    """
    from gan.data.foreign import show
    from gan.generation.loading import load_modality, resolve_run
    from gan.reporting.page import artefacts_in, write_page
    from gan.reporting.result import read_result
    from gan.storage.run_folder import RunFolder
    from gan.watch.report import health_of

    run = RunFolder.open(run_folder)
    modality = load_modality(run, resolve_run(run, installed(ctx)))
    if folder is None:
        summary = read_result(run).summary()
        health = health_of(run)
        echo(write_page(run.path, modality, artefacts_in(run.samples, modality), summary, health, show))
    else:
        echo(write_page(folder, modality, artefacts_in(folder, modality), show=show))
