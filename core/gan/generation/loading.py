"""Load a trained model from a checkpoint of a run folder, for generation and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from gan.build import ResolvedRecipe, build_architecture, resolve
from gan.contracts import Modality
from gan.draws import Way
from gan.errors import CheckpointError, GanError, UsageError
from gan.generation.conditions import Conditions
from gan.generation.labelling import has_weights, labels_of
from gan.generation.model import Model
from gan.generation.settling import settle_once
from gan.plugins.manager import Plugins
from gan.recipe import Provenance, validated
from gan.reporting.side_files import damaged_files, read_recipe, read_side_file, seals_of
from gan.runtime.device import choose_device, keep_freed_memory
from gan.storage.checkpoint import Checkpoint, Checkpoints, verify
from gan.storage.run_folder import RunFolder
from gan.weights import restored

M = TypeVar("M", bound=Model)


def load_model(
    folder: RunFolder,
    plugins: Plugins,
    *,
    device: str = "auto",
    checkpoint: str | int = "newest",
    provenance: Mapping[str, Any] | None = None,
    model_class: type[M] = Model,  # type: ignore[assignment]
    resolved: ResolvedRecipe | None = None,
) -> M:
    """See `gan.api.load`. `resolved` is the run's recipe, if it is known already."""
    resolved = resolved or resolve_run(folder, plugins)
    choices = validated(Provenance, {**resolved.recipe.provenance.model_dump(), **(provenance or {})}, "provenance")
    modality = load_modality(folder, resolved)
    conditions = load_conditions(folder)
    found = find_checkpoint(folder, checkpoint, has_weights)
    note = ""
    if checkpoint == "newest":
        found, note = _healthy(folder, found)
    fields = conditions.narrowed(modality.fields)
    with restored():
        architecture = build_architecture(
            resolved.architecture_class, resolved.model_config, fields, resolved.recipe.seed, resolved.title
        )
    averages = {
        f"average-{name}": _AveragedWeights(dict(player.named_parameters()))
        for name, player in architecture.players().items()
        if f"average-{name}" in found.owners
    }
    found.load({"architecture": architecture, **averages}, surplus=True)
    chosen = choose_device(device, "fp32").device
    if chosen.type == "cpu":
        keep_freed_memory()
    versions = "/".join(f"{name} {version}" for name, version in sorted(resolved.distributions.items()))
    architecture = architecture.to(chosen)
    if not found.about.get("settled"):
        settle_once(architecture, chosen, f"{found.digest(has_weights)}/{resolved.title}/{versions}")
    draws: Way = (
        found.state("progress").get("draws", "generators")
        if "progress" in found.owners
        else found.about.get("draws", "generators")
    )
    model = model_class(
        architecture.eval(), modality, resolved.title, chosen, found.samples, conditions, frozen=True, draws=draws,
        labels=labels_of(resolved, plugins, folder, found, choices),
    )  # fmt: skip
    model.note = note
    return model


def _healthy(folder: RunFolder, newest: Checkpoint) -> tuple[Checkpoint, str]:
    """(checkpoint, note): the last healthy checkpoint in place of a newest one that the watch has found spoiled."""
    health = newest.about.get("health") or {}
    healthy = health.get("healthy")
    if not isinstance(healthy, int):
        return newest, ""
    path = Checkpoints(folder.checkpoints).folder_of(healthy)
    if not path.is_dir():
        return newest, ""
    verdicts = ", ".join(map(str, health.get("verdicts", ())))
    note = (
        f"using the last healthy checkpoint, of {healthy:,} samples, because of {verdicts} at {newest.samples:,} "
        f"samples (gan diagnose {folder.path}); for the newest one: --checkpoint {newest.samples}"
    )
    return verify(path, has_weights), note


class _AveragedWeights:
    """Loads the exponential moving average of a checkpoint (`gan.training.ema`) into the parameters themselves."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        self._parameters = parameters

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The parameters by name, which the checkpoint must hold."""
        return {name: parameter.detach() for name, parameter in self._parameters.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Overwrite the parameters with the averages."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(state[name])


def load_conditions(folder: RunFolder) -> Conditions:
    """The conditions of the run's training data; empty when it has none."""
    if not folder.conditions.exists() and folder.conditions.name not in seals_of(folder):
        return Conditions()
    remedy = _REMEDY.format(folder.path)
    try:
        return Conditions.from_json(read_side_file(folder, folder.conditions, remedy))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"{folder.conditions}: damaged: {error}. {remedy}") from error


def load_modality(folder: RunFolder, resolved: ResolvedRecipe) -> Modality:
    """Construct the modality of a run; needs neither its data nor its weights."""
    remedy = _REMEDY.format(folder.path)
    facts = read_side_file(folder, folder.facts, remedy)
    try:
        modality: Modality = resolved.modality_class(resolved.modality_config, facts)
        _ = modality.fields
    except GanError:
        raise
    except Exception as error:  # whatever a modality makes of facts that are none
        raise CheckpointError(
            f"{folder.facts}: damaged: the modality cannot use it ({type(error).__name__}: {error}). {remedy}"
        ) from error
    return modality


_REMEDY = "Make it anew from the data: gan resume {}"


def resolve_run(run: RunFolder, plugins: Plugins) -> ResolvedRecipe:
    """Resolve the recipe of a run. Raises `CheckpointError` for one that was changed and cannot be used any more."""
    values = read_recipe(run)
    try:
        return resolve(values, plugins)
    except UsageError as error:
        if run.recipe.name not in damaged_files(run):
            raise
        raise CheckpointError(
            f"{run.recipe}: is not what was written, and cannot be used: {error}. Undo the change; {run.manifest} has "
            "the recipe as it was"
        ) from error


def find_checkpoint(run: RunFolder, wanted: str | int, owners: Callable[[str], bool] | None = None) -> Checkpoint:
    """Find a checkpoint: ``"newest"``, ``"best"``, or a number of samples shown.

    Where `owners` is given, only the files of these owners are verified (`gan.storage.checkpoint.verify`). Raises
    `UsageError` for one that does not exist, `CheckpointError` for a damaged one and where there is none.
    """
    best = wanted == "best"
    checkpoints = Checkpoints(run.best if best else run.checkpoints)
    if best or wanted == "newest":
        found = checkpoints.newest(owners)
        if found is None and best:
            raise CheckpointError(f"{run.path} has no best checkpoint: its recipe names no metric in evaluation.best")
        if found is None:
            raise CheckpointError(f"{run.checkpoints} holds no checkpoint; train first with: gan resume {run.path}")
        return found
    known = {int(path.name.removeprefix("samples-")): path for path in checkpoints.all()}
    if str(wanted).replace("_", "").isdecimal() and int(wanted) in known:
        return verify(known[int(wanted)], owners)
    raise UsageError(
        f"{run.path} has no checkpoint '{wanted}'; it has newest, best if the recipe keeps one, "
        f"and {', '.join(map(str, known)) or 'no others'}"
    )
