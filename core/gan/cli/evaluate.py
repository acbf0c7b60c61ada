"""The commands `gan evaluate` and `gan compare`: metrics of runs and files, with receipts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gan.cli import importing, installed
from gan.cli.columns import print_columns
from gan.cli.options import checkpoint_flag, device_flag
from gan.cli.terminal import echo
from gan.errors import PluginError, UnknownName, UsageError

if TYPE_CHECKING:
    from gan.evaluation.evaluate import Evaluation
    from gan.evaluation.receipts import Receipt
    from gan.evaluation.sweep import Sweep
    from gan.plugins.manager import Plugins


@click.command(
    epilog="Example: gan evaluate runs/image-dcgan-0001 --metrics fid[lenet5],precision-recall[lenet5] --count 2000",
)
@click.argument("target", metavar="RUN|DIR", required=False)
@click.option("--against", metavar="DATA|RUN", help="The real samples; default: the run's own data.")
@click.option(
    "--metrics", multiple=True, metavar="NAME,…", help="NAME or NAME[EXTRACTOR]; default: those of the recipe."
)
@click.option(
    "--count", type=click.IntRange(min=2, max=10**7), help="Number of generated samples; default: evaluation.samples."
)
@click.option(
    "--real-count", type=click.IntRange(min=0, max=10**7), help="Number of real samples; default: --count; 0: all."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=(1 << 63) - 1),
    help="Random seed; default: that of the run's own evaluation.",
)
@checkpoint_flag
@click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the architecture; repeatable."
)
@click.option("--sweep", "swept", metavar="KEY=V,V,…", help="Evaluate at each of these values of one option.")
@click.option("--modality", metavar="NAME", help="The modality, where it is ambiguous.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the modality; repeatable.")
@device_flag
@click.option(
    "--out", type=click.Path(path_type=Path), help="File for the receipts; default: RUN/evaluation/receipts.json."
)
@click.option("--plots", type=click.Path(path_type=Path), help="Folder for pictures of the comparison.")
@click.option(
    "--receipt", type=click.Path(path_type=Path), help="Compute the receipts of a file again and compare the values."
)
@click.option("--quiet", is_flag=True, help="Print only the table, warnings and errors.")
@click.option("--json", "as_json", is_flag=True, help="Print the receipts as one JSON document.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    target: str | None,
    against: str | None,
    metrics: tuple[str, ...],
    count: int | None,
    real_count: int | None,
    seed: int | None,
    checkpoint: str,
    options: tuple[str, ...],
    swept: str | None,
    modality: str | None,
    settings: tuple[str, ...],
    device: str,
    out: Path | None,
    plots: Path | None,
    receipt: Path | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Evaluate a run, or a folder of samples, against real samples; every number comes with a receipt.

    \b
    gan evaluate RUN                                the metrics of the end of its training
    gan evaluate RUN --metrics kid[squeezenet]      other metrics; see `gan plugins show NAME`
    gan evaluate DIR --against DATA                 a folder of samples against real data
    gan evaluate RUN --sweep temperature=0.7,1.0    quality and diversity at each value of an option
    gan evaluate --receipt RUN/evaluation/receipts.json    compute the values again and compare

    A metric on features is named with its extractor, and so is its value: FID[lenet5]. A plain FID uses the Inception
    network of 2015. Weights are searched in the folders of the variable GAN_WEIGHTS, or named with the extractor:
    fid[lenet5=FILE].
    """
    plugins = installed(ctx)
    from gan.reporting.terminal import PlainReporter, QuietReporter

    with importing():
        from gan.evaluation import evaluate as evaluation
        from gan.evaluation.receipts import keep, receipts_file, values_of

    reporter = QuietReporter() if quiet or as_json else PlainReporter()
    if receipt is not None:
        return _again(receipt, target, plugins, device, reporter, as_json)
    if target is None:
        raise UsageError("name a run folder or a folder of samples, or a file of receipts with --receipt")
    from gan.plugins.models import found_run, is_packed

    target = str(found_run(target, plugins))
    request = evaluation.EvaluationRequest(
        target, against, _split(metrics), count, real_count, seed, checkpoint, _pairs(options), modality, settings
    )
    result: Evaluation | Sweep
    table: list[list[str]] | None = None
    if swept is None:
        result = evaluation.evaluate(request, plugins, device=device, reporter=reporter)
    else:
        from gan.evaluation.sweep import sweep

        ((option, values),) = _pairs([swept]).items()
        result = swept_over = sweep(request, option, _split([values]), plugins, device=device, reporter=reporter)
        table = swept_over.table()
    receipts = result.receipts
    file = out or (None if is_packed(target) else receipts_file(target))
    if file is not None:
        keep(receipts, file)
    pictures = result.draw(plots) if plots is not None else []
    if as_json:
        from gan.storage.durable import dump_json

        echo(dump_json([found.to_json() for found in receipts], indent=2))
    else:
        if table is None:
            _show(receipts)
        else:
            print_columns(table)
        for path in [*([file] if file is not None else []), *pictures]:
            echo(f"{'receipts' if path == file else 'picture '}  {path}")
        if file is None and not quiet:
            echo("the receipts were not saved: name a file with --out", err=True)
    return int(any("error" in value.details for value in values_of(receipts)))


