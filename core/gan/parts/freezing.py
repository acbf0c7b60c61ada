"""Frozen layers: the first ones of the discriminator keep the weights that they were taken over with (FreezeD).

Mo, Cho, Shin: Freeze the discriminator: a simple baseline for fine-tuning GANs, 2020, arXiv:2002.10964. Early
features of a discriminator hold for other data as well; with little data they are better not learned anew.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from gan.errors import UsageError
from gan.game import Player
from gan.recipe import Start

FROZEN = "discriminator"
"""The player whose first layers can be frozen."""


def freeze(players: Mapping[str, Player], start: Start | None) -> list[str]:
    """Freeze the first `Start.freeze` layers of the discriminator, before players are asked for their parameters;
    return their names.

    A layer is a module with parameters of its own; layers count in the order in which the network defines them,
    which in discriminators is that from the input on. Raises `UsageError` if there are not more layers than that.
    """
    if start is None or not start.freeze:
        return []
    if FROZEN not in players:
        raise UsageError(f"start.freeze: there is no player '{FROZEN}' (there are {', '.join(players)})")
    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in players[FROZEN].named_parameters():
        layer = name.partition(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]
        layers.setdefault(layer, []).append(parameter)
    if start.freeze >= len(layers):
        raise UsageError(
            f"start.freeze: the {FROZEN} has {len(layers)} layers with weights; at most {len(layers) - 1} can be frozen"
        )
    chosen = list(layers)[: start.freeze]
    for name in chosen:
        for parameter in layers[name]:
            parameter.requires_grad_(False)
    return [name.partition(".")[2] or name for name in chosen]
