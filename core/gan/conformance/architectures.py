"""Checks of architectures: sizes, determinism, training with every loss, exact resume, saving and loading."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan.build import Game, ResolvedRecipe, build_game, recipe_values, resolve
from gan.conformance.kit import Failed, Kit, Noted, Scene, Skipped
from gan.conformance.modalities import check_sample, read_samples, read_subject, some_files, stacked
from gan.contracts import ConditionalOnInput, FieldSpec, GivenInPart, LatentSpace, Request, Samples, Settles
from gan.data.datasets import prepare_dataset
from gan.data.order import Order
from gan.draws import Draws, SeededDraws
from gan.errors import BadData, UsageError
from gan.game import Batch, Phase, Turn
from gan.generation.model import check_samples
from gan.generation.settling import settle
from gan.plugins.discovery import BUILTIN
from gan.recipe import with_settings
from gan.reporting.reporter import Reporter, Tick
from gan.runtime.device import Device, seed_everything
from gan.storage.checkpoint import Checkpoints
from gan.training.trainer import Trainer

BATCH = 4
ITERATIONS = 4
TOLERANCE = 1e-3
"""Share of a field's range by which a sample may differ with the batch size, as sums are ordered differently."""


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
        )


def check_architectures(kit: Kit) -> None:
    """Check every architecture that the plugin offers."""
    for plugin_entry in kit.offered("gan_architectures"):
        about = f"architecture {plugin_entry.entry.name}"
        played: Played | None = None
        with kit.check("builds", about):
            played = play(kit, plugin_entry)
            _check_game(played)
        if played is None:
            continue
        with kit.check("parameters", about):
            _check_parameters(kit, plugin_entry)
        with kit.check("generates", about):
            _check_generation(played)
            kit.scenes.append(_scene(played, plugin_entry))
        with kit.check("latent space", about):
            _check_latents(played)
        with kit.check("settles", about):
            _check_settling(played)
        with kit.check("trains with every loss", about):
            _check_losses(played)
        with kit.check("learned state", about):
            _check_learned_state(played)
        with kit.check("resumes exactly", about):
            _check_resume(played)
        with kit.check("saves and loads", about):
            _check_save_and_load(played)


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


def _check_game(played: Played) -> None:
    game = played.game()
    trained: dict[int, str] = {}
    for name, player in game.players.items():
        parameters = player.named_parameters()
        if not parameters:
            raise Failed(f"the player '{name}' has no parameters")
        for _, parameter in parameters:
            if id(parameter) in trained:
                raise Failed(f"the players '{trained[id(parameter)]}' and '{name}' share a parameter")
            trained[id(parameter)] = name
    if not set(trained) <= {id(parameter) for parameter in game.architecture.parameters()}:
        raise Failed("a player has parameters that are not the architecture's, so no checkpoint would hold them")
    if not game.phases:
        raise Failed("it has no phases")
    for phase in game.phases:
        unknown = {turn.player for turn in phase.turns} - set(game.players)
        if unknown or not phase.turns:
            raise Failed(f"the phase '{phase.name}' has turns of {sorted(unknown) or 'nobody'}")
    if not _equal(game.architecture.state_dict(), played.game().architecture.state_dict()):
        raise Failed("built twice from one seed it has other weights; draw them from torch's generator only")


def _check_parameters(kit: Kit, plugin_entry: Any) -> None:
    """The entry's numbers of parameters are those of the recipe with its default settings."""
    from gan.training.dry_run import dry_run

    declared = dict(plugin_entry.entry.parameters)
    if not declared:
        raise Skipped("its entry gives no numbers of parameters")
    found = dry_run(recipe_values(kit.plugins, kit.plugin, plugin_entry.entry.name), kit.plugins).parameters
    if found != declared:
        raise Failed(f"its entry says {declared}, its recipe builds {found}")


def _given(architecture: Any, rows: Rows, first: int, count: int) -> dict[str, Tensor] | None:
    """The input of samples `first` … for an architecture that needs one with its current settings, else None."""
    if not isinstance(architecture, ConditionalOnInput) or not architecture.given_fields():
        return None
    taken = rows.take(np.arange(first, first + count) % len(rows))
    return {name: torch.from_numpy(np.ascontiguousarray(taken[name])) for name in architecture.given_fields()}


def _generate(architecture: Any, rows: Rows, first: int, count: int, options: Any = None) -> dict[str, Tensor]:
    """Samples `first` … of seed 7, generated as the core does it."""
    rng = SeededDraws.of(7, first, count, torch.device("cpu"))
    with torch.no_grad():
        made: dict[str, Tensor] = architecture.generate(
            count, rng, Request(options, _given(architecture, rows, first, count))
        )
    return made