def _split(names: Sequence[str]) -> tuple[str, ...]:
    """``("fid[raw],kid[raw]", "1-nna[raw]")`` -> three names."""
    return tuple(name.strip() for text in names for name in text.split(",") if name.strip())


def _pairs(options: Sequence[str]) -> dict[str, Any]:
    found = {}
    for text in options:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--option {text}: write KEY=VALUE, for example --option truncation=0.7")
        found[key.strip().replace("-", "_")] = value
    return found


def _show(receipts: Sequence[Receipt]) -> None:
    """Print the table of values, then the warnings."""
    from dataclasses import asdict

    from gan.evaluation.receipts import values_of
    from gan.reporting.tables import shown, shown_value

    better = {"lower": "lower", "higher": "higher", "real": "close to real"}
    rows = [["metric", "generated", "real", "better is"]]
    for value in values_of(receipts):
        failed = "error" in value.details
        cells = [value.name, shown_value(asdict(value)), shown(value.real), "" if failed else better[value.direction]]
        rows.append(cells)
    print_columns(rows)
    for value in values_of(receipts):
        if "warning" in value.details:
            echo(f"warning: {value.name}: {value.details['warning']}", err=True)
    if receipts:
        first = receipts[0]
        echo(f"\n{first.generated['count']:,} generated, {first.real['count']:,} real samples")


def _again(file: Path, target: str | None, plugins: Any, device: str, reporter: Any, as_json: bool) -> int:
    """Compute the receipts of a file again and print what differs; return 0 where all agree, else 1."""
    from gan.evaluation.receipts import read_receipts
    from gan.evaluation.repeat import evaluate_again

    results = evaluate_again(read_receipts(file), plugins, target=target, device=device, reporter=reporter)
    if as_json:
        from gan.cli.progress import print_json

        print_json([{"metric": old.metric, "agrees": not found, "differences": found} for old, found in results])
    else:
        for old, found in results:
            numbers = ", ".join(f"{value.name} {value.value:.6g}" for value in old.values)
            echo(f"{'agrees' if not found else 'DIFFERS'}  {old.metric}: {numbers}")
            for line in found:
                echo(f"         {line}")
    return 1 if any(found for _, found in results) else 0


@click.command(epilog="Example: gan compare runs/image-dcgan-0001 runs/image-dcgan-0002 --plots comparison")
@click.argument("targets", metavar="RUN|FILE…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--anyway", is_flag=True, help="Also show numbers that are not comparable, and print what differs.")
@click.option("--plots", type=click.Path(path_type=Path), help="Folder for plots: bars, and quality against diversity.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as one JSON document.")
@click.pass_context
def compare(ctx: click.Context, targets: tuple[Path, ...], anyway: bool, plots: Path | None, as_json: bool) -> None:
    """Compare the metrics of runs, if their receipts are comparable.

    Numbers are not comparable if their counts, real samples, extractor, preprocessing or version of the metric differ:
    the command then prints what differs and stops. Receipts are written by `gan run` and `gan evaluate`.
    """
    from gan.evaluation.comparison import Comparison

    comparison = Comparison.of(targets)
    if comparison.unlike and not anyway:
        lines = [*comparison.unlike[:6], *(["…"] if len(comparison.unlike) > 6 else [])]
        raise UsageError(
            "these numbers are not comparable:\n  " + "\n  ".join(lines) + "\n"
            "evaluate all alike with gan evaluate (same --metrics, --count, --against), or show them with --anyway"
        )
    if as_json:
        from gan.storage.durable import dump_json

        echo(dump_json(comparison.to_json(), indent=2))
    else:
        print_columns(comparison.table())
        for line in comparison.unlike:
            echo(f"not comparable: {line}", err=True)
        for line in comparison.remarks:
            echo(f"note: {line}", err=True)
    if plots is not None:
        for path in comparison.draw(plots, _trade_offs(installed(ctx), comparison.modality)):
            echo(f"picture  {path}", err=as_json)


def _trade_offs(plugins: Plugins, modality: str) -> Sequence[tuple[str, str]]:
    """The pairs of the modality; the default ones where its plugin is not installed."""
    from gan.contracts import Modality

    try:
        found = plugins.load(plugins.find("gan_modalities", modality))
    except (UnknownName, PluginError):
        found = Modality
    pairs: Sequence[tuple[str, str]] = found.trade_offs
    return pairs
