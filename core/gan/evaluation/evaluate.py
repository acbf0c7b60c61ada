"""Measure a run or files against real samples, with receipts; the same for the end of a training and for a user.

judgement = judge(Question("runs/music-musegan-0001"), Plugins.installed())
for receipt in judgement.receipts:
    print(receipt.values)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gan import recipe as recipes
from gan.build import open_data, resolve
from gan.contracts import Metric, Modality, Samples
from gan.data.datasets import prepare_dataset
from gan.data.packing import open_pack
from gan.draws import derive
from gan.errors import UnknownName, UsageError
from gan.evaluation.metric_names import NamedExtractor, extractors_in, find_metrics
from gan.evaluation.receipts import RECEIPTS, Receipt, agreement, read_receipts, write_receipts
from gan.evaluation.sample_sets import (
    Kind,
    Rows,
    SampleSet,
    generate,
    read_samples,
    real_samples,
    receipts_of,
    size,
    weights_sha256,
)
from gan.generation.loading import load_model
from gan.metrics import nearest_rows
from gan.plugins.manager import Plugins
from gan.reporting.reporter import Reporter
from gan.runtime.device import choose_device
from gan.source import list_source
from gan.storage.run_folder import RunFolder

SHOWN, PAIRED = 36, 16
"""Samples of either set in a picture, and in one of nearest neighbours."""


@dataclass(frozen=True)
class EvaluationRequest:
    """What is to be measured; everything that a receipt needs to ask it again."""

    target: str
    """A run folder; or a folder, file or archive of samples."""
    against: str | None = None
    """Real data: a path or the name of a data set; a run folder stands for its data. None: the run's own data."""
    metrics: Sequence[str] = ()
    """Names of metrics; none: the recipe's, or the modality's."""
    count: int | None = None
    """Generated samples; None: what the recipe's `evaluation.samples` says, or all files."""
    real_count: int | None = None
    """Real samples; None: as many as generated ones; 0: all."""
    seed: int | None = None
    """Of the generated samples; None: that of the run's own evaluation."""
    checkpoint: str = "newest"
    """``newest``, ``best``, or a number of samples shown."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the architecture's `Options`."""
    modality: str | None = None
    """The kind of data, where no run says it and the files' endings leave a choice."""
    settings: Sequence[str] = ()
    """``key=value`` of the modality, where no run says them."""


@dataclass(frozen=True)
class Evaluation:
    """The answer to a question, and what it was found on."""

    receipts: list[Receipt]
    generated: Samples
    real: Samples
    modality: Modality
    extractors: list[NamedExtractor]

    def draw(self, folder: Path) -> list[Path]:
        """Pictures: real and generated side by side; for each extractor the generated samples above their nearest real
        ones, and for each classifier the shares of the classes."""
        from gan.reporting.plots import plot_class_shares, plot_side_by_side

        few = {"real": _first(self.real, SHOWN), "generated": _first(self.generated, SHOWN)}
        pictures = {title: self.modality.preview(samples) for title, samples in few.items()}
        drawn = [plot_side_by_side(pictures, folder / "samples.png")]
        for extractor in self.extractors:
            generated, real = (extractor(samples, self.modality) for samples in (self.generated, self.real))
            near = nearest_rows(generated.vectors[:PAIRED], real.vectors)
            pairs = {
                "generated": self.modality.preview(_first(self.generated, PAIRED)),
                f"nearest real by {extractor.name}": self.modality.preview({n: v[near] for n, v in self.real.items()}),
            }
            name = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in extractor.name)
            drawn.append(plot_side_by_side(pairs, folder / f"nearest-{name}.png"))
            if generated.probabilities is not None and real.probabilities is not None:
                opinions = {"real": real.probabilities, "generated": generated.probabilities}
                drawn.append(plot_class_shares(opinions, folder / f"classes-{name}.png"))
        return drawn


def _first(samples: Samples, count: int) -> Samples:
    return {name: values[:count] for name, values in samples.items()}


def judge(
    question: EvaluationRequest, plugins: Plugins, *, device: str = "auto", reporter: Reporter | None = None
) -> Evaluation:
    """Answer a question. Raises `UsageError` and `BadData` for what cannot be measured."""
    reporter = reporter or Reporter()
    target = Path(question.target).expanduser()
    answer = _judge_run if (target / "recipe.yaml").is_file() else _judge_files
    return answer(question, target, plugins, device, reporter)


