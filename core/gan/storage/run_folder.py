"""The layout of a run folder, its lock, and its record of numbers.

runs/music-musegan-0001/
  recipe.yaml      fully resolved; its presence makes the folder a run folder
  manifest.json    versions, data fingerprint, seed, device, command line, exit reason
  modality.json    what the modality learned of the training data (class names, a vocabulary)
  conditions.json  values of the data's conditions (`gan.generation.conditions`), where they have some
  metrics.jsonl    one line a tick
  checkpoints/samples-000200000/  best/samples-000150000/
  previews/  samples/  evaluation/  page/index.html  README.md
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gan.errors import RunLocked, UsageError
from gan.storage.durable import ASIDE, disk_errors, dump_json, fsync_dir, make_dirs, write_all, write_bytes

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PREVIEW = "preview.png"
"""The picture beside artefacts, which is none of them."""


class RunFolder:
    """The folder that a recipe's training writes and resumes from."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @staticmethod
    def next_path(parent: Path, plugin: str, architecture: str) -> Path:
        """``parent/PLUGIN-ARCHITECTURE-0001``, or the number after the highest one there is."""
        pattern = re.compile(re.escape(f"{plugin}-{architecture}") + r"-(\d{4,})")
        names = os.listdir(parent) if parent.is_dir() else []
        numbers = [int(match[1]) for match in map(pattern.fullmatch, names) if match]
        return parent / f"{plugin}-{architecture}-{max(numbers, default=0) + 1:04d}"

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """Make a new run folder. What a killed creation left there is swept.

        Raises `UsageError` when `path` exists and holds anything, `DiskError` when it cannot be made.
        """
        if path.exists():
            if not path.is_dir():
                raise UsageError(f"{path} is no folder; choose another --out")
            names = os.listdir(path)
            if (path / "recipe.yaml").exists():
                raise UsageError(f"{path} holds a run; go on with `gan resume {path}` or choose another --out")
            if any(not name.startswith(ASIDE) for name in names):
                raise UsageError(f"{path} is not empty; choose another --out")
            for name in names:
                with contextlib.suppress(OSError):
                    (path / name).unlink()
        make_dirs(path)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run folder at `path`. Raises `UsageError` when there is none."""
        run = cls(path)
        if not run.recipe.is_file():
            what = "holds no recipe.yaml, so it is no run folder" if path.is_dir() else "is no folder"
            raise UsageError(f"{path} {what}; name the folder that `gan run` made")
        return run

    @property
    def recipe(self) -> Path:
        """The resolved recipe, YAML."""
        return self.path / "recipe.yaml"

    @property
    def manifest(self) -> Path:
        """The record of `gan.reporting.manifest`, JSON."""
        return self.path / "manifest.json"

    @property
    def facts(self) -> Path:
        """`Modality.facts`, JSON."""
        return self.path / "modality.json"

    @property
    def conditions(self) -> Path:
        """What `gan.generation.conditions` keeps of the data, JSON; only where samples have conditions."""
        return self.path / "conditions.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line, one line a tick."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of `gan.storage.checkpoint.Checkpoints`."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The folder of the one checkpoint with the best metric, where the recipe names one."""
        return self.path / "best"

    @property
    def previews(self) -> Path:
        """Pictures of samples, one a preview interval."""
        return self.path / "previews"

    @property
    def samples(self) -> Path:
        """The artefacts that a training ends with."""
        return self.path / "samples"

    @property
    def evaluation(self) -> Path:
        """Metrics and their receipts."""
        return self.path / "evaluation"

    @property
    def result(self) -> Path:
        """A `gan.reporting.result.Result.summary`, JSON; there when the training has ended."""
        return self.evaluation / "result.json"

    @property
    def page(self) -> Path:
        """The page of `gan.reporting.page`."""
        return self.path / "page" / "index.html"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "README.md"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process. Raises `RunLocked` at once when another process holds it.

        The lock belongs to the open file and not to a file's presence: the lock of a killed process is gone.
        """
        descriptor = self._lock_descriptor()
        held = [descriptor]
        if hasattr(os, "register_at_fork"):  # a forked child must not keep the lock of a parent that was killed

            def let_go() -> None:
                while held:
                    os.close(held.pop())

            os.register_at_fork(after_in_child=let_go)
        try:
            yield
        finally:
            if held:
                if sys.platform != "win32":
                    fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing would not do while a child still has a copy
                os.close(held.pop())

    def _lock_descriptor(self) -> int:
        busy = RunLocked(f"{self.path} is in use by another process; wait for it, stop it, or choose another --out")
        with disk_errors(self.path):
            if sys.platform == "win32":
                descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT)
                try:
                    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                except OSError as error:
                    os.close(descriptor)
                    raise busy from error
                return descriptor
            descriptor = os.open(self.path, os.O_RDONLY)  # the folder itself: no lock file that could be left over
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(descriptor)
                raise busy from error
            except OSError as error:
                os.close(descriptor)
                if error.errno not in (errno.EBADF, errno.EINVAL, errno.ENOTSUP, errno.ENOLCK):
                    raise
                descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)  # network disks want a file
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    os.close(descriptor)
                    raise busy from error
        return descriptor

    def sweep(self) -> None:
        """Remove files that a killed process left unfinished. Call it with the lock held."""
        for folder in (self.path, self.previews, self.samples, self.evaluation):
            for name in os.listdir(folder) if folder.is_dir() else []:
                if name.startswith(ASIDE):
                    with contextlib.suppress(OSError):
                        (folder / name).unlink()

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one line of strict JSON (a number that is not finite becomes null) and sync it.

        Append what belongs to a checkpoint before it is saved: `rewind_metrics` keeps what is not past it.
        """
        new = not self.metrics.exists()
        with disk_errors(self.metrics):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            descriptor = os.open(self.metrics, flags, 0o666)
            try:
                write_all(descriptor, (dump_json(record) + "\n").encode("utf-8"))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        if new:
            fsync_dir(self.path)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All whole records, in order."""
        with disk_errors(self.metrics):
            data = self.metrics.read_bytes() if self.metrics.exists() else b""
        return [record for _, record in _whole_lines(data)]

    def rewind_metrics(self, samples: int) -> None:
        """Before going on from the checkpoint at `samples`: drop a torn tail and the records past it.

        The file is not touched when there is nothing to drop.
        """
        if not self.metrics.exists():
            return
        with disk_errors(self.metrics):
            data = self.metrics.read_bytes()
        kept = [line for line, record in _whole_lines(data) if int(record.get("samples", 0)) <= samples]
        rewound = b"".join(kept)
        if rewound != data:
            write_bytes(self.metrics, rewound)


def _whole_lines(data: bytes) -> list[tuple[bytes, dict[str, Any]]]:
    """The lines that are a whole JSON object, up to the first that is not: what follows a torn line is no record."""
    lines = []
    for line in data.splitlines(keepends=True):
        try:
            record = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            record = None
        if not isinstance(record, dict):
            break
        lines.append((line, record))
    return lines
