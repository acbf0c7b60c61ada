"""The run folder: the layout of a training run on disk, its lock and its metrics log.

runs/music-musegan-0001/
  recipe.yaml      the resolved recipe; its presence makes the folder a run folder
  manifest.json    versions, data fingerprint, seed, device, command line, exit reason
  modality.json    what the modality learned from the training data (class names, a vocabulary)
  conditions.json  values of the data's conditions (`gan.generation.conditions`), if it has any
  options.json     the flags of `gan generate`, for its --help (`gan.generation.flags`)
  metrics.jsonl    one line per tick
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
from gan.storage.durable import ASIDE, disk_errors, dump_json, fsync_dir, make_dirs, synced, write_all, write_bytes

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PREVIEW = "preview.png"
"""Name of the image that is written beside artefacts and is not one of them."""


class RunFolder:
    """The folder that a training run writes to and resumes from; its attributes are the paths inside."""

    def __init__(self, path: Path) -> None:
        self.path = path = Path(path)
        self.recipe = path / "recipe.yaml"
        self.manifest = path / "manifest.json"
        """The record of `gan.reporting.manifest`."""
        self.facts = path / "modality.json"
        """`Modality.facts`."""
        self.conditions = path / "conditions.json"
        self.flags = path / "options.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        """The folder of `gan.storage.checkpoint.Checkpoints`."""
        self.best = path / "best"
        """The checkpoint with the best value of `evaluation.best`, if the recipe names one."""
        self.previews = path / "previews"
        self.samples = path / "samples"
        """The artefacts written at the end of training."""
        self.evaluation = path / "evaluation"
        """Metrics and their receipts."""
        self.result = self.evaluation / "result.json"
        """The summary of a `gan.reporting.result.Result`; written when training has ended."""
        self.page = path / "page" / "index.html"
        """The page of `gan.reporting.page`."""
        self.card = path / "README.md"
        """The model card."""

    @staticmethod
    def next_path(parent: Path, plugin: str, architecture: str) -> Path:
        """``parent/PLUGIN-ARCHITECTURE-0001``, or the number after the highest existing one."""
        pattern = re.compile(re.escape(f"{plugin}-{architecture}") + r"-(\d{4,})")
        names = os.listdir(parent) if parent.is_dir() else []
        numbers = [int(match[1]) for match in map(pattern.fullmatch, names) if match]
        return parent / f"{plugin}-{architecture}-{max(numbers, default=0) + 1:04d}"

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """Make a new run folder, after removing what a killed process left unfinished there.

        Raises `UsageError` if `path` exists and is not an empty folder, `DiskError` if it cannot be created.
        """
        if path.exists():
            if not path.is_dir():
                raise UsageError(f"{path} is not a folder; choose another --out")
            names = os.listdir(path)
            if (path / "recipe.yaml").exists():
                raise UsageError(f"{path} holds a run; continue it with `gan resume {path}` or choose another --out")
            if any(not name.startswith(ASIDE) for name in names):
                raise UsageError(f"{path} is not empty; choose another --out")
            _remove_unfinished(path)
        make_dirs(path)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run folder at `path`. Raises `UsageError` if it is not one."""
        run = cls(path)
        if not run.recipe.is_file():
            what = "is not a run folder: it holds no recipe.yaml" if path.is_dir() else "is not a folder"
            raise UsageError(f"{path} {what}; name a folder made by `gan run`")
        return run

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process. Raises `RunLocked` at once if another holder has it.

        The lock belongs to the open file, not to the presence of a file: the lock of a killed process is released.
        (`filelock` would not do: a forked child keeps its lock, and it leaves its lock file in the folder.)
        """
        held = [self._locked_descriptor()]

        def close_copy() -> None:
            while held:
                os.close(held.pop())

        if hasattr(os, "register_at_fork"):  # a forked child must not keep the lock of a parent that was killed
            os.register_at_fork(after_in_child=close_copy)
        try:
            yield
        finally:
            if held and sys.platform != "win32":
                fcntl.flock(held[0], fcntl.LOCK_UN)  # closing does not unlock while a child process has a copy
            close_copy()

    def _locked_descriptor(self) -> int:
        """A descriptor that holds the lock: of the folder itself, so that no lock file can be left over, or of a file
        in it where the system locks only files (Windows, some network disks)."""
        with disk_errors(self.path):
            if sys.platform != "win32":
                try:
                    return self._lock(self.path, os.O_RDONLY)
                except OSError as error:
                    if error.errno not in (errno.EBADF, errno.EINVAL, errno.ENOTSUP, errno.ENOLCK):
                        raise
            return self._lock(self.path / ".lock", os.O_RDWR | os.O_CREAT)

    def _lock(self, path: Path, flags: int) -> int:
        descriptor = os.open(path, flags, 0o666)
        try:
            if sys.platform == "win32":
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if sys.platform == "win32" or isinstance(error, BlockingIOError):
                raise RunLocked(
                    f"{self.path} is in use by another process; wait for it, stop it, or choose another --out"
                ) from error
            raise
        return descriptor

    def remove_unfinished(self) -> None:
        """Remove files that a killed process left unfinished. Requires the lock."""
        for folder in (self.path, self.previews, self.samples, self.evaluation):
            _remove_unfinished(folder)

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Append one line of strict JSON (non-finite numbers become null) and sync it.

        Append the records that belong to a checkpoint before saving it: `rewind_metrics` keeps those up to it.
        """
        new = not self.metrics.exists()
        with synced(self.metrics, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as descriptor:
            write_all(descriptor, (dump_json(record) + "\n").encode("utf-8"))
        if new:
            fsync_dir(self.path)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All complete records, in order."""
        with disk_errors(self.metrics):
            data = self.metrics.read_bytes() if self.metrics.exists() else b""
        return [record for _, record in _whole_lines(data)]

    def rewind_metrics(self, samples: int) -> None:
        """Drop an incomplete last line and the records past `samples`, before resuming from that checkpoint.

        The file is not touched if there is nothing to drop.
        """
        if not self.metrics.exists():
            return
        with disk_errors(self.metrics):
            data = self.metrics.read_bytes()
        kept = [line for line, record in _whole_lines(data) if int(record.get("samples", 0)) <= samples]
        rewound = b"".join(kept)
        if rewound != data:
            write_bytes(self.metrics, rewound)


def _remove_unfinished(folder: Path) -> None:
    for path in folder.glob(ASIDE + "*"):
        with contextlib.suppress(OSError):
            path.unlink()


def _whole_lines(data: bytes) -> list[tuple[bytes, dict[str, Any]]]:
    """The lines that are complete JSON objects, up to the first that is not."""
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
