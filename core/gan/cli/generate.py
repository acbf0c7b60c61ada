"""`gan generate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from gan.cli import installed
from gan.cli.options import Flags, OfRun, flags, spelt, split_flags
from gan.errors import BadData, UsageError

if TYPE_CHECKING:
    from gan.contracts import Sample, Samples
    from gan.generation.model import Model
    from gan.source import SourceFile


@click.command(
    cls=OfRun,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="Example: gan generate runs/music-musegan-0001 --count 4 --seed 7 --out more --tempo 90",
)
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(min=1), default=8, show_default=True, help="How many samples.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same files.")
@click.option("--first", type=click.IntRange(min=0), default=0, show_default=True, help="Index of the first sample.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the files; RUN/samples/seed-SEED if not given."
)
@click.option(
    "--input",
    "input_path",
    type=click.Path(path_type=Path),
    help="A file, folder or archive to work from: the music to accompany, the pictures to translate.",
)
@click.option(
    "--interpolate",
    nargs=2,
    type=click.IntRange(min=0),
    metavar="A B",
    help="--count samples on the way from the first one of seed A to that of seed B.",
)
@click.option("--checkpoint", default="newest", show_default=True, metavar="WHICH", help="newest, best, or samples.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, mps …")
@click.option("--quiet", is_flag=True, help="Do not name the files.")
@click.option("--json", "as_json", is_flag=True, help="The files as one JSON document.")
@click.pass_context
def generate(
    ctx: click.Context,
    run_folder: Path,
    count: int,
    seed: int,
    first: int,
    out: Path | None,
    input_path: Path | None,
    interpolate: tuple[int, int] | None,
    checkpoint: str,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make samples with a trained run, as files and a preview.

    Further flags are the options of the run's architecture and of its kind of data, for example --truncation 0.7 or
    --tempo 90; `gan generate RUN --help` lists them. The same command writes the same bytes again.
    """
    plugins = installed(ctx)
    from gan.api import load

    model = load(run_folder, device=device, plugins=plugins, checkpoint=checkpoint)
    further = flags(ctx.args)
    whole = model.modality.whole_input
    source = further.pop(whole, None) if whole else None
    found = split_flags(model, further)
    if found.choices and source is None and input_path is None:
        inputs = "--input FILE" + (f" or --{whole} FILE" if whole else "")
        raise UsageError(f"{spelt(next(iter(found.choices)))} chooses from an input; name it with {inputs}")
    if source is not None:
        if interpolate is not None or input_path is not None:
            raise UsageError(f"--{whole} works from a whole file; leave --interpolate and --input out")
        if source is True:
            raise UsageError(f"--{whole} wants the name of a file")
        if ctx.get_parameter_source("count") is ParameterSource.DEFAULT:
            count = 1
        folder = out or run_folder / "samples" / f"{Path(source).stem}-seed-{seed}"
        paths, samples = _from_whole(model, _one_file(model, Path(source), whole), folder, found, seed, first, count)
    else:
        name = f"seed-{seed}"
        if interpolate is not None:
            if input_path is not None or first:
                raise UsageError("--interpolate goes from one latent to another; leave --input and --first out")
            samples = model.interpolate(*interpolate, count, options=found.ways, asked=found.asked)
            name = f"seed-{interpolate[0]}-to-{interpolate[1]}"
        else:
            rows = None if input_path is None else _given_samples(model, input_path, count, first, found)
            samples = model.generate(count, seed, first=first, options=found.ways, given=rows, asked=found.asked)
        folder = out or run_folder / "samples" / name
        paths = model.write(samples, folder, first=first, options=found.writing)
    preview = folder / "preview.png"
    model.modality.preview(samples).save(preview)
    if as_json:
        from gan.cli.progress import print_json

        print_json({"artefacts": [str(path) for path in paths], "preview": str(preview)})
    elif not quiet:
        for path in [*paths, preview]:
            click.echo(path)


def _from_whole(
    model: Model, file: SourceFile, folder: Path, asked: Flags, seed: int, first: int, count: int
) -> tuple[list[Path], Samples]:
    """The files made from the whole of `file`, one for each of `count` indices, and the samples in the first."""
    given = model.given(asked.ways, asked.choices)
    paths: list[Path] = []
    samples: Samples = {}
    for index in range(first, first + count):
        place = folder / f"{Path(file.name).stem}-{index:04d}"
        with _named(file):
            written, made = model.render(
                file, place, given, seed, index=index, options=asked.ways, asked=asked.asked, writing=asked.writing
            )
        paths += written
        samples = samples or made
    return paths, samples


def _given_samples(model: Model, source: Path, count: int, first: int, asked: Flags) -> Samples:
    """What `source` holds for the given fields: its samples from `first` on, and from the beginning when they end."""
    from gan.generation.model import stacked

    given = model.given(asked.ways, asked.choices)
    read: list[Sample] = []
    for file in _files(model, source):
        with _named(file):
            read += list(model.modality.read_given(file, given))
        if len(read) >= first + count:
            break
    return stacked([read[(first + index) % len(read)] for index in range(count)], given.fields)


def _files(model: Model, source: Path) -> list[SourceFile]:
    from gan.source import list_source

    files = list_source(source, model.modality.suffixes).files
    if not files:
        raise BadData(f"no file with a known ending ({', '.join(model.modality.suffixes)})", source)
    return files


def _one_file(model: Model, source: Path, flag: str) -> SourceFile:
    files = _files(model, source)
    if len(files) > 1:
        raise UsageError(f"--{flag} works from one file, and {source} holds {len(files):,}; use: gan translate")
    return files[0]


@contextmanager
def _named(file: SourceFile) -> Iterator[None]:
    """Says in which file data are bad."""
    try:
        yield
    except BadData as error:
        raise BadData(error.reason, file.name) from None
