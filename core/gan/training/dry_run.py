"""Resolve a recipe and build its networks without training: parameter counts and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gan.build import ResolvedRecipe, build_game, find_source, resolve
from gan.errors import BadData
from gan.plugins.manager import Plugins
from gan.recipe import Recipe
from gan.runtime.device import Device
from gan.source import list_source


def fields_without_data(parts: ResolvedRecipe, plugins: Plugins) -> dict[str, Any]:
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
    from gan.training.memory_estimate import estimate

    parts = resolve(values, plugins)
    find_source(parts, plugins, prepare=False)
    fields = fields_without_data(parts, plugins)
    game = build_game(parts, fields, total)
    device = Device(torch.device("cpu"), torch.float32)
    counts = {n: sum(p.numel() for _, p in pl.named_parameters()) for n, pl in game.players.items()}
    memory = estimate(game.architecture, game.players, game.phases, fields, parts.recipe.training, device)
    return DryRun(parts.recipe, counts, fields, memory)
