"""A training from its recipe to its artefacts, in a run folder that it can be resumed from."""

from __future__ import annotations

import io
import json
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from gan import provenance
from gan import recipe as recipes
from gan.checkpoint import Checkpoints
from gan.contracts import Metric, MetricValue, Samples
from gan.data import Order, Pack
from gan.device import choose
from gan.draws import derive
from gan.errors import BadData, CheckpointError, Stopped
from gan.evaluation import measure
from gan.files import make_dirs, write_bytes, write_json, write_text
from gan.model import Model
from gan.plots import plot_training
from gan.plugins import Plugins
from gan.report import Reporter
from gan.resolve import Game, Parts, build_game, look_up, open_data
from gan.rundir import RunFolder
from gan.trainer import Tick, Trainer

PREVIEW_SAMPLES = 16


@dataclass
class Result:
    """What a training ended with."""

    run: Path
    title: str
    samples: int
    seconds: float
    losses: dict[str, float]
    metrics: list[MetricValue]
    untrained: list[MetricValue]
    """The same metrics before training."""
    artefacts: list[Path] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    data: str = ""
    """What was trained on, in words."""

    def summary(self) -> dict[str, Any]:
        """Plain values for tables and programs."""
        return {
            "run": str(self.run),
            "architecture": self.title,
            "data": self.data,
            "samples": self.samples,
            "seconds": self.seconds,
            "losses": self.losses,
            "metrics": [asdict(value) for value in self.metrics],
            "untrained": [asdict(value) for value in self.untrained],
            "artefacts": [str(path) for path in self.artefacts],
            "pictures": [str(path) for path in self.pictures],
        }


def start(values: Mapping[str, Any], plugins: Plugins, reporter: Reporter, *, out: Path | None = None) -> Result:
    """Train a recipe in a new run folder."""
    parts = look_up(values, plugins)
    device = choose(parts.recipe.training.device, parts.recipe.training.precision)
    pack = _open_in_turn(parts, plugins, reporter, device.rank)
    modality = parts.modality_class(parts.modality_config, pack.facts)
    game = build_game(parts, modality.fields)
    session = _Session(parts, plugins, reporter, pack, game, device)
    path = out or RunFolder.next_path(Path("runs"), parts.recipe.plugin, parts.recipe.architecture)
    if device.rank:
        return session.follow()
    run = RunFolder.create(path)
    with run.lock():
        write_text(run.recipe, recipes.dump(parts.recipe))
        write_json(run.facts, pack.facts)
        write_json(run.manifest, session.manifest_at_start(run))
        return session.lead(run)


def resume(path: Path, plugins: Plugins, reporter: Reporter) -> Result:
    """Go on from the newest good checkpoint of a run; nothing but the folder is needed."""
    run = RunFolder.open(path)
    parts = look_up(recipes.read_values(run.recipe), plugins)
    device = choose(parts.recipe.training.device, parts.recipe.training.precision)
    with run.lock() if device.rank == 0 else nullcontext():
        pack = _open_in_turn(parts, plugins, reporter, device.rank)
        modality = parts.modality_class(parts.modality_config, pack.facts)
        game = build_game(parts, modality.fields)
        session = _Session(parts, plugins, reporter, pack, game, device)
        session.load(run)
        return session.lead(run) if device.rank == 0 else session.follow()


