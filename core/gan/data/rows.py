"""Read the files of a source into rows, in this process or in worker processes.

Decoding many small files runs mostly in Python, where threads wait for each other. For sources that take longer than
worker processes need to start, workers read the files and send back checked rows as bytes.

The workers are programs of their own (``python -m gan.data.rows``) that talk over pipes: nothing of the calling program
is imported again, and nothing they send is unpickled.

    request   a line of JSON: the files to read
    reply     for each file a line of JSON (`FileRows` without its data, the length of the data by field), then the data
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias, TypeVar

import numpy as np

from gan.contracts import FieldSpec, Modality, Sample
from gan.contracts.workers import die_with_parent
from gan.errors import BadData, GanError
from gan.runtime.signals import check_stop
from gan.source import Companion, SourceFile

CHUNK = 16
"""Files of one request to a worker."""
WORTH_WORKERS = 4.0
"""Seconds that the rest of a source must take at the rate measured so far, before workers are started."""
FEWEST = 4
"""Processors from which on workers are started by themselves. Decoders release the interpreter's lock for long enough
that threads keep two processors busy, without the cost of pipes and of an archive's directory in each worker."""
MEASURED = 256
"""Files that are read before the rate is known."""


ENDING = 5.0
"""Seconds that a worker has to end once its pipe is closed."""


@dataclass
class FileRows:
    """What one file gave."""

    reason: str | None = None
    """Why the file cannot be used; None if it can, or if it belongs to another file's samples."""
    fault: str = ""
    """What the modality did wrong: a sample does not fit its fields."""
    groups: list[str] = field(default_factory=list)
    """The group of fields of each sample, in order."""
    inventory: dict[str, int] = field(default_factory=dict)
    """`Modality.inventory`, where it was requested."""
    data: dict[str, bytes] = field(default_factory=dict)
    """Field -> its rows of all samples, one after another, as a pack stores them."""


Groups: TypeAlias = "dict[str, dict[str, FieldSpec]]"
"""Group -> its fields by name."""


def grouped(fields: Mapping[str, FieldSpec]) -> Groups:
    """The fields by `FieldSpec.group`, in their order."""
    groups: Groups = {}
    for name, spec in fields.items():
        groups.setdefault(spec.group, {})[name] = spec
    return groups


def read_rows(modality: Modality, file: SourceFile, groups: Groups, *, inventory: bool = False) -> FileRows:
    """Read one file; `groups` are its `grouped` fields. A reader's failure concerns one file and becomes its reason."""
    found = FileRows()
    try:
        if inventory:
            found.inventory = dict(modality.inventory(file))
        samples = list(modality.read(file))
    except Companion:
        return FileRows()
    except BadData as error:
        return FileRows(error.reason)
    except (MemoryError, RecursionError):
        return FileRows("needs more memory than is available")
    except Exception as error:  # noqa: BLE001  (the file may be wrong in any way)
        return FileRows(f"{type(error).__name__}: {error}")
    if not samples:
        return FileRows("holds no sample")
    parts: dict[str, list[bytes]] = {}
    try:
        for sample in samples:
            group = _group_of(sample, groups)
            for name, spec in groups[group].items():
                parts.setdefault(name, []).append(_row(sample, name, spec, file))
            found.groups.append(group)
    except GanError as error:
        return FileRows(fault=str(error))
    found.data = {name: b"".join(rows) for name, rows in parts.items()}
    return found


def _group_of(sample: Sample, groups: Groups) -> str:
    """The group that a sample's fields belong to."""
    if len(groups) == 1:
        return next(iter(groups))
    return next((group for group, fields in groups.items() if not fields.keys().isdisjoint(sample)), next(iter(groups)))


def _row(sample: Sample, name: str, spec: FieldSpec, file: SourceFile) -> bytes:
    """One field of one sample as bytes, checked against what the modality promised."""
    if name not in sample:
        raise GanError(f"the modality's reader gave no field '{name}' for {file.name}")
    value = np.asarray(sample[name])
    reason = spec.mismatch(value)
    if reason:
        raise GanError(f"the modality's reader gave a sample of {file.name} whose '{name}' {reason}")
    return np.packbits(value).tobytes() if spec.dtype == "bool" else value.tobytes()


