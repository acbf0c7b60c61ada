"""Training as data: the players and their optimizers, the turns that they take, and the phases of the training.

This covers DCGAN and StyleGAN2 (lazy turns), WGAN-GP (repeats), CycleGAN (two discriminators in one player, the pool in
buffers), SeqGAN (three phases, a REINFORCE objective) and language models (one player).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gan.draws import Draws
from gan.errors import GanError
from gan.recipe import Number, Schedule, ends

__all__ = [
    "Batch",
    "Learn",
    "Objective",
    "Optimizer",
    "Phase",
    "Player",
    "Schedule",
    "Turn",
    "asynchronous",
    "phase_lengths",
]


def asynchronous(device: torch.device) -> bool:
    """Whether operations on `device` return before they are done, as on a GPU.

    Reading a number on the host (``.item()``, ``bool(tensor)``, a mask as an index) then makes the training wait. An
    objective whose shortcut needs one asks this first, and computes without the shortcut where it is true.
    """
    return device.type != "cpu"


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Settings of an optimizer; the recipe's section ``optimizers.PLAYER`` overrides single ones."""

    name: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    lr: Number = 2e-4
    """Learning rate; like every `Number`, possibly a `Schedule`."""
    betas: tuple[Number, Number] = (0.5, 0.999)
    """Decay rates of Adam's first and second moment, per step. rmsprop uses the second, sgd the first as momentum."""
    eps: float = 1e-8
    weight_decay: float = 0.0
    """Applied by adamw to parameters with two or more axes only; 0 switches it off."""
    clip_norm: float = 0.0
    """Largest global norm of a player's gradient; 0 switches clipping off."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate decays from `decay_start` until the end of the phase."""
    decay_start: float = 0.0
    """Share of the phase after which `schedule` begins, 0 … 1."""
    final: float = 0.0
    """Share of `lr` at the end of the schedule, 0 … 1."""
    warmup_samples: int = 0
    """Real samples over which the learning rate rises linearly from 0."""

    def __post_init__(self) -> None:
        """Check the ranges. Raises `ValueError` that names the setting."""
        at_most = {"lr": 1e3, "eps": 1.0, "weight_decay": 1e3, "clip_norm": 1e9, "warmup_samples": 10**15}
        for name, most in {**at_most, "decay_start": 1.0, "final": 1.0}.items():
            value = getattr(self, name)
            if not all(0 <= end <= most for end in ends(value)):  # also false for NaN
                raise ValueError(f"{name} must be a number from 0 to {most:g}, not {value}")
        if not all(0 <= end < 1 for beta in self.betas for end in ends(beta)):
            raise ValueError(f"betas must be two numbers from 0 to less than 1, not {list(self.betas)}")


@dataclass(frozen=True)
class Player:
    """Networks whose parameters are optimized together, and their optimizer."""

    modules: nn.Module | Iterable[nn.Module]
    """The networks that the player trains."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    average: bool = False
    """Whether samples are generated with an exponential moving average (EMA) of these parameters."""

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """(name, parameter) of all trainable parameters, each once."""
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
    """The input of an objective: real samples, random numbers and the position in the training."""

    fields: Mapping[str, Tensor]
    """Real samples by field, ``(N, *shape)`` in the field's dtype, on the training's device."""
    rng: Draws
    """Random rows for this turn; `rng.count` is N."""
    position: int
    """Real samples shown in this phase before this iteration."""
    progress: float
    """Completed share of the phase, 0 … 1."""
    shared: dict[str, Any] = field(default_factory=dict)
    """Values that a turn passes to later turns of the same iteration."""
    dials: Mapping[str, float] = field(default_factory=dict)
    """Factors on numbers, by dotted name (see `number`)."""
    augmentations: Mapping[str, Any] = field(default_factory=dict)
    """The recipe's `gan.contracts.Augmentation`s by name; `gan.adversarial.augmented` applies them."""
    observed: dict[str, Tensor] = field(default_factory=dict)
    """What the objective has observed (see `observe`)."""
    probe: Callable[[str, Tensor], None] | None = None
    """``probe(name, value)`` reports a signal of this update, a scalar on the device, to the watch (`gan.watch`), as
    ``PLAYER/_name``. None in most updates: signals are wanted in some only, so that they cost little."""

    def __getitem__(self, name: str) -> Tensor:
        return self.fields[name]

    @property
    def count(self) -> int:
        """Number of samples in this batch, on this process."""
        return self.rng.count

    def number(self, name: str, value: Any) -> Any:
        """The value of a number at this position: that of a `Schedule`, times the dial called `name` if it is turned.

        `name` is the number's place in the recipe, for example ``"penalties.r1.weight"``.
        """
        now = value.at(self.position) if isinstance(value, Schedule) else value
        return now * self.dials[name] if name in self.dials else now

    def observe(self, name: str, value: Tensor) -> None:
        """Add `value`, a sum over the samples of this batch of any fixed shape, to what the turn observes.

        An objective sees one part of a batch: a micro-batch, on one of several processes. State that it learns without
        gradients (a running mean, a codebook) must therefore not be changed in it. It observes sums instead; the
        trainer adds them over all parts and processes and passes the totals to `Turn.learn`, once for each update. A
        turn observes the same names, shapes and dtypes in every update.
        """
        value = value.detach()
        self.observed[name] = self.observed[name] + value if name in self.observed else value


