"""Samples that a training writes: previews while it runs; artefacts, plots, the page and the model card at its end."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gan.build import ResolvedRecipe, data_licence
from gan.contracts import MetricValue, Samples
from gan.data.pack import Pack
from gan.draws import derive
from gan.errors import CheckpointError, GanError, PluginError
from gan.evaluation.receipts import RECEIPTS, write_receipts
from gan.evaluation.sample_sets import generate, real_samples
from gan.generation.flaws import count_empty, generated_fields, variety
from gan.generation.labelling import has_weights, labels_of
from gan.generation.model import Model
from gan.plugins.manager import PluginEntry, Plugins
from gan.provenance.record import record_of
from gan.reporting.films import film_of
from gan.reporting.page import write_page
from gan.reporting.plots import plot_training
from gan.reporting.reporter import Reporter
from gan.reporting.result import Result, read_result, references_of
from gan.runtime.device import out_of_memory
from gan.storage.checkpoint import Checkpoints
from gan.storage.durable import sync_tree, write_bytes, write_json, write_text
from gan.storage.run_folder import PREVIEW, REAL_PREVIEW, RunFolder
from gan.training.model_card import model_card
from gan.training.trainer import Trainer
from gan.training.validation import Evaluator
from gan.watch.report import health_of
from gan.watch.verdict import Evidence, Verdict, headline, judge

PREVIEW_SAMPLES = 16


@dataclass
class Outputs:
    """Generates samples with the averaged weights and writes them to the run folder."""

    resolved: ResolvedRecipe
    reporter: Reporter
    trainer: Trainer
    model: Model
    evaluator: Evaluator
    pack: Pack
    real_rows: Pack
    plugins: Plugins

    def preview(self, run: RunFolder) -> None:
        """Write a picture of some samples, named by the number of real samples shown so far."""
        path = run.previews / f"samples-{self.trainer.samples:09d}.png"
        write_bytes(path, self._preview(derive(self.resolved.recipe.seed, "preview")))
        self.reporter.preview(path)

    def real_preview(self, run: RunFolder) -> None:
        """Write a picture of some real samples, unless it is there, to be compared with the others."""
        path = run.previews / REAL_PREVIEW
        if path.exists():
            return
        content = io.BytesIO()
        with self._plugin_errors(self.resolved.modality, "preview"):
            picture: Any = self.model.modality.preview(real_samples(self.pack, PREVIEW_SAMPLES))
            picture.save(content, "PNG")
        write_bytes(path, content.getvalue())

    def finish(
        self, run: RunFolder, untrained: list[MetricValue], share: float, health: Sequence[Mapping[str, Any]]
    ) -> Result:
        """Write artefacts, metrics, plots, card and page; the result follows when everything else is on the disk.

        `share` is the part of the recipe's length that was trained, `health` what the watch says at the end.
        """
        self.reporter.note("generating samples and measuring them")
        if run.result.exists():  # the process was killed after the result and before the end of the manifest
            with contextlib.suppress(CheckpointError):
                return read_result(run)
        recipe, modality = self.resolved.recipe, self.model.modality
        count = recipe.evaluation.artefacts
        samples = self._generate(count, self.resolved.recipe.seed) if count else {}
        newest = Checkpoints(run.checkpoints).newest(has_weights)
        labels = self.model.labels = labels_of(self.resolved, self.plugins, run, newest)
        with self._plugin_errors(self.resolved.modality, "write"):
            artefacts = self.model.write(samples, run.samples, seed=recipe.seed) if count else []
        with labels.listing(run.samples) as listing:
            picture = self._preview(recipe.seed)
            write_bytes(run.samples / PREVIEW, picture)
            listing.add(run.samples / PREVIEW, picture, record_of(labels.origin, {}), metadata=labels.metadata)
        film = self._film(run)
        records = run.read_metrics()
        curves = plot_training(records, run.path / "training.png")
        receipts = self.evaluator.receipts(run)
        write_receipts(receipts, run.evaluation / RECEIPTS)
        values = [value for receipt in receipts for value in receipt.values]
        verdict = self._verdict(run, samples, values, untrained, share, health)
        terms: dict[str, float | None] = next((record["terms"] for record in reversed(records) if record["terms"]), {})
        result = Result(
            run.path,
            self.resolved.title,
            self.trainer.samples,
            self.trainer.seconds,
            {name: math.nan if value is None else value for name, value in terms.items() if "/_" not in name},
            values,
            untrained,
            artefacts,
            [run.samples / PREVIEW, curves, *film],
            f"{len(self.pack):,} samples of {len(self.pack.files):,} files of {recipe.data.source}",
            recipe.evaluation.published,
            references_of(run),
            asdict(verdict),
            self._more(run),
            headline(values, untrained, modality.headline, modality.trade_offs, self.evaluator.meanings(receipts)),
        )
        write_text(run.card, model_card(result, self.resolved, self.pack, data_licence(self.resolved, self.plugins)))
        sync_tree(run.samples)
        try:
            with self._plugin_errors(self.resolved.modality, "show"):
                write_page(run.path, modality, artefacts, result.summary(), health_of(run))
        except PluginError as error:  # the page shows only what lies in the folder anyway
            self.reporter.warn(f"no page was written: {error}")
        write_json(run.result, result.summary())
        return result

    def _film(self, run: RunFolder) -> list[Path]:
        """Write the film of the previews, which show the same samples while they are learned; none for fewer than
        two."""
        previews = sorted(run.previews.glob("samples-*.png"), key=lambda path: (len(path.name), path.name))
        content = film_of(previews)
        if content is None:
            return []
        write_bytes(run.film, self.model.labels.embedded(content, run.film.suffix, {}))
        return [run.film]

    def _more(self, run: RunFolder) -> str:
        """The command that makes more samples."""
        whole = self.model.modality.whole_input
        if self.model.input_fields() and whole:
            return f"gan generate {run.path} --{whole} FILE --out more"
        if self.model.input_fields():
            return f"gan translate {run.path} --input FILES --out more"
        return f"gan generate {run.path} --count 16 --seed 1 --out more"

    def _verdict(
        self,
        run: RunFolder,
        samples: Samples,
        values: Sequence[MetricValue],
        untrained: Sequence[MetricValue],
        share: float,
        health: Sequence[Mapping[str, Any]],
    ) -> Verdict:
        """What became of the training; `samples` are those that were written."""
        modality = self.model.modality
        made = generated_fields(modality, samples, self.model.given_fields())
        count = len(next(iter(samples.values()), ()))
        empty = 0
        try:
            with self._plugin_errors(self.resolved.modality, "is_empty"):
                empty = count_empty(modality, samples, made)
        except PluginError as error:  # a verdict must not cost a training
            self.reporter.warn(f"whether samples are empty is not known: {error}")
        real = real_samples(self.real_rows, count) if count > 1 and made else {}
        limit = None if self.trainer.finished else self.resolved.recipe.training.minutes
        return judge(
            Evidence(
                str(run.path),
                count if made else 0,
                empty,
                variety(samples, real, made) if real else None,
                health,
                share,
                self.trainer.seconds,
                limit,
                values,
                untrained,
                modality.trade_offs,
            )
        )

    def _generate(self, count: int, seed: int) -> Samples:
        """Samples with the averaged weights; inputs of the architecture are taken from real samples."""
        with self._plugin_errors(self.resolved.architecture, "generate"), self.trainer.sampling():
            return generate(self.model, self.real_rows, count, seed)

    def _preview(self, seed: int) -> bytes:
        """A PNG file of some samples, labelled."""
        samples = self._generate(PREVIEW_SAMPLES, seed)
        content = io.BytesIO()
        with self._plugin_errors(self.resolved.modality, "preview"):
            picture: Any = self.model.modality.preview(samples)
            picture.save(content, "PNG")
        return self.model.labels.embedded(content.getvalue(), ".png", {})

    @contextlib.contextmanager
    def _plugin_errors(self, plugin_entry: PluginEntry, what: str) -> Iterator[None]:
        """Report an exception of a plugin's code as `PluginError` with the plugin, its method and the samples shown."""
        try:
            yield
        except (GanError, OSError, MemoryError):
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            place = f"{plugin_entry.info.name}/{plugin_entry.entry.name}, {what} at {self.trainer.samples:,} samples"
            raise PluginError(plugin_entry.info.name, f"{place}: {type(error).__name__}: {error}") from error
