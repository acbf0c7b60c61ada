"""From a recipe to objects: look up its names, check its settings, open its data, build its game."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gan import recipe as recipes
from gan.contracts import ConditionalOnInput, DatasetEntry, Loss, Penalty
from gan.data import Pack, open_pack
from gan.datasets import prepare_dataset
from gan.device import Device
from gan.errors import BadData, PluginError, UnknownName, UsageError, nearest
from gan.files import cache_folder
from gan.game import Optimizer, Phase, Player, phase_lengths
from gan.model import build
from gan.plugins import Owned, Plugins
from gan.recipe import Recipe, validated
from gan.report import Reporter
from gan.source import list_source


@dataclass
class Parts:
    """What a recipe's names stand for."""

    recipe: Recipe
    architecture: Owned
    architecture_class: Any
    modality: Owned
    modality_class: Any
    modality_config: Any
    model_config: Any
    loss: Loss
    penalties: dict[str, Penalty]
    distributions: dict[str, str]
    """Distribution -> version of every plugin that takes part."""

    @property
    def title(self) -> str:
        """For messages: ``"music/musegan"``."""
        return f"{self.architecture.info.name}/{self.architecture.entry.name}"


def recipe_values(plugins: Plugins, plugin: str, architecture: str | None = None, named: str | None = None) -> Any:
    """The values of a plugin's recipe: the one called `named`, else `architecture`'s first, else its default."""
    plugins.require(plugin)
    offered = plugins.entries("gan_recipes", plugin)
    if named is not None:
        chosen = plugins.find("gan_recipes", named, plugin)
    elif architecture is not None:
        plugins.find("gan_architectures", architecture, plugin)  # tells a wrong name with the nearest right one
        fitting = [owned for owned in offered if owned.entry.architecture == architecture]
        if not fitting:
            return {"plugin": plugin, "architecture": architecture}
        chosen = max(fitting, key=lambda owned: owned.entry.default)
    else:
        defaults = [owned for owned in offered if owned.entry.default]
        if not defaults:
            names = [owned.entry.name for owned in plugins.entries("gan_architectures", plugin)]
            known = f" (it has {', '.join(names)})" if names else ""
            raise UsageError(f"plugin '{plugin}' has no default recipe; name an --architecture{known}")
        chosen = defaults[0]
    where = f"recipe '{chosen.entry.name}' of {chosen.info.distribution}"
    values = recipes.parse_yaml(plugins.resource(chosen), where)
    if not isinstance(values, dict):
        raise PluginError(plugin, f"{where} is no mapping of keys to values")
    return values


def look_up(values: Mapping[str, Any], plugins: Plugins) -> Parts:
    """Type a recipe and find everything that it names. Raises `UsageError` for what is wrong in it."""
    recipe = validated(Recipe, values, "")
    plugins.require(recipe.plugin)
    architecture = plugins.find("gan_architectures", recipe.architecture, recipe.plugin)
    modality = plugins.find("gan_modalities", architecture.entry.modality, prefer=recipe.plugin)
    architecture_class = plugins.load(architecture)
    modality_class = plugins.load(modality)
    modality_config = validated(modality_class.Config, recipe.modality, "modality")
    model_config = validated(architecture_class.Config, recipe.model, "model")
    owners = [architecture, modality]
    found = plugins.find("gan_losses", recipe.loss.name, prefer=recipe.plugin)
    owners.append(found)
    loss = _constructed(plugins.load(found), recipe.loss.settings, f"loss '{recipe.loss.name}'")
    penalties: dict[str, Penalty] = {}
    for number, named in enumerate(recipe.penalties):
        found = plugins.find("gan_penalties", named.name, prefer=recipe.plugin)
        owners.append(found)
        if named.name in penalties:
            raise UsageError(f"penalties.{number}: '{named.name}' stands twice")
        penalties[named.name] = _constructed(plugins.load(found), named.settings, f"penalty '{named.name}'")
    recipe = recipe.model_copy(
        update={
            "modality": modality_config.model_dump(mode="json"),
            "model": model_config.model_dump(mode="json"),
            "data": recipe.data.model_copy(update={"source": recipe.data.source or modality.entry.dataset}),
        }
    )
    return Parts(
        recipe,
        architecture,
        architecture_class,
        modality,
        modality_class,
        modality_config,
        model_config,
        loss,
        penalties,
        {owned.info.distribution: owned.info.version for owned in owners},
    )


def _constructed(factory: Any, settings: Mapping[str, Any], what: str) -> Any:
    try:
        return factory(**settings)
    except TypeError as error:
        import inspect

        known = [name for name in inspect.signature(factory).parameters if name != "self"]
        wrong = [name for name in settings if name not in known]
        if wrong:
            close = nearest(wrong[0], known)
            hint = f"did you mean '{close}'?" if close else f"known: {', '.join(known) or 'none'}"
            raise UsageError(f"{what} has no setting '{wrong[0]}'; {hint}") from None
        raise UsageError(f"{what}: {error}") from None


def find_source(parts: Parts, plugins: Plugins, *, prepare: bool = True) -> Path:
    """The folder, file or archive that ``data.source`` stands for; a named data set is made or fetched now."""
    source = parts.recipe.data.source or ""
    path = Path(source).expanduser()
    if path.exists() or os.sep in source or source.startswith("."):
        return path
    try:
        owned = plugins.find("gan_datasets", source, prefer=parts.modality.info.name)
    except UnknownName as error:
        raise UsageError(f"data.source: no file or folder '{source}', and {error}") from None
    entry = owned.entry
    assert isinstance(entry, DatasetEntry)
    if entry.modality != parts.modality.entry.name:
        raise UsageError(f"data.source: '{source}' is {entry.modality} data, not {parts.modality.entry.name}")
    return prepare_dataset(owned, plugins) if prepare else cache_folder()