def _check_generation(played: Played) -> None:
    architecture, rows = played.game().architecture.eval(), played.rows
    fields: dict[str, FieldSpec] = played.modality.fields
    torch.manual_seed(1)
    many = _generate(architecture, rows, 0, 5)
    check_samples(many, fields, 5, "generate")
    made = {name: spec for name, spec in fields.items() if not spec.condition}
    for name, spec in made.items():
        if reason := spec.outside(many[name].numpy()):
            raise Failed(f"'{name}' {reason}")
    given = _given(architecture, rows, 0, 5)
    if given is not None and isinstance(architecture, GivenInPart):
        for name, places in architecture.given_places().items():
            if not torch.equal(many[name][:, list(places)], given[name][:, list(places)]):
                raise Failed(f"the places {list(places)} of '{name}' are not as they were given")
    torch.manual_seed(2)
    if not _equal(many, _generate(architecture, rows, 0, 5)):
        raise Failed("the same seed gives other samples: draw from `rng`, not from torch's own generator")
    one = _generate(architecture, rows, 3, 1)
    for name, spec in made.items():
        difference = (many[name][3:4].double() - one[name].double()).abs()
        if spec.dtype == "float32":
            differs = bool(difference.max() > TOLERANCE * (spec.high - spec.low))
        else:
            differs = bool((difference > 0).double().mean() > 0.01)
        if differs:
            raise Failed(f"'{name}' of a sample depends on how many are generated together")
    options = getattr(architecture, "Options", None)
    if options is not None:
        check_samples(_generate(architecture, rows, 0, 2, options()), fields, 2, "generate with default options")
    architecture.train()
    _generate(architecture.eval(), rows, 0, 2)


def _scene(played: Played, plugin_entry: Any) -> Scene:
    """Samples as previews and metrics get them, and the real ones that they were made from or are compared with."""
    architecture = played.game().architecture.eval()
    chosen = getattr(architecture, "preview_options", {})
    options = architecture.Options(**chosen) if chosen else None
    count = min(8, len(played.rows))
    made = _generate(architecture, played.rows, 0, count, options)
    generated = {name: values.numpy() for name, values in made.items()}
    return Scene(plugin_entry.entry.modality, played.modality, played.rows.take(np.arange(count)), generated)


def _check_latents(played: Played) -> None:
    architecture = played.game().architecture.eval()
    if not isinstance(architecture, LatentSpace):
        raise Skipped("it has no `latents` and `decode`")
    with torch.no_grad():
        rng = SeededDraws.of(7, 0, 3, torch.device("cpu"))
        request = Request(None, _given(architecture, played.rows, 0, 3))
        decoded = architecture.decode(architecture.latents(3, rng), request)
    if not _equal(decoded, _generate(architecture, played.rows, 0, 3)):
        raise Failed("`decode(latents(count, rng), request)` is not what `generate` gives")


def _check_settling(played: Played) -> None:
    """`settle` runs BatchNorm layers, changes nothing else and draws from `rng` only."""
    if not isinstance(played.game().architecture, Settles):
        raise Skipped("it has no `settle`")
    architecture = played.game().architecture
    before = {name: value.clone() for name, value in architecture.state_dict().items()}
    other = played.game().architecture
    for seed, net in enumerate((architecture, other)):
        torch.manual_seed(seed)
        settle(net, torch.device("cpu"))
    after = architecture.state_dict()
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    allowed = {
        f"{path}.{name}"
        for path, module in architecture.named_modules()
        if isinstance(module, torch.nn.modules.batchnorm._NormBase)
        for name, _ in module.named_buffers(recurse=False)
    }
    wrong = [name for name in changed if name not in allowed]
    if wrong:
        raise Failed(f"`settle` changes {_listed(wrong)}; only the statistics of BatchNorm layers may change")
    if not _equal(after, other.state_dict()):
        raise Failed("`settle` gives other statistics when repeated: draw from `rng` only")
    if not changed:
        raise Noted("`settle` runs no BatchNorm layer; leave it out")


class _RecordingLoss:
    """A loss that records whether it was called."""

    def __init__(self, loss: Any) -> None:
        self.loss = loss
        self.needs_real = loss.needs_real
        self.called = False

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Any:
        """The discriminator's loss."""
        self.called = True
        return self.loss.discriminator(real_scores, fake_scores)

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Any:
        """The generator's loss."""
        self.called = True
        return self.loss.generator(real_scores, fake_scores)


