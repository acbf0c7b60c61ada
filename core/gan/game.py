"""A game between players, as data: who is optimised, which turns they take, in which phases.

Everything in the literature fits: DCGAN and StyleGAN2 (lazy turns), WGAN-GP (repeats), CycleGAN (two discriminators in
one player, the pool in buffers), SeqGAN (three phases, the objective is REINFORCE), language models (one player).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from gan.draws import Draws
from gan.errors import GanError


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Typed settings of an optimiser; the recipe's ``optimizers.PLAYER`` section replaces single ones."""

    name: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    lr: float = 2e-4
    """Step size."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Decay of Adam's first and second moment, per step. rmsprop uses the second, sgd the first as momentum."""
    eps: float = 1e-8
    weight_decay: float = 0.0
    """adamw decays the parameters with two or more axes by it, the others never; 0 switches it off."""
    clip_norm: float = 0.0
    """Largest global norm of a player's gradient; 0 switches clipping off."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the step size falls after `decay_start` until the end of the phase."""
    decay_start: float = 0.0
    """Share of the phase after which `schedule` begins, 0 … 1."""
    final: float = 0.0
    """Share of `lr` at the end of the schedule, 0 … 1."""
    warmup_samples: int = 0
    """Real samples over which the step size rises linearly from 0."""


@dataclass(frozen=True)
class Player:
    """Parameters that are optimised together, and with what optimiser."""

    modules: nn.Module | Iterable[nn.Module]
    """The networks; their parameters are the player's."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    average: bool = False
    """Whether samples are made with an exponential moving average of these parameters."""

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """(name, parameter) of all that is trained, each parameter once."""
        modules = [self.modules] if isinstance(self.modules, nn.Module) else list(self.modules)
        seen: set[int] = set()
        found = []
        for index, module in enumerate(modules):
            for name, parameter in module.named_parameters():
                if parameter.requires_grad and id(parameter) not in seen:
                    seen.add(id(parameter))
                    found.append((f"{index}.{name}", parameter))
        return found


@dataclass
class Batch:
    """What an objective is given: real samples, random numbers, and where the training stands."""

    fields: Mapping[str, Tensor]
    """Real samples by field, ``(N, *shape)`` in the field's dtype, on the training's device."""
    rng: Draws
    """Random rows for this turn; `rng.count` is N."""
    position: int
    """Real samples shown in this phase before this iteration."""
    progress: float
    """Share of the phase that is done, 0 … 1."""
    shared: dict[str, Any] = field(default_factory=dict)
    """Lives as long as one iteration: what a turn leaves here, a later turn of the same iteration finds."""

    def __getitem__(self, name: str) -> Tensor:
        return self.fields[name]

    @property
    def count(self) -> int:
        """Samples in this batch (on this process)."""
        return self.rng.count


Objective = Callable[[Batch], Mapping[str, Tensor]]
"""``batch -> {"name": scalar, …}``: the sum is minimised. A name that begins with ``_`` is only reported."""


@dataclass(frozen=True)
class Turn:
    """One update of one player.

    Only the player's own parameters get gradients, whatever the objective touches: an objective need not freeze
    anything, and a graph that one turn builds may serve a later turn of the same iteration (`Batch.shared`).
    """

    player: str
    objective: Objective
    repeats: int = 1
    """Updates in a row, each with new real samples (five for a WGAN-GP critic)."""
    every: int = 1
    """k > 1: lazy regularisation. Taken every k-th iteration, its objective multiplied by k, the player's optimiser
    corrected by c = 1 / (1 + Σ 1/k): lr·c, β^c (Karras et al. 2020, appendix B)."""
    lazy: bool = True
    """False: `every` only says how often; neither the objective nor the optimiser is corrected (a generator that waits
    for many updates of its critic)."""
    lr_scale: float = 1.0
    """Factor on the player's step size in this turn (maximum likelihood before a gentler adversarial phase)."""
    after: Callable[[Batch], None] | None = None
    """Called after each update, without gradients (clipping weights, a rollout policy)."""


@dataclass(frozen=True)
class Phase:
    """A named stretch of training made of turns, which are taken in their order in each iteration.

    An iteration shows ``batch · max(repeats)`` real samples; that is what `samples` counts.
    """

    name: str
    turns: list[Turn]
    samples: int | None = None
    """Length in real samples shown; None: what ``training.samples`` of the recipe says (one phase may do so)."""
    batch: int | None = None
    """Real samples in one update, over all processes; None: what ``training.batch`` of the recipe says."""
    is_baseline: bool = False
    """Whether the phase ends with a baseline of the method (maximum likelihood before a text GAN's game): the recipe's
    metrics are measured there, and stand in the table that the training ends with; a checkpoint is saved."""
    reset_optimizers: bool = False
    """Whether the optimisers of its players forget their moments where it begins: a game whose gradients are far
    smaller than those of the likelihood before it would stand still, as Adam divides by what it remembers."""


def phase_lengths(phases: Sequence[Phase], samples: int) -> list[int]:
    """Length of every phase in real samples; `samples` is that of the phase that states none."""
    open_phases = [phase.name for phase in phases if phase.samples is None]
    if len(open_phases) > 1:
        raise GanError(f"phases {', '.join(open_phases)} state no length; only one may leave it to training.samples")
    return [samples if phase.samples is None else phase.samples for phase in phases]