def ask_again(
    receipts: Sequence[Receipt], plugins: Plugins, *, target: str | None = None, device: str, reporter: Reporter
) -> list[tuple[Receipt, list[str]]]:
    """Compute the values of receipts again: each with what is otherwise now, nothing where it agrees.

    `target` says where the run or the folder lies now, when it has moved. Receipts of one question are answered
    together.
    """
    groups: dict[str, list[tuple[int, Receipt]]] = {}
    for place, receipt in enumerate(receipts):
        rest = {key: value for key, value in receipt.question.items() if key != "metrics"}
        same = json.dumps([rest, receipt.generated.get("checkpoint")], sort_keys=True)
        groups.setdefault(same, []).append((place, receipt))
    answers: dict[int, list[str]] = {}
    for group in groups.values():
        question = _asked(group[0][1], [receipt.metric for _, receipt in group], target)
        again = judge(question, plugins, device=device, reporter=reporter).receipts
        for (place, old), new in zip(group, again, strict=True):
            said = agreement(old, new)
            answers[place] = [*said, *old.remarks(new)] if said else []
    return [(receipt, answers[place]) for place, receipt in enumerate(receipts)]


def _asked(receipt: Receipt, metrics: list[str], target: str | None) -> EvaluationRequest:
    if not receipt.question:
        raise UsageError(f"the receipt of {receipt.metric} does not say what to ask")
    changes = {"metrics": metrics, **({"target": target} if target else {})}
    try:
        asked = EvaluationRequest(**{**receipt.question, **changes})
    except TypeError as error:
        raise UsageError(f"the receipt of {receipt.metric}: {error}") from None
    if "checkpoint" not in receipt.generated:
        return asked
    return replace(asked, checkpoint=_same_checkpoint(Path(asked.target).expanduser(), receipt))


def _same_checkpoint(folder: Path, receipt: Receipt) -> str:
    """The checkpoint that was measured, where it still exists; else the one that was asked for."""
    wanted = f"samples-{receipt.generated['checkpoint']:09d}"
    run = RunFolder(folder)
    if (run.checkpoints / wanted).is_dir():
        return str(receipt.generated["checkpoint"])
    return "best" if (run.best / wanted).is_dir() else str(receipt.question["checkpoint"])


def receipts_file(target: str) -> Path | None:
    """Where the receipts of a run are kept; None for anything else."""
    run = Path(target).expanduser()
    return RunFolder(run).evaluation / RECEIPTS if (run / "recipe.yaml").is_file() else None


def _judge_run(
    question: EvaluationRequest, folder: Path, plugins: Plugins, device: str, reporter: Reporter
) -> Evaluation:
    if question.settings or question.modality:
        raise UsageError("a run says itself what its kind of data is; leave --modality and --set out")
    run = RunFolder.open(folder)
    parts = resolve(recipes.read_values(run.recipe), plugins)
    model = load_model(run, plugins, device=device, checkpoint=question.checkpoint)
    kind = Kind(parts.modality.entry.name, model.modality, parts.recipe.modality)
    rows: Rows
    if question.against is None:
        pack = open_data(parts, plugins, reporter)
        _, rows = pack.split(parts.recipe.data.holdout, balance=parts.recipe.data.balance)
        origin = {"source": parts.recipe.data.source, "fingerprint": pack.fingerprint}
    else:  # read as the run reads: its vocabulary and its classes, not those that the other data would have
        path = _data_of(question.against, kind.name, plugins)
        rows = _Held(read_samples(path, kind.modality, None, reporter).samples)
        origin = {"source": question.against, "fingerprint": ""}
    metrics = question.metrics or parts.recipe.evaluation.metrics or parts.modality_class.metrics
    count = question.count or parts.recipe.evaluation.samples
    seed = derive(parts.recipe.seed, "evaluation") if question.seed is None else question.seed
    found = _find(metrics, kind, plugins, device, prefer=parts.modality.info.name, architecture=model.architecture)
    reporter.note(f"making {count:,} samples")
    generated = SampleSet(
        generate(model, rows, count, seed, question.options),
        {
            "run": question.target,
            "architecture": parts.title,
            "checkpoint": model.trained,
            "weights": weights_sha256(model.architecture),
            "seed": seed,
            "options": dict(question.options),
        },
    )
    real = _real(rows, question, count, origin, paired=bool(model.input_fields()))
    reporter.note(f"measuring against {size(real.samples):,} real samples")
    receipts = receipts_of(
        found, generated, real, kind, distributions=parts.distributions, device=choose_device(device, "fp32").name,
        question=asdict(question),
    )  # fmt: skip
    return Evaluation(receipts, generated.samples, real.samples, kind.modality, extractors_in(found))


