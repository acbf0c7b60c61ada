"""The command `gan diagnose`: what happened to a training, by what evidence, what was done and what to change."""

from __future__ import annotations

from pathlib import Path

import click

from gan.cli.completion import RUN
from gan.cli.options import json_flag


@click.command(epilog="Example: gan diagnose runs/image-dcgan-0001")
@click.argument("run_folder", metavar="RUN", type=RUN)
@click.option(
    "--tensorboard",
    "events",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write all records of the run as TensorBoard events to a new folder.",
)
@json_flag
def diagnose(run_folder: Path, events: Path | None, as_json: bool) -> None:
    """Tell what happened to a training: verdicts with their evidence, what was done, and what to change.

    Works while a run trains, after it has ended, and for runs that were not watched. The plots are RUN/health.png.
    """
    from gan.cli.terminal import echo
    from gan.storage.run_folder import RunFolder
    from gan.watch.report import diagnose as report_of
    from gan.watch.report import words

    run = RunFolder.open(run_folder)
    report = report_of(run)
    if events is not None:
        from gan.reporting.tensorboard import write_events

        report["tensorboard"] = str(write_events(run.read_metrics(), events))
    if as_json:
        from gan.cli.progress import print_json

        print_json(report)
        return
    for line in words(report):
        echo(line)
    if report["picture"]:
        echo(f"plots: {report['picture']}")
    if events is not None:
        echo(f"TensorBoard events: tensorboard --logdir {events}")