def _check_losses(played: Played) -> None:
    """Train to the end with the recipe's loss, and two iterations with every other loss of the core and the plugin."""
    kit = played.kit
    offered = [*kit.plugins.entries("gan_losses", BUILTIN), *kit.offered("gan_losses")]
    own = played.resolve().recipe.loss.name
    for name in dict.fromkeys([own, *(plugin_entry.entry.name for plugin_entry in offered)]):
        resolved = played.resolve(None if name == own else name)
        resolved.loss = loss = _RecordingLoss(resolved.loss)
        _train(played.trainer(resolved), name, whole=name == own)
        if not loss.called:
            return  # a game without an adversarial objective: one training suffices


def _train(trainer: Trainer, loss: str, *, whole: bool) -> None:
    """Train and check that numbers stay finite and that every player with a turn changes."""
    before = {
        name: [parameter.detach().clone() for parameter in player_state.parameters]
        for name, player_state in trainer.player_states.items()
    }
    ticks: list[Tick] = []
    end = trainer.total if whole else 2 * trainer.training.batch
    trainer.run(ticks.append, lambda: trainer.samples >= end)
    wrong = [name for tick in ticks for name, value in tick.terms.items() if not math.isfinite(value)]
    if wrong or any(tick.skipped for tick in ticks):
        raise Failed(f"with the loss '{loss}' {wrong[0] if wrong else 'a gradient'} is not finite")
    for name in {turn.player for phase in trainer.phases for turn in phase.turns} if whole else ():
        if _equal(before[name], [parameter.detach() for parameter in trainer.player_states[name].parameters]):
            raise Failed(f"training with the loss '{loss}' changes nothing of the player '{name}'")


def _check_learned_state(played: Played) -> None:
    """Two parts of a batch observe what the whole batch observes, and no objective changes a buffer by itself."""
    whole = _Watch(played, 1)
    if not whole.observed:
        changed = sorted(whole.changed)
    else:
        parts = _Watch(played, 2)
        changed = sorted(whole.changed | parts.changed)
        if not _batch_statistics(whole.architecture):
            for turn, totals in whole.observed.items():
                for name, value in totals.items():
                    other = parts.observed[turn].get(name)
                    if other is None or not _close(value, other):
                        raise Failed(
                            f"`{name}`, which the objective of '{turn[1]}' observes, differs between a whole batch and "
                            "two parts of it: observe sums over samples, not means, and draw from `batch.rng`"
                        )
    if changed:
        raise Noted(
            f"an objective changes {_listed(changed)} by itself: with micro-batches it changes once for each part, and "
            "with several processes each has its own. Use `Batch.observe` and `Turn.learn`"
        )
    if not whole.observed:
        raise Skipped("no turn learns from what it observes")


class _Watch:
    """One iteration of every phase in `parts` micro-batches: what its turns observe, and the buffers that objectives
    change. Layers of torch with statistics of their own (BatchNorm, spectral norm) do not count."""

    def __init__(self, played: Played, parts: int) -> None:
        self.observed: dict[tuple[str, str, int], dict[str, Tensor]] = {}
        """(phase, player, place) -> the totals of the turn's first update in a fresh build."""
        self.changed: set[str] = set()
        resolved = played.resolve()
        names = [phase.name for phase in build_game(resolved, played.modality.fields).phases]
        for number in range(len(names)):
            trainer = played.trainer(resolved)
            self.architecture = trainer.architecture
            if not trainer.can_split(parts):
                continue
            trainer.split(parts)
            trainer.phases = [replace(trainer.phases[number], turns=self._watched(trainer.phases[number]))]
            trainer.run(lambda tick: None, lambda: True)

    def _watched(self, phase: Phase) -> list[Turn]:
        return [self._turn(phase.name, turn, place) for place, turn in enumerate(phase.turns)]

    def _turn(self, phase: str, turn: Turn, place: int) -> Turn:
        buffers = _own_buffers(self.architecture)

        def objective(batch: Batch) -> Mapping[str, Tensor]:
            before = {name: buffer._version for name, buffer in buffers.items()}
            terms = turn.objective(batch)
            self.changed |= {name for name, buffer in buffers.items() if buffer._version != before[name]}
            return terms

        def learn(observed: Mapping[str, Tensor], rng: Draws) -> None:
            if place == self._first_place(phase, place):
                totals = {name: value.clone() for name, value in observed.items()}
                self.observed.setdefault((phase, turn.player, place), totals)
            if turn.learn is not None:
                turn.learn(observed, rng)

        return replace(turn, objective=objective, learn=None if turn.learn is None else learn)

    def _first_place(self, phase: str, place: int) -> int:
        """Only the first turn of a phase that observes is compared: what precedes the others differs by rounding."""
        return min([place, *(known[2] for known in self.observed if known[0] == phase)])


