"""Recovery of a training from non-finite numbers and from out-of-memory errors.

* A gradient or loss that is not finite: the update is skipped. ``training.max_skips`` consecutive skipped updates of a
  player are tolerated.
* More than that, or a weight that is not finite when a checkpoint is due: return to the last good checkpoint, once.
  Training continues from there with other random numbers, past the data at which it failed.
* A second failure: `NumericError`, and the last good checkpoint stays.
* A treatment by the watch (`gan.watch`): return to the last healthy checkpoint, with the dials that it turns.
* Out of memory: return to the last good checkpoint and double the number of micro-batches, until a micro-batch holds
  one sample. The gradient is still that of the whole batch.

Everything follows from the state in the checkpoint, so a run that is killed in between ends the same. Several processes
roll back together: `gan.runtime.distributed` raises a failure of one of them in all, at the same place.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from gan.errors import NumericError
from gan.reporting.reporter import Reporter
from gan.runtime.device import out_of_memory
from gan.storage.checkpoint import Checkpoint, Checkpoints, StateOwner, verify
from gan.storage.run_folder import RunFolder
from gan.training.trainer import Trainer
from gan.watch.watch import Treatment, Watch


class RollBack(Exception):
    """Ends the training loop for a treatment that returns to a checkpoint; raised on all processes alike."""

    def __init__(self, treatment: Treatment) -> None:
        super().__init__(treatment.text)
        self.treatment = treatment


@dataclass
class Recovery:
    """Runs the training loop and remembers whether it was rolled back.

    On the first process `rewound` is called after a rollback, and `save` after one by the watch."""

    trainer: Trainer
    checkpoints: Checkpoints
    folder: RunFolder
    reporter: Reporter
    rewound: Callable[[], None]
    save: Callable[[], None]
    watch: Watch
    rolled_back: bool = False

    def run(self, train: Callable[[], None]) -> None:
        """Call `train` until it returns. Raises `NumericError` if recovery is not possible."""
        while True:
            failure: NumericError | None = None
            memory = ""
            try:
                return train()
            except RollBack as treatment:
                self._treat(treatment.treatment)
                continue
            except NumericError as error:
                failure = error
            except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
                if not out_of_memory(error):
                    raise
                memory = str(error).splitlines()[0] if str(error) else "no more to be had"
            # outside the except clause: the traceback of an out-of-memory error keeps tensors alive
            if failure is not None:
                self._roll_back(failure)
            else:
                self._split_further(memory)

    def _roll_back(self, failure: NumericError) -> None:
        trainer = self.trainer
        failed_at = trainer.samples
        if self.rolled_back:
            raise failure
        self.rolled_back = True
        checkpoint = self._load_newest()
        if checkpoint is None or trainer.rollbacks > self.watch.returns:  # the checkpoint itself follows a rollback
            raise failure
        trainer.avoid(failed_at)
        self._warn(
            f"{failure} Rolled back to {checkpoint.path.name}, once; continuing past the data at which it failed"
        )

    def _treat(self, treatment: Treatment) -> None:
        """Return to a healthy checkpoint and turn dials; its data and random numbers are not used again.

        The state after it is saved at once, so that a killed run continues with it.
        """
        trainer = self.trainer
        failed_at, seconds = trainer.samples, trainer.seconds
        self.checkpoints.wait()
        trainer.peers.barrier()
        path = self.checkpoints.folder_of(treatment.roll_back_to or 0)
        checkpoint = verify(path) if path.is_dir() else None
        if checkpoint is not None:
            self._load(checkpoint, {name: o for name, o in trainer.owners().items() if name not in trainer.companions})
            trainer.avoid(failed_at, seconds)
        else:
            self._warn(f"{path} is gone: continuing from here")
        for name, value in treatment.dials.items():
            trainer.turn_dial(name, value)
        if trainer.device.rank == 0 and checkpoint is not None:
            self.save()
        trainer.peers.barrier()

    def _split_further(self, reason: str) -> None:
        trainer = self.trainer
        micro_batches = 2 * trainer.micro_batches
        where = f"out of memory at {trainer.samples:,} samples ({reason[:120]})"
        failure = NumericError(f"{where}; lower training.batch or the size of the model")
        if not trainer.can_split(micro_batches):
            raise failure
        gc.collect()
        if trainer.device.device.type == "cuda":
            torch.cuda.empty_cache()
        if self._load_newest() is None:
            raise failure
        trainer.split(micro_batches)
        share = trainer.training.batch // trainer.device.world_size
        self._warn(
            f"{where}; continuing from {trainer.samples:,} samples with {micro_batches} micro-batches for each batch. "
            f"Set training.micro_batch={share // micro_batches} to start with them"
        )

    def _load_newest(self) -> Checkpoint | None:
        self.checkpoints.wait()
        self.trainer.peers.barrier()  # the first process has finished writing
        checkpoint = self.checkpoints.newest()
        if checkpoint is not None:
            self._load(checkpoint, self.trainer.owners())
        self.trainer.peers.barrier()
        return checkpoint

    def _load(self, checkpoint: Checkpoint, owners: Mapping[str, StateOwner]) -> None:
        """Load some states of a checkpoint, and cut the records back to it."""
        self.trainer.reset_dials()
        checkpoint.load(owners, surplus=True)
        if self.trainer.device.rank == 0:
            self.folder.rewind_metrics(self.trainer.samples)
            self.rewound()

    def _warn(self, text: str) -> None:
        if self.trainer.device.rank == 0:
            self.reporter.warn(text)