Objective = Callable[[Batch], Mapping[str, Tensor]]
"""``batch -> {"name": scalar, …}``: the sum is minimized. Names that start with ``_`` are only reported."""

Learn = Callable[[Mapping[str, Tensor], Draws], None]
"""``(observed, rng)``: changes buffers by the totals of what the objective observed (see `Turn.learn`)."""


@dataclass(frozen=True)
class Turn:
    """One update of one player.

    Only the player's own parameters get gradients, so an objective need not freeze anything, and a graph built in one
    turn may be used in a later turn of the same iteration (`Batch.shared`).
    """

    player: str
    objective: Objective
    repeats: int = 1
    """Consecutive updates, each with new real samples (five for a WGAN-GP critic)."""
    every: int = 1
    """k > 1: lazy regularization. The turn is taken every k-th iteration with its objective multiplied by k, and the
    player's optimizer is corrected by c = 1 / (1 + Σ 1/k): lr·c, β^c (Karras et al. 2020, appendix B)."""
    lazy: bool = True
    """False: `every` only sets the frequency, without a correction of the objective or the optimizer (a generator that
    is updated after many updates of its critic)."""
    lr_scale: float = 1.0
    """Factor on the player's learning rate in this turn (maximum likelihood before an adversarial phase with a smaller
    one)."""
    after: Callable[[Batch], None] | None = None
    """Called after each update, without gradients (weight clipping, a rollout policy)."""
    learn: Learn | None = None
    """Called after each update, without gradients, with the totals of `Batch.observe` over the whole batch and random
    rows for it, alike on all processes. It changes buffers in place. What it learned from a loss or gradient that is
    not finite does not remain."""
    when: Callable[[Batch], Tensor] | None = None
    """Returns a boolean scalar on the training's device: whether the update changes the player.

    It is called without gradients after the objective, which is computed in any case. The value is not read on the
    host, so nothing waits, and an update that does not happen is not counted as skipped. `learn` and `after` are called
    in any case. Let it read buffers that `learn` has changed: with several processes the update happens if it is true
    on all of them."""
    smoothed: bool = False
    """Whether the objective follows the dial ``critics.smoothing``, as that of `gan.adversarial.adversarial_turns`
    does: a remedy of the watch (`gan.watch`)."""


@dataclass(frozen=True)
class Phase:
    """A named part of the training. Each iteration takes its turns in order.

    An iteration shows ``batch · max(repeats)`` real samples; that is what `samples` counts.
    """

    name: str
    turns: list[Turn]
    samples: int | None = None
    """Length in real samples shown; None: ``training.samples`` of the recipe (for at most one phase)."""
    batch: int | None = None
    """Real samples in one update, over all processes; None: ``training.batch`` of the recipe."""
    is_baseline: bool = False
    """Whether the phase ends with a baseline of the method (maximum likelihood before adversarial training of a text
    GAN). The recipe's metrics are measured there for the final table, and a checkpoint is saved."""
    reset_optimizers: bool = False
    """Whether the optimizers of its players reset their moments at its start. Adam divides by past gradients, so a
    phase with far smaller gradients than the one before it (adversarial after likelihood) would stall."""
    adopt: Sequence[str] = ()
    """Players whose averages become their weights when the phase begins. Players that learn from what resting players
    compute (a prior over the codes of an autoencoder) then learn what sampling will see."""


def phase_lengths(phases: Sequence[Phase], samples: int) -> list[int]:
    """Length of every phase in real samples. `samples` is the length of the phase that states none.

    Raises `GanError` if several phases state none.
    """
    open_phases = [phase.name for phase in phases if phase.samples is None]
    if len(open_phases) > 1:
        raise GanError(f"phases {', '.join(open_phases)} state no length; only one phase may use training.samples")
    return [samples if phase.samples is None else phase.samples for phase in phases]
