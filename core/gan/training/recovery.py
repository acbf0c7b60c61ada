"""What a training does when its numbers or its memory fail.

* A gradient or loss that is not finite: the update is not made. ``training.max_skips`` of them in a row for one player
  are put up with.
* More than that, or a weight that is not finite when a checkpoint is due: back to the last good checkpoint, once. From
  there the training goes on with other random numbers, past the data at which it failed.
* When it fails again: `NumericError`, and the last good checkpoint stays.
* Memory runs out: back to the last good checkpoint, with batches that go through the networks in twice as many parts,
  until a part holds one sample. The gradient is that of the whole batch.

Everything follows from the state of the checkpoint, so a run that is killed in between ends the same. Several processes
roll back together: `gan.runtime.distributed` raises a failure of one of them in all, at the same place.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

from gan.errors import NumericError
from gan.reporting.reporter import Reporter
from gan.runtime.device import out_of_memory
from gan.storage.checkpoint import Checkpoint, Checkpoints
from gan.storage.run_folder import RunFolder
from gan.training.trainer import Trainer


class Recovery:
    """One per training: it remembers what was tried.

    `rewound` is called after the training has gone back, for what else was derived from the records since.
    """

    def __init__(
        self,
        trainer: Trainer,
        checkpoints: Checkpoints,
        run: RunFolder,
        reporter: Reporter,
        rewound: Callable[[], None] = lambda: None,
    ) -> None:
        self._trainer = trainer
        self._checkpoints = checkpoints
        self._run = run
        self._reporter = reporter
        self._rewound = rewound
        self._rolled_back = False

    def run(self, train: Callable[[], None]) -> None:
        """Call `train` until it returns. Raises `NumericError` when nothing more helps."""
        while True:
            failure: NumericError | None = None
            memory = ""
            try:
                return train()
            except NumericError as error:
                failure = error
            except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
                if not out_of_memory(error):
                    raise
                memory = str(error).splitlines()[0] if str(error) else "no more to be had"
            # the exception of the memory is gone here, and with it the frames that held tensors
            if failure is not None:
                self._roll_back(failure)
            else:
                self._halve(memory)

    def _roll_back(self, failure: NumericError) -> None:
        trainer = self._trainer
        failed_at = trainer.samples
        if self._rolled_back:
            raise failure
        self._rolled_back = True
        checkpoint = self._back()
        if checkpoint is None or trainer.rollbacks:  # the checkpoint itself comes from a roll-back
            raise failure
        trainer.avoid(failed_at)
        self._warn(
            f"{failure} Went back to {checkpoint.path.name} once, and on from there past the data at which it failed"
        )

    def _halve(self, reason: str) -> None:
        trainer = self._trainer
        parts, failed_at = trainer.parts, trainer.samples
        where = f"memory ran out at {failed_at:,} samples ({reason[:120]})"
        if not trainer.can_split(2 * parts):
            raise NumericError(f"{where}; lower training.batch or the size of the model")
        gc.collect()
        if trainer.device.device.type == "cuda":
            torch.cuda.empty_cache()
        if self._back() is None:
            raise NumericError(f"{where}; lower training.batch or the size of the model")
        trainer.split(2 * parts)
        share = trainer.training.batch // trainer.device.world_size
        self._warn(
            f"{where}; going on from {trainer.samples:,} samples with each batch in {2 * parts} parts. "
            f"Set training.micro_batch={share // (2 * parts)} to begin like this"
        )

    def _back(self) -> Checkpoint | None:
        first = self._trainer.device.rank == 0
        self._checkpoints.wait()
        self._trainer.peers.barrier()  # what the first process was writing is there for all
        checkpoint = self._checkpoints.newest()
        if checkpoint is not None:
            checkpoint.load(self._trainer.owners())
            if first:
                self._run.rewind_metrics(self._trainer.samples)
                self._rewound()
        self._trainer.peers.barrier()
        return checkpoint

    def _warn(self, text: str) -> None:
        if self._trainer.device.rank == 0:
            self._reporter.warn(text)
