"""Flags of a run in `gan generate` and `gan translate`: conditions, and options of its architecture and modality."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gan.cli import installed
from gan.cli.terminal import escaped
from gan.errors import GanError, UsageError
from gan.generation.chosen import spelt

MAX_FLAGS_BYTES = 1 << 20
"""Largest description of a run's flags that is read, in bytes."""
ARGUMENTS = "gan.cli.arguments"
"""Key of the raw arguments in click's `Context.meta`."""

checkpoint_flag = click.option(
    "--checkpoint",
    default="newest",
    show_default=True,
    metavar="WHICH",
    help="newest, best, or a number of samples shown.",
)
device_flag = click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, mps …")
json_flag = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
quiet_flag = click.option("--quiet", is_flag=True, help="Print nothing.")


class OfRun(click.Command):
    """A command whose ``--help`` also lists the flags of the run that is named before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the raw arguments for ``--help``, which click handles before it parses them."""
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of the command, then those of the run."""
        super().format_options(ctx, formatter)
        named = (_folder(ctx, text) for text in ctx.meta.get(ARGUMENTS, ()))
        folder = next((folder for folder in named if (folder / "recipe.yaml").is_file()), None)
        if folder is not None:
            with contextlib.suppress(
                GanError, OSError, ValueError, KeyError
            ):  # the command itself reports a damaged run
                found = _stored(folder) or _computed(ctx, folder)
                with formatter.section(f"Options of this run ({escaped(found['title'])})"):
                    formatter.write_dl([(escaped(spelt(name)), escaped(text)) for name, text in found["flags"]])
                    if found.get("latents"):
                        formatter.write_paragraph()
                        formatter.write_text(escaped(found["latents"]))


def _folder(ctx: click.Context, text: str) -> Path:
    """The run folder that an argument may name."""
    from gan.plugins.models import found_run

    with contextlib.suppress(GanError):
        return found_run(text, installed(ctx))
    return Path(text)


def _stored(folder: Path) -> dict[str, Any] | None:
    """The description that the training stored; None if there is none, or if a plugin has changed since."""
    from importlib.metadata import PackageNotFoundError, version

    from gan.storage.regular import Broken, read_json, read_regular
    from gan.storage.run_folder import RunFolder

    path = RunFolder(folder).flags
    try:
        found: dict[str, Any] = read_json(read_regular(path, None, limit=MAX_FLAGS_BYTES), path.name)
        unchanged = all(version(name) == known for name, known in found["versions"].items())
        texts = [found["title"], *(text for name, described in found["flags"] for text in (name, described))]
        return found if unchanged and texts[0] and all(isinstance(text, str) for text in texts) else None
    except (Broken, ValueError, KeyError, TypeError, AttributeError, PackageNotFoundError):
        return None


def _computed(ctx: click.Context, folder: Path) -> dict[str, Any]:
    from gan.generation.flags import describe_flags
    from gan.generation.loading import load_conditions, load_modality, resolve_run
    from gan.storage.run_folder import RunFolder

    run = RunFolder.open(folder)
    resolved = resolve_run(run, installed(ctx))
    return describe_flags(resolved, load_modality(run, resolved), load_conditions(run))


def provenance_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags of what written files say of themselves; `provenance_choices` takes their values."""
    for flag in (
        click.option("--c2pa", is_flag=True, help="Add C2PA manifests to the files; needs gan-core[provenance]."),
        click.option("--date", is_flag=True, help="Put today's date (UTC) into the files."),
        click.option(
            "--no-metadata",
            is_flag=True,
            help="Do not say in the files that they were generated; the manifest of their folder records this.",
        ),
        click.option(
            "--mark", is_flag=True, help="Mark the files invisibly with your key; `gan verify` finds the mark."
        ),
    ):
        command = flag(command)
    return command


def provenance_choices(*, mark: bool, no_metadata: bool, date: bool, c2pa: bool) -> dict[str, Any]:
    """The settings of the recipe's section `provenance` that flags change."""
    given = {"mark": mark, "metadata": no_metadata, "date": date, "c2pa": c2pa}
    return {name: name != "metadata" for name, wanted in given.items() if wanted}


def flags(arguments: list[str]) -> dict[str, Any]:
    """Parse flags such as ``["--tempo", "90", "--key=C"]``; a flag without a value is True."""
    found: dict[str, Any] = {}
    waiting: str | None = None
    for text in arguments:
        if text.startswith("--"):
            if waiting is not None:
                found[waiting] = True
            name, equals, value = text[2:].partition("=")
            waiting = None if equals else name.replace("-", "_")
            if equals:
                found[name.replace("-", "_")] = value
        elif waiting is not None:
            found[waiting] = text
            waiting = None
        else:
            raise UsageError(f"'{text}' does not belong to a flag")
    if waiting is not None:
        found[waiting] = True
    return found


def flag_names(ctx: click.Context) -> list[str]:
    """The flags of the command itself, as names: ``out`` for ``--out``."""
    return [
        flag[2:].replace("-", "_") for parameter in ctx.command.params for flag in parameter.opts if flag[:2] == "--"
    ]
