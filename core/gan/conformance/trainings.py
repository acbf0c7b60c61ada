"""Checks of architectures in training: every loss, learned state, exact resume, saving and loading."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan.build import build_game
from gan.conformance.kit import Failed, Noted, Skipped
from gan.conformance.small_game import Played, equal, listed
from gan.contracts import ConditionalOnInput
from gan.draws import Draws
from gan.game import Batch, Phase, Turn
from gan.plugins.discovery import BUILTIN
from gan.reporting.reporter import Reporter, Tick
from gan.runtime.device import seed_everything
from gan.storage.checkpoint import Checkpoints
from gan.training.trainer import Trainer


def check_losses(played: Played) -> None:
    """Train to the end with the recipe's loss, and two iterations with every other loss of the core and the plugin."""
    kit = played.kit
    offered = [*kit.plugins.entries("gan_losses", BUILTIN), *kit.offered("gan_losses")]
    own = played.resolve().recipe.loss.name
    for name in dict.fromkeys([own, *(plugin_entry.entry.name for plugin_entry in offered)]):
        resolved = played.resolve(None if name == own else name)
        resolved.loss = loss = _RecordingLoss(resolved.loss)
        _train(played.trainer(resolved), name, whole=name == own)
        if not loss.called:
            return  # a game without an adversarial objective: one training suffices


class _RecordingLoss:
    """A loss that records whether it was called."""

    def __init__(self, loss: Any) -> None:
        self.loss = loss
        self.needs_real = loss.needs_real
        self.called = False

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Any:
        """The discriminator's loss."""
        self.called = True
        return self.loss.discriminator(real_scores, fake_scores)

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Any:
        """The generator's loss."""
        self.called = True
        return self.loss.generator(real_scores, fake_scores)


def _train(trainer: Trainer, loss: str, *, whole: bool) -> None:
    """Train and check that numbers stay finite and that every player with a turn changes."""
    before = {
        name: [parameter.detach().clone() for parameter in player_state.parameters]
        for name, player_state in trainer.player_states.items()
    }
    ticks: list[Tick] = []
    end = trainer.total if whole else 2 * trainer.training.batch
    trainer.run(ticks.append, lambda: trainer.samples >= end)
    wrong = [name for tick in ticks for name, value in tick.terms.items() if not math.isfinite(value)]
    if wrong or any(tick.skipped for tick in ticks):
        raise Failed(f"with the loss '{loss}' {wrong[0] if wrong else 'a gradient'} is not finite")
    for name in {turn.player for phase in trainer.phases for turn in phase.turns} if whole else ():
        if equal(before[name], [parameter.detach() for parameter in trainer.player_states[name].parameters]):
            raise Failed(f"training with the loss '{loss}' changes nothing of the player '{name}'")


def check_learned_state(played: Played) -> None:
    """Two parts of a batch observe what the whole batch observes, and no objective changes a buffer by itself."""
    whole = _Watch(played, 1)
    if not whole.observed:
        changed = sorted(whole.changed)
    else:
        parts = _Watch(played, 2)
        changed = sorted(whole.changed | parts.changed)
        if not _batch_statistics(whole.architecture):
            for turn, totals in whole.observed.items():
                for name, value in totals.items():
                    other = parts.observed[turn].get(name)
                    if other is None or not _close(value, other):
                        raise Failed(
                            f"`{name}`, which the objective of '{turn[1]}' observes, differs between a whole batch and "
                            "two parts of it: observe sums over samples, not means, and draw from `batch.rng`"
                        )
    if changed:
        raise Noted(
            f"an objective changes {listed(changed)} by itself: with micro-batches it changes once for each part, and "
            "with several processes each has its own. Use `Batch.observe` and `Turn.learn`"
        )
    if not whole.observed:
        raise Skipped("no turn learns from what it observes")


class _Watch:
    """One iteration of every phase in `parts` micro-batches: what its turns observe, and the buffers that objectives
    change. Layers of torch with statistics of their own (BatchNorm, spectral norm) do not count."""

    def __init__(self, played: Played, parts: int) -> None:
        self.observed: dict[tuple[str, str, int], dict[str, Tensor]] = {}
        """(phase, player, place) -> the totals of the turn's first update in a fresh build."""
        self.changed: set[str] = set()
        resolved = played.resolve()
        names = [phase.name for phase in build_game(resolved, played.modality.fields).phases]
        for number in range(len(names)):
            trainer = played.trainer(resolved)
            self.architecture = trainer.architecture
            if not trainer.can_split(parts):
                continue
            trainer.split(parts)
            trainer.phases = [replace(trainer.phases[number], turns=self._watched(trainer.phases[number]))]
            trainer.run(lambda tick: None, lambda: True)

    def _watched(self, phase: Phase) -> list[Turn]:
        return [self._turn(phase.name, turn, place) for place, turn in enumerate(phase.turns)]

    def _turn(self, phase: str, turn: Turn, place: int) -> Turn:
        buffers = _own_buffers(self.architecture)

        def objective(batch: Batch) -> Mapping[str, Tensor]:
            before = {name: buffer._version for name, buffer in buffers.items()}
            terms = turn.objective(batch)
            self.changed |= {name for name, buffer in buffers.items() if buffer._version != before[name]}
            return terms

        def learn(observed: Mapping[str, Tensor], rng: Draws) -> None:
            if place == self._first_place(phase, place):
                totals = {name: value.clone() for name, value in observed.items()}
                self.observed.setdefault((phase, turn.player, place), totals)
            if turn.learn is not None:
                turn.learn(observed, rng)

        return replace(turn, objective=objective, learn=None if turn.learn is None else learn)

    def _first_place(self, phase: str, place: int) -> int:
        """Only the first turn of a phase that observes is compared: what precedes the others differs by rounding."""
        return min([place, *(known[2] for known in self.observed if known[0] == phase)])


