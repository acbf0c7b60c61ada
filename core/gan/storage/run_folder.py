"""The run folder: the layout of a training run on disk, its lock and its metrics log.

runs/music-framegan-0001/
  recipe.yaml      the resolved recipe; its presence makes the folder a run folder
  manifest.json    versions, data fingerprint, seed, device, command line, exit reason
  modality.json    what the modality learned from the training data (class names, a vocabulary)
  conditions.json  values of the data's conditions (`gan.generation.conditions`), if it has any
  options.json     the flags of `gan generate`, for its --help (`gan.generation.flags`)
  metrics.jsonl    one line per tick
  health.json      verdicts of the watch and what it has done (`gan diagnose`)
  checkpoints/samples-000200000/  best/samples-000150000/
  directions/  projections/
  film.gif         the previews one after another
  previews/  samples/  evaluation/  page/index.html  README.md
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gan.errors import CheckpointError, DiskError, RunLocked, UsageError
from gan.storage.durable import (
    ASIDE,
    aside,
    disk_errors,
    dump_json,
    fsync_dir,
    make_dirs,
    synced,
    write_all,
    write_bytes,
)
from gan.storage.regular import Broken, read_json, read_regular

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

HOLDER = ".holder"
"""Name of the file that says which process, on which host, holds the lock; it exists while one does."""
PREVIEW = "preview.png"
"""Name of the image that is written beside artefacts and is not one of them."""
REAL_PREVIEW = "real.png"
"""Name of the picture of real samples among the previews."""


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
        self.health = path / "health.json"
        """What the watch has found and done (`gan.watch.watch.Watch.report`)."""
        self.checkpoints = path / "checkpoints"
        """The folder of `gan.storage.checkpoint.Checkpoints`."""
        self.best = path / "best"
        """The checkpoint with the best value of `evaluation.best`, if the recipe names one."""
        self.previews = path / "previews"
        self.film = path / "film.gif"
        """The previews one after another, made at the end of training."""
        self.samples = path / "samples"
        """The artefacts written at the end of training."""
        self.evaluation = path / "evaluation"
        """Metrics and their receipts."""
        self.untrained = self.evaluation / "untrained.json"
        """The metrics before training."""
        self.result = self.evaluation / "result.json"
        """The summary of a `gan.reporting.result.Result`; written when training has ended."""
        self.directions = path / "directions"
        """Directions in the latent space (`gan.control.directions`)."""
        self.projections = path / "projections"
        """Latents of the user's own files (`gan.control.projection`)."""
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
        """Make a new run folder; the caller then locks it and calls `claim`.

        Raises `UsageError` if `path` exists and cannot become one, `DiskError` if it cannot be created.
        """
        run = cls(path)
        run.refuse_occupied()
        make_dirs(path)
        return run

    def refuse_occupied(self) -> None:
        """Raise `UsageError` if the folder exists and is not empty but for what a killed process left unfinished."""
        path = self.path
        if not os.path.lexists(path):
            return
        if not path.is_dir():
            raise UsageError(f"{path} is not a folder; choose another --out")
        if os.path.lexists(self.recipe):
            raise UsageError(
                f"{path} holds a run; continue it with `gan resume {path}`, choose another --out, or let --or-resume "
                "decide"
            )
        if any(not name.startswith(ASIDE) and name != HOLDER for name in os.listdir(path)):
            raise UsageError(f"{path} is not empty; choose another --out")

    def claim(self) -> None:
        """Make sure, under the lock, that nobody else has made a run here meanwhile. Raises `UsageError`."""
        self.refuse_occupied()
        _remove_unfinished(self.path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run folder at `path`. Raises `UsageError` if it is not one."""
        run = cls(path)
        run.refuse_odd_files()
        if not run.recipe.is_file():
            what = "is not a run folder: it holds no recipe.yaml" if path.is_dir() else "is not a folder"
            raise UsageError(f"{path} {what}; name a folder made by `gan run`")
        return run

    def refuse_odd_files(self) -> None:
        """Raise `CheckpointError` for a link that leads out of the folder, and for pipes, sockets and devices in it.

        A run folder may come from somebody else: nothing is read, written or deleted through it elsewhere, and nothing
        blocks.
        """
        root = os.path.realpath(self.path)
        for folder in (self.checkpoints, self.best, self.previews, self.samples, self.evaluation, self.page.parent):
            if os.path.lexists(folder) and not folder.is_dir():
                raise CheckpointError(f"{folder}: damaged: is not a folder. Restore it, or remove it")
        for here, folders, names in os.walk(self.path):
            for name in (*folders, *names):
                path = Path(here, name)
                try:
                    mode = os.lstat(path).st_mode
                except OSError:
                    continue
                if stat.S_ISLNK(mode):
                    target = os.path.realpath(path)
                    if not target.startswith(root + os.sep):
                        raise CheckpointError(
                            f"{path}: is a link that leads out of the run folder, to {target}. Nothing is read or "
                            "written through it; put what it names in its place"
                        )
                    mode = os.stat(target).st_mode if os.path.exists(target) else stat.S_IFREG
                if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                    raise CheckpointError(f"{path}: is neither a file nor a folder but a pipe or a device. Remove it")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process. Raises `RunLocked` at once if another holder has it.

        The lock belongs to the open file, not to the presence of a file: the lock of a killed process is released.
        (`filelock` would not do: a forked child keeps its lock, and it leaves its lock file in the folder.)
        """
        held = [self._locked_descriptor()]
        self._name_holder()

        def close_copy() -> None:
            while held:
                os.close(held.pop())

        if hasattr(os, "register_at_fork"):  # a forked child must not keep the lock of a parent that was killed
            os.register_at_fork(after_in_child=close_copy)
        try:
            yield
        finally:
            if held:
                with contextlib.suppress(OSError):
                    (self.path / HOLDER).unlink()
            if held and sys.platform != "win32":
                fcntl.flock(held[0], fcntl.LOCK_UN)  # closing does not unlock while a child process has a copy
            close_copy()

    def in_use(self) -> bool:
        """Whether a process holds the lock. Leaves nothing in the folder."""
        try:
            descriptor = self._locked_descriptor()
        except RunLocked:
            return True
        if sys.platform != "win32":
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
        return False

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
                    f"{self.path} is in use by {self._holder()}; wait for it, stop it, or choose another --out"
                ) from error
            raise
        return descriptor

    def _name_holder(self) -> None:
        """Say in the folder who holds the lock, for the message to others. Not being able to does not matter."""
        with contextlib.suppress(OSError):
            unfinished = aside(self.path / HOLDER)
            about = {"pid": os.getpid(), "host": platform.node(), "since": datetime.now(UTC).isoformat("T", "seconds")}
            try:
                unfinished.write_text(json.dumps(about) + "\n", encoding="utf-8")
                os.replace(unfinished, self.path / HOLDER)
            except OSError:
                unfinished.unlink(missing_ok=True)

    def _holder(self) -> str:
        try:
            about = read_json(read_regular(self.path / HOLDER, None, limit=10_000), HOLDER)
            return f"process {int(about['pid'])} on {str(about['host'])[:100]} since {str(about['since'])[:40]}"
        except (Broken, KeyError, TypeError, ValueError):
            return "another process"

    def remove_leftovers(self) -> None:
        """Remove what a killed process left behind in a finished run, if there is anything and nobody holds the run."""
        if os.path.lexists(self.path / HOLDER):
            with contextlib.suppress(RunLocked, DiskError), self.lock():
                self.remove_unfinished()

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
        """All readable records, in order."""
        return [record for _, record in _records(self._metrics_data())[0]]

    def metrics_seal(self) -> dict[str, Any]:
        """Size and SHA-256 of the records, to be kept in a checkpoint that follows them."""
        return _seal(self._metrics_data())

    def rewind_metrics(self, samples: int, expected: Mapping[str, Any] | None = None) -> str:
        """Drop an incomplete last line and the records past `samples`, before resuming from that checkpoint.

        `expected` is the `metrics_seal` in the checkpoint. Records that are damaged otherwise are kept in a file of
        their own; a sentence about it is returned, and ``""`` if nothing is wrong. The file is not touched if there is
        nothing to drop.
        """
        data = self._metrics_data()
        kept = b"".join(line for line, record in _records(data)[0] if record["samples"] <= samples)
        complaint = self.metrics_complaint(samples, expected)
        if complaint and data:
            number = 1
            while os.path.lexists(copy := self.metrics.with_name(f"{self.metrics.name}.damaged-{number}")):
                number += 1
            write_bytes(copy, data)
            complaint += f"; the file as it was found is kept as {copy.name}, and the readable ones are used"
        if kept != data:
            write_bytes(self.metrics, kept)
        return complaint and f"{self.metrics}: damaged: {complaint}"

    def metrics_complaint(self, samples: int, expected: Mapping[str, Any] | None = None) -> str:
        """What is wrong with the records up to `samples`, other than an incomplete last line; ``""``: nothing."""
        data = self._metrics_data()
        lines, damaged = _records(data)
        kept = b"".join(line for line, record in lines if record["samples"] <= samples)
        if damaged:
            return f"{damaged} of {damaged + len(lines)} records cannot be read"
        if expected is not None and _seal(kept[: expected["size"]]) != expected:  # records at the same place may follow
            return "the records are not those that were written" if data else "the records are missing"
        return ""

    def _metrics_data(self) -> bytes:
        if not os.path.lexists(self.metrics):
            return b""
        try:
            return read_regular(self.metrics, None)
        except Broken as error:
            raise CheckpointError(
                f"{self.metrics}: damaged: {error}. Remove it to go on without the records before"
            ) from error


def _remove_unfinished(folder: Path) -> None:
    for path in folder.glob(ASIDE + "*"):
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _records(data: bytes) -> tuple[list[tuple[bytes, dict[str, Any]]], int]:
    """The lines that are records of a training, and the number of those that are not. A torn last line is neither."""
    lines, damaged = [], 0
    for line in re.findall(rb"[^\n]*\n|[^\n]+", data):
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if _is_record(record):
            lines.append((line, record))
        else:
            damaged += 1
    return lines, damaged


def _is_record(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and type(record.get("samples")) is int
        and isinstance(record.get("terms", {}), dict)
        and isinstance(record.get("metrics") or {}, dict)
        and all(isinstance(value, dict) and "value" in value for value in (record.get("metrics") or {}).values())
    )


def _seal(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