def open_data(parts: Parts, plugins: Plugins, reporter: Reporter) -> Pack:
    """The pack of the recipe's data."""
    source = find_source(parts, plugins)
    return open_pack(
        source, parts.modality_class, parts.modality_config, parts.modality.entry.name, progress=reporter.packing
    )


@dataclass
class Game:
    """An architecture with its players and phases, as the recipe changes them."""

    architecture: Any
    players: dict[str, Player]
    phases: list[Phase]


def build_game(parts: Parts, fields: Mapping[str, Any], total: int | None = None) -> Game:
    """The networks with their first weights, the optimisers and the phases of the recipe.

    `total` shortens or lengthens the whole training to so many real samples, each phase in its share. Completes
    ``parts.recipe`` with every optimiser setting and the length of every phase that ``training.samples`` does not give.
    """
    recipe = parts.recipe
    architecture = build(parts.architecture_class, parts.model_config, fields, recipe.seed, parts.title)
    taken = architecture.given_fields() if isinstance(architecture, ConditionalOnInput) else ()
    for name, spec in fields.items():
        if spec.condition and name not in taken:
            setting = parts.modality_class.conditions.get(name, "it")
            raise UsageError(
                f"{parts.title} takes no condition '{name}'; leave {setting} out, or take another architecture"
            )
    players = dict(architecture.players())
    unknown = [name for name in recipe.optimizers if name not in players]
    if unknown:
        close = nearest(unknown[0], players)
        hint = f"; did you mean '{close}'?" if close else ""
        raise UsageError(f"optimizers.{unknown[0]}: {parts.title} has the players {', '.join(players)}{hint}")
    for name, player in players.items():
        changes = recipe.optimizers.get(name, {})
        players[name] = dataclasses.replace(player, optimizer=_optimizer(player.optimizer, changes, name))
    phases = list(architecture.phases(parts.loss, parts.penalties))
    names = [phase.name for phase in phases]
    for name in recipe.phases:
        if name not in names:
            raise UnknownName("phase", name, names)
    phases = [_as_recipe_says(phase, recipe.phases.get(phase.name)) for phase in phases]
    lengths = phase_lengths(phases, recipe.training.samples)
    if total is not None:
        lengths = [max(1, round(length * total / sum(lengths))) for length in lengths]
    open_length = next((n for p, n in zip(phases, lengths, strict=True) if p.samples is None), recipe.training.samples)
    phases = [
        phase if phase.samples is None else dataclasses.replace(phase, samples=length)
        for phase, length in zip(phases, lengths, strict=True)
    ]
    tick = recipe.training.tick or max(recipe.training.batch, sum(lengths) // 50)
    parts.recipe = recipe.model_copy(
        update={
            "optimizers": {n: _plain(dataclasses.asdict(player.optimizer)) for n, player in players.items()},
            "phases": {
                p.name: recipes.PhaseLength(samples=p.samples, batch=p.batch)
                for p in phases
                if p.samples is not None or p.batch is not None
            },
            "training": recipe.training.model_copy(update={"tick": tick, "samples": open_length}),
        }
    )
    return Game(architecture, players, phases)


def _as_recipe_says(phase: Phase, settings: recipes.PhaseLength | None) -> Phase:
    if settings is None:
        return phase
    return dataclasses.replace(phase, samples=settings.samples or phase.samples, batch=settings.batch or phase.batch)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _optimizer(settings: Optimizer, changes: Mapping[str, Any], player: str) -> Optimizer:
    from pydantic import TypeAdapter, ValidationError

    values = {**dataclasses.asdict(settings), **changes}
    known = [f.name for f in dataclasses.fields(Optimizer)]
    for key in changes:
        if key not in known:
            close = nearest(key, known)
            hint = f"did you mean '{close}'?" if close else f"known: {', '.join(known)}"
            raise UsageError(f"unknown key 'optimizers.{player}.{key}'; {hint}")
    try:
        return TypeAdapter(Optimizer).validate_python(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, ("optimizers", player, *problem["loc"])))
        raise UsageError(f"'{where}' cannot be {problem['input']!r}: {problem['msg'].lower()}") from None


def fields_without_data(parts: Parts, plugins: Plugins) -> dict[str, Any]:
    """The fields for a dry run: without reading the data where the modality can tell, else after a survey of it."""
    try:
        return dict(parts.modality_class(parts.modality_config).fields)
    except LookupError:
        listing = list_source(find_source(parts, plugins), parts.modality_class.suffixes)
        if not listing.files:
            raise BadData("no file with a known ending", listing.root) from None
        facts = parts.modality_class(parts.modality_config).survey(listing.files)
        return dict(parts.modality_class(parts.modality_config, facts).fields)


@dataclass
class DryRun:
    """What a training would be."""

    recipe: Recipe
    parameters: dict[str, int]
    """By player."""
    fields: dict[str, Any]
    memory: dict[str, int]
    """Bytes: weights, gradients, optimisers, averages, activations (measured on a batch of two)."""


def dry_run(values: Mapping[str, Any], plugins: Plugins, *, total: int | None = None) -> DryRun:
    """Resolve a recipe, build its networks, estimate its memory; nothing is written and no data is read."""
    from gan.memory import estimate

    parts = look_up(values, plugins)
    find_source(parts, plugins, prepare=False)
    fields = fields_without_data(parts, plugins)
    game = build_game(parts, fields, total)
    device = Device(torch.device("cpu"), torch.float32)
    counts = {n: sum(p.numel() for _, p in pl.named_parameters()) for n, pl in game.players.items()}
    memory = estimate(game.architecture, game.players, game.phases, fields, parts.recipe.training, device)
    return DryRun(parts.recipe, counts, fields, memory)