def _own_buffers(architecture: torch.nn.Module) -> dict[str, Tensor]:
    """The buffers of modules that torch does not define, by name."""
    normal = torch.nn.modules.batchnorm._NormBase
    return {
        f"{path}.{name}" if path else name: buffer
        for path, module in architecture.named_modules()
        if not isinstance(module, normal) and not type(module).__module__.startswith("torch.")
        for name, buffer in module.named_buffers(recurse=False)
    }


def _batch_statistics(architecture: torch.nn.Module) -> bool:
    return any(isinstance(module, torch.nn.modules.batchnorm._NormBase) for module in architecture.modules())


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.double(), other.double(), rtol=1e-3, atol=1e-4)


def check_resume(played: Played) -> None:
    """Compare one uninterrupted training with one that is saved and resumed in a fresh build after every iteration."""
    through = played.trainer()
    before = _memories(through.architecture)
    through.run(lambda tick: None)
    after = _memories(through.architecture)
    new = before.keys() ^ after.keys()
    changed = sorted(new | {name for name in before.keys() - new if not equal(before[name], after[name])})
    checkpoints = Checkpoints(played.kit.folder / f"resume-{played.values['architecture']}", keep=1)
    trainer = played.trainer()
    lives = 1
    while True:
        seed_everything(lives)  # the state of the global generators between iterations must not matter
        trainer.run(lambda tick: None, lambda: True)
        if trainer.finished:
            break
        checkpoints.save(trainer.samples, trainer.owners(), {})
        saved = checkpoints.newest()
        trainer = played.trainer()
        lives += 1
        if saved is not None:
            saved.load(trainer.owners())
    if lives == 1:
        raise Noted("its training is too short to be interrupted")
    resumed = trainer.owners()
    for name, owner in through.owners().items():
        if name in ("progress", "stats"):  # they hold seconds
            continue
        if not equal(owner.state_dict(), resumed[name].state_dict()):
            culprits = f"; training changes {listed(changed)} of it, which no checkpoint holds" if changed else ""
            raise Failed(
                f"saved after every iteration and resumed in a fresh build, '{name}' ends otherwise{culprits}: what "
                "training changes must be a parameter or a buffer (`register_buffer`), and random numbers must come "
                "from `batch.rng`"
            )
    if changed:
        raise Noted(
            f"training changes {listed(changed)}, which no checkpoint holds: make it a buffer (`register_buffer`) if "
            "anything depends on it"
        )


def _memories(architecture: torch.nn.Module) -> dict[str, Any]:
    """Copies of the plain attributes of all modules (numbers, strings, arrays and containers of them): what training
    may remember outside parameters and buffers."""
    usual = set(vars(torch.nn.Module()))
    found = {}
    for path, module in architecture.named_modules():
        for name, value in vars(module).items():
            if name not in usual and _plain(value):
                found[f"{path}.{name}" if path else name] = copy.deepcopy(value)
    return found


def _plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_plain, value.values()))
    if isinstance(value, (list, tuple, set, deque)):
        return all(map(_plain, value))
    if isinstance(value, Tensor):  # layers of torch keep lists of their parameters
        return value.is_leaf and not isinstance(value, torch.nn.Parameter)
    return value is None or isinstance(value, (bool, int, float, str, np.ndarray))


def check_save_and_load(played: Played) -> None:
    """Train a run folder from its recipe to artefacts; the loaded model generates the same samples again."""
    from gan.api import load
    from gan.training.session import start

    kit = played.kit
    out = kit.folder / f"run-{played.values['architecture']}"
    result = start(played.values, kit.plugins, Reporter(), out=out)
    if len(result.artefacts) != 2 or not all(path.stat().st_size for path in result.artefacts):
        raise Failed(f"the training wrote {len(result.artefacts)} artefacts of 2")
    model = load(out, device="cpu", plugins=kit.plugins)
    if isinstance(model.architecture, ConditionalOnInput) and model.given_fields():
        taken = played.rows.take(np.arange(3) % len(played.rows))
        given = {name: taken[name] for name in model.architecture.given_fields()}
        other = load(out, device="cpu", plugins=kit.plugins)
        if not equal(model.generate(3, 5, given=given), other.generate(3, 5, given=given)):
            raise Failed("loaded twice from one run it generates other samples for one seed")
        return
    seed = played.values.get("seed", 0)
    paths = model.write(model.generate(2, seed), kit.folder / "again", seed=seed)
    if [path.read_bytes() for path in paths] != [path.read_bytes() for path in result.artefacts]:
        raise Failed("loaded from its run it generates other samples than at the end of training")
