"""Flags that a run has beside the command's: its conditions, the options of its architecture and kind of data."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gan.cli import installed
from gan.errors import GanError, UsageError, nearest

if TYPE_CHECKING:
    from gan.generation.model import Model


ARGUMENTS = "gan.cli.arguments"


class OfRun(click.Command):
    """A command whose ``--help``, after the name of a run, lists that run's own flags."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; ``--help`` is answered before arguments have names, so they are kept for it."""
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's options, then the run's."""
        super().format_options(ctx, formatter)
        folder = next((text for text in ctx.meta.get(ARGUMENTS, ()) if (Path(text) / "recipe.yaml").is_file()), None)
        if folder is not None:
            with contextlib.suppress(GanError, OSError, ValueError, KeyError):  # a damaged run: the command will say so
                title, rows = _flags_of(ctx, Path(folder))
                with formatter.section(title):
                    formatter.write_dl(rows)


def _flags_of(ctx: click.Context, folder: Path) -> tuple[str, list[tuple[str, str]]]:
    from gan.build import resolve
    from gan.generation.loading import load_conditions, load_modality
    from gan.plugins.settings import settings
    from gan.recipe import read_values
    from gan.storage.run_folder import RunFolder

    run = RunFolder.open(folder)
    resolved = resolve(read_values(run.recipe), installed(ctx))
    modality, conditions = load_modality(run, resolved), load_conditions(run)
    rows: list[tuple[str, str]] = []
    for name in conditions.ranges:
        values = conditions.describe(name, modality.fields[name])
        rows.append((spelt(name), f"What the samples should be. The data have {values}."))
    if modality.whole_input:
        rows.append((spelt(modality.whole_input), "A file to work from as a whole."))
    for model in (getattr(resolved.architecture_class, "Options", None), modality.GivenOptions, modality.Options):
        rows += [(spelt(found.name), found.description) for found in settings(model)]
    return f"Options of this run ({resolved.title})", rows


def spelt(name: str) -> str:
    """A field's name as it stands on the command line."""
    return "--" + name.replace("_", "-")


@dataclass
class Flags:
    """What further flags ask of a run."""

    ways: dict[str, Any] = field(default_factory=dict)
    """Settings of the architecture's `Options`."""
    asked: dict[str, Any] = field(default_factory=dict)
    """Values of conditions."""
    choices: dict[str, Any] = field(default_factory=dict)
    """Settings of the modality's `GivenOptions`."""
    writing: Any = None
    """An instance of the modality's `Options`."""


def flags(arguments: list[str]) -> dict[str, Any]:
    """``["--tempo", "90", "--key=C"]`` as values; a flag without a value is true."""
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
            raise UsageError(f"'{text}' belongs to no flag")
    if waiting is not None:
        found[waiting] = True
    return found


def split_flags(model: Model, given: dict[str, Any]) -> Flags:
    """Whose each flag is; an unknown one is refused by name."""
    from gan.recipe import validated

    makes = getattr(model.architecture, "Options", None)
    reads, writes = model.modality.GivenOptions, model.modality.Options
    taken = model.condition_fields()
    found, rest = Flags(), {}
    for name, value in given.items():
        if name in taken:
            found.asked[name] = value
        elif makes is not None and name in makes.model_fields:
            found.ways[name] = value
        elif reads is not None and name in reads.model_fields:
            found.choices[name] = value
        elif writes is not None and name in writes.model_fields:
            rest[name] = value
        elif name in model.modality.conditions:
            model.read_asked({name: value})  # says that the run was trained without it
        else:
            kinds = [kind.model_fields for kind in (makes, reads, writes) if kind is not None]
            whole = [model.modality.whole_input] if model.modality.whole_input else []
            names = [*whole, *taken, *(known for kind in kinds for known in kind)]
            close = nearest(name, names)
            known = ", ".join(map(spelt, names)) or "none"
            hint = f"did you mean {spelt(close)}?" if close else f"its options: {known}"
            raise UsageError(f"{model.name} has no option {spelt(name)}; {hint}")
    found.writing = validated(writes, rest, "") if writes is not None else None
    return found
