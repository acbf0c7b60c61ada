"""Health of the game: what the numbers of a tick tell before the samples do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gan.reporting.reporter import Tick


COLLAPSED = 1e-3
"""A discriminator's loss below this in absolute value, tick after tick …"""
GAP = 1.0
"""… while its scores of real and generated samples are at least so far apart, leaves its opponent without a gradient.
(The loss of a Wasserstein critic is near 0 when both scores are alike; that is no victory.)"""
PATIENCE = 5
"""Ticks in a row before a warning."""


class Watch:
    """Looks at every tick; says each thing once until it has been better."""

    def __init__(self) -> None:
        self._won: dict[str, int] = {}

    def look(self, tick: Tick) -> list[str]:
        """Warnings, each naming player, loss and place."""
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
                    f"(now {loss:.2g} at {tick.samples:,} samples): it has won, and its opponent learns nothing more. "
                    "Try a penalty (r1), a smaller learning rate for it, or more data"
                )
        return warnings
