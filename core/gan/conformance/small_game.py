"""An architecture's recipe, made small, with a few samples of real data: what the checks of architectures run."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan.build import Game, ResolvedRecipe, build_game, recipe_values, resolve
from gan.conformance.kit import Failed, Kit, Skipped
from gan.conformance.modalities import check_sample, read_samples, read_subject, some_files, stacked
from gan.contracts import ConditionalOnInput, FieldSpec, Mark, Request, Samples
from gan.data.datasets import prepare_dataset
from gan.data.order import Order
from gan.draws import SeededDraws
from gan.errors import BadData, UsageError
from gan.recipe import with_settings
from gan.runtime.device import Device
from gan.training.trainer import Trainer

BATCH = 4
ITERATIONS = 4


class Rows:
    """Samples in memory, with the interface of a pack that the trainer needs; every field has as many samples."""

    def __init__(self, samples: Samples, fields: Mapping[str, FieldSpec]) -> None:
        self.samples = samples
        self.groups = list(dict.fromkeys(spec.group for spec in fields.values()))
        self.fields = fields

    def __len__(self) -> int:
        return len(next(iter(self.samples.values())))

    @property
    def sizes(self) -> list[int]:
        """Samples of each group of fields."""
        return [len(self)] * len(self.groups)

    def take(self, indices: np.ndarray[Any, Any]) -> Samples:
        """The samples at `indices`, ``(n,)`` or ``(n, groups)``."""
        columns = {
            group: indices if indices.ndim == 1 else indices[:, number] for number, group in enumerate(self.groups)
        }
        return {name: values[columns[self.fields[name].group]] for name, values in self.samples.items()}


@dataclass
class Played:
    """An architecture's recipe, made small, with a few samples of real data."""

    kit: Kit
    values: dict[str, Any]
    modality: Any
    rows: Rows

    def resolve(self, loss: str | None = None) -> ResolvedRecipe:
        """The recipe's objects, with another loss if one is named."""
        return resolve(self.values if loss is None else {**self.values, "loss": {"name": loss}}, self.kit.plugins)

    def game(self) -> Game:
        """A fresh architecture with its players and phases."""
        return build_game(self.resolve(), self.modality.fields)

    def trainer(self, resolved: ResolvedRecipe | None = None) -> Trainer:
        """A fresh trainer at its start."""
        resolved = resolved or self.resolve()
        game, recipe = build_game(resolved, self.modality.fields), resolved.recipe
        device, order = Device(torch.device("cpu"), torch.float32), Order(self.rows.sizes, recipe.seed)
        return Trainer(
            game.architecture,
            game.players,
            game.phases,
            self.rows,
            order,
            recipe.training,
            recipe.seed,
            device,
            resolved.augmentations,
            resolved.penalties,
        )


def play(kit: Kit, plugin_entry: Any) -> Played:
    """An architecture's recipe, made small, with samples of its data. Raises `Skipped` when it needs other data."""
    name = plugin_entry.entry.name
    small = [*plugin_entry.entry.small, *kit.settings.get("*", []), *kit.settings.get(name, [])]
    values = with_settings(recipe_values(kit.plugins, kit.plugin, name), small)
    training = values.get("training") or {}
    batch = training["batch"] if any(text.startswith("training.batch") for text in small) else BATCH
    training = {key: value for key, value in training.items() if key != "micro_batch"}
    training |= {"batch": batch, "device": "cpu", "precision": "fp32", "samples": batch, "minutes": None}
    values |= {"training": {**training, "preview_ticks": 0, "tick": batch}}
    values |= {"evaluation": {"metrics": [], "samples": 4, "artefacts": 2}}
    values.pop("phases", None)
    resolved = resolve(values, kit.plugins)
    source = _source(kit, resolved)
    try:
        modality, samples = _samples(resolved, source, batch)
    except (BadData, UsageError) as error:
        raise Skipped(f"its recipe needs other data than the default dataset: {error}") from None
    played = Played(kit, values, modality, Rows(samples, modality.fields))
    values["phases"] = {
        phase.name: {"samples": ITERATIONS * batch * max(turn.repeats for turn in phase.turns)}
        for phase in played.game().phases
    }
    values["data"] = {"source": str(source)}
    return played


def _source(kit: Kit, resolved: ResolvedRecipe) -> Path:
    """Some files of the recipe's dataset, or of the modality's default dataset if the recipe's needs a download."""
    name, plugin_entry = resolved.recipe.data.source, resolved.modality
    if name != plugin_entry.entry.dataset:
        chosen = kit.plugins.find("gan_datasets", str(name), prefer=kit.plugin)
        if chosen.entry.download in ("", "none"):
            whole = prepare_dataset(chosen, kit.plugins)
            return some_files(whole, resolved.modality_class.suffixes, kit.folder / f"data-{name}")
    subject = read_subject(kit, plugin_entry)
    if subject is None:
        raise Failed(f"the modality '{plugin_entry.entry.name}' could not be read")
    return subject.source


def _samples(resolved: ResolvedRecipe, source: Path, batch: int) -> tuple[Any, Samples]:
    """(modality, samples) read with the recipe's settings of the modality."""
    from gan.source import list_source

    modality_class, config = resolved.modality_class, resolved.modality_config
    files = list_source(source, modality_class.suffixes).files
    modality = modality_class(config, modality_class(config).survey(files))
    samples = read_samples(modality, files)
    for sample in samples:
        check_sample(sample, modality.fields)
    return modality, stacked(samples, modality.fields, max(2 * batch, len(samples)))


def given_input(architecture: Any, rows: Rows, first: int, count: int) -> dict[str, Tensor] | None:
    """The input of samples `first` … for an architecture that needs one with its current settings, else None."""
    if not isinstance(architecture, ConditionalOnInput) or not architecture.given_fields():
        return None
    taken = rows.take(np.arange(first, first + count) % len(rows))
    return {name: torch.from_numpy(np.ascontiguousarray(taken[name])) for name in architecture.given_fields()}


def generated(
    architecture: Any, rows: Rows, first: int, count: int, options: Any = None, mark: Mark | None = None
) -> dict[str, Tensor]:
    """Samples `first` … of seed 7, generated as the core does it."""
    rng = SeededDraws.of(7, first, count, torch.device("cpu"))
    request = Request(options, given_input(architecture, rows, first, count), mark=mark)
    with torch.no_grad():
        made: dict[str, Tensor] = architecture.generate(count, rng, request)
    return made


def equal(one: Any, other: Any) -> bool:
    """Whether two states are identical, bit by bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple, deque)):
        return type(one) is type(other) and len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def listed(names: list[str]) -> str:
    """The first five names of a list, in a sentence."""
    return ", ".join(f"`{name}`" for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
