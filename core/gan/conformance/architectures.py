"""Checks of architectures: sizes, determinism, latent spaces; those in training are in `gan.conformance.trainings`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gan.build import recipe_values
from gan.conformance.kit import Failed, Kit, Noted, Scene, Skipped
from gan.conformance.latents import check_abilities
from gan.conformance.small_game import Played, equal, generated, given_input, listed, play
from gan.conformance.trainings import check_learned_state, check_losses, check_resume, check_save_and_load
from gan.contracts import FieldSpec, GivenInPart, LatentSpace, Mark, Request, Settles
from gan.draws import SeededDraws
from gan.generation.model import check_samples
from gan.generation.settling import settle

TOLERANCE = 1e-3
"""Share of a field's range by which a sample may differ with the batch size, as sums are ordered differently."""


def check_architectures(kit: Kit) -> None:
    """Check every architecture that the plugin offers, or those that were asked for."""
    for name in set(kit.only) - {plugin_entry.entry.name for plugin_entry in kit.offered("gan_architectures")}:
        with kit.check("is offered", f"architecture {name}"):
            raise Failed("the plugin has none of this name")
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
        for mark_entry in kit.plugins.entries("gan_marks"):
            mark_class = kit.plugins.load(mark_entry)
            if mark_entry.entry.modality == plugin_entry.entry.modality and mark_class.in_sampling:
                with kit.check(f"carries the mark {mark_entry.entry.name}", about):
                    _check_sampling_mark(played, mark_class(bytes(range(32))))
        with kit.check("latent space", about):
            _check_latents(played)
        with kit.check("settles", about):
            _check_settling(played)
        with kit.check("trains with every loss", about):
            check_losses(played)
        with kit.check("learned state", about):
            check_learned_state(played)
        with kit.check("resumes exactly", about):
            check_resume(played)
        with kit.check("saves and loads", about):
            check_save_and_load(played)


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
    if not equal(game.architecture.state_dict(), played.game().architecture.state_dict()):
        raise Failed("built twice from one seed it has other weights; draw them from torch's generator only")


def _check_parameters(kit: Kit, plugin_entry: Any) -> None:
    """The entry's numbers of parameters are those of its recipe on the recipe's own data."""
    from gan.build import find_source, resolve
    from gan.training.dry_run import dry_run

    declared = dict(plugin_entry.entry.parameters)
    if not declared:
        raise Skipped("its entry gives no numbers of parameters")
    values = recipe_values(kit.plugins, kit.plugin, plugin_entry.entry.name)
    find_source(resolve(values, kit.plugins), kit.plugins)  # networks may depend on what the data hold
    found = dry_run(values, kit.plugins).parameters
    if found != declared:
        raise Failed(f"its entry says {declared}, its recipe builds {found}")


def _check_generation(played: Played) -> None:
    architecture, rows = played.game().architecture.eval(), played.rows
    fields: dict[str, FieldSpec] = played.modality.fields
    torch.manual_seed(1)
    many = generated(architecture, rows, 0, 5)
    check_samples(many, fields, 5, "generate")
    made = {name: spec for name, spec in fields.items() if not spec.condition}
    for name, spec in made.items():
        if reason := spec.outside(many[name].numpy()):
            raise Failed(f"'{name}' {reason}")
    given = given_input(architecture, rows, 0, 5)
    if given is not None and isinstance(architecture, GivenInPart):
        for name, places in architecture.given_places().items():
            if not torch.equal(many[name][:, list(places)], given[name][:, list(places)]):
                raise Failed(f"the places {list(places)} of '{name}' are not as they were given")
    torch.manual_seed(2)
    if not equal(many, generated(architecture, rows, 0, 5)):
        raise Failed("the same seed gives other samples: draw from `rng`, not from torch's own generator")
    one = generated(architecture, rows, 3, 1)
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
        check_samples(generated(architecture, rows, 0, 2, options()), fields, 2, "generate with default options")
    architecture.train()
    generated(architecture.eval(), rows, 0, 2)


def _check_sampling_mark(played: Played, mark: Mark) -> None:
    """A mark that acts in the sampler changes samples, and the same way twice."""
    architecture, fields = played.game().architecture.eval(), played.rows.fields
    plain, marked, again = (generated(architecture, played.rows, 0, 4, None, which) for which in (None, mark, mark))
    check_samples(marked, fields, 4, "generate")
    if not equal(marked, again):
        raise Failed("the same seed and mark give other samples")
    if equal(plain, marked):
        raise Noted("samples are the same with a mark: pass what is sampled from to `request.mark.embed`")


def _scene(played: Played, plugin_entry: Any) -> Scene:
    """Samples as previews and metrics get them, and the real ones that they were made from or are compared with."""
    architecture = played.game().architecture.eval()
    chosen = getattr(architecture, "preview_options", {})
    options = architecture.Options(**chosen) if chosen else None
    count = min(8, len(played.rows))
    made = generated(architecture, played.rows, 0, count, options)
    samples = {name: values.numpy() for name, values in made.items()}
    return Scene(plugin_entry.entry.modality, played.modality, played.rows.take(np.arange(count)), samples)


def _check_latents(played: Played) -> None:
    """See `gan.conformance.latents`, which checks the optional protocols."""
    architecture = played.game().architecture.eval()
    if not isinstance(architecture, LatentSpace):
        raise Skipped("it has no `latents` and `decode`")
    with torch.no_grad():
        rng = SeededDraws.of(7, 0, 3, torch.device("cpu"))
        request = Request(None, given_input(architecture, played.rows, 0, 3))
        latents = architecture.latents(3, rng)
        decoded = architecture.decode(latents, request)
    if not equal(decoded, generated(architecture, played.rows, 0, 3)):
        raise Failed("`decode(latents(count, rng), request)` is not what `generate` gives")
    check_abilities(architecture, latents, request, decoded)


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
        raise Failed(f"`settle` changes {listed(wrong)}; only the statistics of BatchNorm layers may change")
    if not equal(after, other.state_dict()):
        raise Failed("`settle` gives other statistics when repeated: draw from `rng` only")
    if not changed:
        raise Noted("`settle` runs no BatchNorm layer; leave it out")
