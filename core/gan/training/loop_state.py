"""The position of the training loop, as a checkpoint holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gan.draws import Way


@dataclass
class LoopState:
    """Checkpointable position of the training loop. The names of the fields are keys in checkpoints."""

    later: ClassVar = ("draws",)
    """Names that checkpoints of earlier versions do not hold."""
    phase: int = 0
    position: int = 0
    """Real samples shown in this phase."""
    iteration: int = 0
    """Iterations of this phase."""
    samples: int = 0
    """Real samples shown in all phases."""
    last_tick: int = 0
    parts: int = 1
    """Micro-batches of each batch, for gradient accumulation."""
    rollbacks: int = 0
    passed_over: int = 0
    """Real samples that are skipped in the data's order after a rollback."""
    seconds: float = 0.0
    draws: Way = "generators"
    """How random numbers are made; by generators in earlier versions."""

    def state_dict(self) -> dict[str, Any]:
        """JSON values."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the position."""
        for name in vars(self):
            setattr(self, name, state.get(name, "generators") if name == "draws" else state[name])


class Dials:
    """Factors on numbers of the recipe by dotted name, such as ``optimizers.generator.lr``, held by checkpoints."""

    optional = True
    """Checkpoints of earlier versions hold none."""

    def __init__(self) -> None:
        self.factors: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"factors": dict(self.factors)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the factors."""
        self.factors.clear()
        self.factors.update(state["factors"])
