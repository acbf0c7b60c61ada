"""A training from its recipe to its artefacts, in a run folder that it can be resumed from."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from gan import recipe as recipes
from gan.build import ResolvedRecipe, build_game, open_data, resolve
from gan.contracts import MetricValue, Samples, value_from_json
from gan.data.order import Order
from gan.data.pack import Pack
from gan.draws import derive
from gan.errors import BadData, CheckpointError, GanError, PluginError
from gan.evaluation.receipts import RECEIPTS, Receipt, write_receipts
from gan.evaluation.sample_sets import generate
from gan.generation.conditions import Conditions
from gan.generation.model import Model
from gan.plugins.manager import PluginEntry, Plugins
from gan.reporting import manifest as provenance
from gan.reporting.page import write_page
from gan.reporting.plots import plot_training
from gan.reporting.reporter import Reporter, Tick
from gan.reporting.result import Result, read_result, references_of
from gan.runtime.device import out_of_memory
from gan.runtime.distributed import init_runtime, shutdown
from gan.runtime.signals import StopSignals
from gan.storage.checkpoint import Checkpoint, Checkpoints
from gan.storage.durable import make_dirs, sync_tree, write_bytes, write_json, write_text
from gan.storage.run_folder import PREVIEW, RunFolder
from gan.training.health import Watch
from gan.training.model_card import model_card
from gan.training.recovery import Recovery
from gan.training.trainer import Trainer
from gan.training.validation import Evaluator

PREVIEW_SAMPLES = 16
HARMLESS = (
    "recipe.data.source",  # the data's content decides, not where it lies
    "recipe.evaluation",
    "recipe.training.minutes",
    "recipe.training.device",
    "recipe.training.checkpoint_ticks",
    "recipe.training.keep_checkpoints",
    "recipe.training.preview_ticks",
)
"""What may change between two lives of a run: it does not change what is trained."""


def start(
    values: Mapping[str, Any],
    plugins: Plugins,
    reporter: Reporter,
    *,
    out: Path | None = None,
    total: int | None = None,
) -> Result:
    """Train a recipe in a new run folder; `total` real samples in all, where it is given."""
    if out is not None and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) and (out / "recipe.yaml").is_file():
        return resume(out, plugins, reporter)  # torchrun repeats the command after a process died
    signals = StopSignals()
    with signals.caught(), _together():
        parts = resolve(values, plugins)
        device = init_runtime(parts.recipe.training.device, parts.recipe.training.precision)
        pack = _open_in_turn(parts, plugins, reporter, device.rank)
        session = _Session(parts, plugins, reporter, pack, device, signals, total)
        path = out or RunFolder.next_path(Path("runs"), parts.recipe.plugin, parts.recipe.architecture)
        if device.rank:
            session.open(RunFolder(path))
            return session.follow()
        run = RunFolder.create(path)
        with run.lock():
            signals.remedy = f"go on with: gan resume {run.path}"
            write_text(run.recipe, recipes.dump(parts.recipe))
            session.write_facts(run)
            write_json(run.manifest, session.manifest())
            session.open(run)
            return session.lead()


def resume(path: Path, plugins: Plugins, reporter: Reporter, *, force: bool = False) -> Result:
    """Go on from the newest good checkpoint of a run; nothing but the folder is needed.

    Raises `CheckpointError` that lists the differences when the recipe, the data or a plugin is not what the run was
    trained with so far, unless `force`. A finished run is left as it is.
    """
    run = RunFolder.open(path)
    signals = StopSignals()
    signals.remedy = f"go on with: gan resume {run.path}"
    with signals.caught(), _together():
        parts = resolve(recipes.read_values(run.recipe), plugins)
        finished = _finished(run, parts)
        if finished is not None:
            reporter.note(f"{run.path} is finished; nothing was changed")
            return finished
        device = init_runtime(parts.recipe.training.device, parts.recipe.training.precision)
        with run.lock() if device.rank == 0 else nullcontext():
            pack = _open_in_turn(parts, plugins, reporter, device.rank)
            session = _Session(parts, plugins, reporter, pack, device, signals)
            session.open(run, force=force)
            return session.lead() if device.rank == 0 else session.follow()


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """Within it this process may train with others; afterwards it has parted from them."""
    try:
        yield
    finally:
        shutdown()


def _finished(run: RunFolder, parts: ResolvedRecipe) -> Result | None:
    """The result of a run that has ended and whose recipe nobody has changed since."""
    if not run.result.is_file() or provenance.read_manifest(run.manifest).get("exit") != "finished":
        return None
    newest = Checkpoints(run.checkpoints).newest()
    if newest is None or provenance.differences(newest.about["recipe"], parts.recipe.model_dump(mode="json")):
        return None
    return read_result(run)


def _open_in_turn(parts: ResolvedRecipe, plugins: Plugins, reporter: Reporter, rank: int) -> Pack:
    """The first process makes the pack, the others open what it made."""
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    if several and rank:
        torch.distributed.barrier()
    pack = open_data(parts, plugins, reporter)
    if several and not rank:
        torch.distributed.barrier()
    return pack


class _Session:
    """One process's work on one training."""

    def __init__(
        self,
        parts: ResolvedRecipe,
        plugins: Plugins,
        reporter: Reporter,
        pack: Pack,
        device: Any,
        signals: StopSignals,
        total: int | None = None,
    ) -> None:
        self.parts = parts
        self.plugins = plugins
        self.reporter = reporter
        self.pack = pack
        self.device = device
        self.signals = signals
        self.modality = parts.modality_class(parts.modality_config, pack.facts)
        data = parts.recipe.data
        self.train_rows, self.real_rows = pack.split(data.holdout, balance=data.balance)
        self.conditions = Conditions.of(self.train_rows)
        game = build_game(parts, self.conditions.narrowed(self.modality.fields), total)
        self.recipe = parts.recipe
        training = self.recipe.training
        if len(self.train_rows) < training.batch:
            raise BadData(
                f"{len(self.train_rows)} samples from {len(pack.files)} files are fewer than training.batch = "
                f"{training.batch}; add data or use --set training.batch={max(1, len(self.train_rows))}"
            )
        self.trainer = Trainer(
            game.architecture,
            game.players,
            game.phases,
            self.train_rows,
            Order(self.train_rows.sizes, self.recipe.seed),
            training,
            self.recipe.seed,
            device,
        )
        self.model = Model(game.architecture, self.modality, parts.title, device.device, conditions=self.conditions)
        self.evaluator = Evaluator(parts, plugins, self.trainer, self.model, pack, self.real_rows)
        self.last_terms: dict[str, float] = {}
        self.watch = Watch()
        self._enough = False
        self._saved_at = -1

    def about(self) -> dict[str, Any]:
        """What a checkpoint says of its run, and what must be the same to go on from it."""
        return {
            "architecture": self.parts.title,
            "recipe": self.recipe.model_dump(mode="json"),
            "data": {
                "fingerprint": self.pack.fingerprint,
                "samples": self.pack.count,
                "files": len(self.pack.files),
                "skipped": len(self.pack.skipped),
            },
            "distributions": dict(self.parts.distributions),
        }

    def manifest(self) -> dict[str, Any]:
        """The record that `gan.reporting.manifest` keeps."""
        return provenance.manifest_start(
            recipe=self.recipe.model_dump(mode="json"),
            distributions=self.parts.distributions,
            data={
                "source": self.recipe.data.source,
                "fingerprint": self.pack.fingerprint,
                "samples": self.pack.count,
                "files": len(self.pack.files),
                "skipped": self.pack.skipped,
            },
            seed=self.recipe.seed,
            device=self.device.name,
            precision=self.device.precision,
            processes=self.device.world_size,
        )

    def write_facts(self, run: RunFolder) -> None:
        """What samples are made with and the data taught; what is there stays."""
        if not run.facts.exists():
            write_json(run.facts, self.pack.facts)
        if self.conditions.rows and not run.conditions.exists():
            write_json(run.conditions, self.conditions.to_json())

    def open(self, run: RunFolder, *, force: bool = False) -> None:
        """Take over the newest good checkpoint, or start anew where a run was killed before its first one."""
        self.run = run
        self.checkpoints = Checkpoints(
            run.checkpoints,
            self.recipe.training.keep_checkpoints,
            warn=self.reporter.warn,
            saved=lambda path: self.reporter.saved(path, int(path.name.removeprefix("samples-"))),
        )
        if self.device.rank == 0:
            run.remove_unfinished()
            self.checkpoints.remove_unfinished()
        self.trainer.peers.barrier()
        newest = self.checkpoints.newest()
        if newest is not None:
            self._compare(newest, force)
            newest.load(self.trainer.owners())
        if self.device.rank == 0:
            run.rewind_metrics(self.trainer.samples)
            Checkpoints(run.best).remove_unfinished()
            self._look_back()
            self.write_facts(run)
            if not run.manifest.exists():
                write_json(run.manifest, self.manifest())
            elif newest is not None:
                manifest = provenance.read_manifest(run.manifest)
                changed = provenance.changes(manifest, self.parts.distributions)
                if changed:
                    self.reporter.warn(f"versions have changed, so numbers may differ: {', '.join(changed)}")
                resumed = provenance.manifest_resumed(
                    manifest, samples=newest.samples, distributions=self.parts.distributions
                )
                write_json(run.manifest, resumed)
        self.trainer.peers.barrier()

    def _compare(self, checkpoint: Checkpoint, force: bool) -> None:
        found = provenance.differences(checkpoint.about, self.about(), ignore=HARMLESS)
        if not found:
            return
        shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
        if not force:
            raise CheckpointError(
                f"{checkpoint.path}: this run was trained with something else: {shown}. "
                "Put it back as it was, or go on all the same with --force"
            )
        self.reporter.warn(f"going on although something changed: {shown}")

    def follow(self) -> Result:
        """The part of a process that is not the first: train, write nothing."""
        self._train(lambda tick: None)
        return Result(Path(), self.parts.title, self.trainer.samples, 0.0, {}, [], [])

    def lead(self) -> Result:
        """Train and write the run folder."""
        run = self.run
        for folder in (run.previews, run.samples, run.evaluation):
            make_dirs(folder)
        self.reporter.started(run.path, self.parts.title, self.trainer.samples, self.trainer.total)
        reason = "failed"
        try:
            untrained_file = run.evaluation / "untrained.json"
            if self.trainer.samples == 0 and not untrained_file.exists():
                self._preview()
                write_json(untrained_file, [asdict(value) for value in _values(self.evaluator.receipts(run))])
            if not self._ended:
                with contextlib.suppress(FileNotFoundError):  # of a run that somebody has made longer
                    run.result.unlink()
                self._train(self._on_tick)
            untrained = [value_from_json(value) for value in json.loads(untrained_file.read_text(encoding="utf-8"))]
            result = self._finish(untrained)
            reason = "finished"
            return result
        except BaseException as error:
            reason = _reason(error, self.signals)
            raise
        finally:
            with self.signals.patient():
                self.checkpoints.wait()
                write_json(run.manifest, provenance.manifest_end(run.manifest, reason, self.trainer.samples))

    def _train(self, on_tick: Callable[[Tick], None]) -> None:
        """To the end of training, or until a signal: then the state is saved and `Stopped` raised.

        Gradients that are not finite and memory that runs out lead back to the last good checkpoint, as
        `gan.training.recovery` says.
        """
        recovery = Recovery(self.trainer, self.checkpoints, self.run, self.reporter, self._look_back)
        if self.device.rank == 0 and not self.checkpoints.all():
            self._save()
        with self.signals.patient():
            try:
                recovery.run(lambda: self.trainer.run(on_tick, lambda: self.signals() or self._enough))
            except GanError as error:
                if type(error) is not GanError:
                    raise
                raise PluginError(self.recipe.plugin, f"{self.parts.title}: {error}") from error
            if self.device.rank == 0 and self._saved_at != self.trainer.samples:
                self._save()
            self.checkpoints.wait()
        if self.signals.wanted is not None and not self._ended:
            raise self.signals.stopped(f" and saved at {self.trainer.samples:,} samples")

    def _on_tick(self, tick: Tick) -> None:
        training = self.recipe.training
        number = tick.samples // (training.tick or 1)
        if tick.terms:
            self.last_terms = tick.terms
        record = {"samples": tick.samples, "phase": tick.phase, "terms": tick.terms, "skipped": tick.skipped}
        self._evaluate_on_the_way(tick, record)
        self.reporter.tick(tick)
        for warning in self.watch.look(tick):
            self.reporter.warn(warning)
        if training.preview_ticks and (number % training.preview_ticks == 0 or tick.final):
            self._preview()
        if number % training.checkpoint_ticks == 0 or tick.final or tick.is_baseline:
            self._save()

    def _evaluate_on_the_way(self, tick: Tick, record: dict[str, Any]) -> None:
        """Append the record, with metrics where they are due; keep the best checkpoint; see whether it is enough."""
        if tick.is_baseline and self.evaluator.metrics:
            record["reference"] = True
        elif not self.evaluator.due(self.run, tick.samples):
            self.run.append_metrics(record)
            return
        values = _values(self.evaluator.receipts(self.run))
        best = self.evaluator.is_best(self.run, values)
        self.run.append_metrics({**record, "metrics": {value.name: asdict(value) for value in values}})
        self.reporter.measured(tick.samples, values, best)
        if best:
            Checkpoints(self.run.best, keep=1).save(self.trainer.samples, self.trainer.owners(), self.about())
        self._enough = self.evaluator.enough(self.run)
        if self._enough and not tick.final:
            patience = self.recipe.evaluation.patience
            self.reporter.note(f"{self.recipe.evaluation.best} got no better in {patience} measurements: training ends")

    def _look_back(self) -> None:
        """After the records were cut to where training stands: what was judged by the others is judged anew."""
        self.evaluator.tidy(self.run)
        self._enough = self.evaluator.enough(self.run)

    @property
    def _ended(self) -> bool:
        return self.trainer.finished or self._enough

    def _save(self) -> None:
        """Take a copy of the state and write it while the training goes on; the reporter hears when it is safe."""
        self.checkpoints.save(self.trainer.samples, self.trainer.owners(), self.about(), background=True)
        self._saved_at = self.trainer.samples

    def _preview(self) -> None:
        path = self.run.previews / f"samples-{self.trainer.samples:09d}.png"
        samples = self._generate(PREVIEW_SAMPLES, derive(self.recipe.seed, "preview"))
        with self._work_of(self.parts.modality, "preview"):
            _write_picture(self.modality.preview(samples), path)
        self.reporter.preview(path)

    def _generate(self, count: int, seed: int) -> Samples:
        """Samples with the averaged weights; what the architecture works on is taken from real samples."""
        with self._work_of(self.parts.architecture, "generate"), self.trainer.sampling():
            return generate(self.model, self.real_rows, count, seed)

    @contextlib.contextmanager
    def _work_of(self, plugin_entry: PluginEntry, what: str) -> Iterator[None]:
        """What a plugin raises in the body is told as its mistake: whose, in what, and where the training stands."""
        try:
            yield
        except (GanError, OSError, MemoryError):
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            place = f"{plugin_entry.info.name}/{plugin_entry.entry.name}, {what} at {self.trainer.samples:,} samples"
            raise PluginError(plugin_entry.info.name, f"{place}: {type(error).__name__}: {error}") from error

    def _finish(self, untrained: list[MetricValue]) -> Result:
        """Artefacts, metrics, pictures and the model card; the result is written when all else is on the disk."""
        run = self.run
        self.reporter.note("making samples and measuring them")
        if run.result.exists():  # it was killed between its result and the end of its record
            return read_result(run)
        count = self.recipe.evaluation.artefacts
        samples = self._generate(count, self.recipe.seed) if count else {}
        with self._work_of(self.parts.modality, "write"):
            artefacts = self.model.write(samples, run.samples) if count else []
        pictures = [run.samples / PREVIEW]
        wall = self._generate(PREVIEW_SAMPLES, self.recipe.seed)
        with self._work_of(self.parts.modality, "preview"):
            _write_picture(self.modality.preview(wall), pictures[0])
        pictures.append(plot_training(run.metrics, run.path / "training.png"))
        receipts = self.evaluator.receipts(run)
        write_receipts(receipts, run.evaluation / RECEIPTS)
        metrics = _values(receipts)
        result = Result(
            run.path,
            self.parts.title,
            self.trainer.samples,
            self.trainer.seconds,
            {name: value for name, value in self._last_losses().items() if "/_" not in name},
            metrics,
            untrained,
            artefacts,
            pictures,
            f"{len(self.pack):,} samples of {len(self.pack.files):,} files of {self.recipe.data.source}",
            self.recipe.evaluation.published,
            references_of(run),
        )
        write_text(run.card, model_card(result, self.parts, self.pack))
        sync_tree(run.samples)
        try:
            with self._work_of(self.parts.modality, "show"):
                write_page(run.path, self.modality, artefacts, result.summary())
        except PluginError as error:  # all that the page shows is there
            self.reporter.warn(f"no page was written: {error}")
        write_json(run.result, result.summary())
        return result

    def _last_losses(self) -> dict[str, float]:
        if not self.last_terms:
            records = self.run.read_metrics()
            return dict(records[-1]["terms"]) if records else {}
        return self.last_terms


def _reason(error: BaseException, signals: StopSignals) -> str:
    """Why a run ended, for its record."""
    if signals.wanted is not None:
        return f"stopped by {signals.wanted.name}"
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def _values(receipts: Iterable[Receipt]) -> list[MetricValue]:
    return [value for receipt in receipts for value in receipt.values]


def _write_picture(picture: Any, path: Path) -> None:
    content = io.BytesIO()
    picture.save(content, "PNG")
    write_bytes(path, content.getvalue())