def read_files(
    modality: Modality, files: Sequence[SourceFile], *, inventory: bool = False, workers: int | None = None
) -> Iterator[tuple[SourceFile, FileRows]]:
    """Yield (file, what it gave) in the order of `files`, reading ahead.

    `workers` is the number of worker processes, 0 for none; None: as many as this process has processors, for sources
    that are worth it. Raises `GanError` for samples that do not fit the modality's fields.
    """
    for file, found in _read_ahead(modality, files, inventory, workers):
        if found.fault:
            raise GanError(found.fault)
        yield file, found


def _read_ahead(
    modality: Modality, files: Sequence[SourceFile], inventory: bool, workers: int | None
) -> Iterator[tuple[SourceFile, FileRows]]:
    processors = _processors()
    threads = min(8, processors)
    first = len(files) if workers == 0 else 0 if workers else min(MEASURED, len(files))
    began = time.monotonic()
    for number, (file, found) in enumerate(_by_threads(modality, files[:first], inventory, threads), 1):
        yield file, found
        if number == first and number < len(files):
            rest = (time.monotonic() - began) / number * (len(files) - number)
            workers = processors if rest > WORTH_WORKERS and processors >= FEWEST else 0
    rest_files = files[first:]
    pool = _Pool.of(modality, inventory, workers) if workers and rest_files else None
    if pool is None:
        yield from _by_threads(modality, rest_files, inventory, threads)
        return
    with pool:
        yield from pool.read(rest_files)


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _by_threads(
    modality: Modality, files: Sequence[SourceFile], inventory: bool, threads: int
) -> Iterator[tuple[SourceFile, FileRows]]:
    groups = grouped(modality.fields)
    pool = ThreadPoolExecutor(threads)
    try:
        waiting: deque[tuple[SourceFile, Future[FileRows]]] = deque()
        for file in files:
            waiting.append((file, pool.submit(read_rows, modality, file, groups, inventory=inventory)))
            if len(waiting) > 2 * threads:
                done = waiting.popleft()
                yield done[0], _result(done[1])
        for file, future in waiting:
            yield file, _result(future)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


T = TypeVar("T")


def _result(future: Future[T]) -> T:
    """The result of a future; a signal ends the wait for it."""
    while True:
        check_stop()
        with contextlib.suppress(TimeoutError):
            return future.result(0.2)


class _WorkerError(Exception):
    """A worker has died, or could not start."""


class _Worker:
    """One worker process."""

    def __init__(self, setup: str) -> None:
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gan.data.rows"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a stop of the training must not end it in the middle of a file
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        self._requests: IO[bytes] = self.process.stdin  # type: ignore[assignment]
        self._replies: IO[bytes] = self.process.stdout  # type: ignore[assignment]
        self._send(setup)
        if self._replies.readline() != b"ready\n":
            self.close()
            raise _WorkerError

    def _send(self, line: str) -> None:
        try:
            self._requests.write(line.encode() + b"\n")
            self._requests.flush()
        except OSError as error:
            raise _WorkerError from error

    def read(self, files: Sequence[SourceFile]) -> Iterator[FileRows]:
        """What each file gave. Raises `_WorkerError` when the worker dies."""
        self._send(json.dumps([[file.name, str(file.path), file.member, file.size] for file in files]))
        for _ in files:
            line = self._replies.readline()
            if not line.endswith(b"\n"):
                raise _WorkerError
            reply = json.loads(line)
            found = FileRows(reply["reason"], reply["fault"], reply["groups"], reply["inventory"])
            for name, size in reply["sizes"].items():
                found.data[name] = self._replies.read(size)
                if len(found.data[name]) != size:
                    raise _WorkerError
            yield found

    def died_of(self) -> str:
        """Why the process ended, for the reason of the file that it was reading."""
        try:
            code = self.process.wait(timeout=ENDING)
        except subprocess.TimeoutExpired:
            return "its reader sent what cannot be understood"
        return f"its reader ended with signal {-code}" if code < 0 else f"its reader ended with code {code}"

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self._requests, self._replies):
            with contextlib.suppress(OSError):
                pipe.close()