def _own_buffers(architecture: torch.nn.Module) -> dict[str, Tensor]:
    """The buffers of modules that torch does not define, by name."""
    normal = torch.nn.modules.batchnorm._NormBase
    return {
        f"{path}.{name}" if path else name: buffer
        for path, module in architecture.named_modules()
        if not isinstance(module, normal) and not type(module).__module__.startswith("torch.")
        for name, buffer in module.named_buffers(recurse=False)
    }


def _batch_statistics(architecture: torch.nn.Module) -> bool:
    return any(isinstance(module, torch.nn.modules.batchnorm._NormBase) for module in architecture.modules())


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.double(), other.double(), rtol=1e-3, atol=1e-4)


def _check_resume(played: Played) -> None:
    """Compare one uninterrupted training with one that is saved and resumed in a fresh build after every iteration."""
    through = played.trainer()
    before = _memories(through.architecture)
    through.run(lambda tick: None)
    after = _memories(through.architecture)
    new = before.keys() ^ after.keys()
    changed = sorted(new | {name for name in before.keys() - new if not _equal(before[name], after[name])})
    checkpoints = Checkpoints(played.kit.folder / f"resume-{played.values['architecture']}", keep=1)
    trainer = played.trainer()
    lives = 1
    while True:
        seed_everything(lives)  # the state of the global generators between iterations must not matter
        trainer.run(lambda tick: None, lambda: True)
        if trainer.finished:
            break
        checkpoints.save(trainer.samples, trainer.owners(), {})
        saved = checkpoints.newest()
        trainer = played.trainer()
        lives += 1
        if saved is not None:
            saved.load(trainer.owners())
    if lives == 1:
        raise Noted("its training is too short to be interrupted")
    resumed = trainer.owners()
    for name, owner in through.owners().items():
        if name in ("progress", "stats"):  # they hold seconds
            continue
        if not _equal(owner.state_dict(), resumed[name].state_dict()):
            culprits = f"; training changes {_listed(changed)} of it, which no checkpoint holds" if changed else ""
            raise Failed(
                f"saved after every iteration and resumed in a fresh build, '{name}' ends otherwise{culprits}: what "
                "training changes must be a parameter or a buffer (`register_buffer`), and random numbers must come "
                "from `batch.rng`"
            )
    if changed:
        raise Noted(
            f"training changes {_listed(changed)}, which no checkpoint holds: make it a buffer (`register_buffer`) if "
            "anything depends on it"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _memories(architecture: torch.nn.Module) -> dict[str, Any]:
    """Copies of the plain attributes of all modules (numbers, strings, arrays and containers of them): what training
    may remember outside parameters and buffers."""
    usual = set(vars(torch.nn.Module()))
    found = {}
    for path, module in architecture.named_modules():
        for name, value in vars(module).items():
            if name not in usual and _plain(value):
                found[f"{path}.{name}" if path else name] = copy.deepcopy(value)
    return found


def _plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_plain, value.values()))
    if isinstance(value, (list, tuple, set, deque)):
        return all(map(_plain, value))
    if isinstance(value, Tensor):
        return value.is_leaf
    return value is None or isinstance(value, (bool, int, float, str, np.ndarray))


def _check_save_and_load(played: Played) -> None:
    """Train a run folder from its recipe to artefacts; the loaded model generates the same samples again."""
    from gan.api import load
    from gan.training.session import start

    kit = played.kit
    out = kit.folder / f"run-{played.values['architecture']}"
    result = start(played.values, kit.plugins, Reporter(), out=out)
    if len(result.artefacts) != 2 or not all(path.stat().st_size for path in result.artefacts):
        raise Failed(f"the training wrote {len(result.artefacts)} artefacts of 2")
    model = load(out, device="cpu", plugins=kit.plugins)
    if isinstance(model.architecture, ConditionalOnInput) and model.given_fields():
        taken = played.rows.take(np.arange(3) % len(played.rows))
        given = {name: taken[name] for name in model.architecture.given_fields()}
        other = load(out, device="cpu", plugins=kit.plugins)
        if not _equal(model.generate(3, 5, given=given), other.generate(3, 5, given=given)):
            raise Failed("loaded twice from one run it generates other samples for one seed")
        return
    paths = model.write(model.generate(2, played.values.get("seed", 0)), kit.folder / "again")
    if [path.read_bytes() for path in paths] != [path.read_bytes() for path in result.artefacts]:
        raise Failed("loaded from its run it generates other samples than at the end of training")


def _equal(one: Any, other: Any) -> bool:
    """Whether two states are identical, bit by bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple, deque)):
        return type(one) is type(other) and len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
