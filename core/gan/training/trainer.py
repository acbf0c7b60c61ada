"""Turns the crank: takes players, phases and data as objects and trains; it knows no name of a plugin.

One iteration of a phase takes each of its turns once. A turn's objective is evaluated and differentiated with respect
to its player's parameters only; gradients are averaged over the processes, clipped, checked on the device and stepped.
Nothing in a step waits for the device. Everything random is derived from (seed, phase, position, turn), so neither a
preview nor a checkpoint changes what follows, and a resumed training needs no random state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gan.contracts import Samples
from gan.draws import StepDraws, derive
from gan.errors import GanError, NumericError, UsageError
from gan.game import Batch, Phase, Player, Turn, phase_lengths
from gan.recipe import Training
from gan.reporting.reporter import Tick
from gan.runtime.device import Device, out_of_memory, seed_everything
from gan.runtime.distributed import ASK_EVERY, Peers, average_gradients
from gan.training.player_state import PlayerState, Skips
from gan.training.stats import Stats


class RealSamples(Protocol):
    """What the trainer needs of the data."""

    def __len__(self) -> int: ...

    def take(self, indices: np.ndarray[Any, Any]) -> Samples:
        """The samples at `indices`."""


class SampleOrder(Protocol):
    """Which samples come at a position."""

    def indices(self, position: int, count: int) -> np.ndarray[Any, Any]:
        """int64."""


class Trainer:
    """Trains `architecture` by playing `phases`.

    `stop` is asked after every iteration; when it says True the trainer reports a last tick and returns. State lives in
    `owners()`: what a checkpoint has to hold.
    """

    def __init__(
        self,
        architecture: nn.Module,
        players: Mapping[str, Player],
        phases: Sequence[Phase],
        data: RealSamples,
        order: SampleOrder,
        training: Training,
        seed: int,
        device: Device,
    ) -> None:
        self.architecture = architecture.to(device.device)
        if training.channels_last:
            _channels_last(self.architecture)
        self.phases = list(phases)
        self.data = data
        self.training = training
        self.device = device
        self._order = order
        self._seed = seed
        self._lengths = phase_lengths(self.phases, training.samples)
        self._check(players)
        lazy = {name: [t.every for t in _turns_of(self.phases, name) if t.every > 1 and t.lazy] for name in players}
        self.player_states = {n: PlayerState(n, player, training, lazy[n], device) for n, player in players.items()}
        if training.compile:
            for module in self.architecture.children():
                module.compile()
        self.stats = Stats()
        self.peers = Peers(device)
        self._progress = _Progress()
        self._skipped = torch.zeros((), device=device.device)
        if training.micro_batch is not None:
            share = training.batch // device.world_size
            if share % training.micro_batch:
                raise UsageError(
                    f"training.micro_batch is {training.micro_batch}, no divisor of {share} samples a process"
                )
            self._progress.parts = share // training.micro_batch
            if not self.can_split(self._progress.parts):
                raise UsageError(
                    f"training.micro_batch makes {self._progress.parts} parts; a phase's own batch has no such parts"
                )
        tick = training.tick or max(1, self.total // 50)
        self._tick = max(tick, 1)

    @property
    def total(self) -> int:
        """Real samples in all phases."""
        return sum(self._lengths)

    @property
    def samples(self) -> int:
        """Real samples shown so far."""
        return self._progress.samples

    @property
    def rollbacks(self) -> int:
        """How often this training was led back to an earlier state (see `avoid`)."""
        return self._progress.rollbacks

    @property
    def parts(self) -> int:
        """In how many parts a batch goes through the networks."""
        return self._progress.parts

    def can_split(self, parts: int) -> bool:
        """Whether a process's batch can be taken in so many equal parts."""
        shares = [self._size(phase) // self.device.world_size for phase in self.phases]
        return all(parts <= share and share % parts == 0 for share in shares)

    def split(self, parts: int) -> None:
        """From now on take every batch in `parts` parts."""
        self._progress.parts = parts

    def avoid(self, failed_at: int) -> None:
        """After an earlier state was loaded: go on with other random numbers, and past the data up to `failed_at`."""
        progress = self._progress
        progress.rollbacks += 1
        repeats = max(turn.repeats for phase in self.phases for turn in phase.turns)
        progress.passed_over += max(0, failed_at - progress.samples) + repeats * max(map(self._size, self.phases))
        self._skipped.zero_()
        for player_state in self.player_states.values():
            player_state.skips.zero_()
            player_state.most_skips.zero_()

    @property
    def seconds(self) -> float:
        """Of training, up to the last tick, over all the run's processes' lives."""
        return self._progress.seconds

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        progress = self._progress
        return progress.phase == len(self.phases) - 1 and progress.position >= self._lengths[-1]

    def owners(self) -> dict[str, Any]:
        """Every part with a state, by name; each has state_dict and load_state_dict."""
        owners: dict[str, Any] = {
            "architecture": self.architecture,
            "progress": self._progress,
            "stats": self.stats,
            "skips": Skips(self._skipped, self.player_states),
        }
        for name, player_state in self.player_states.items():
            owners[f"optimizer-{name}"] = player_state.optimizer
            if player_state.average is not None:
                owners[f"average-{name}"] = player_state.average
            if player_state.scaler is not None:
                owners[f"scaler-{name}"] = player_state.scaler
        return owners

    def parameter_counts(self) -> dict[str, int]:
        """Trained parameters of each player."""
        return {
            name: sum(p.numel() for p in player_state.parameters) for name, player_state in self.player_states.items()
        }

    @contextmanager
    def sampling(self) -> Iterator[nn.Module]:
        """The architecture as samples are made with it: averaged weights, evaluation mode, no gradients."""
        modes = [(module, module.training) for module in self.architecture.modules()]
        with ExitStack() as stack, torch.no_grad():
            for player_state in self.player_states.values():
                if player_state.average is not None:
                    stack.enter_context(player_state.average.applied())
            self.architecture.eval()
            try:
                yield self.architecture
            finally:
                for module, mode in modes:
                    module.training = mode

    def run(self, on_tick: Callable[[Tick], None], stop: Callable[[], bool] = lambda: False) -> None:
        """Train from where the state stands to the end, or until `stop`."""
        progress = self._progress
        self.architecture.train()
        clock = time.monotonic()
        shown_at_tick = progress.samples
        time_at_tick = clock
        started = progress.seconds
        while not self.finished:
            if progress.position >= self._lengths[progress.phase]:
                self._begin_next_phase()
            phase, length = self.phases[progress.phase], self._lengths[progress.phase]
            self._iterate(phase, length)
            ended = progress.position >= length
            crossed = progress.samples // self._tick > progress.last_tick
            late = self._out_of_time(started + time.monotonic() - clock)
            now = crossed or ended or progress.iteration % ASK_EVERY == 0
            stopping, late = self.peers.stopping(stop() or late, late, now=now)
            if crossed or stopping or ended:
                if crossed:
                    progress.last_tick = progress.samples // self._tick
                self.device.synchronize()
                moment = time.monotonic()
                progress.seconds = started + moment - clock
                final = self.finished or (stopping and late)
                if crossed or ended or final:
                    self._check_skips()
                    skipped = self._skipped_since()
                    terms = self.stats.collect()
                    rate = (progress.samples - shown_at_tick) / max(moment - time_at_tick, 1e-9)
                    baseline = ended and phase.is_baseline and not final
                    shown = (progress.samples, self.total, phase.name, terms, progress.seconds, rate, skipped)
                    self.peers.run_agreed(partial(on_tick, Tick(*shown, final, baseline)))
                    shown_at_tick, time_at_tick = progress.samples, time.monotonic()
            if stopping:
                return

    def _begin_next_phase(self) -> None:
        progress = self._progress
        progress.phase += 1
        progress.position = 0
        progress.iteration = 0
        if self.phases[progress.phase].reset_optimizers:
            for turn in self.phases[progress.phase].turns:
                self.player_states[turn.player].optimizer.state.clear()

    def _out_of_time(self, seconds: float) -> bool:
        minutes = self.training.minutes
        return minutes is not None and seconds >= 60 * minutes

    def _iterate(self, phase: Phase, length: int) -> None:
        progress = self._progress
        batch = self._size(phase)
        share = min(1.0, progress.position / length)
        repeats = max(turn.repeats for turn in phase.turns)
        reals: list[dict[str, Tensor]] = []
        for repeat in range(repeats):
            reals.append(self._real(progress.samples + progress.passed_over + repeat * batch, batch))
        shared: list[dict[str, Any]] = [{} for _ in range(progress.parts)]
        updated: set[str] = set()
        for number, turn in enumerate(phase.turns):
            if progress.iteration % turn.every:
                continue
            player_state = self.player_states[turn.player]
            player_state.set_step_size(share, progress.samples, turn.lr_scale)
            for repeat in range(turn.repeats):
                purpose: list[str | int] = ["turn", phase.name, progress.iteration, number, repeat]
                if progress.rollbacks:
                    purpose.append(f"rollback {progress.rollbacks}")
                self._update(player_state, turn, phase, reals[repeat], derive(self._seed, *purpose), share, shared)
            updated.add(turn.player)
        shown = repeats * batch
        for name in updated:
            average = self.player_states[name].average
            if average is not None:
                average.update(shown, progress.samples)
        progress.iteration += 1
        progress.position += shown
        progress.samples += shown

    def _size(self, phase: Phase) -> int:
        """Real samples in one update of a phase, over all processes."""
        return self.training.batch if phase.batch is None else phase.batch

    def _real(self, position: int, total: int) -> dict[str, Tensor]:
        """This process's part of the global batch of `total` samples at `position`, on the device."""
        count = total // self.device.world_size
        indices = self._order.indices(position + self.device.rank * count, count)
        fields = {}
        for name, values in self.data.take(indices).items():
            tensor = torch.from_numpy(np.ascontiguousarray(values))
            if self.device.device.type == "cuda":
                tensor = tensor.pin_memory().to(self.device.device, non_blocking=True)
            elif self.device.device.type != "cpu":
                tensor = tensor.to(self.device.device)
            fields[name] = tensor
        return fields

    def _batch(
        self, fields: dict[str, Tensor], seed: int, progress: float, shared: dict[str, Any], part: int, parts: int
    ) -> Batch:
        """Part `part` of `parts` of a turn's batch; the global generators are seeded for it."""
        total = self._size(self.phases[self._progress.phase])
        count = total // self.device.world_size // parts
        place = self.device.rank * parts + part
        seed_everything(seed + place, self.device.device)
        rng = StepDraws(seed, total, place * count, count, self.device.device)
        if parts > 1:
            fields = {name: values[part * count : (part + 1) * count] for name, values in fields.items()}
        return Batch(fields, rng, self._progress.position, progress, shared)

    def _update(
        self,
        player_state: PlayerState,
        turn: Turn,
        phase: Phase,
        real: dict[str, Tensor],
        seed: int,
        share: float,
        shared: list[dict[str, Any]],
    ) -> None:
        parts, weight = len(shared), turn.every if turn.lazy else 1
        for parameter in player_state.parameters:
            parameter.grad = None
        losses: list[Tensor] = []
        if not self.peers.oom_reason:
            try:
                for part in range(parts):
                    batch = self._batch(real, seed, share, shared[part], part, parts)
                    losses.append(self._backward(player_state, turn, phase, batch, weight / parts))
            except (MemoryError, RuntimeError) as error:
                if not self.peers.note_oom(error):
                    raise
        if self.peers.oom_reason:  # past the exception, whose frames held tensors
            self._give_nothing(player_state)
        if self.device.world_size > 1:
            average_gradients(player_state.parameters, self.device.world_size)
        gradients = [parameter.grad for parameter in player_state.parameters if parameter.grad is not None]
        self._step(player_state, gradients, losses, phase)
        if self.device.device.type != "cpu":  # on the CPU to give memory back and take it again costs page faults
            for parameter in player_state.parameters:
                parameter.grad = None
        if turn.after is not None and not self.peers.oom_reason:
            with torch.no_grad():
                turn.after(batch if parts == 1 else self._batch(real, seed, share, shared[0], 0, 1))

    def _backward(self, player_state: PlayerState, turn: Turn, phase: Phase, batch: Batch, weight: float) -> Tensor:
        """Add the gradients of `weight` times the objective; the objective's value."""
        total = self._objective(turn, phase, batch)
        scaled = total * weight if weight != 1 else total
        if player_state.scaler is not None:
            scaled = player_state.scaler.scale(scaled)
        scaled.backward(inputs=player_state.parameters)  # type: ignore[no-untyped-call]
        return total.detach()

    def _give_nothing(self, player_state: PlayerState) -> None:
        """Gradients that nobody steps with, where others wait for this process's."""
        for parameter in player_state.parameters:
            parameter.grad = None
        for parameter in player_state.parameters:
            parameter.grad = torch.full_like(parameter, torch.nan)
        if player_state.scaler is not None:
            player_state.scaler.scale(
                torch.zeros((), device=self.device.device)
            )  # it must have been asked before it steps

    def _objective(self, turn: Turn, phase: Phase, batch: Batch) -> Tensor:
        """The sum that is minimised; its terms are reported."""
        place = f"phase '{phase.name}', player '{turn.player}', at {self._progress.samples:,} samples"
        try:
            with self.device.autocast():
                terms = turn.objective(batch)
        except (GanError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            raise GanError(f"{place}: the objective failed: {type(error).__name__}: {error}") from error
        total = sum((value for name, value in terms.items() if not name.startswith("_")), start=torch.zeros(()))
        if not isinstance(total, Tensor) or total.numel() != 1 or not total.requires_grad:
            raise GanError(
                f"{place}: the objective gave no differentiable scalar; "
                "its terms must depend on the player's parameters"
            )
        for name, value in terms.items():
            self.stats.report(f"{turn.player}/{name}", value)
        return total

    def _step(self, player_state: PlayerState, gradients: list[Tensor], losses: list[Tensor], phase: Phase) -> None:
        """Clip and step, unless loss or gradient is not finite: then this update is not made, and it is counted."""
        if player_state.scaler is not None:
            player_state.scaler.unscale_(player_state.optimizer)
        norm = torch.nn.utils.get_total_norm(gradients)
        finite = torch.isfinite(norm)
        if self.device.world_size == 1:  # losses differ between processes, gradients do not: all must decide alike
            for loss in losses:
                finite = finite & torch.isfinite(loss)
        bad = (~finite).to(torch.float32)
        self.stats.report(
            f"{player_state.name}/_gradient_norm", torch.nan_to_num(norm, nan=0.0, posinf=0.0, neginf=0.0)
        )
        if player_state.settings.clip_norm > 0:
            torch._foreach_mul_(gradients, (player_state.settings.clip_norm / (norm + 1e-6)).clamp(max=1.0))
        if player_state.scaler is not None:
            player_state.scaler.step(player_state.optimizer)
            player_state.scaler.update()
        elif player_state.fused and self.device.device.type != "cpu":
            # the fused kernels leave everything untouched where found_inf is 1: no wait for the device
            player_state.optimizer.found_inf = bad  # type: ignore[attr-defined]
            player_state.optimizer.step()
        elif not bad.item():
            player_state.optimizer.step()
        self._skipped += bad
        player_state.skips.add_(bad).mul_(bad)
        torch.maximum(player_state.most_skips, player_state.skips, out=player_state.most_skips)
        if self.device.device.type == "cpu" and bad:
            self._check_skips()

    def _check_skips(self) -> None:
        """Raise when a player's updates were skipped too often in a row. On an accelerator it is asked at ticks."""
        for player_state in self.player_states.values():
            most = int(player_state.most_skips.item())
            player_state.most_skips.copy_(player_state.skips)
            if most > self.training.max_skips:
                self.peers.raise_if_oom()
                progress = self._progress
                raise NumericError(
                    f"phase '{self.phases[progress.phase].name}', player '{player_state.name}', at "
                    f"{progress.samples:,} samples: loss or gradient was not finite {most} times in a row, more than "
                    f"training.max_skips; none of it reached the weights. Lower optimizers.{player_state.name}.lr."
                )

    def _skipped_since(self) -> int:
        skipped = int(self._skipped.item())
        self._skipped.zero_()
        return skipped

    def _check(self, players: Mapping[str, Player]) -> None:
        processes = self.device.world_size
        for phase in self.phases:
            if self._size(phase) % processes:
                where = "training.batch" if phase.batch is None else f"phases.{phase.name}.batch"
                raise UsageError(f"{where} is {self._size(phase)}, no multiple of the {processes} processes")
        owners: dict[int, str] = {}
        for name, player in players.items():
            for _, parameter in player.named_parameters():
                if owners.setdefault(id(parameter), name) != name:
                    raise GanError(f"players '{owners[id(parameter)]}' and '{name}' share a parameter")
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise GanError(f"two phases have one name: {', '.join(names)}")
        for phase in self.phases:
            if not phase.turns:
                raise GanError(f"phase '{phase.name}' has no turn")
            for turn in phase.turns:
                if turn.player not in players:
                    raise GanError(f"phase '{phase.name}' has a turn of '{turn.player}', who is no player")


@dataclass
class _Progress:
    """Where the training stands."""

    phase: int = 0
    position: int = 0
    """Real samples shown in this phase."""
    iteration: int = 0
    """Of this phase."""
    samples: int = 0
    """Real samples shown in all phases."""
    last_tick: int = 0
    parts: int = 1
    """In how many parts a batch goes through the networks."""
    rollbacks: int = 0
    passed_over: int = 0
    """Real samples that were passed over after a roll-back."""
    seconds: float = field(default=0.0)

    def state_dict(self) -> dict[str, Any]:
        """JSON values."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved place."""
        for name in vars(self):
            setattr(self, name, state[name])


def _turns_of(phases: Sequence[Phase], player: str) -> list[Turn]:
    return [turn for phase in phases for turn in phase.turns if turn.player == player]


def _channels_last(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
