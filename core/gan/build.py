"""Build a training from a recipe: resolve its names, check its settings, open its dataset, construct the networks.

The file is long because everything that a recipe names is resolved here, section by section.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gan import recipe as recipes
from gan.contracts import Augmentation, ConditionalOnInput, FieldSpec, Loss, Penalty, kind
from gan.data.datasets import dataset_folder, prepare_dataset
from gan.data.pack import Pack
from gan.data.packing import open_pack
from gan.draws import derive
from gan.errors import GanError, PluginError, UnknownName, UsageError, nearest
from gan.game import Optimizer, Phase, Player, phase_lengths
from gan.parts.freezing import freeze
from gan.plugins.manager import PluginEntry, Plugins
from gan.recipe import Recipe, validated
from gan.reporting.reporter import Reporter
from gan.runtime.device import out_of_memory, seed_everything
from gan.runtime.memory import BoundedConstruction, available_memory, in_words
from gan.storage.durable import cache_folder

MAX_WEIGHT = 1e9
MAX_EVERY = 10**6
"""Largest weight and interval of a penalty."""


@dataclass
class ResolvedRecipe:
    """A checked recipe with the classes and settings that its names stand for."""

    recipe: Recipe
    architecture: PluginEntry
    architecture_class: Any
    modality: PluginEntry
    modality_class: Any
    modality_config: Any
    model_config: Any
    loss: Loss
    penalties: dict[str, Penalty]
    augmentations: dict[str, Augmentation]
    distributions: dict[str, str]
    """Distribution -> version of every plugin that is used."""

    @property
    def title(self) -> str:
        """Plugin and architecture, for messages: ``"music/musegan"``."""
        return f"{self.architecture.info.name}/{self.architecture.entry.name}"


def recipe_values(plugins: Plugins, plugin: str, architecture: str | None = None, named: str | None = None) -> Any:
    """Return the values of a plugin's recipe: the one called `named`, one for `architecture`, or its default."""
    plugins.require(plugin)
    offered = plugins.entries("gan_recipes", plugin)
    if named is not None:
        chosen = plugins.find("gan_recipes", named, plugin)
    elif architecture is not None:
        find_architecture(plugins, architecture, plugin)  # raises for an unknown name
        fitting = [plugin_entry for plugin_entry in offered if plugin_entry.entry.architecture == architecture]
        if not fitting:
            return {"plugin": plugin, "architecture": architecture}
        chosen = max(fitting, key=lambda plugin_entry: plugin_entry.entry.default)
    else:
        defaults = [plugin_entry for plugin_entry in offered if plugin_entry.entry.default]
        if not defaults:
            names = [plugin_entry.entry.name for plugin_entry in plugins.entries("gan_architectures", plugin)]
            known = f" (it has {', '.join(names)})" if names else ""
            raise UsageError(f"plugin '{plugin}' has no default recipe; name an --architecture{known}")
        chosen = defaults[0]
    where = f"recipe '{chosen.entry.name}' of {chosen.info.distribution}"
    values = recipes.parse_yaml(plugins.resource(chosen), where)
    if not isinstance(values, dict):
        raise PluginError(plugin, f"{where} is not a mapping of keys to values")
    return values


def find_architecture(plugins: Plugins, name: str, plugin: str) -> PluginEntry:
    """The architecture `name` of `plugin`, or one of any plugin that is for any data. Raises `UnknownName`."""
    try:
        return plugins.find("gan_architectures", name, plugin)
    except UnknownName:
        for found in plugins.entries("gan_architectures"):
            if found.entry.name == name and found.entry.modality is None:
                return found
        raise


def _modality_for(plugins: Plugins, entry: Any, plugin: str) -> PluginEntry:
    """The kind of data that an architecture is trained on by a recipe of `plugin`."""
    if entry.modality is not None:
        return plugins.find("gan_modalities", entry.modality, prefer=plugin)
    offered = plugins.entries("gan_modalities", plugin)
    if len(offered) != 1:
        kinds = ", ".join(found.entry.name for found in offered) or "none"
        raise UsageError(
            f"the architecture '{entry.name}' is trained on the data of the recipe's plugin, which must offer one kind "
            f"of data; '{plugin}' offers: {kinds}"
        )
    return plugins.find("gan_modalities", offered[0].entry.name, plugin)


