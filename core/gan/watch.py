"""Health of the game: what the numbers of a tick tell before the samples do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gan.trainer import Tick

COLLAPSED = 1e-3
"""A player's loss below this in absolute value, tick after tick, leaves its opponent without a gradient."""
PATIENCE = 5
"""Ticks in a row before a warning."""


class Watch:
    """Looks at every tick; says each thing once until it has been better."""

    def __init__(self) -> None:
        self._low: dict[str, int] = {}

    def look(self, tick: Tick) -> list[str]:
        """Warnings, each naming player, loss and place."""
        warnings = []
        for name, value in tick.terms.items():
            player, _, term = name.partition("/")
            if term != "loss":
                continue
            self._low[player] = self._low.get(player, 0) + 1 if abs(value) < COLLAPSED else 0
            if self._low[player] == PATIENCE:
                warnings.append(
                    f"phase '{tick.phase}': the loss of player '{player}' was below {COLLAPSED:g} for {PATIENCE} ticks "
                    f"(now {value:.2g} at {tick.samples:,} samples): it has won, and its opponent learns nothing more. "
                    "Try a penalty (r1), a smaller learning rate for it, or more data"
                )
        return warnings
