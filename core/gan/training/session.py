"""Start or resume the training of a recipe in a run folder: the session around the training loop.

A session opens the data, builds the trainer, loads the newest checkpoint, reacts to every tick (metrics, validation,
previews, checkpoints) and leaves the end of the run to `gan.training.outputs`. The loop is in `gan.training.trainer`.
The file is long because a session is one class, in the order of a run's life.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gan import recipe as recipes
from gan.build import ResolvedRecipe, build_game, open_data, resolve
from gan.contracts import MetricValue
from gan.data.order import Order
from gan.data.pack import Pack
from gan.errors import BadData, CheckpointError, GanError, NumericError, PluginError, UsageError
from gan.game import phase_lengths
from gan.generation.conditions import Conditions
from gan.generation.flags import describe_flags
from gan.generation.labelling import labels_of
from gan.generation.loading import resolve_run
from gan.generation.model import Model
from gan.plugins.manager import Plugins
from gan.reporting import manifest
from gan.reporting.reporter import Pace, Reporter, Tick
from gan.reporting.result import Result, read_result
from gan.reporting.scrub import scrub
from gan.reporting.side_files import damaged_files, read_recipe, read_values, write_manifest_file
from gan.runtime.device import Device, slow_precision
from gan.runtime.distributed import Peers, init_runtime, shutdown
from gan.runtime.signals import StopSignals, check_stop
from gan.storage.checkpoint import Checkpoints
from gan.storage.durable import disk_errors, dump_json, make_dirs, write_json, write_text
from gan.storage.regular import Broken, read_json, read_regular
from gan.storage.run_folder import RunFolder
from gan.training.outputs import Outputs
from gan.training.records import MAY_CHANGE, check_unchanged, completed, describe, write_manifest
from gan.training.recovery import Recovery, RollBack
from gan.training.trainer import Trainer
from gan.training.transfer import found_start, lineage, take_weights
from gan.training.validation import Evaluator
from gan.training.watching import build_watch
from gan.watch.watch import Findings


def start(
    values: Mapping[str, Any],
    plugins: Plugins,
    reporter: Reporter,
    *,
    out: Path | None = None,
    total: int | None = None,
    or_resume: bool = False,
) -> Result:
    """Train a recipe in a new run folder, for `total` real samples instead of the recipe's length if it is given.

    With `or_resume`, a run of the same recipe in the folder `out` is continued instead, so that a scheduler can repeat
    one command. Raises `CheckpointError` if the run there is of another recipe.
    """
    if out is not None and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) and (out / "recipe.yaml").is_file():
        return resume(out, plugins, reporter)  # torchrun repeats the command after a process died
    if or_resume and out is not None:
        try:
            if not os.path.lexists(out / "recipe.yaml"):
                return start(values, plugins, reporter, out=out, total=total)
        except UsageError:  # another start may have been faster
            if not os.path.lexists(out / "recipe.yaml"):
                raise
        _refuse_other(RunFolder.open(out), resolve(values, plugins), total)
        return resume(out, plugins, reporter)
    signals = StopSignals()
    with signals.caught(), _process_group():
        resolved = resolve(values, plugins)
        if out is not None:
            RunFolder(out).refuse_occupied()  # before the data are read
        asked = {"recipe": resolved.recipe.model_dump(mode="json"), "samples": total}
        resolved.recipe, _ = found_start(resolved.recipe)
        device = init_runtime(resolved.recipe.training.device, resolved.recipe.training.precision)
        session = Session(resolved, plugins, reporter, device, signals, total, asked)
        path = out or RunFolder.next_path(Path("runs"), resolved.recipe.plugin, resolved.recipe.architecture)
        if device.rank:
            session.open(RunFolder(path))
            return session.run_worker()
        run = RunFolder.create(path)
        with run.lock():
            run.claim()
            signals.remedy = f"continue with: gan resume {run.path}"
            write_text(run.recipe, recipes.dump(resolved.recipe))
            session.open(run)
            return session.run_main()


def resume(
    path: Path, plugins: Plugins, reporter: Reporter, *, force: bool = False, minutes: float | None = None
) -> Result:
    """Continue from the newest good checkpoint of a run; nothing but the folder is needed.

    With `minutes`, a run that its limit of time has ended is trained for so many minutes more at most.
    Raises `CheckpointError` that lists the differences when the recipe, the data or a plugin differs from what the run
    was trained with, unless `force`. A finished run is not changed.
    """
    run = RunFolder.open(path)
    signals = StopSignals()
    signals.remedy = f"continue with: gan resume {run.path}"
    with signals.caught(), _process_group():
        _refuse_tuned(run)
        resolved = resolve_run(run, plugins)
        damaged = _review_side_files(run, reporter)
        finished = None if damaged or minutes else _finished_result(run, resolved)
        if finished is not None:
            run.remove_leftovers()
            reporter.note(f"{run.path} is finished; nothing was changed")
            return finished
        device = init_runtime(resolved.recipe.training.device, resolved.recipe.training.precision)
        with run.lock() if device.rank == 0 else nullcontext():
            session = Session(resolved, plugins, reporter, device, signals)
            session.open(run, force=force, damaged=damaged, minutes=minutes)
            return session.run_main() if device.rank == 0 else session.run_worker()


@contextlib.contextmanager
def _process_group() -> Iterator[None]:
    """Destroy the distributed process group at the end, if this process joined one."""
    try:
        yield
    finally:
        shutdown()


def _refuse_other(run: RunFolder, resolved: ResolvedRecipe, total: int | None) -> None:
    """Raise `CheckpointError` unless a run was started with this recipe. One of an earlier version is not compared."""
    if not run.manifest.exists():
        return
    before = manifest.read_manifest(run.manifest).get("asked")
    now = scrub({"recipe": resolved.recipe.model_dump(mode="json"), "samples": total})
    if not isinstance(before, dict) or not isinstance(before.get("recipe"), dict):
        return
    found = manifest.differences({**before, "recipe": completed(before["recipe"])}, now, ignore=MAY_CHANGE)
    if found:
        raise CheckpointError(
            f"{run.path}: holds a run of another recipe: {'; '.join(found[:5])}. Continue that one with "
            f"`gan resume {run.path}`, or choose another --out"
        )


def _refuse_tuned(run: RunFolder) -> None:
    about = manifest.read_manifest(run.manifest) if run.manifest.exists() else {}
    for key, what in (("tuned_from", "a generator tuned from"), ("packed_from", "the packed weights of")):
        if key in about:
            raise UsageError(f"{run.path}: is {what} {about[key].get('run')}, without a training to continue")


def _review_side_files(run: RunFolder, reporter: Reporter) -> dict[str, str]:
    """Compare the side files with their seals, before anything is read or trained; return those to be made anew.

    Raises `CheckpointError` for one that cannot be made anew.
    """
    damaged = damaged_files(run)
    if damaged.pop(run.recipe.name, None) is not None:
        before, now = manifest.read_manifest(run.manifest).get("recipe", {}), read_recipe(run)
        changed = manifest.differences(before, now)
        reporter.warn(f"{run.recipe} was changed since it was written: {'; '.join(changed[:5]) or 'in its form only'}")
    for name, reason in damaged.items():
        trained = any(int(path.name.removeprefix("samples-")) for path in Checkpoints(run.checkpoints).all())
        if run.path / name == run.untrained and run.untrained.exists() and trained:
            read_values(run, run.untrained, _NO_UNTRAINED)
        if (run.path / name).exists():
            reporter.warn(f"{run.path / name}: damaged: it {reason}; it is made anew")
    return damaged


_NO_UNTRAINED = "Restore it from a backup, or remove it to go on without the metrics before training"


def _finished_result(run: RunFolder, resolved: ResolvedRecipe) -> Result | None:
    """The result of a run that has finished and whose recipe has not been changed since."""
    if not run.result.is_file() or manifest.read_manifest(run.manifest).get("exit") != "finished":
        return None
    newest = Checkpoints(run.checkpoints).newest()
    if newest is None or manifest.differences(
        completed(newest.about["recipe"]), resolved.recipe.model_dump(mode="json")
    ):
        return None
    result = read_result(run)
    return result if newest.samples >= result.samples else None  # else the last checkpoint is damaged: train it again


def _open_data_in_turn(resolved: ResolvedRecipe, plugins: Plugins, reporter: Reporter, device: Device) -> Pack:
    """The first process packs the dataset; the others wait and open the same pack."""
    peers = Peers(device)
    if device.rank:
        peers.barrier()
    pack = open_data(resolved, plugins, reporter)
    if not device.rank:
        peers.barrier()
    return pack


class Session:
    """The work of one process on one training."""

    def __init__(
        self,
        resolved: ResolvedRecipe,
        plugins: Plugins,
        reporter: Reporter,
        device: Device,
        signals: StopSignals,
        total: int | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> None:
        self.asked = asked
        """The recipe and the length as the user asked for them, of a new run."""
        self.resolved = resolved
        self.reporter = reporter
        self.device = device
        self.signals = signals
        warning = slow_precision(device) if device.rank == 0 else ""
        if warning:
            reporter.warn(warning)
        labels = labels_of(resolved, plugins)  # before the training, if a mark cannot be had
        self.pack = _open_data_in_turn(resolved, plugins, reporter, device)
        modality = resolved.modality_class(resolved.modality_config, self.pack.facts)
        for text in modality.remarks() if device.rank == 0 else ():
            reporter.note(text)
        data = resolved.recipe.data
        train_rows, real_rows = self.pack.split(data.holdout, balance=data.balance)
        self.conditions = Conditions.of(train_rows)
        check_stop()
        game = build_game(resolved, self.conditions.narrowed(modality.fields), total)
        check_stop()
        self.recipe = resolved.recipe  # completed by build_game
        self.frozen = game.frozen
        self._length = {"recipe": game.length, "asked": sum(phase_lengths(game.phases, self.recipe.training.samples))}
        training = self.recipe.training
        if len(train_rows) < training.batch:
            raise BadData(
                f"{len(train_rows)} samples from {len(self.pack.files)} files are fewer than training.batch = "
                f"{training.batch}; add data or use --set training.batch={max(1, len(train_rows))}"
            )
        order = Order(train_rows.sizes, self.recipe.seed, train_rows.windowed)
        self.trainer = Trainer(
            game.architecture,
            game.players,
            game.phases,
            train_rows,
            order,
            training,
            self.recipe.seed,
            device,
            resolved.augmentations,
            resolved.penalties,
        )
        model = Model(
            game.architecture, modality, resolved.title, device.device, conditions=self.conditions, labels=labels
        )
        self.evaluator = Evaluator(resolved, plugins, self.trainer, model, self.pack, real_rows)
        self.outputs = Outputs(resolved, reporter, self.trainer, model, self.evaluator, self.pack, real_rows, plugins)
        self.about = describe(resolved, self.pack)
        held_out = real_rows if data.holdout else None
        self.watch = build_watch(resolved, plugins, self.trainer, model, train_rows, held_out)
        self._stop_early = False
        self._saved_at = -1

    def open(
        self, run: RunFolder, *, force: bool = False, damaged: Collection[str] = (), minutes: float | None = None
    ) -> None:
        """Load the newest good checkpoint, or begin anew if there is none, and bring the run's records up to date.

        The `damaged` files are made anew. `minutes` more are trained at most, instead of the recipe's.
        """
        self.run = run
        self.checkpoints = Checkpoints(
            run.checkpoints,
            self.recipe.training.keep_checkpoints,
            warn=self.reporter.warn,
            saved=lambda path: self.reporter.saved(path, int(path.name.removeprefix("samples-"))),
        )
        if self.device.rank == 0:
            run.remove_unfinished()
            if run.result.relative_to(run.path).as_posix() in damaged:
                run.result.unlink(missing_ok=True)
            self.checkpoints.remove_unfinished()
        self.trainer.peers.barrier()
        newest = self.checkpoints.newest()
        if newest is not None:
            check_unchanged(newest, self.about, force, self.reporter)
            newest.load(self.trainer.owners())
        if minutes is not None:
            self._allow(minutes)
        started_from = self._start_from() if newest is None else None
        self.outputs.model.draws = self.trainer.draws
        if self.device.rank == 0:
            expected = {} if newest is None else newest.about.get("records")
            if newest is None and run.read_metrics():
                expected = {"size": -1}  # no checkpoint is left
            complaint = run.rewind_metrics(self.trainer.samples, expected or None)
            if complaint:
                self.reporter.warn(complaint)
            Checkpoints(run.best).remove_unfinished()
            self._review_records()
            self._renew(run.facts, self.pack.facts)
            if self.conditions.rows:
                self._renew(run.conditions, self.conditions.to_json())
            write_json(
                run.flags,
                describe_flags(self.resolved, self.outputs.model.modality, self.conditions, self.trainer.architecture),
            )
            if self.trainer.samples:
                self._untrained()  # before training, and not at its end
            resumed_from = None if newest is None else newest.samples
            write_manifest(
                run, self.resolved, self.pack, self.device, resumed_from, self.reporter, self.asked, started_from,
                self._length,
            )  # fmt: skip
        self.trainer.peers.barrier()

    def _allow(self, minutes: float) -> None:
        """Change the recipe's limit of time, so that it ends the training so many minutes from now."""
        if self.trainer.finished:
            raise UsageError(f"{self.run.path} has trained its whole recipe; train a longer one with gan run --samples")
        limit = {"minutes": round(self.trainer.seconds / 60 + minutes, 2)}
        self.recipe = self.resolved.recipe = self.recipe.model_copy(
            update={"training": self.recipe.training.model_copy(update=limit)}
        )
        self.trainer.training = self.recipe.training
        self.about = describe(self.resolved, self.pack)
        if self.device.rank == 0:
            write_text(self.run.recipe, recipes.dump(self.recipe))

    def _start_from(self) -> dict[str, Any] | None:
        """Take the weights of another run, if the recipe says so, and say what was taken."""
        recipe, found = found_start(self.recipe)
        if found is None or recipe.start is None:
            return None
        taken = take_weights(self.trainer, found, recipe.model)
        frozen = f"; frozen layers of the discriminator: {', '.join(self.frozen)}" if self.frozen else ""
        self.reporter.note(f"from {recipe.start.run} at {found.samples:,} samples: {taken}{frozen}")
        return lineage(recipe, found, taken)

    def _renew(self, path: Path, value: Any) -> None:
        """Write a file that follows from the data unless it is there and whole."""
        text = dump_json(value, indent=2) + "\n"
        try:
            if not os.path.lexists(path) or read_json(read_regular(path, None), path.name) == json.loads(text):
                if not os.path.lexists(path):
                    write_text(path, text)
                return
        except Broken:
            pass
        self.reporter.warn(f"{path}: is not what the data say; it is made anew")
        with disk_errors(path):
            path.unlink()
        write_text(path, text)

    def _untrained(self) -> list[MetricValue] | None:
        """The metrics before training; None if they are not on the disk. Raises `CheckpointError` if damaged."""
        if not os.path.lexists(self.run.untrained):
            return None
        return read_values(self.run, self.run.untrained, _NO_UNTRAINED)

    def _measure_untrained(self) -> None:
        """Write the metrics and a picture before training, unless an earlier life of the run did."""
        try:
            if self._untrained() is not None:
                return
        except CheckpointError:
            with disk_errors(self.run.untrained):
                self.run.untrained.unlink()
        self.reporter.note("measuring the networks before training")
        self.outputs.preview(self.run)
        write_json(self.run.untrained, [asdict(value) for value in self.evaluator.values(self.run)])
        write_manifest_file(self.run, manifest.read_manifest(self.run.manifest))

    def run_worker(self) -> Result:
        """Train as a process that is not the first: it writes nothing."""
        self._train()
        return Result(Path(), self.resolved.title, self.trainer.samples, 0.0, {}, [], [])

    def run_main(self) -> Result:
        """Train and write the run folder."""
        run = self.run
        for folder in (run.previews, run.samples, run.evaluation):
            make_dirs(folder)
        self.outputs.real_preview(run)
        self.reporter.started(run.path, self.resolved.title, self.trainer.samples, self.trainer.total)
        reason = "failed"
        try:
            if self.trainer.samples == 0:
                self._measure_untrained()
            untrained = self._untrained()
            if untrained is None:
                self.reporter.warn(f"{run.untrained} is missing: nothing is known of the metrics before training")
            if not self._ended:
                run.result.unlink(missing_ok=True)  # of a finished run whose training was made longer
                self._train()
            known = manifest.read_manifest(run.manifest).get("length") or self._length  # of the recipe before --samples
            share = 1.0 if self._stop_early else self.trainer.samples / known["recipe"]
            result = self.outputs.finish(run, untrained or [], share, self.watch.lasting)
            reason = "finished"
            return result
        except BaseException as error:
            reason = _reason(error, self.signals)
            raise
        finally:
            with self.signals.patient():
                self.checkpoints.close()
                record = manifest.manifest_end(run.manifest, reason, self.trainer.samples)
                record.get("sealed", {}).pop("evaluation/result.json", None)
                write_manifest_file(run, record)

    def _train(self) -> None:
        """Train to the end, or until a signal: then the state is saved and `Stopped` is raised.

        After non-finite gradients or an out-of-memory error `Recovery` returns to the last good checkpoint.
        """
        rewound, save = self._review_records, self._save
        recovery = Recovery(self.trainer, self.checkpoints, self.run, self.reporter, rewound, save, self.watch)
        if self.device.rank == 0 and not self.checkpoints.all():
            self._save()
            self.checkpoints.wait()  # a record must not reach the disk before a checkpoint that it can follow
        trainer = self.trainer
        pace = Pace(trainer.samples, trainer.total, trainer.seconds, self.recipe.training.minutes)

        def stop() -> bool:
            if self.device.rank == 0:
                self.reporter.moved(pace.at(trainer.samples))
            return bool(self.signals() or self._stop_early)

        with self.signals.patient():
            try:
                recovery.run(lambda: trainer.run(self._on_tick, stop))
                if self.device.rank == 0 and self._saved_at != self.trainer.samples:
                    self._save()
                self.checkpoints.wait()
            except NumericError as error:
                raise NumericError(f"{self.resolved.title}: {error}") from error
            except GanError as error:
                if type(error) is not GanError:
                    raise
                raise PluginError(self.recipe.plugin, f"{self.resolved.title}: {error}") from error
        if self.signals.wanted is not None and not self._ended:
            raise self.signals.stopped(f" and saved at {self.trainer.samples:,} samples")

    def _on_tick(self, tick: Tick) -> None:
        """Watch the training on all processes alike; the first one writes."""
        findings = self.watch.tick(tick)
        for name, value in findings.fading.items():
            self.trainer.turn_dial(name, value)
        number = tick.samples // (self.recipe.training.tick or 1)
        saves = number % self.recipe.training.checkpoint_ticks == 0 or tick.final or tick.is_baseline
        if saves and findings.treatment is None and self.watch.healthy:
            self.watch.healthy_at = tick.samples
        if self.device.rank == 0:
            self._write(tick, findings, saves and findings.treatment is None)
        if findings.treatment is not None:
            if findings.treatment.roll_back_to is not None:
                raise RollBack(findings.treatment)
            for name, value in findings.treatment.dials.items():
                self.trainer.turn_dial(name, value)
            if self.device.rank == 0 and saves:
                self._save()

    def _write(self, tick: Tick, findings: Findings, saves: bool) -> None:
        preview_ticks = self.recipe.training.preview_ticks
        number = tick.samples // (self.recipe.training.tick or 1)
        self._record(tick, findings)
        self.reporter.tick(tick)
        for message in findings.messages:
            self.reporter.warn(message)
        if findings.signals:
            write_json(self.run.health, self.watch.report())
        if preview_ticks and (number % preview_ticks == 0 or tick.final):
            self.outputs.preview(self.run)
        if saves:
            self._save()

    def _record(self, tick: Tick, findings: Findings) -> None:
        """Append the tick to the records, with validation metrics if they are due; then keep the best checkpoint and
        decide about early stopping."""
        record = {"samples": tick.samples, "phase": tick.phase, "terms": tick.terms, "skipped": tick.skipped}
        if findings.signals:
            record["health"] = findings.signals
        if tick.is_baseline and self.evaluator.metrics:
            record["reference"] = True
        elif not self.evaluator.due(self.run, tick.samples):
            self.run.append_metrics(record)
            return
        values = self.evaluator.values(self.run)
        best = self.evaluator.is_best(self.run, values)
        self.run.append_metrics({**record, "metrics": {value.name: asdict(value) for value in values}})
        self.evaluator.recorded(tick.samples)
        self.reporter.measured(tick.samples, values, best)
        if best:
            Checkpoints(self.run.best, keep=1).save(self.trainer.samples, self.trainer.owners(), self.about)
        self._stop_early = self.evaluator.stop_early(self.run)
        if self._stop_early and not tick.final:
            settings = self.recipe.evaluation
            self.reporter.note(f"{settings.best} did not improve in {settings.patience} measurements: training ends")

    def _review_records(self) -> None:
        """Repeat the decisions that follow from the records, after these were cut back to the current state."""
        self.evaluator.remove_outdated_best(self.run)
        self._stop_early = self.evaluator.stop_early(self.run)

    @property
    def _ended(self) -> bool:
        return self.trainer.finished or self._stop_early

    def _save(self) -> None:
        """Copy the state and write it in the background; the reporter hears when it is on the disk."""
        about = {**self.about, "records": self.run.metrics_seal(), "health": self.watch.about}
        if self.watch.mode != "off" and (self.watch.healthy_at or self.watch.mode == "act"):
            beginning = [0] if self.watch.mode == "act" else []  # remedies may return to it
            self.checkpoints.protected = frozenset([self.watch.healthy_at, *beginning])
        self.checkpoints.save(self.trainer.samples, self.trainer.owners(), about, background=True)
        self._saved_at = self.trainer.samples


def _reason(error: BaseException, signals: StopSignals) -> str:
    """Why a run ended, for its manifest."""
    if signals.wanted is not None:
        return f"stopped by {signals.wanted.name}"
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