def resolve(values: Mapping[str, Any], plugins: Plugins) -> ResolvedRecipe:
    """Check the values of a recipe and find everything that it names. Raises `UsageError` for what is wrong in it."""
    _refuse_misplaced(values, plugins)
    recipe = validated(Recipe, values, "")
    for player, settings in recipe.optimizers.items():
        _optimizer(Optimizer(), settings, player)  # before the data is packed; the players are known only after it
    plugins.require(recipe.plugin)
    architecture = find_architecture(plugins, recipe.architecture, recipe.plugin)
    modality = _modality_for(plugins, architecture.entry, recipe.plugin)
    architecture_class = plugins.load(architecture)
    modality_class = plugins.load(modality)
    for plugin_entry, target in ((modality, modality_class), (architecture, architecture_class)):
        if not hasattr(target, "Config"):
            raise PluginError(plugin_entry.info.name, f"{plugin_entry} has no Config, a pydantic model of its settings")
    modality_config = validated(modality_class.Config, recipe.modality, "modality")
    model_config = validated(architecture_class.Config, recipe.model, "model")
    owners = [architecture, modality]

    def made(hook: str, named: recipes.Named, where: str) -> Any:
        """The loss, penalty or augmentation of a name, with those that its settings name (`NESTED`)."""
        found = plugins.find(hook, named.name, prefer=recipe.plugin)
        owners.append(found)
        if hook == "gan_augmentations":
            _check_augmentation(found.entry, modality.entry.name, modality_class, modality_config, where)
        inner = {
            key: made(NESTED[key], validated(recipes.Named, _by_name(value), f"{where}.{key}"), f"{where}.{key}")
            for key, value in named.settings.items()
            if key in NESTED and value is not None
        }
        settings = {key: value for key, value in named.settings.items() if key not in inner}
        return _constructed(plugins.load(found), settings, f"{kind(hook)} '{named.name}'", where, inner)

    if recipe.codes is not None:
        from gan.parts.codes import with_codes

        changes, fields = None, ()
        if (named := recipe.codes.augmentation) is not None:
            changes = made("gan_augmentations", named, "codes.augmentation")
            fields = owners[-1].entry.fields
        architecture_class = with_codes(architecture_class, recipe.codes, architecture.entry.name, changes, fields)
    loss = made("gan_losses", recipe.loss, "loss")
    penalties: dict[str, Penalty] = {}
    augmentations: dict[str, Augmentation] = {}
    for section, hook, names, into in (
        ("penalties", "gan_penalties", recipe.penalties, penalties),
        ("augmentations", "gan_augmentations", recipe.augmentations, augmentations),
    ):
        for number, named in enumerate(names):
            if named.name in into:
                raise UsageError(f"{section}.{number}: '{named.name}' is named twice")
            into[named.name] = made(hook, named, f"{section}.{number}")
    recipe = recipe.model_copy(
        update={
            "modality": modality_config.model_dump(mode="json"),
            "model": model_config.model_dump(mode="json"),
            "data": recipe.data.model_copy(update={"source": recipe.data.source or modality.entry.dataset}),
        }
    )
    versions = {owner.info.distribution: owner.info.version for owner in owners}
    classes = (architecture, architecture_class, modality, modality_class)
    return ResolvedRecipe(recipe, *classes, modality_config, model_config, loss, penalties, augmentations, versions)


