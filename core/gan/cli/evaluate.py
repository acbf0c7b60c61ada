"""`gan evaluate` and `gan compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gan.cli import installed
from gan.cli.columns import print_columns
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
@click.option("--against", metavar="DATA|RUN", help="The real samples; a run's own data if not given.")
@click.option("--metrics", multiple=True, metavar="NAME,…", help="NAME or NAME[EXTRACTOR]; the recipe's if not given.")
@click.option("--count", type=click.IntRange(min=2), help="Generated samples; the recipe's evaluation.samples.")
@click.option("--real-count", type=click.IntRange(min=0), help="Real samples; as many as generated ones; 0: all.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the samples; the run's own evaluation's if not given.")
@click.option("--checkpoint", default="newest", show_default=True, metavar="WHICH", help="newest, best, or samples.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Of the architecture; may be repeated.")
@click.option("--sweep", "swept", metavar="KEY=V,V,…", help="Measure at each of these values of one option.")
@click.option("--modality", metavar="NAME", help="The kind of data, where files leave a choice.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Of the kind of data, without a run.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, mps …")
@click.option("--out", type=click.Path(path_type=Path), help="File for the receipts; RUN/evaluation/receipts.json.")
@click.option("--plots", type=click.Path(path_type=Path), help="Folder for pictures of the comparison.")
@click.option("--receipt", type=click.Path(path_type=Path), help="Compute the receipts of a file again and compare.")
@click.option("--quiet", is_flag=True, help="Only the table and what is wrong.")
@click.option("--json", "as_json", is_flag=True, help="The receipts as one JSON document.")
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
    """Measure a run, or a folder of samples, against real samples; every number comes with its receipt.

    \b
    gan evaluate RUN                                the metrics that its training ended with
    gan evaluate RUN --metrics kid[squeezenet]      others; `gan plugins show NAME` lists them
    gan evaluate DIR --against DATA                 a folder against a folder
    gan evaluate RUN --sweep temperature=0.7,1.0    quality against variety, at each value of an option
    gan evaluate --receipt RUN/evaluation/receipts.json    compute it again: does it agree?

    A metric on features is named with its extractor, and so is its value: FID[lenet5]. A plain FID is the one of the
    Inception network of 2015. Files of weights are looked for in the folders of the variable GAN_WEIGHTS, or stand
    behind the extractor: fid[lenet5=FILE].
    """
    plugins = installed(ctx)
    from gan.cli.progress import PlainReporter, QuietReporter
    from gan.evaluation.evaluate import EvaluationRequest, judge, keep, receipts_file

    reporter = QuietReporter() if quiet or as_json else PlainReporter()
    if receipt is not None:
        return _again(receipt, target, plugins, device, reporter, as_json)
    if target is None:
        raise UsageError("name a run folder, or a folder of samples; or a file of receipts with --receipt")
    question = EvaluationRequest(
        target, against, _split(metrics), count, real_count, seed, checkpoint, _pairs(options), modality, settings
    )
    answer: Evaluation | Sweep
    table: list[list[str]] | None = None
    if swept is None:
        answer = judge(question, plugins, device=device, reporter=reporter)
    else:
        from gan.evaluation.sweep import sweep

        ((option, values),) = _pairs([swept]).items()
        answer = found_at = sweep(question, option, _split([values]), plugins, device=device, reporter=reporter)
        table = found_at.table()
    receipts = answer.receipts
    file = out or receipts_file(target)
    if file is not None:
        keep(receipts, file)
    pictures = answer.draw(plots) if plots is not None else []
    if as_json:
        from gan.storage.durable import dump_json

        click.echo(dump_json([found.to_json() for found in receipts], indent=2))
    else:
        if table is None:
            _show(receipts)
        else:
            print_columns(table)
        for path in [*([file] if file is not None else []), *pictures]:
            click.echo(f"{'receipts' if path == file else 'picture '}  {path}")
        if file is None and not quiet:
            click.echo("no receipts were kept: name a file with --out", err=True)
    failed = [value for found in receipts for value in found.values if "error" in value.details]
    return 1 if failed else 0


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
    """The table of values, and what is odd about them."""
    from dataclasses import asdict

    from gan.reporting.tables import shown, shown_value

    wanted = {"lower": "lower", "higher": "higher", "real": "close to real"}
    rows = [["metric", "generated", "real", "better is"]]
    for value in (value for receipt in receipts for value in receipt.values):
        failed = "error" in value.details
        cells = [value.name, shown_value(asdict(value)), shown(value.real), "" if failed else wanted[value.direction]]
        rows.append(cells)
    print_columns(rows)
    for receipt in receipts:
        for value in receipt.values:
            if "warning" in value.details:
                click.echo(f"warning: {value.name}: {value.details['warning']}", err=True)
    if receipts:
        first = receipts[0]
        click.echo(f"\n{first.generated['count']:,} generated, {first.real['count']:,} real samples")


def _again(file: Path, target: str | None, plugins: Any, device: str, reporter: Any, as_json: bool) -> int:
    """Ask the questions of a file again; 0 where all answers agree, else 1."""
    from gan.evaluation.evaluate import ask_again
    from gan.evaluation.receipts import read_receipts

    answers = ask_again(read_receipts(file), plugins, target=target, device=device, reporter=reporter)
    if as_json:
        from gan.cli.progress import print_json

        print_json([{"metric": old.metric, "agrees": not said, "differences": said} for old, said in answers])
    else:
        for old, said in answers:
            numbers = ", ".join(f"{value.name} {value.value:.6g}" for value in old.values)
            click.echo(f"{'agrees' if not said else 'DIFFERS'}  {old.metric}: {numbers}")
            for line in said:
                click.echo(f"         {line}")
    return 1 if any(said for _, said in answers) else 0


@click.command(epilog="Example: gan compare runs/image-dcgan-0001 runs/image-dcgan-0002 --plots comparison")
@click.argument("targets", metavar="RUN|FILE…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--anyway", is_flag=True, help="Show unlike numbers beside each other, and say what differs.")
@click.option("--plots", type=click.Path(path_type=Path), help="Folder for pictures: quality against diversity, bars.")
@click.option("--json", "as_json", is_flag=True, help="The table as one JSON document.")
@click.pass_context
def compare(ctx: click.Context, targets: tuple[Path, ...], anyway: bool, plots: Path | None, as_json: bool) -> None:
    """Put the numbers of runs beside each other, if their receipts are alike.

    Numbers of other counts, other real samples, another extractor or preprocessing, or another version of a metric do
    not compare: the command says what differs and stops. Receipts are written by `gan run` and `gan evaluate`.
    """
    from gan.evaluation.comparison import Comparison

    comparison = Comparison.of(targets)
    if comparison.unlike and not anyway:
        lines = [*comparison.unlike[:6], *(["…"] if len(comparison.unlike) > 6 else [])]
        raise UsageError(
            "these numbers do not compare:\n  " + "\n  ".join(lines) + "\n"
            "measure all alike with gan evaluate (same --metrics, --count, --against), or look at them with --anyway"
        )
    if as_json:
        from gan.storage.durable import dump_json

        click.echo(dump_json(comparison.to_json(), indent=2))
    else:
        print_columns(comparison.table())
        for line in comparison.unlike:
            click.echo(f"does not compare: {line}", err=True)
        for line in comparison.remarks:
            click.echo(f"note: {line}", err=True)
    if plots is not None:
        for path in comparison.draw(plots, _trade_offs(installed(ctx), comparison.modality)):
            click.echo(f"picture  {path}", err=as_json)


def _trade_offs(plugins: Plugins, modality: str) -> Sequence[tuple[str, str]]:
    """Of the modality; where its plugin is not here, receipts still compare, and every modality's pairs are drawn."""
    from gan.contracts import Modality

    try:
        found = plugins.load(plugins.find("gan_modalities", modality))
    except (UnknownName, PluginError):
        found = Modality
    pairs: Sequence[tuple[str, str]] = found.trade_offs
    return pairs
