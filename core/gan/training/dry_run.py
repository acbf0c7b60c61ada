"""Resolve a recipe and build its networks without training: parameter counts and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gan.build import ResolvedRecipe, build_game, data_at_hand, find_source, resolve
from gan.data.foreign import survey
from gan.errors import BadData, UsageError
from gan.plugins.manager import Plugins
from gan.recipe import Recipe
from gan.runtime.device import Device, out_of_memory
from gan.source import list_source


def fields_of_data(resolved: ResolvedRecipe, plugins: Plugins) -> tuple[dict[str, Any], list[str]]:
    """The fields of the data, and remarks on what was chosen from them.

    The data are surveyed if they are here; a named dataset that is not there yet is made only if its fields depend on
    its content. Raises `BadData` where there is nothing to train on.
    """
    if not data_at_hand(resolved, plugins):
        try:
            return dict(resolved.modality_class(resolved.modality_config).fields), []
        except LookupError:
            pass
    listing = list_source(find_source(resolved, plugins), resolved.modality_class.suffixes)
    if not listing.files:
        raise BadData(f"no file with a known ending ({', '.join(resolved.modality_class.suffixes)})", listing.root)
    facts, _ = survey(resolved.modality_class(resolved.modality_config), listing.files)
    modality = resolved.modality_class(resolved.modality_config, facts)
    return dict(modality.fields), list(modality.remarks())


@dataclass
class DryRun:
    """The resolved recipe of a training, with the size of its networks and the memory it needs."""

    recipe: Recipe
    parameters: dict[str, int]
    """Number of parameters of each player."""
    fields: dict[str, Any]
    memory: dict[str, int]
    """Bytes by purpose (`gan.training.memory_estimate.estimate`)."""
    remarks: list[str]
    """What was chosen from the data (`gan.contracts.Modality.remarks`)."""


def dry_run(values: Mapping[str, Any], plugins: Plugins, *, total: int | None = None) -> DryRun:
    """Resolve a recipe, build its networks and estimate its memory; nothing is written and no sample is read."""
    from gan.training.memory_estimate import estimate

    resolved = resolve(values, plugins)
    find_source(resolved, plugins, prepare=False)
    fields, remarks = fields_of_data(resolved, plugins)
    game = build_game(resolved, fields, total)
    device = Device(torch.device("cpu"), torch.float32)
    counts = {n: sum(p.numel() for _, p in pl.named_parameters()) for n, pl in game.players.items()}
    try:
        memory = estimate(game.architecture, game.players, game.phases, fields, resolved.recipe.training, device)
    except (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        if out_of_memory(error):
            raise
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise UsageError(f"{resolved.title} makes no step with these settings: {reason}") from error
    return DryRun(resolved.recipe, counts, fields, memory, remarks)