class _Pool:
    """Worker processes, each served by one thread."""

    def __init__(self, modality: Modality, inventory: bool, setup: str, count: int) -> None:
        first = _Worker(setup)
        self._modality, self._inventory, self._groups = modality, inventory, grouped(modality.fields)
        self._setup = setup
        self._count = count
        self._idle: list[_Worker] = [first]
        self._all: list[_Worker] = [first]
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def of(cls, modality: Modality, inventory: bool, count: int) -> _Pool | None:
        """A pool for `modality`; None if a process of its own cannot construct it (its class is inside a function)."""
        kind = type(modality)
        if kind.__module__ == "__main__" or "<" in kind.__qualname__:
            return None
        about = {
            "modality": [kind.__module__, kind.__qualname__],
            "config": modality.config.model_dump(mode="json"),
            "facts": modality.facts,
            "inventory": inventory,
            "parent": os.getpid(),
        }
        try:
            return cls(modality, inventory, json.dumps(about), count)
        except (TypeError, ValueError, OSError, _WorkerError):
            return None

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            workers = list(self._all)
        for worker in workers:
            worker.close()

    def read(self, files: Sequence[SourceFile]) -> Iterator[tuple[SourceFile, FileRows]]:
        """Yield (file, what it gave) in order; at most two requests for each worker are under way."""
        chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
        threads = ThreadPoolExecutor(self._count)
        waiting: deque[tuple[Sequence[SourceFile], Future[list[FileRows]]]] = deque()
        try:
            for chunk in chunks:
                waiting.append((chunk, threads.submit(self._chunk, chunk)))
                if len(waiting) > 2 * self._count:
                    done, future = waiting.popleft()
                    found = _result(future)
                    yield from zip(done, found, strict=True)
            for done, future in waiting:
                found = _result(future)
                yield from zip(done, found, strict=True)
        finally:
            self.__exit__()  # a thread that waits for a worker ends with it
            threads.shutdown(cancel_futures=True)

    def _chunk(self, files: Sequence[SourceFile]) -> list[FileRows]:
        """What each file gave. A file whose reader dies is read again once, by a worker of its own."""
        found: list[FileRows] = []
        tried = -1
        while len(found) < len(files) and not self._closed:
            number = len(found)
            try:
                worker = self._take()
            except (OSError, _WorkerError):  # there is no memory for another one
                found += [
                    read_rows(self._modality, file, self._groups, inventory=self._inventory) for file in files[number:]
                ]
                break
            try:
                for rows in worker.read(files[number : number + 1] if tried == number else files[number:]):
                    found.append(rows)
            except (_WorkerError, ValueError, KeyError):
                if tried == len(found):
                    found.append(FileRows(worker.died_of()))
                tried = len(found)
                self._discard(worker)
            else:
                with self._lock:
                    self._idle.append(worker)
        return found

    def _take(self) -> _Worker:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        worker = _Worker(self._setup)
        with self._lock:
            self._all.append(worker)
            if self._closed:
                worker.close()
        return worker

    def _discard(self, worker: _Worker) -> None:
        worker.close()
        with self._lock:
            self._all.remove(worker)


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """What a worker does until its requests end."""
    about = json.loads(requests.readline())
    die_with_parent(about["parent"])
    module, name = about["modality"]
    kind: Any = importlib.import_module(module)
    for part in name.split("."):
        kind = getattr(kind, part)
    modality: Modality = kind(kind.Config.model_validate(about["config"]), about["facts"])
    groups = grouped(modality.fields)
    replies.write(b"ready\n")
    replies.flush()
    for line in requests:
        for name, path, member, size in json.loads(line):
            found = read_rows(
                modality, SourceFile(name, Path(path), member, size), groups, inventory=about["inventory"]
            )
            sizes = {field: len(data) for field, data in found.data.items()}
            header = {
                "reason": found.reason,
                "fault": found.fault,
                "groups": found.groups,
                "inventory": found.inventory,
                "sizes": sizes,
            }
            replies.write(json.dumps(header).encode() + b"\n")
            for data in found.data.values():
                replies.write(data)
            replies.flush()  # when a file ends the process, those before it are known


def _main() -> None:
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a reader prints must not end up among the replies
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        serve(sys.stdin.buffer, replies)


if __name__ == "__main__":
    _main()