def _refuse_misplaced(values: Mapping[str, Any], plugins: Plugins) -> None:
    """Raise `UsageError` for a key at the top of a recipe that belongs into one of its sections: ``latent=64``."""
    unknown = [key for key in values if key not in Recipe.model_fields]
    if not unknown:
        return
    sections: dict[str, Any] = {
        name: field.annotation
        for name, field in Recipe.model_fields.items()
        if hasattr(field.annotation, "model_fields")
    }
    plugin, name = values.get("plugin"), values.get("architecture")
    if isinstance(plugin, str) and isinstance(name, str):
        plugins.require(plugin)
        architecture = find_architecture(plugins, name, plugin)
        sections["model"] = getattr(plugins.load(architecture), "Config", None)
        modality = _modality_for(plugins, architecture.entry, plugin)
        sections["modality"] = getattr(plugins.load(modality), "Config", None)
    for key in unknown:
        found = [f"{section}.{key}" for section, model in sections.items() if key in getattr(model, "model_fields", ())]
        if found:
            wanted = "' or '".join(found)
            raise UsageError(f"unknown key '{key}'; did you mean '{wanted}'?")


def _check_augmentation(entry: Any, modality: str, modality_class: Any, config: Any, where: str) -> None:
    if entry.modality != modality:
        raise UsageError(f"{where}: '{entry.name}' is for {entry.modality} data, not {modality}")
    try:
        fields = modality_class(config).fields
    except LookupError:  # fields that depend on the data; its kind fits
        return
    if not set(entry.fields) & set(fields):
        raise UsageError(
            f"{where}: '{entry.name}' is for {' or '.join(entry.fields)}, and these data have {', '.join(fields)}"
        )


NESTED = {"loss": "gan_losses", "augmentation": "gan_augmentations"}
"""Settings of losses, penalties and augmentations that name another entry -> its hook."""