def _judge_files(
    question: EvaluationRequest, target: Path, plugins: Plugins, device: str, reporter: Reporter
) -> Evaluation:
    if question.against is None:
        raise UsageError(f"{question.target} is no run folder; name the real data with --against DATA or --against RUN")
    if question.options or question.seed is not None or question.checkpoint != "newest":
        raise UsageError(f"{question.target} is no run folder; --seed, --checkpoint and --option are for runs")
    against = Path(question.against).expanduser()
    if (against / "recipe.yaml").is_file():
        parts = resolve(recipes.read_values(RunFolder.open(against).recipe), plugins)
        name, modality_class, config = parts.modality.entry.name, parts.modality_class, parts.modality_config
        owner = parts.modality.info
        pack = open_data(parts, plugins, reporter)
        _, rows = pack.split(parts.recipe.data.holdout, balance=parts.recipe.data.balance)
    else:
        plugin_entry = _modality(question, target, plugins)
        name, owner, modality_class = plugin_entry.entry.name, plugin_entry.info, plugins.load(plugin_entry)
        values = recipes.with_settings({}, question.settings)
        config = recipes.validated(modality_class.Config, values, "modality")
        pack = rows = open_pack(
            _data_of(question.against, name, plugins), modality_class, config, name, progress=reporter.packing
        )
    kind = Kind(name, modality_class(config, pack.facts), config.model_dump(mode="json"))
    metrics = question.metrics or modality_class.metrics
    found = _find(metrics, kind, plugins, device, prefer=owner.name)
    generated = read_samples(target, kind.modality, question.count, reporter)
    count = size(generated.samples)
    real = _real(rows, question, count, {"source": question.against, "fingerprint": pack.fingerprint})
    reporter.note(f"measuring {count:,} samples against {size(real.samples):,} real ones")
    receipts = receipts_of(
        found, generated, real, kind, distributions={owner.distribution: owner.version},
        device=choose_device(device, "fp32").name, question=asdict(question),
    )  # fmt: skip
    return Evaluation(receipts, generated.samples, real.samples, kind.modality, extractors_in(found))


def _find(
    names: Iterable[str], kind: Kind, plugins: Plugins, device: str, *, prefer: str, architecture: Any = None
) -> dict[str, Metric]:
    names = list(names)
    if not names:
        raise UsageError(f"{kind.name} names no metrics of its own; choose some with --metrics, see `gan plugins show`")
    place = str(choose_device(device, "fp32").device)
    return find_metrics(names, kind.name, plugins, device=place, prefer=prefer, architecture=architecture)


def _real(
    rows: Rows, question: EvaluationRequest, count: int, origin: Mapping[str, Any], *, paired: bool = False
) -> SampleSet:
    """As many as asked for, of the fixed permutation; pairs need one for each generated sample."""
    wanted = question.real_count
    if paired and wanted not in (None, count):
        raise UsageError(f"the run works on inputs: it needs one real sample for each of its {count:,}")
    if not paired:
        wanted = len(rows) if wanted == 0 else min(wanted or count, len(rows))
    return SampleSet(real_samples(rows, wanted or count), {**origin, "of": len(rows)})


class _Held:
    """Samples in memory as `Rows`."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return size(self.samples)

    def take(self, indices: np.ndarray[Any, Any]) -> Samples:
        """The samples at `indices`."""
        return {name: values[indices] for name, values in self.samples.items()}


def _data_of(source: str, modality: str, plugins: Plugins) -> Path:
    """The files that `source` stands for: a path, the data of a run, or a named data set."""
    path = Path(source).expanduser()
    if (path / "recipe.yaml").is_file():
        values = recipes.validated(recipes.Recipe, recipes.read_values(path / "recipe.yaml"), "")
        return _data_of(str(values.data.source), modality, plugins)
    if path.exists():
        return path
    try:
        plugin_entry = plugins.find("gan_datasets", source)
    except UnknownName as error:
        raise UsageError(f"--against: no file or folder '{source}', and {error}") from None
    if plugin_entry.entry.modality != modality:
        raise UsageError(f"--against: '{source}' is {plugin_entry.entry.modality} data, not {modality}")
    return prepare_dataset(plugin_entry, plugins)


def _modality(question: EvaluationRequest, target: Path, plugins: Plugins) -> Any:
    """The modality that was named, or the only one that knows the endings of the target's files."""
    if question.modality is not None:
        return plugins.find("gan_modalities", question.modality)
    fitting = []
    for plugin_entry in plugins.entries("gan_modalities"):
        suffixes = plugins.load(plugin_entry).suffixes
        if list_source(target, suffixes).files:
            fitting.append(plugin_entry)
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(plugin_entry.entry.name for plugin_entry in fitting or plugins.entries("gan_modalities"))
    why = "several kinds of data have such files" if fitting else "no installed kind of data has such files"
    raise UsageError(f"{target}: {why}; choose with --modality ({names or 'none is installed'})")


def keep(receipts: Sequence[Receipt], file: Path) -> None:
    """Add receipts to a file; an older one that answered the same question for the same samples gives way."""
    old = read_receipts(file) if file.is_file() else []

    def key(receipt: Receipt) -> str:
        said = [receipt.metric, receipt.generated["sha256"], receipt.real["sha256"], dict(receipt.modality["settings"])]
        return json.dumps(said, sort_keys=True)

    new = {key(receipt) for receipt in receipts}
    write_receipts([*(receipt for receipt in old if key(receipt) not in new), *receipts], file)
