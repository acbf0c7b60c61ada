"""Start a training from the weights of another run: other data, other classes (``gan run --from RUN``).

Weights, averages and buffers are taken where name, shape and dtype are equal; optimizers and the position begin anew. A
module with the attribute ``transfers = False`` keeps its own buffers (a pool of past images).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan.errors import CheckpointError, UsageError
from gan.generation.labelling import has_weights
from gan.generation.loading import find_checkpoint
from gan.recipe import Recipe
from gan.reporting.manifest import read_manifest
from gan.reporting.side_files import read_recipe
from gan.storage.checkpoint import Checkpoint
from gan.storage.run_folder import RunFolder
from gan.training.trainer import Trainer

NAMED = 4
"""How many tensors messages name."""


def found_start(recipe: Recipe) -> tuple[Recipe, Checkpoint | None]:
    """The recipe with the SHA-256 of the weights that it starts from, and their checkpoint; None where it starts anew.

    Raises `UsageError` if they are of another architecture, `CheckpointError` if they are not those that the recipe
    states.
    """
    start = recipe.start
    if start is None:
        return recipe, None
    run = RunFolder.open(Path(start.run))
    values = read_recipe(run)
    theirs, ours = (f"{name.get('plugin')}/{name.get('architecture')}" for name in (values, recipe.model_dump()))
    if theirs.partition("/")[2] != recipe.architecture:
        raise UsageError(
            f"--from {start.run}: it is a run of {theirs}, and this one is of {ours}; weights fit the same "
            f"architecture only: --architecture {values.get('architecture')}"
        )
    found = find_checkpoint(run, start.checkpoint, has_weights)
    digest = found.digest(has_weights)
    if start.weights and start.weights != digest:
        raise CheckpointError(
            f"{found.path}: its weights ({digest[:16]}…) are not those that this training started from "
            f"({start.weights[:16]}…). Name the same checkpoint (start.checkpoint), or remove start.weights"
        )
    return recipe.model_copy(update={"start": start.model_copy(update={"weights": digest})}), found


def take_weights(trainer: Trainer, found: Checkpoint, settings: Mapping[str, Any]) -> Taken:
    """Load what fits from a checkpoint into a trainer at its start.

    `settings` is the recipe's section ``model``, for messages. Raises `UsageError` if less than half of a player's
    parameters fit.
    """
    theirs = found.about.get("recipe", {}).get("model", {})
    kept = {
        f"{path}.{name}".lstrip(".")
        for path, module in trainer.architecture.named_modules()
        if not getattr(module, "transfers", True)
        for name, _ in module.named_buffers(recurse=False)
    }
    before = found.state("architecture")
    now = {name: value for name, value in trainer.architecture.state_dict().items() if name not in kept}
    fitting = {name for name, value in now.items() if _fits(before.get(name), value)}
    with torch.no_grad():
        for name in fitting:
            now[name].copy_(before[name])
        for name, state in trainer.player_states.items():
            if state.average is not None and f"average-{name}" in found.owners:
                averages = found.state(f"average-{name}")
                for key, value in state.average.state_dict().items():
                    live = state.named[key]
                    value.copy_(averages[key] if _fits(averages.get(key), value) else live)
            elif state.average is not None:
                for key, value in state.average.state_dict().items():
                    value.copy_(state.named[key])
    names = {id(parameter): name for name, parameter in trainer.architecture.named_parameters()}
    players = {}
    for player, state in trainer.player_states.items():
        sizes = {names[id(p)]: p.numel() for p in state.parameters}
        players[player] = (sum(size for name, size in sizes.items() if name in fitting), sum(sizes.values()))
    lost = [_misfit(name, before.get(name), now[name]) for name in now if name not in fitting]
    for player, (taken, total) in players.items():
        if 2 * taken < total:
            differing = [k for k in {**settings, **theirs} if settings.get(k) != theirs.get(k)]
            hint = f"; the settings differ: {', '.join(f'model.{k}' for k in differing[:NAMED])}" if differing else ""
            raise UsageError(
                f"--from: only {taken:,} of the {total:,} parameters of '{player}' fit: {_listed(lost)}{hint}"
            )
    return Taken(len(fitting), len(now), players, lost)


@dataclass(frozen=True)
class Taken:
    """What was taken from another run."""

    tensors: int
    total: int
    players: Mapping[str, tuple[int, int]]
    """Player -> (parameters taken, parameters in all)."""
    lost: Sequence[str]
    """Tensors that begin anew, each with the reason."""

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {taken:,} of {total:,}" for name, (taken, total) in self.players.items())
        rest = f"; anew: {_listed(self.lost)}" if self.lost else ""
        return f"{self.tensors} of {self.total} tensors (parameters: {parts}){rest}"


def lineage(recipe: Recipe, found: Checkpoint, taken: Taken) -> dict[str, Any]:
    """What the manifest says of the run that a training started from, and of that which it started from itself."""
    assert recipe.start is not None
    run = RunFolder(Path(recipe.start.run))
    before = read_manifest(run.manifest) if run.manifest.exists() else {}
    record: dict[str, Any] = {
        "run": recipe.start.run,
        "samples": found.samples,
        "weights": recipe.start.weights,
        "taken": str(taken),
        "data": before.get("data", {}).get("source"),
        "licence": before.get("recipe", {}).get("data", {}).get("licence", ""),
    }
    return record | ({"started_from": before["started_from"]} if "started_from" in before else {})


def _fits(before: Any, now: Tensor) -> bool:
    return isinstance(before, Tensor) and before.shape == now.shape and before.dtype == now.dtype


def _misfit(name: str, before: Any, now: Tensor) -> str:
    if not isinstance(before, Tensor):
        return f"{name} is not there"
    return f"{name} is {tuple(before.shape)} there and {tuple(now.shape)} here"


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return ", ".join(texts[:NAMED]) + more
