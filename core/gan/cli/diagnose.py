"""The command `gan diagnose`: what happened to a training, by what evidence, what was done and what to change."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example: gan diagnose runs/image-dcgan-0001")
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def diagnose(run_folder: Path, as_json: bool) -> None:
    """Tell what happened to a training: verdicts with their evidence, what was done, and what to change.

    Works while a run trains, after it has ended, and for runs that were not watched. The plots are RUN/health.png.
    """
    from gan.cli.terminal import echo
    from gan.storage.run_folder import RunFolder
    from gan.watch.report import diagnose as report_of
    from gan.watch.report import words

    report = report_of(RunFolder.open(run_folder))
    if as_json:
        from gan.cli.progress import print_json

        print_json(report)
        return
    for line in words(report):
        echo(line)
    if report["picture"]:
        echo(f"plots: {report['picture']}")
