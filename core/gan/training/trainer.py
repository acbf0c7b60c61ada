"""The training loop: takes players, phases and data as objects and trains; it knows no name of a plugin.

Each iteration of a phase takes its turns in order. The objective of a turn is differentiated with respect to the
parameters of its player only (`gan.training.update`); gradients are averaged over the processes. Everything random is
derived from (seed, phase, iteration, turn), so neither a preview nor a checkpoint changes what follows, and a resumed
training needs no random state.

The file is long because the loop and its state are one class, which reads from top to bottom as an iteration goes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gan.contracts import AdaptiveAugmentation, Augmentation, Penalty, Samples, ScorePenalty
from gan.contracts.guards import NOISE, SMOOTHING
from gan.draws import CounterDraws, Draws, StepDraws, Way, derive, key_words, step_key
from gan.errors import GanError, NumericError, UsageError
from gan.game import Batch, Learn, Phase, Player, Turn, phase_lengths
from gan.generation.settling import settled
from gan.recipe import Training
from gan.reporting.reporter import Tick
from gan.runtime.device import Device, seed_everything, tune
from gan.runtime.distributed import ASK_EVERY, Peers, average_gradients, true_everywhere
from gan.training.learning import Learner
from gan.training.loop_state import Dials, LoopState
from gan.training.player_state import PlayerState, Skips, check_players
from gan.training.prefetch import Prefetcher
from gan.training.stats import Stats
from gan.training.update import backward, clear_gradients, clip_and_step, compute_loss, fill_gradients_with_nan

PARTS = ("augmentations.", "penalties.")
"""Begin the names of what augmentations and penalties observe."""


class RealSamples(Protocol):
    """The part of a dataset that the trainer needs."""

    def __len__(self) -> int: ...

    def take(self, indices: np.ndarray[Any, Any]) -> Samples:
        """The samples at `indices`."""


class SampleOrder(Protocol):
    """The order in which samples are shown."""

    def indices(self, position: int, count: int) -> np.ndarray[Any, Any]:
        """The int64 indices of `count` samples from `position` on."""


class Trainer:
    """Trains `architecture` through its `phases`. `owners()` is the state that a checkpoint holds."""

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
        augmentations: Mapping[str, Augmentation] | None = None,
        penalties: Mapping[str, Penalty] | None = None,
    ) -> None:
        self.architecture = architecture.to(device.device)
        self.augmentations = dict(augmentations or {})
        self.penalties = dict(penalties or {})
        tune(device.device)
        if device.device.type == "cuda" if training.channels_last is None else training.channels_last:
            _channels_last(self.architecture)
        self.phases = list(phases)
        self.data = data
        self.training = training
        self.device = device
        self._order = order
        self._seed = seed
        self._lengths = phase_lengths(self.phases, training.samples)
        check_players(players, self.phases)
        self._check_batches()
        lazy = {name: [t.every for t in _turns_of(self.phases, name) if t.every > 1 and t.lazy] for name in players}
        self.player_states = {n: PlayerState(n, player, training, lazy[n], device) for n, player in players.items()}
        if training.compile:
            for module in self.architecture.children():
                module.compile()
        self.stats = Stats()
        self.peers = Peers(device)
        trained = [parameter for state in self.player_states.values() for parameter in state.parameters]
        modules = [module.to(device.device) for module in self._parts().values()]
        self._learner = Learner(self.architecture, trained, device, self.peers, modules)
        self._dials = Dials()
        draws: Way = "generators" if device.synchronous else "counters"
        self._progress = LoopState(draws=draws if training.draws == "auto" else training.draws)
        self._skipped = torch.zeros((), device=device.device)
        self._keys = {"turn": step_key(0, device.device), "learn": step_key(0, device.device)}
        """Of the random numbers by counters, of the present update."""
        if training.micro_batch is not None:
            share = training.batch // device.world_size
            if share % training.micro_batch:
                raise UsageError(
                    f"training.micro_batch is {training.micro_batch}, no divisor of {share} samples a process"
                )
            self.split(share // training.micro_batch)
            if not self.can_split(self.micro_batches):
                raise UsageError(
                    f"training.micro_batch makes {self.micro_batches} micro-batches; "
                    "the batch of one of the phases cannot be split into so many"
                )
        self.companions: dict[str, Any] = {}
        """Further owners of state for checkpoints, by name."""
        self.probe_every = 0
        """Iterations between two in which objectives report signals (`Batch.probe`); 0: never."""
        self._tick = training.tick or max(1, self.total // 50)
        self._prefetcher = Prefetcher(self._gather, device.device)

    @property
    def total(self) -> int:
        """Real samples in all phases."""
        return sum(self._lengths)

    @property
    def samples(self) -> int:
        """Real samples shown so far."""
        return self._progress.samples

    @property
    def phase(self) -> Phase:
        """The phase that training is in."""
        return self.phases[self._progress.phase]

    @property
    def position(self) -> int:
        """Real samples shown in this phase."""
        return self._progress.position

    @property
    def rollbacks(self) -> int:
        """How often this training has returned to an earlier state (see `avoid`)."""
        return self._progress.rollbacks

    @property
    def draws(self) -> Way:
        """How random numbers are made, from the beginning of the run on."""
        return self._progress.draws

    @property
    def micro_batches(self) -> int:
        """Number of micro-batches into which each batch is split for gradient accumulation."""
        return self._progress.parts

    def can_split(self, micro_batches: int) -> bool:
        """Whether the batches of every phase can be split into so many equal micro-batches."""
        shares = [self._size(phase) // self.device.world_size for phase in self.phases]
        return all(micro_batches <= share and share % micro_batches == 0 for share in shares)

    def split(self, micro_batches: int) -> None:
        """Split every batch into `micro_batches` from now on."""
        self._progress.parts = micro_batches

    @property
    def dials(self) -> Mapping[str, float]:
        """Factors on numbers of the recipe, by dotted name."""
        return self._dials.factors

    def turn_dial(self, name: str, factor: float) -> None:
        """Multiply a number by `factor`, relative to the recipe, from the next iteration on; checkpoints hold it.

        Names: ``optimizers.PLAYER.lr``, ``optimizers.PLAYER.betas.0`` and ``.1``, ``penalties.NAME.weight``,
        ``augmentations.NAME.strength``, ``training.ema_half_life``; ``turns.PLAYER.every`` (2: every other update of
        the player); ``critics.noise``, the standard deviation of noise on what critics see, in its unit, and
        ``critics.smoothing``, that of noise by which their scores should hardly change (`gan.contracts.guards`). All
        processes must turn it alike. Raises `UsageError` for a name of another form.
        """
        section, _, rest = name.partition(".")
        parts = rest.split(".")
        known = {
            "optimizers": parts[0] in self.player_states and parts[1:] in (["lr"], ["betas", "0"], ["betas", "1"]),
            "penalties": len(parts) == 2 and parts[1] == "weight",
            "augmentations": len(parts) == 2 and parts[0] in self.augmentations and parts[1] == "strength",
            "training": rest == "ema_half_life",
            "turns": parts[0] in self.player_states and parts[1:] == ["every"] and factor >= 1,
            "critics": name in (NOISE, SMOOTHING),
        }
        if not known.get(section, False):
            raise UsageError(f"there is no dial '{name}'; see Trainer.turn_dial for the names")
        if not (math.isfinite(factor) and factor >= 0):
            raise UsageError(f"the dial {name} cannot be turned to {factor}")
        self._dials.factors[name] = float(factor)

    def reset_dials(self) -> None:
        """Turn all dials back to the numbers of the recipe."""
        self._dials.factors.clear()

    def avoid(self, failed_at: int, seconds: float = 0.0) -> None:
        """After a rollback: continue with other random numbers, and skip the data up to `failed_at`.

        `seconds` is the time that had passed, for the limit of the recipe.
        """
        progress = self._progress
        progress.seconds = max(progress.seconds, seconds)
        progress.rollbacks += 1
        repeats = max(turn.repeats for phase in self.phases for turn in phase.turns)
        progress.passed_over += max(0, failed_at - progress.samples) + repeats * max(map(self._size, self.phases))
        self._skipped.zero_()
        for player_state in self.player_states.values():
            player_state.skips.zero_()
            player_state.most_skips.zero_()

    @property
    def seconds(self) -> float:
        """Seconds of training up to the last tick, over all resumed sessions of the run."""
        return self._progress.seconds

    @property
    def finished(self) -> bool:
        """Whether training is complete."""
        progress = self._progress
        return progress.phase == len(self.phases) - 1 and progress.position >= self._lengths[-1]

    def owners(self) -> dict[str, Any]:
        """Every object with a state_dict and a load_state_dict, by its name in a checkpoint."""
        owners: dict[str, Any] = {
            "architecture": self.architecture,
            "progress": self._progress,
            "stats": self.stats,
            "skips": Skips(self._skipped, self.player_states),
            "dials": self._dials,
            **self.companions,
        }
        owners |= self._parts()
        for name, player_state in self.player_states.items():
            owners[f"optimizer-{name}"] = player_state.optimizer
            if player_state.average is not None:
                owners[f"average-{name}"] = player_state.average
            if player_state.scaler is not None:
                owners[f"scaler-{name}"] = player_state.scaler
        return owners

    def _parts(self) -> dict[str, nn.Module]:
        """The recipe's augmentations and penalties that have a state, by their names in a checkpoint."""
        kinds: dict[str, Mapping[str, Any]] = {"augmentation": self.augmentations, "penalty": self.penalties}
        return {
            f"{kind}-{name}": part
            for kind, parts in kinds.items()
            for name, part in parts.items()
            if isinstance(part, nn.Module)
        }

    def parameter_counts(self) -> dict[str, int]:
        """Trained parameters of each player."""
        return {name: sum(p.numel() for p in state.parameters) for name, state in self.player_states.items()}

    @contextmanager
    def sampling(self, *, averaged: bool = True) -> Iterator[nn.Module]:
        """The architecture prepared for sampling: averaged weights with batch statistics of their own
        (`gan.generation.settling`) or else the weights as they are, evaluation mode, no gradients."""
        modes = [(module, module.training) for module in self.architecture.modules()]
        with ExitStack() as stack, torch.no_grad():
            for player_state in self.player_states.values():
                if averaged and player_state.average is not None:
                    stack.enter_context(player_state.average.applied())
            if averaged:
                stack.enter_context(settled(self.architecture, self.device.device))
            self.architecture.eval()
            try:
                yield self.architecture
            finally:
                for module, mode in modes:
                    module.training = mode

    def run(self, on_tick: Callable[[Tick], None], stop: Callable[[], bool] = lambda: False) -> None:
        """Train from the current state to the end, or until `stop`, which is called after every iteration."""
        progress = self._progress
        self.architecture.train()
        clock = time.monotonic()
        shown_at_tick = progress.samples
        time_at_tick = clock
        started = progress.seconds
        limit = math.inf if self.training.minutes is None else 60 * self.training.minutes
        while not self.finished:
            if progress.position >= self._lengths[progress.phase]:
                self._begin_next_phase()
            phase, length = self.phases[progress.phase], self._lengths[progress.phase]
            self._iterate(phase, length)
            ended = progress.position >= length
            crossed = progress.samples // self._tick > progress.last_tick
            timed_out = started + time.monotonic() - clock >= limit
            now = crossed or ended or progress.iteration % ASK_EVERY == 0
            stopping, timed_out = self.peers.stopping(stop() or timed_out, timed_out, now=now)
            if crossed or stopping or ended:
                if crossed:
                    progress.last_tick = progress.samples // self._tick
                self.device.synchronize()
                moment = time.monotonic()
                progress.seconds = started + moment - clock
                final = self.finished or (stopping and timed_out)
                if crossed or ended or final:
                    self._check_skips()
                    skipped = int(self._skipped.item())
                    self._skipped.zero_()
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
        for name in self.phases[progress.phase].adopt:
            if (average := self.player_states[name].average) is not None:
                average.adopt()
        if self.phases[progress.phase].reset_optimizers:
            for turn in self.phases[progress.phase].turns:
                self.player_states[turn.player].optimizer.state.clear()

    def _iterate(self, phase: Phase, length: int) -> None:
        progress = self._progress
        batch = self._size(phase)
        share = min(1.0, progress.position / length)
        repeats = max(turn.repeats for turn in phase.turns)
        first = progress.samples + progress.passed_over
        reals = self._reals(first, batch, repeats)
        shared: list[dict[str, Any]] = [{} for _ in range(progress.parts)]
        updated: set[str] = set()
        for number, turn in enumerate(phase.turns):
            if progress.iteration % (turn.every * int(self.dials.get(f"turns.{turn.player}.every", 1))):
                continue
            player_state = self.player_states[turn.player]
            player_state.set_step_size(share, progress.samples, turn.lr_scale, progress.position, self.dials)
            for repeat in range(turn.repeats):
                purpose: list[str | int] = ["turn", phase.name, progress.iteration, number, repeat]
                if progress.rollbacks:
                    purpose.append(f"rollback {progress.rollbacks}")
                seed = derive(self._seed, *purpose)
                self._begin_update(seed, progress.parts)
                self._update(player_state, turn, phase, number, reals[repeat], seed, share, shared)
            updated.add(turn.player)
        shown = repeats * batch
        for name in updated:
            average = self.player_states[name].average
            if average is not None:
                factor = self.dials.get("training.ema_half_life", 1.0)
                average.set_share(shown, progress.samples, progress.position, factor)
                average.update()
        progress.iteration += 1
        progress.position += shown
        progress.samples += shown

    def _size(self, phase: Phase) -> int:
        """The batch size of a phase, over all processes."""
        return self.training.batch if phase.batch is None else phase.batch

    def _reals(self, first: int, batch: int, repeats: int) -> list[dict[str, Tensor]]:
        """This process's shares of the global batches of an iteration that begins at `first`, on the device; those of
        the next iteration are gathered meanwhile."""
        places = [(first + repeat * batch, batch) for repeat in range(2 * repeats)]
        return self._prefetcher.batches(places[:repeats], places[repeats:])

    def _gather(self, position: int, total: int) -> Samples:
        """This process's share of the global batch of `total` samples at `position`."""
        count = total // self.device.world_size
        return self.data.take(self._order.indices(position + self.device.rank * count, count))

    def _begin_update(self, seed: int, number: int) -> None:
        """Everything of an update that the host does: the rest only computes on the device, and may be captured."""
        seed_everything(seed + self.device.rank * number, self.device.device)
        if self.draws == "counters":
            for name, key in self._keys.items():
                words = key_words(seed if name == "turn" else derive(seed, name))
                for place, word in enumerate(words):
                    key[place].fill_(word)

    def _rng(self, purpose: str, seed: int, total: int, start: int, count: int) -> Draws:
        """Rows for a turn or for what it learns."""
        if self.draws == "counters":
            return CounterDraws(self._keys[purpose], total, start, count)
        return StepDraws(seed, total, start, count, self.device.device)

    def _batch(
        self, fields: dict[str, Tensor], seed: int, progress: float, shared: dict[str, Any], index: int, number: int
    ) -> Batch:
        """Micro-batch `index` of `number` for a turn; the global random generators are seeded for it, those of the
        first one by `_begin_update`."""
        total = self._size(self.phases[self._progress.phase])
        count = total // self.device.world_size // number
        offset = self.device.rank * number + index
        if index:
            seed_everything(seed + offset, self.device.device)
        rng = self._rng("turn", seed, total, offset * count, count)
        if number > 1:
            fields = {name: values[index * count : (index + 1) * count] for name, values in fields.items()}
        position = self._progress.position
        return Batch(fields, rng, position, progress, shared, self.dials, self.augmentations)

    def _update(
        self,
        player_state: PlayerState,
        turn: Turn,
        phase: Phase,
        place: int,
        real: dict[str, Tensor],
        seed: int,
        share: float,
        shared: list[dict[str, Any]],
    ) -> None:
        """One update of a player, with gradients accumulated over the micro-batches; the turn is the phase's
        `place`-th."""
        number, weight = len(shared), turn.every if turn.lazy else 1
        clear_gradients(player_state)
        losses: list[Tensor] = []
        observed: list[dict[str, Tensor]] = []
        batch: Batch | None = None
        if not self.peers.oom_reason:
            try:
                for index in range(number):
                    batch = self._batch(real, seed, share, shared[index], index, number)
                    batch.probe = self._probe(turn)
                    losses.append(backward(player_state, self._objective(turn, phase, batch), weight / number))
                    observed.append(batch.observed)
            except (MemoryError, RuntimeError) as error:
                if not self.peers.note_oom(error):
                    raise
        if self.peers.oom_reason:  # outside the except clause, whose traceback keeps tensors alive
            fill_gradients_with_nan(player_state, self.device)
        if self.device.world_size > 1:
            average_gradients(player_state.parameters, self.device.world_size)
        allowed = self._allowed(turn, phase, batch) if turn.when is not None else None
        skipped, bad = clip_and_step(player_state, losses, self.device, self.stats, allowed)
        self._skipped += skipped
        if turn.learn is not None or any(observed):
            self._learn(turn, phase, place, observed, seed, bad)
        if self.device.synchronous:
            if skipped:
                self._check_skips()
        else:  # on the CPU, freeing and allocating again would cost page faults
            clear_gradients(player_state)
        if turn.after is not None and not self.peers.oom_reason:
            if batch is None or number > 1:
                self._begin_update(seed, 1)
                batch = self._batch(real, seed, share, shared[0], 0, 1)
            with torch.no_grad():
                turn.after(batch)

    def _probe(self, turn: Turn) -> Callable[[str, Tensor], None] | None:
        """Takes the signals of an update, in those iterations in which they are wanted."""
        if not self.probe_every or self._progress.iteration % self.probe_every:
            return None
        return lambda name, value: self.stats.report(f"{turn.player}/_{name}", value)

    @torch.no_grad()
    def _allowed(self, turn: Turn, phase: Phase, batch: Batch | None) -> Tensor:
        """`Turn.when`, agreed on by all processes."""
        assert turn.when is not None
        if batch is None or self.peers.oom_reason:
            allowed = torch.zeros((), dtype=torch.bool, device=self.device.device)
        else:
            allowed = turn.when(batch)
            if not isinstance(allowed, Tensor) or allowed.dtype != torch.bool or allowed.numel() != 1:
                raise GanError(
                    f"{self._where(turn, phase)}: `when` must return a boolean tensor with one element, which stays on "
                    f"the device; it returned {allowed!r}"
                )
            allowed = allowed.reshape(())
        if self.device.world_size > 1:
            allowed = true_everywhere(allowed)
        self.stats.report(f"{turn.player}/_updated", allowed)
        return allowed

    def _learn(
        self, turn: Turn, phase: Phase, place: int, observed: list[dict[str, Tensor]], seed: int, bad: Tensor
    ) -> None:
        """Pass what the objectives of all parts and processes observed to `Turn.learn`."""
        where = self._where(turn, phase)
        names = {name for part in observed for name in part if not name.startswith(PARTS)}
        if turn.learn is None and names:
            raise GanError(f"{where}: the objective observed {', '.join(sorted(names))}, but the turn has no `learn`")
        key = (phase.name, place)
        totals = self._learner.totals(key, observed, where)
        if totals is None:
            return
        seed = derive(seed, "learn")
        seed_everything(seed, self.device.device)
        total = self._size(phase)
        learn = partial(self._learn_all, turn.learn, total)
        self._learner.learn(key, learn, totals, self._rng("learn", seed, total, 0, total), bad)

    def _learn_all(self, learn: Learn | None, total: int, observed: Mapping[str, Tensor], rng: Draws) -> None:
        """`Turn.learn`, and `learn` of the augmentations and penalties that observed something."""
        if learn is not None:
            learn({name: value for name, value in observed.items() if not name.startswith(PARTS)}, rng)
        sections: tuple[Mapping[str, Any], ...] = (self.augmentations, self.penalties)
        for section, parts in zip(PARTS, sections, strict=True):
            for name, part in parts.items():
                prefix = f"{section}{name}."
                own = {key.removeprefix(prefix): value for key, value in observed.items() if key.startswith(prefix)}
                if own and isinstance(part, (AdaptiveAugmentation, ScorePenalty)):
                    part.learn(own, total)

    def _objective(self, turn: Turn, phase: Phase, batch: Batch) -> Tensor:
        return compute_loss(turn, batch, self.device, self.stats, self._where(turn, phase))

    def _where(self, turn: Turn, phase: Phase) -> str:
        return f"phase '{phase.name}', player '{turn.player}', at {self._progress.samples:,} samples"

    def _check_skips(self) -> None:
        """Raise if too many consecutive updates of a player were skipped. On an accelerator, called at ticks only."""
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

    def _check_batches(self) -> None:
        processes = self.device.world_size
        for phase in self.phases:
            if self._size(phase) % processes:
                where = "training.batch" if phase.batch is None else f"phases.{phase.name}.batch"
                raise UsageError(f"{where} is {self._size(phase)}, no multiple of the {processes} processes")


def _turns_of(phases: Sequence[Phase], player: str) -> list[Turn]:
    return [turn for phase in phases for turn in phase.turns if turn.player == player]


def _channels_last(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