def _open_in_turn(parts: Parts, plugins: Plugins, reporter: Reporter, rank: int) -> Pack:
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

    def __init__(self, parts: Parts, plugins: Plugins, reporter: Reporter, pack: Pack, game: Game, device: Any) -> None:
        self.parts = parts
        self.plugins = plugins
        self.reporter = reporter
        self.pack = pack
        self.recipe = parts.recipe
        self.train_rows, self.real_rows = pack.split(self.recipe.data.holdout)
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
        self.device = device
        self.modality = parts.modality_class(parts.modality_config, pack.facts)
        self.model = Model(game.architecture, self.modality, parts.title, device.place)
        self.signals = StopSignals()
        self.metrics = self._metrics()
        self.last_terms: dict[str, float] = {}
        self._real: Samples | None = None

    def manifest_at_start(self, run: RunFolder) -> dict[str, Any]:
        """The record that `gan.provenance` keeps."""
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
            processes=self.device.processes,
        )

    def load(self, run: RunFolder) -> None:
        """Take over the newest good checkpoint, or start anew where a run was killed before its first one."""
        self.checkpoints = Checkpoints(run.checkpoints, self.recipe.training.keep_checkpoints)
        newest = self.checkpoints.newest()
        if newest is not None:
            newest.load(self.trainer.owners())
        if self.device.rank == 0:
            self.checkpoints.sweep()
            run.rewind_metrics(self.trainer.samples)

    def follow(self) -> Result:
        """The part of a process that is not the first: train, write nothing."""
        with self.signals.caught():
            self.trainer.run(lambda tick: None, self.signals)
        return Result(Path(), self.parts.title, self.trainer.samples, 0.0, {}, [], [])

    def lead(self, run: RunFolder) -> Result:
        """Train and write the run folder."""
        self.checkpoints = Checkpoints(run.checkpoints, self.recipe.training.keep_checkpoints)
        for folder in (run.previews, run.samples, run.evaluation):
            make_dirs(folder)
        self.reporter.started(run.path, self.parts.title, self.trainer.samples, self.trainer.total)
        untrained_file = run.evaluation / "untrained.json"
        if self.trainer.samples == 0 and not untrained_file.exists():
            write_json(untrained_file, [asdict(value) for value in self._measure()])
            self._preview(run)
        untrained = [MetricValue(**value) for value in json.loads(untrained_file.read_text())]
        done_before = self.trainer.finished
        reason = "failed"
        try:
            with self.signals.caught():
                if not done_before:
                    self.trainer.run(lambda tick: self._on_tick(run, tick), self.signals)
                    if self.signals.wanted is not None and not self.trainer.finished:
                        self._save(run)
                        reason = f"stopped by {self.signals.wanted.name}"
                        raise Stopped(f"stopped at {self.trainer.samples:,} samples; go on with: gan resume {run.path}")
                result = self._finish(run, untrained)
                reason = "finished"
                return result
        finally:
            self.checkpoints.wait()
            if not (done_before and reason == "finished"):
                write_json(run.manifest, provenance.manifest_end(run.manifest, reason, self.trainer.samples))

    def _on_tick(self, run: RunFolder, tick: Tick) -> None:
        training = self.recipe.training
        number = tick.samples // (training.tick or 1)
        if tick.terms:
            self.last_terms = tick.terms
        run.append_metrics(
            {
                "samples": tick.samples,
                "phase": tick.phase,
                "terms": tick.terms,
                "skipped": tick.skipped,
            }
        )
        self.reporter.tick(tick)
        if training.preview_ticks and (number % training.preview_ticks == 0 or tick.final):
            self._preview(run)
        if number % training.checkpoint_ticks == 0 or tick.final:
            self._save(run)

    def _save(self, run: RunFolder) -> None:
        path = self.checkpoints.save(self.trainer.samples, self.trainer.owners(), {"architecture": self.parts.title})
        self.reporter.saved(path, self.trainer.samples)

    def _preview(self, run: RunFolder) -> None:
        path = run.previews / f"samples-{self.trainer.samples:09d}.png"
        samples = self._generate(PREVIEW_SAMPLES, derive(self.recipe.seed, "preview"))
        _write_picture(self.modality.preview(samples), path)
        self.reporter.preview(path)

    def _generate(self, count: int, seed: int) -> Samples:
        """Samples as previews and metrics want them; what the architecture works on is taken from real samples."""
        options = getattr(self.model.architecture, "preview_options", None)
        fields = self.model.given_fields(options)
        real = self._real_samples(count) if fields else {}
        given = {name: real[name] for name in fields} or None
        with self.trainer.sampling():
            return self.model.generate(count, seed, options=options, given=given)

    def _real_samples(self, count: int) -> Samples:
        order = np.random.Generator(np.random.Philox(derive(self.recipe.seed, "evaluation")))
        chosen = order.permutation(len(self.real_rows))
        return self.real_rows.take(np.resize(chosen, count))

    def _metrics(self) -> dict[str, Metric]:
        names = self.recipe.evaluation.metrics
        wanted = list(self.parts.modality_class.metrics if names is None else names)
        return {name: self.plugins.load(self.plugins.find("gan_metrics", name))() for name in wanted}

    def _measure(self) -> list[MetricValue]:
        if not self.metrics:
            return []
        count = self.recipe.evaluation.samples
        pairs = bool(self.model.given_fields())
        real = self._real_samples(count if pairs else min(count, len(self.real_rows)))
        generated = self._generate(count, derive(self.recipe.seed, "evaluation"))
        return measure(self.metrics, generated, real, self.modality)

    def _finish(self, run: RunFolder, untrained: list[MetricValue]) -> Result:
        """Artefacts, metrics, pictures and the model card."""
        self.reporter.note("making samples and measuring them")
        result_file = run.evaluation / "result.json"
        if result_file.exists():  # a finished run that is resumed stays as it is
            return _result_from(json.loads(result_file.read_text()))
        if not self.checkpoints.all():
            raise CheckpointError(f"{run.checkpoints} holds no checkpoint of the finished training")
        count = self.recipe.evaluation.artefacts
        samples = self._generate(count, self.recipe.seed) if count else {}
        artefacts = self.model.write(samples, run.samples) if count else []
        pictures = [run.samples / "preview.png"]
        _write_picture(self.modality.preview(self._generate(PREVIEW_SAMPLES, self.recipe.seed)), pictures[0])
        pictures.append(plot_training(run.metrics, run.path / "training.png"))
        metrics = self._measure()
        result = Result(
            run.path,
            self.parts.title,
            self.trainer.samples,
            self.trainer.seconds,
            {name: value for name, value in self._last_losses(run).items() if "/_" not in name},
            metrics,
            untrained,
            artefacts,
            pictures,
            f"{len(self.pack):,} samples of {len(self.pack.files):,} files of {self.recipe.data.source}",
        )
        write_text(run.card, model_card(result, self.parts, self.pack))
        write_json(result_file, result.summary())
        return result

    def _last_losses(self, run: RunFolder) -> dict[str, float]:
        if not self.last_terms:
            records = run.read_metrics()
            return dict(records[-1]["terms"]) if records else {}
        return self.last_terms


