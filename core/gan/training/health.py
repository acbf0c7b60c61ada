"""Warnings about the health of a training, from the losses and scores of each tick: a discriminator that has won."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gan.reporting.reporter import Tick


COLLAPSED = 1e-3
"""A discriminator has won if its loss stays below this absolute value …"""
GAP = 1.0
"""… while its scores of real and generated samples differ at least by this; its opponent then has no gradient.
(The loss of a Wasserstein critic is near 0 when both scores are equal, which is no victory.)"""
PATIENCE = 5
"""Consecutive ticks before a warning."""


class HealthMonitor:
    """Checks every tick and gives each warning once, until the condition has ended."""

    def __init__(self) -> None:
        self._won: dict[str, int] = {}

    def check(self, tick: Tick) -> list[str]:
        """Warnings that name the player, its loss and the samples shown."""
        warnings = []
        for name, loss in tick.terms.items():
            player, _, term = name.partition("/")
            real, fake = tick.terms.get(f"{player}/_real_score"), tick.terms.get(f"{player}/_fake_score")
            if term != "loss" or real is None or fake is None:
                continue
            won = abs(loss) < COLLAPSED and real - fake > GAP
            self._won[player] = self._won.get(player, 0) + 1 if won else 0
            if self._won[player] == PATIENCE:
                warnings.append(
                    f"phase '{tick.phase}': the loss of player '{player}' was below {COLLAPSED:g} for {PATIENCE} ticks "
                    f"(now {loss:.2g} at {tick.samples:,} samples): it has won, and its opponent no longer learns. "
                    "Try a penalty (r1), a lower learning rate for it, or more data"
                )
        return warnings
