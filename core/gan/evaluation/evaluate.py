"""Evaluate a trained run, or a folder of samples, against real samples; `gan evaluate` and `gan.evaluate` end here.

    evaluation = evaluate(EvaluationRequest("runs/music-framegan-0001"), Plugins.installed())
    for receipt in evaluation.receipts:
        print(receipt.values)

Validation during a training (`gan.training.validation`) computes its metrics with the same functions of
`gan.evaluation.sample_sets`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gan import recipe as recipes
from gan.build import find_dataset, open_data
from gan.contracts import Metric, Modality, Samples
from gan.data.detect import find_modality
from gan.data.foreign import survey
from gan.data.packing import open_pack
from gan.draws import derive
from gan.errors import UsageError
from gan.evaluation.metric_names import extractors_in, find_metrics
from gan.evaluation.receipts import Receipt
from gan.evaluation.sample_sets import (
    Kind,
    Rows,
    SampleSet,
    SamplesInMemory,
    generated_set,
    is_preview,
    read_samples,
    real_set,
    receipts_of,
    size,
)
from gan.generation.flaws import PAIRED, count_empty, generated_fields, sentence, variety
from gan.generation.loading import load_model, resolve_run
from gan.generation.model import Model
from gan.metrics import nearest_rows
from gan.metrics.extractors import NamedExtractor
from gan.plugins.discovery import PluginInfo
from gan.plugins.manager import Plugins
from gan.reporting.reporter import Reporter
from gan.reporting.side_files import read_recipe
from gan.runtime.device import choose_device
from gan.source import list_source
from gan.storage.run_folder import RunFolder

SHOWN = 36
"""Samples of each set in the picture that compares them."""
NEIGHBOURS = 16
"""Generated samples in a picture of nearest neighbours."""


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate and how; a receipt keeps it, so that the evaluation can be repeated."""

    target: str
    """A run folder, or a folder, file or archive of samples."""
    against: str | None = None
    """Real data: a path or the name of a dataset; a run folder stands for its data. None: the run's own data."""
    metrics: Sequence[str] = ()
    """Names of metrics; if empty, those of the recipe or the modality."""
    count: int | None = None
    """Number of generated samples; None: `evaluation.samples` of the recipe, or all files."""
    real_count: int | None = None
    """Number of real samples; None: as many as generated ones; 0: all."""
    seed: int | None = None
    """Seed of the generated samples; None: the seed of the run's own evaluation."""
    checkpoint: str = "newest"
    """``newest``, ``best``, or a number of samples shown."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the architecture's `Options`."""
    modality: str | None = None
    """The modality, where no run determines it and the files' endings are ambiguous."""
    settings: Sequence[str] = ()
    """``key=value`` settings of the modality, where no run determines them."""


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation: receipts with their values, and the samples that were compared."""

    receipts: list[Receipt]
    generated: Samples
    real: Samples
    modality: Modality
    extractors: list[NamedExtractor]

    def draw(self, folder: Path) -> list[Path]:
        """Save pictures to `folder` and return their paths.

        One shows real and generated samples side by side. For each extractor, one shows generated samples above their
        nearest real ones, and for each classifier one shows the shares of the classes.
        """
        from gan.reporting.plots import plot_class_shares, plot_side_by_side

        few = {"real": _first(self.real, SHOWN), "generated": _first(self.generated, SHOWN)}
        pictures = {title: self.modality.preview(samples) for title, samples in few.items()}
        drawn = [plot_side_by_side(pictures, folder / "samples.png")]
        for extractor in self.extractors:
            generated, real = (extractor(samples, self.modality) for samples in (self.generated, self.real))
            near = nearest_rows(generated.vectors[:NEIGHBOURS], real.vectors)
            pairs = {
                "generated": self.modality.preview(_first(self.generated, NEIGHBOURS)),
                f"nearest real by {extractor.name}": self.modality.preview({n: v[near] for n, v in self.real.items()}),
            }
            name = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in extractor.name)
            drawn.append(plot_side_by_side(pairs, folder / f"nearest-{name}.png"))
            if generated.probabilities is not None and real.probabilities is not None:
                shares = {"real": real.probabilities, "generated": generated.probabilities}
                drawn.append(plot_class_shares(shares, folder / f"classes-{name}.png"))
        return drawn


def _first(samples: Samples, count: int) -> Samples:
    return {name: values[:count] for name, values in samples.items()}


def evaluate(
    request: EvaluationRequest, plugins: Plugins, *, device: str = "auto", reporter: Reporter | None = None
) -> Evaluation:
    """Compute the metrics of a request. Raises `UsageError` and `BadData` for what cannot be evaluated."""
    reporter = reporter or Reporter()
    target = Path(request.target).expanduser()
    if (target / "recipe.yaml").is_file():
        return _evaluate_run(request, target, plugins, device, reporter)
    return _evaluate_files(request, target, plugins, device, reporter)


def _evaluate_run(
    request: EvaluationRequest, folder: Path, plugins: Plugins, device: str, reporter: Reporter
) -> Evaluation:
    if request.settings or request.modality:
        raise UsageError("a run determines its kind of data; leave out --modality and --set")
    run = RunFolder.open(folder)
    resolved = resolve_run(run, plugins)
    recipe, owner = resolved.recipe, resolved.modality.info
    model: Model = load_model(run, plugins, device=device, checkpoint=request.checkpoint)
    kind = Kind(resolved.modality.entry.name, model.modality, recipe.modality)
    rows: Rows
    if request.against is None:
        pack = open_data(resolved, plugins, reporter)
        _, rows = pack.split(recipe.data.holdout, balance=recipe.data.balance)
        origin = {"source": recipe.data.source, "fingerprint": pack.fingerprint}
    else:  # read with the run's vocabulary and classes, not with those that the other data would have
        path = _data_of(request.against, kind.name, plugins)
        rows = SamplesInMemory(read_samples(path, kind.modality, None, reporter).samples)
        origin = {"source": request.against, "fingerprint": ""}
    names = request.metrics or recipe.evaluation.metrics or resolved.modality_class.metrics
    count = request.count or recipe.evaluation.samples
    seed = derive(recipe.seed, "evaluation") if request.seed is None else request.seed
    metrics = _find_metrics(names, kind, plugins, device, owner, model.architecture)
    paired = bool(model.input_fields())
    if paired and request.real_count not in (None, count):
        raise UsageError(f"the run works on inputs: it needs one real sample for each of its {count:,} samples")
    reporter.note(f"generating {count:,} samples")
    generated = generated_set(model, rows, count, seed, request.target, request.options)
    real = real_set(rows, count, request.real_count, origin, paired=paired)
    _warn_of_flaws(kind.modality, generated.samples, real.samples, model.given_fields(request.options), reporter)
    return _measure(request, metrics, generated, real, kind, resolved.distributions, device, reporter)


def _evaluate_files(
    request: EvaluationRequest, target: Path, plugins: Plugins, device: str, reporter: Reporter
) -> Evaluation:
    if request.against is None:
        raise UsageError(f"{request.target} is no run folder; name the real data with --against DATA or --against RUN")
    if request.options or request.seed is not None or request.checkpoint != "newest":
        raise UsageError(f"{request.target} is no run folder; --seed, --checkpoint and --option are for runs")
    against = Path(request.against).expanduser()
    if (against / "recipe.yaml").is_file():
        resolved = resolve_run(RunFolder.open(against), plugins)
        modality, modality_class, config = resolved.modality, resolved.modality_class, resolved.modality_config
        pack = open_data(resolved, plugins, reporter)
        _, rows = pack.split(resolved.recipe.data.holdout, balance=resolved.recipe.data.balance)
    else:
        modality = find_modality(target, request.modality, plugins)
        modality_class = plugins.load(modality)
        config = recipes.validated(modality_class.Config, recipes.with_settings({}, request.settings), "modality")
        name = modality.entry.name
        source = _data_of(request.against, name, plugins)
        config, facts = _compared(modality_class, config, (target, source))
        pack = rows = open_pack(source, modality_class, config, name, progress=reporter.packing, facts=facts)
    owner = modality.info
    kind = Kind(modality.entry.name, modality_class(config, pack.facts), config.model_dump(mode="json"))
    metrics = _find_metrics(request.metrics or modality_class.metrics, kind, plugins, device, owner)
    generated = read_samples(target, kind.modality, request.count, reporter)
    origin = {"source": request.against, "fingerprint": pack.fingerprint}
    real = real_set(rows, size(generated.samples), request.real_count, origin)
    _warn_of_flaws(kind.modality, generated.samples, real.samples, (), reporter)
    distributions = {owner.distribution: owner.version}
    return _measure(request, metrics, generated, real, kind, distributions, device, reporter)


def _compared(modality: type[Modality], config: BaseModel, sources: Sequence[Path]) -> tuple[BaseModel, dict[str, Any]]:
    """The settings for comparing files, and facts of both sides: a vocabulary of one side would make all other words of
    the other side the same one."""
    config = modality.comparison_config(config)
    files = [file for source in sources for file in list_source(source, modality.suffixes).files]
    files = [file for file in files if not is_preview(file.name)]
    return config, survey(modality(config), files)[0] if files else {}


def _find_metrics(
    names: Iterable[str], kind: Kind, plugins: Plugins, device: str, owner: PluginInfo, architecture: Any = None
) -> dict[str, Metric]:
    names = list(names)
    if not names:
        raise UsageError(f"{kind.name} has no default metrics; choose some with --metrics, see `gan plugins show`")
    name = str(choose_device(device, "fp32").device)
    return find_metrics(names, kind.name, plugins, device=name, prefer=owner.name, architecture=architecture)


def _warn_of_flaws(
    modality: Modality, generated: Samples, real: Samples, given: Sequence[str], reporter: Reporter
) -> None:
    """Warn of empty and of nearly equal samples, by the first of them: most numbers do not show either."""
    few = _first(generated, PAIRED)
    fields = generated_fields(modality, few, given)
    flaw = sentence(size(few), count_empty(modality, few, fields), variety(few, real, fields))
    if flaw:
        reporter.warn(f"{flaw}; their numbers say little")


def _measure(
    request: EvaluationRequest,
    metrics: Mapping[str, Metric],
    generated: SampleSet,
    real: SampleSet,
    kind: Kind,
    distributions: Mapping[str, str],
    device: str,
    reporter: Reporter,
) -> Evaluation:
    reporter.note(f"measuring {size(generated.samples):,} samples against {size(real.samples):,} real samples")
    name = choose_device(device, "fp32").name
    receipts = receipts_of(
        metrics, generated, real, kind, distributions=distributions, device=name, request=asdict(request)
    )
    return Evaluation(receipts, generated.samples, real.samples, kind.modality, extractors_in(metrics))


def _data_of(source: str, modality: str, plugins: Plugins) -> Path:
    """The files that `source` stands for: a path, the data of a run, or a named dataset."""
    path = Path(source).expanduser()
    if (path / "recipe.yaml").is_file():
        values = recipes.validated(recipes.Recipe, read_recipe(RunFolder.open(path)), "")
        return _data_of(str(values.data.source), modality, plugins)
    return path if path.exists() else find_dataset(source, modality, plugins, "--against")