def _result_from(summary: dict[str, Any]) -> Result:
    return Result(
        Path(summary["run"]),
        summary["architecture"],
        summary["samples"],
        summary["seconds"],
        summary["losses"],
        [MetricValue(**value) for value in summary["metrics"]],
        [MetricValue(**value) for value in summary["untrained"]],
        [Path(path) for path in summary["artefacts"]],
        [Path(path) for path in summary["pictures"]],
        summary["data"],
    )


def _write_picture(picture: Any, path: Path) -> None:
    content = io.BytesIO()
    picture.save(content, "PNG")
    write_bytes(path, content.getvalue())


def model_card(result: Result, parts: Parts, pack: Pack) -> str:
    """The run folder's README.md."""
    recipe = parts.recipe
    entry = parts.architecture.entry
    lines = [
        f"# {result.title}",
        "",
        f"Trained by `gan` with {parts.architecture.info.distribution} {parts.architecture.info.version}: "
        f"{entry.summary} ({entry.paper}).",
        "",
        f"* Data: {result.data} (sha256 {pack.fingerprint[:16]}…)"
        + (f"; {len(pack.skipped)} files were skipped, see manifest.json" if pack.skipped else ""),
        f"* Training: {result.samples:,} real samples shown, batch {recipe.training.batch}, seed {recipe.seed}, "
        f"{result.seconds:,.0f} s",
        f"* Loss: {recipe.loss.name}" + "".join(f", {penalty.name}" for penalty in recipe.penalties),
        "* Everything that it writes is made by a machine; the files say so where their format allows it.",
        "",
        "## Use",
        "",
        "```",
        f"gan generate {result.run} --count 16 --seed 0 --out samples",
        f"gan run --recipe {result.run}/recipe.yaml",
        "```",
    ]
    if result.metrics:
        before = {value.name: value.value for value in result.untrained}
        lines += ["", "## Metrics", "", "| metric | generated | real | untrained |", "|---|---|---|---|"]
        for value in result.metrics:
            real = "" if value.real is None else f"{value.real:.4g}"
            untrained = before.get(value.name)
            lines.append(
                f"| {value.name} | {value.value:.4g} | {real} | {'' if untrained is None else f'{untrained:.4g}'} |"
            )
    return "\n".join(lines) + "\n"


class StopSignals:
    """Turns SIGINT and SIGTERM into a wish that the trainer asks for after each iteration."""

    def __init__(self) -> None:
        self.wanted: signal.Signals | None = None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Within it the signals only set `wanted`; outside the main thread nothing is caught."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def remember(number: int, frame: FrameType | None) -> None:
            self.wanted = signal.Signals(number)

        before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether somebody asked to stop."""
        return self.wanted is not None
