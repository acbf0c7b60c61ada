"""`gan translate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from gan.cli import installed
from gan.cli.generate import flags, split_options
from gan.errors import BadData, UsageError

if TYPE_CHECKING:
    from gan.contracts import Sample, Samples
    from gan.model import Model
    from gan.source import SourceFile


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="Example: gan translate runs/image-cyclegan-0001 --input photos --out paintings --direction ab",
)
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--input", "source", required=True, type=click.Path(path_type=Path), help="A folder, archive or file.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the translations.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same files.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, mps …")
@click.option("--quiet", is_flag=True, help="Say only what is wrong.")
@click.option("--json", "as_json", is_flag=True, help="The files as one JSON document.")
@click.pass_context
def translate(
    ctx: click.Context,
    run_folder: Path,
    source: Path,
    out: Path,
    seed: int,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Translate files with a trained run, under their names and at their sizes.

    Further flags are the options of the run's architecture and of its kind of data, for example --direction ba.
    A file that cannot be read is named and left out.
    """
    plugins = installed(ctx)
    from gan.api import load

    if out.resolve() == (source if source.is_dir() else source.parent).resolve():
        raise UsageError(f"--out {out} is the folder of the input; name another one")
    model = load(run_folder, device=device, plugins=plugins)
    ways, writing = split_options(model, flags(ctx.args))
    written: list[Path] = []
    skipped: dict[str, str] = {}
    with _progress(hidden=quiet or as_json) as advance:
        for stem, file, samples in translated(model, source, ways, seed, skipped, advance):
            path = out / stem
            path.parent.mkdir(parents=True, exist_ok=True)
            for index, sample in enumerate(samples):
                place = path if len(samples) == 1 else path.with_name(f"{path.name}-{index:04d}")
                written.append(model.modality.write_like(sample, place, file, writing))
    for name, reason in skipped.items():
        click.echo(f"warning: {name}: {reason}", err=True)
    if not written:
        raise BadData(f"none of {len(skipped)} files could be translated", source)
    if as_json:
        from gan.cli.progress import print_json

        print_json({"artefacts": [str(path) for path in written], "skipped": skipped})
    elif not quiet:
        click.echo(f"{len(written)} files in {out}" + (f", {len(skipped)} left out" if skipped else ""))


def translated(
    model: Model,
    source: Path,
    options: dict[str, Any],
    seed: int,
    skipped: dict[str, str],
    advance: Callable[[int, int], None],
) -> Iterator[tuple[str, SourceFile, list[Sample]]]:
    """(name without its ending, file, made fields of each of its samples) of every file of `source`, in order.

    Files that cannot be read go to `skipped` with their reason. `advance(done, total)` hears of every file.
    """
    from gan.source import list_source

    fields = _given_fields(model, options)
    listing = list_source(source, model.modality.suffixes)
    skipped.update(listing.skipped)
    if not listing.files and not skipped:
        raise BadData(f"no file with a known ending ({', '.join(model.modality.suffixes)})", source)
    stems = _stems([file.name for file in listing.files])
    position = 0
    for done, file in enumerate(listing.files, 1):
        try:
            rows = list(model.modality.read_given(file, fields))
            samples = model.generate(len(rows), seed, first=position, options=options, given=_stacked(rows, fields))
        except BadData as error:
            skipped[file.name] = error.reason
        else:
            position += len(rows)
            made = [name for name in samples if name not in fields and name in model.modality.fields]
            yield stems[file.name], file, [{name: samples[name][i] for name in made} for i in range(len(rows))]
        advance(done, len(listing.files))


def _given_fields(model: Model, options: dict[str, Any]) -> tuple[str, ...]:
    fields = model.given_fields(options)
    if not fields:
        raise UsageError(f"{model.name} makes samples from nothing and takes no input; use: gan generate RUN")
    return fields


def _stacked(rows: list[Sample], fields: tuple[str, ...]) -> Samples:
    import numpy as np

    return {name: np.stack([row[name] for row in rows]) for name in fields}


def _stems(names: list[str]) -> dict[str, str]:
    """Name -> name without its ending; with the ending's letters where two files would be one."""
    short = {name: str(PurePosixPath(name).with_suffix("")) for name in names}
    often = Counter(short.values())
    return {
        name: f"{stem}-{PurePosixPath(name).suffix[1:].lower()}" if often[stem] > 1 else stem
        for name, stem in short.items()
    }


@contextmanager
def _progress(*, hidden: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal; silent elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=hidden or not console.is_terminal) as bar:
        task = bar.add_task("translating")
        yield lambda done, total: bar.update(task, completed=done, total=total)