def _by_name(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {"name": value}


def _constructed(
    factory: Any, settings: Mapping[str, Any], what: str, where: str = "", inner: Mapping[str, Any] | None = None
) -> Any:
    """A loss, a penalty or an augmentation with its settings, which must fit the annotations of its constructor;
    `inner` are objects that are settings as well."""
    settings = {name: recipes.scheduled(value, f"{where}.{name}") for name, value in settings.items()}
    try:
        signature = inspect.signature(factory, eval_str=True)
    except (TypeError, ValueError, NameError):
        signature = inspect.signature(lambda **settings: None)
    known = {name: parameter for name, parameter in signature.parameters.items() if name != "self"}
    values: dict[str, Any] = dict(inner or {})
    for name in values:
        if name not in known:
            raise UsageError(f"{what} has no setting '{name}'; {_hint(name, known)}")
    for name, value in settings.items():
        if name in known:
            values[name] = _fitting(known[name].annotation, value, f"{what}: {name}")
        elif any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
            values[name] = value
            recipes.check_numbers(value, f"{what}: {name}")
        else:
            raise UsageError(f"{what} has no setting '{name}'; {_hint(name, known)}")
    try:
        made = factory(**values)
    except GanError:
        raise
    except Exception as error:
        raise UsageError(f"{what}: {error}") from error
    weight, every = getattr(made, "weight", 0.0), getattr(made, "every", 1)
    if not all(0 <= end <= MAX_WEIGHT for end in recipes.ends(weight)):
        raise UsageError(f"{what}: weight cannot be {recipes.shown(weight)}: it goes from 0 to {MAX_WEIGHT:g}")
    if not 1 <= every <= MAX_EVERY:
        raise UsageError(f"{what}: every cannot be {recipes.shown(every)}: it goes from 1 to {MAX_EVERY:,}")
    return made


def _fitting(annotation: Any, value: Any, what: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    if annotation is inspect.Parameter.empty or isinstance(value, recipes.Schedule):
        annotation = Any
    try:
        found = TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"]
        raise UsageError(f"{what} cannot be {recipes.shown(value)}: {message[0].lower()}{message[1:]}") from None
    recipes.check_numbers(found, what)
    return found


def _hint(name: str, known: Iterable[str]) -> str:
    close = nearest(name, known)
    return f"did you mean '{close}'?" if close else f"known: {', '.join(known) or 'none'}"


def find_source(resolved: ResolvedRecipe, plugins: Plugins, *, prepare: bool = True) -> Path:
    """The folder, file or archive that ``data.source`` stands for; a named dataset is made or downloaded."""
    source = resolved.recipe.data.source or ""
    path = Path(os.path.expanduser(source))
    if os.path.exists(path) or os.sep in source or source.startswith("."):
        return path
    modality = resolved.modality
    return find_dataset(source, modality.entry.name, plugins, "data.source", prefer=modality.info.name, prepare=prepare)


def data_at_hand(resolved: ResolvedRecipe, plugins: Plugins) -> bool:
    """Whether ``data.source`` is a path, or a named dataset that has been made or downloaded already."""
    source = resolved.recipe.data.source or ""
    try:
        found = plugins.find("gan_datasets", source, prefer=resolved.modality.info.name)
    except UnknownName:
        return True
    return os.path.exists(os.path.expanduser(source)) or (dataset_folder(found) / "dataset.json").is_file()


def find_dataset(
    name: str, modality: str, plugins: Plugins, setting: str, *, prefer: str | None = None, prepare: bool = True
) -> Path:
    """The folder of the dataset that a setting names; without `prepare`, only the name is checked.

    Raises `UsageError` for an unknown name and for data of another modality.
    """
    try:
        plugin_entry = plugins.find("gan_datasets", name, prefer=prefer)
    except UnknownName as error:
        raise UsageError(f"{setting}: no file or folder '{name}', and {error}") from None
    if plugin_entry.entry.modality != modality:
        raise UsageError(f"{setting}: '{name}' is {plugin_entry.entry.modality} data, not {modality}")
    return prepare_dataset(plugin_entry, plugins) if prepare else cache_folder()


def data_licence(resolved: ResolvedRecipe, plugins: Plugins) -> str:
    """The licence of the training data: ``data.licence``, else that of the named dataset, else ``""``."""
    stated, source = resolved.recipe.data.licence, resolved.recipe.data.source or ""
    if stated or os.path.exists(os.path.expanduser(source)):
        return stated
    try:
        found = plugins.find("gan_datasets", source, prefer=resolved.modality.info.name)
    except UnknownName:  # a folder that is gone since
        return ""
    return str(found.entry.licence)


def open_data(resolved: ResolvedRecipe, plugins: Plugins, reporter: Reporter) -> Pack:
    """Open the pack of the recipe's dataset. A folder that has the name of a dataset is used, and that is said."""
    source, name = find_source(resolved, plugins), resolved.recipe.data.source or ""
    datasets = {found.entry.name for found in plugins.entries("gan_datasets", resolved.modality.info.name)}
    if name in datasets and os.path.exists(name):
        reporter.warn(f"the data are ./{name} here, not the dataset '{name}'; for the dataset, rename or move ./{name}")
    return open_pack(
        source,
        resolved.modality_class,
        resolved.modality_config,
        resolved.modality.entry.name,
        progress=reporter.packing,
    )


def build_architecture(
    architecture_class: Any, config: Any, fields: Mapping[str, FieldSpec], seed: int, who: str
) -> Any:
    """Construct an architecture on the CPU, with initial weights from `seed` that are the same for every device."""
    with torch.random.fork_rng(devices=[]):
        seed_everything(derive(seed, "weights"))
        refusal = architecture_class.accepts(fields) if hasattr(architecture_class, "accepts") else ""
        if refusal:
            raise UsageError(f"{who} cannot be trained on these data: {refusal}")
        try:
            with BoundedConstruction(who):
                architecture = architecture_class(config, dict(fields))
        except (GanError, MemoryError):
            raise
        except Exception as error:  # settings that fit alone and not together, or a mistake of the plugin
            if out_of_memory(error):
                raise
            raise UsageError(f"{who} cannot be built with these settings: {type(error).__name__}: {error}") from error
    missing = [name for name in ("Config", "players", "phases", "generate") if not hasattr(architecture, name)]
    if missing:
        raise GanError(f"{who} has no {', '.join(missing)} (see gan.contracts.Architecture)")
    if not isinstance(architecture, torch.nn.Module):
        raise GanError(f"{who} is not a torch.nn.Module")
    return architecture


@dataclass
class Game:
    """An architecture with its players and phases, after the changes of the recipe."""

    architecture: Any
    players: dict[str, Player]
    phases: list[Phase]
    length: int = 0
    """Real samples in all phases, as the recipe has it."""
    frozen: Sequence[str] = ()
    """Names of the discriminator's frozen layers."""


def build_game(resolved: ResolvedRecipe, fields: Mapping[str, Any], total: int | None = None) -> Game:
    """Build the networks with their initial weights, and the optimizer settings and phases of the recipe.

    `total` changes the length of the training to that many real samples and scales each phase. Also completes
    ``resolved.recipe`` with all optimizer settings and the lengths of the phases that do not follow
    ``training.samples``.
    """
    recipe = resolved.recipe
    architecture = build_architecture(
        resolved.architecture_class, resolved.model_config, fields, recipe.seed, resolved.title
    )
    accepted = architecture.given_fields() if isinstance(architecture, ConditionalOnInput) else ()
    for name, spec in fields.items():
        if spec.condition and name not in accepted:
            setting = resolved.modality_class.conditions.get(name, "it")
            raise UsageError(
                f"{resolved.title} takes no condition '{name}'; leave {setting} out, or use another architecture"
            )
    players = dict(architecture.players())
    frozen = freeze(players, recipe.start)
    _check_memory(players, resolved.title)
    unknown = [name for name in recipe.optimizers if name not in players]
    if unknown:
        raise UsageError(f"optimizers.{unknown[0]}: {resolved.title} has no such player; {_hint(unknown[0], players)}")
    for name, player in players.items():
        changes = recipe.optimizers.get(name, {})
        players[name] = dataclasses.replace(player, optimizer=_optimizer(player.optimizer, changes, name))
    phases = list(architecture.phases(resolved.loss, resolved.penalties))
    names = [phase.name for phase in phases]
    for name in recipe.phases:
        if name not in names:
            raise UnknownName("phase", name, names)
    phases = [_with_length(phase, recipe.phases.get(phase.name)) for phase in phases]
    lengths = phase_lengths(phases, recipe.training.samples)
    length = sum(lengths)
    if total is not None:
        lengths = [max(1, round(length * total / sum(lengths))) for length in lengths]
    open_length = next((n for p, n in zip(phases, lengths, strict=True) if p.samples is None), recipe.training.samples)
    phases = [
        phase if phase.samples is None else dataclasses.replace(phase, samples=length)
        for phase, length in zip(phases, lengths, strict=True)
    ]
    tick = recipe.training.tick or max(recipe.training.batch, sum(lengths) // 50)
    resolved.recipe = recipe.model_copy(
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
    return Game(architecture, players, phases, length, frozen)


def _check_memory(players: Mapping[str, Player], who: str) -> None:
    """Refuse networks whose gradients and optimizers would not fit into the memory either."""
    sizes = [p.numel() * p.element_size() for player in players.values() for _, p in player.named_parameters()]
    needed = 3 * sum(sizes)  # the gradient and the two moments of Adam
    if needed > 1 << 30 and needed > (free := available_memory()):
        raise UsageError(
            f"{who} has {sum(sizes) // 4:,} parameters, whose training needs {in_words(needed)} more, and "
            f"{in_words(free)} of memory are free; lower the settings of the model"
        )


def _with_length(phase: Phase, settings: recipes.PhaseLength | None) -> Phase:
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
            raise UsageError(f"unknown key 'optimizers.{player}.{key}'; {_hint(key, known)}")
    try:
        found = TypeAdapter(Optimizer).validate_python(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        places = [place for place in problem["loc"] if place not in ("number", "schedule")]
        where = ".".join(map(str, ("optimizers", player, *places)))
        message = problem["msg"].removeprefix("Value error, ").lower()
        if not places:
            raise UsageError(f"{where}: {message}") from None
        raise UsageError(f"'{where}' cannot be {recipes.shown(problem['input'])}: {message}") from None
    numbers = {name: getattr(found, name) for name in known if name != "warmup_samples"}  # which has its own bound
    recipes.check_numbers(numbers, f"optimizers.{player}")  # also of texts such as 1e-99
    return found
