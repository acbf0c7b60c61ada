"""Load a trained model from a checkpoint of a run folder, for generation and evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch

from gan import recipe as recipes
from gan.build import ResolvedRecipe, build_architecture, resolve
from gan.contracts import Modality
from gan.errors import CheckpointError, UsageError
from gan.generation.conditions import Conditions
from gan.generation.model import Model
from gan.generation.settling import settle
from gan.plugins.manager import Plugins
from gan.runtime.device import choose_device
from gan.storage.checkpoint import Checkpoint, Checkpoints, verify
from gan.storage.run_folder import RunFolder
from gan.weights import restored


def load_model(folder: RunFolder, plugins: Plugins, *, device: str = "auto", checkpoint: str | int = "newest") -> Model:
    """See `gan.api.load`."""
    resolved = resolve(recipes.read_values(folder.recipe), plugins)
    modality = load_modality(folder, resolved)
    conditions = load_conditions(folder)
    found = find_checkpoint(folder, checkpoint)
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
    settle(architecture.to(chosen), chosen)
    return Model(architecture.eval(), modality, resolved.title, chosen, found.samples, conditions)


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
    if not folder.conditions.is_file():
        return Conditions()
    try:
        return Conditions.from_json(json.loads(folder.conditions.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder.conditions}: {error}") from None


def load_modality(folder: RunFolder, resolved: ResolvedRecipe) -> Modality:
    """Construct the modality of a run; needs neither its data nor its weights."""
    try:
        facts = json.loads(folder.facts.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder.facts}: {error}") from None
    modality: Modality = resolved.modality_class(resolved.modality_config, facts)
    return modality


def find_checkpoint(run: RunFolder, wanted: str | int) -> Checkpoint:
    """Find a checkpoint: ``"newest"``, ``"best"``, or a number of samples shown.

    Raises `UsageError` for one that does not exist, `CheckpointError` for a damaged one and where there is none.
    """
    best = wanted == "best"
    checkpoints = Checkpoints(run.best if best else run.checkpoints)
    if best or wanted == "newest":
        found = checkpoints.newest()
        if found is None and best:
            raise CheckpointError(f"{run.path} has no best checkpoint: its recipe names no metric in evaluation.best")
        if found is None:
            raise CheckpointError(f"{run.checkpoints} holds no checkpoint; train first with: gan resume {run.path}")
        return found
    known = {int(path.name.removeprefix("samples-")): path for path in checkpoints.all()}
    if str(wanted).replace("_", "").isdecimal() and int(wanted) in known:
        return verify(known[int(wanted)])
    raise UsageError(
        f"{run.path} has no checkpoint '{wanted}'; it has newest, best if the recipe keeps one, "
        f"and {', '.join(map(str, known)) or 'no others'}"
    )
