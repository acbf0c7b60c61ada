"""What a life of a fault test does to itself first: losses that are not numbers, memory that runs out, signals."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

import torch
from gan.storage.checkpoint import Checkpoints
from gan.training.trainer import Trainer


def _before_objective(act):
    original = Trainer._objective

    def objective(self, turn, phase, batch):
        total = original(self, turn, phase, batch)
        return act(self, turn, batch, total)

    Trainer._objective = objective


def signal_in_a_step():
    """SIGTERM arrives in the middle of an update at 16 samples, and a second one right behind it."""

    def act(trainer, turn, batch, total):
        if trainer.samples == 16:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        return total

    _before_objective(act)


def one_bad_loss():
    """The generator's loss at 16 samples is NaN, once."""

    def act(trainer, turn, batch, total):
        return total * float("nan") if trainer.samples == 16 and turn.player == "generator" else total

    _before_objective(act)


def bad_until_rolled_back():
    """From 24 samples on every gradient is infinite, until the training went back."""

    def act(trainer, turn, batch, total):
        return total * float("inf") if trainer.samples >= 24 and not trainer.rollbacks else total

    _before_objective(act)


def always_bad():
    """From 24 samples on every gradient is NaN."""

    def act(trainer, turn, batch, total):
        return total * float("nan") if trainer.samples >= 24 else total

    _before_objective(act)


def bad_weights():
    """A weight becomes infinite at 24 samples, past all checks of gradients."""

    def act(trainer, turn, batch, total):
        if trainer.samples == 24 and not trainer.rollbacks:
            with torch.no_grad():
                next(trainer.architecture.parameters()).view(-1)[0] = float("inf")
        return total

    _before_objective(act)


def little_memory():
    """From 24 samples on more than 4 samples do not fit."""

    def act(trainer, turn, batch, total):
        if trainer.samples >= 24 and batch.count > 4:
            raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")
        return total

    _before_objective(act)


def little_memory_on_a_cpu():
    """As torch says it on a CPU, from the first step on."""

    def act(trainer, turn, batch, total):
        if batch.count > 4:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory")
        return total

    _before_objective(act)


def no_memory():
    """Not one sample fits from 24 samples on."""

    def act(trainer, turn, batch, total):
        if trainer.samples >= 24:
            raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")
        return total

    _before_objective(act)


def little_memory_on_one():
    """The second process has room for two samples, from its first step on."""

    def act(trainer, turn, batch, total):
        if trainer.device.rank == 1 and batch.count > 2:
            raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")
        return total

    _before_objective(act)


def no_memory_on_one():
    """The second process has room for no sample from 24 samples on."""

    def act(trainer, turn, batch, total):
        if trainer.device.rank == 1 and trainer.samples >= 24:
            raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")
        return total

    _before_objective(act)


def bad_on_one_until_rolled_back():
    """From 24 samples on every gradient of the second process is infinite, until the training went back."""

    def act(trainer, turn, batch, total):
        bad = trainer.device.rank == 1 and trainer.samples >= 24 and not trainer.rollbacks
        return total * float("inf") if bad else total

    _before_objective(act)


def failing_objective():
    """A plugin's mistake at 24 samples."""
    from gan.testing.mlp import MLP

    phases = MLP.phases

    def broken(self, loss, penalties):
        import dataclasses

        (phase,) = phases(self, loss, penalties)

        def objective(batch):
            if batch.position == 24:
                raise ValueError("the moon is full")
            return phase.turns[0].objective(batch)

        return [
            dataclasses.replace(
                phase, turns=[dataclasses.replace(phase.turns[0], objective=objective), *phase.turns[1:]]
            )
        ]

    MLP.phases = broken


def new_version():
    """The toy plugin is another version than the run's."""
    import gan.plugins.manager

    original = gan.plugins.manager.Plugins.find

    def find(self, *arguments, **options):
        import dataclasses

        plugin_entry = original(self, *arguments, **options)
        return dataclasses.replace(plugin_entry, info=dataclasses.replace(plugin_entry.info, version="9.9"))

    gan.plugins.manager.Plugins.find = find


def wild_habits():
    """More previews and measurements than the run had; randomness is drawn in between."""
    from gan.training.session import Session

    original = Session._on_tick

    def on_tick(self, tick):
        self.outputs.preview(self.run)
        self.evaluator.receipts(self.run)
        torch.rand(7)
        original(self, tick)
        (self.run.previews / f"samples-{tick.samples:09d}.png").unlink(missing_ok=True)

    Session._on_tick = on_tick


def small_files():
    """No file may grow past 3,000 bytes (ulimit -f)."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))


def lagging_writer():
    """A checkpoint is written only after the training went on: what the copy shares with it would be of later."""
    original = Checkpoints._attempt

    def attempt(self, *arguments):
        time.sleep(0.05)
        original(self, *arguments)

    Checkpoints._attempt = attempt


def _stop_when_saved(samples):
    """SIGTERM from the thread that writes, when it has written the checkpoint of so many samples."""
    original = Checkpoints.__init__

    def init(self, folder, keep=3, *, warn=None, saved=None):
        def stop(path):
            saved(path)
            if path.name == f"samples-{samples:09d}":
                os.kill(os.getpid(), signal.SIGTERM)

        original(self, folder, keep, warn=warn, saved=stop if saved else None)

    Checkpoints.__init__ = init


stop_when_0_is_saved, stop_when_8_are_saved, stop_when_16_are_saved = (partial(_stop_when_saved, n) for n in (0, 8, 16))
