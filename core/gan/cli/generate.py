"""The command `gan generate`: make samples with a trained run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from gan.cli import loaded
from gan.cli.completion import RUN
from gan.cli.controlled import Asked, controlled
from gan.cli.options import OfRun, checkpoint_flag, device_flag, flag_names, flags, provenance_choices, provenance_flags
from gan.cli.terminal import echo
from gan.errors import BadData, UsageError
from gan.generation.chosen import Flags, spelt, split_flags
from gan.plugins.models import place_for_samples

if TYPE_CHECKING:
    from gan.contracts import Sample, Samples
    from gan.generation.model import Model
    from gan.source import SourceFile


@click.command(
    cls=OfRun,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="Example: gan generate runs/mine --count 4 --seed 7 --out more",
)
@click.argument("run_folder", metavar="RUN", type=RUN)
@click.option("--count", type=click.IntRange(min=1, max=10**7), default=8, show_default=True, help="Number of samples.")
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=(1 << 63) - 1),
    default=0,
    show_default=True,
    help="Random seed; the same seed gives the same files.",
)
@click.option(
    "--first", type=click.IntRange(min=0, max=1 << 40), default=0, show_default=True, help="Index of the first sample."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the files; default: RUN/samples/seed-SEED.")
@click.option(
    "--input",
    "input_path",
    type=click.Path(path_type=Path),
    help="A file, folder or archive as input: the music to accompany, the pictures to translate.",
)
@click.option(
    "--interpolate",
    nargs=2,
    type=click.IntRange(min=0, max=(1 << 63) - 1),
    metavar="A B",
    help="Interpolate: --count samples from the first one of seed A to the first one of seed B.",
)
@click.option(
    "--path",
    "path_text",
    metavar="SEEDS",
    help="Interpolate through the first samples of many seeds, for example 1,2,3,4.",
)
@click.option("--loop", is_flag=True, help="Close the path: the last sample is the first one again.")
@click.option(
    "--plane",
    nargs=3,
    type=click.IntRange(min=0, max=(1 << 63) - 1),
    metavar="A B C",
    help="A contact sheet of the plane between the first samples of three seeds; --count tiles, a square number.",
)
@click.option(
    "--pace",
    metavar="HOW",
    help="line: equal steps between latents; even: equal steps between samples, by a perceptual distance where its "
    "weights are at hand, or by an extractor, even[NAME]. Default: even for loops and films, else line.",
)
@click.option(
    "--film", type=click.Path(path_type=Path), help="Write the path as a film: .gif, .webp, or .mp4 (with PyAV)."
)
@click.option("--rate", type=click.FloatRange(min=0.1, max=240), default=24, show_default=True, help="Frames a second.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.05, max=86_400),
    help="Length of the film, in place of --count; or of the samples, where the run makes them of any length.",
)
@click.option(
    "--styles",
    "styles_text",
    metavar="PART=SEED,…",
    help="Style mixing: take parts of the latents from the first samples of other seeds, coarse=5,fine=7.",
)
@click.option("--latents", "latents_path", type=click.Path(path_type=Path), help="Use the latents in this file.")
@click.option("--save-latents", type=click.Path(path_type=Path), help="Write the latents of the samples to this file.")
@checkpoint_flag
@device_flag
@click.option(
    "--stream", is_flag=True, help="Write each sample part by part while it is made: long ones need little memory."
)
@provenance_flags
@click.option("--quiet", is_flag=True, help="Do not print the names of the files.")
@click.option("--json", "as_json", is_flag=True, help="Print the files as one JSON document.")
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
    path_text: str | None,
    loop: bool,
    plane: tuple[int, int, int] | None,
    pace: str | None,
    film: Path | None,
    rate: float,
    seconds: float | None,
    styles_text: str | None,
    latents_path: Path | None,
    save_latents: Path | None,
    checkpoint: str,
    device: str,
    mark: bool,
    no_metadata: bool,
    date: bool,
    c2pa: bool,
    stream: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Generate samples with a trained run, as files and a preview.

    Further flags are the options of the run's architecture and modality, for example --truncation 0.7 or --tempo 90;
    `gan generate RUN --help` lists them. The same command always writes the same bytes.
    """
    choices = provenance_choices(mark=mark, no_metadata=no_metadata, date=date, c2pa=c2pa)
    model = loaded(ctx, run_folder, device, checkpoint, choices)
    further = flags(ctx.args)
    if seconds is not None and "seconds" in getattr(getattr(model.architecture, "Options", None), "model_fields", ()):
        further["seconds"], seconds = str(seconds), None
    whole = model.modality.whole_input
    source = further.pop(whole, None) if whole else None
    run_flags = split_flags(model, further, flag_names(ctx))
    if run_flags.input_options and source is None and input_path is None:
        inputs = "--input FILE" + (f" or --{whole} FILE" if whole else "")
        raise UsageError(f"{spelt(next(iter(run_flags.input_options)))} needs an input; name it with {inputs}")
    asked = Asked(interpolate, path_text, loop, plane, pace, film, rate, seconds, styles_text, latents_path)
    asked.save = save_latents
    asked.counted = ctx.get_parameter_source("count") is not ParameterSource.DEFAULT
    if (source is not None or input_path is not None) and asked:
        raise UsageError(f"{asked.first_flag} works on latents alone; leave out --{whole if source else 'input'}")
    made: list[Path] = []
    preview: Path | None
    if source is not None:
        if input_path is not None:
            raise UsageError(f"--{whole} uses a whole file as input; leave out --input")
        if source is True:
            raise UsageError(f"--{whole} needs the name of a file")
        if not asked.counted:
            count = 1
        folder = out or place_for_samples(run_folder) / f"{Path(source).stem}-seed-{seed}"
        paths, samples = _from_whole(
            model, _one_file(model, Path(source), whole), folder, run_flags, seed, first, count
        )
        preview = model.write_preview(samples, folder)
    elif asked:
        if stream:
            raise UsageError(f"--stream makes samples from seeds; leave out {asked.first_flag}")
        samples = {}
        paths, preview, made = controlled(
            model, asked, run_flags, out, place_for_samples(run_folder), seed, first, count
        )
    else:
        hashes: list[str]
        folder = out or place_for_samples(run_folder) / f"seed-{seed}"
        if stream and input_path is not None and not model.optional_input:
            raise UsageError("--stream makes samples from seeds; leave out --input")
        rows, hashes = (None, []) if input_path is None else _given_samples(model, input_path, count, first, run_flags)
        if stream:
            paths, samples = model.write_stream(
                folder,
                count,
                seed,
                first=first,
                given=rows,
                output_options=run_flags.output_options,
                inputs=hashes,
                **run_flags.sampling,
            )
        else:
            samples = model.generate(count, seed, first=first, given=rows, **run_flags.sampling)
            paths = model.write(
                samples, folder, first=first, options=run_flags.output_options, seed=seed, inputs=hashes
            )
        preview = model.write_preview(samples, folder)
    known = {*paths, *([] if preview is None else [preview])}
    beside = [path for path in model.placed if path not in known]
    texts = _texts(model, samples, len(paths))
    if flaw := _flaw(model, samples):
        echo(f"warning: {flaw}; see how its training went: gan diagnose {run_folder}", err=True)
    if as_json:
        from gan.cli.progress import print_json

        found: dict[str, Any] = {"artefacts": [str(path) for path in paths]}
        found |= {"preview": None if preview is None else str(preview), "beside": [str(path) for path in beside]}
        if any(texts):
            found["texts"] = texts
        print_json({**found, "files": [str(path) for path in made]} if asked else found)
    elif not quiet:
        for number, path in enumerate(paths):
            if number < len(texts) and texts[number]:
                echo(f"{texts[number]}\n")
            else:
                echo(path)
        if any(texts):
            echo(f"{len(paths)} {paths[0].suffix} files in {paths[0].parent}", err=True)
        for path in [*beside, *([] if preview is None else [preview]), *made]:
            echo(path, err=any(texts))


