"""The command `gan runs`: list the runs of a folder, and remove what nobody needs."""

from __future__ import annotations

from pathlib import Path

import click

from gan.cli.columns import print_columns
from gan.cli.options import json_flag
from gan.cli.terminal import echo
from gan.errors import UsageError


class _Runs(click.Group):
    """Answers ``gan runs FOLDER`` with the flag that names a folder."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if Path(args[0]).is_dir() and args[0] not in self.commands:
            ctx.fail(f"name the folder with --in: gan runs --in {args[0]}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Runs, invoke_without_command=True, epilog="Example: gan runs --in experiments")
@click.option(
    "--in",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="The folder of runs.",
)
@json_flag
@click.pass_context
def runs(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """List the runs of a folder: plugin, state, progress, best number and size."""
    ctx.obj = {**(ctx.obj or {}), "folder": folder, "json": as_json}
    if ctx.invoked_subcommand is not None:
        return
    from gan.reporting.run_list import runs_in

    infos = runs_in(_existing(folder))
    if as_json:
        from gan.cli.progress import print_json

        print_json([{**vars(info), "path": str(info.path)} for info in infos])
        return
    if not infos:
        echo(f"{folder} holds no runs; gan run --plugin image makes one", err=True)
        return
    rows = [("RUN", "PLUGIN", "STATE", "DONE", "VERDICT", "BEST NUMBER", "SIZE")]
    for info in infos:
        done = "" if info.share is None else f"{100 * info.share:.0f} %"
        size = f"{info.size / 1e6:,.1f} MB"
        rows.append((str(info.path), info.title, info.state, done, info.verdict, info.best, size))
    print_columns(rows)


@runs.command(epilog="Example: gan runs clean --checkpoints --yes")
@click.option("--checkpoints", is_flag=True, help="Also remove all but the newest checkpoint of finished runs.")
@click.option("--yes", is_flag=True, help="Remove it; else it is only listed.")
@click.pass_context
def clean(ctx: click.Context, checkpoints: bool, yes: bool) -> None:
    """List what nobody needs: runs in which nothing was trained, and earlier checkpoints; with --yes, remove it.

    Runs that train, were tuned or are damaged are left alone. A finished run keeps its newest and its best checkpoint.
    """
    from gan.reporting.run_list import removable, remove, runs_in

    found = list(removable(runs_in(_existing(ctx.obj["folder"])), checkpoints=checkpoints))
    if ctx.obj["json"]:
        from gan.cli.progress import print_json

        print_json([{"path": str(path), "size": size, "reason": reason} for path, size, reason in found])
    for path, size, reason in found:
        if not ctx.obj["json"]:
            echo(f"{path}  {size / 1e6:,.1f} MB  {reason}")
        if yes:
            remove(path)
    total = sum(size for _, size, _ in found) / 1e6
    if not found:
        echo("there is nothing to remove", err=True)
    else:
        echo(f"{total:,.1f} MB removed" if yes else f"{total:,.1f} MB; remove it with --yes", err=True)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name the folder of your runs with --in")
    return folder