def _flaw(model: Model, samples: Samples) -> str:
    """What is wrong with the samples whatever they are: most of them are empty."""
    from gan.generation.flaws import PAIRED, count_empty, generated_fields, sentence

    few = {name: values[:PAIRED] for name, values in samples.items()}
    fields = generated_fields(model.modality, few, model.given_fields())
    return sentence(len(next(iter(few.values()), ())), count_empty(model.modality, few, fields), None)


def _texts(model: Model, samples: Samples, count: int) -> list[str]:
    """What each of the samples says, where they are texts; empty strings where not."""
    if not samples or len(next(iter(samples.values()))) != count:
        return []
    rows = [{name: values[row] for name, values in samples.items()} for row in range(count)]
    return [model.modality.spoken(row) for row in rows]


def _from_whole(
    model: Model, file: SourceFile, folder: Path, run_flags: Flags, seed: int, first: int, count: int
) -> tuple[list[Path], Samples]:
    """Generate from the whole of `file`, once for each of `count` indices; return the files and the first samples."""
    given = model.given(run_flags.options, run_flags.input_options)
    paths: list[Path] = []
    samples: Samples = {}
    with model.labels.listing(folder) as listing:
        for index in range(first, first + count):
            stem = folder / f"{Path(file.name).stem}-{index:04d}"
            with _named(file):
                written, made = model.render(
                    file,
                    stem,
                    given,
                    seed,
                    index=index,
                    output_options=run_flags.output_options,
                    listing=listing,
                    **run_flags.sampling,
                )
            paths += written
            samples = samples or made
    return paths, samples


def _given_samples(model: Model, source: Path, count: int, first: int, run_flags: Flags) -> tuple[Samples, list[str]]:
    """The input fields of `count` samples of `source`, from `first` on, and the SHA-256 of the file of each.

    The samples repeat when they end.
    """
    from gan.data.foreign import read_given
    from gan.generation.model import stacked
    from gan.provenance.labels import input_hash

    given = replace(model.given(run_flags.options, run_flags.input_options), any_size=False)
    read: list[Sample] = []
    hashes: list[str] = []
    for file in _files(model, source):
        with _named(file):
            rows = read_given(model.modality, file, given)
        read += rows
        hashes += [input_hash(file)] * len(rows)
        if len(read) >= first + count:
            break
    places = [(first + index) % len(read) for index in range(count)]
    return stacked([read[place] for place in places], given.fields), [hashes[place] for place in places]


def _files(model: Model, source: Path) -> list[SourceFile]:
    from gan.source import list_source

    files = list_source(source, model.modality.suffixes).files
    if not files:
        raise BadData(f"no file with a known ending ({', '.join(model.modality.suffixes)})", source)
    return files


def _one_file(model: Model, source: Path, flag: str) -> SourceFile:
    files = _files(model, source)
    if len(files) > 1:
        raise UsageError(f"--{flag} uses one file, and {source} holds {len(files):,}; use: gan translate")
    return files[0]


@contextmanager
def _named(file: SourceFile) -> Iterator[None]:
    """Add the name of the file to `BadData`."""
    try:
        yield
    except BadData as error:
        raise BadData(error.reason, file.name) from None
