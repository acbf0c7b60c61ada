"""Read the files of a dataset in worker processes with limits on computing time and memory (Linux).

Parsers of other people (of pictures, scores, sound, archives) meet files that make them compute for hours, take all
memory or crash. A worker that exceeds a limit or crashes costs one file, which is skipped with that reason; it is
replaced, and reading goes on. A modality does nothing for this: the workers are forked, so `Modality.read` runs as it
is. Results come back as plain arrays, never as pickled objects. Workers end with the process that started them.

Where processes cannot be forked safely (other systems than Linux), threads read the files, without limits.

Both ends of the pipes are in this one file, since neither can be understood without the other: the crew, which gives
out files and collects results, and, after "in the worker", what the processes do.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import select
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from gan.contracts import Modality, Sample
from gan.errors import BadData
from gan.runtime.signals import check_stop
from gan.source import Companion, SourceFile

if sys.platform != "win32":
    import fcntl
    import resource

SECONDS = 10.0
"""Computing time that a file may take to read, and one more second for each `BYTES_PER_SECOND` of it."""
BYTES_PER_SECOND = 20_000
LONGEST = 600.0
"""Most seconds of computing time for one file."""
MEMORY = 1 << 30
"""Bytes that reading a file may take, and `MEMORY_RATIO` times its size more."""
MEMORY_RATIO = 16
WAITING = 4.0
"""A worker that does not even compute (it waits for something) is ended after this many times its computing time."""
COMPUTES = 0.01
"""Share of that time in which a worker computes at least on a machine that is busy; it is then waited for again."""
AHEAD = 32
AHEAD_BYTES = 1 << 18
"""Files, and bytes of them, that are given out to a worker ahead. It is given more when half of them are done, so that
many small files cost one order and one result together."""
FILES_PER_WORKER = 4
"""Another worker is started for this many files; starting one takes about 20 ms."""
PIPE = 1 << 20
"""Bytes of a pipe for results."""
TOGETHER = 1 << 16
"""Bytes of results that a worker collects before it sends them."""
HELD = 1 << 27
"""Bytes of results that wait for an earlier file while more files are given out."""
F_SETPIPE_SZ = 1031
CHUNK = 1 << 25
"""Bytes of samples that a worker collects before it sends them; a file may hold far more."""
TOO_MUCH_MEMORY = "needs more memory than is available"
NOTHING = "holds no sample"

Task = Callable[[SourceFile], Iterable[Sample]]
Description = dict[str, tuple[str, tuple[int, ...]]]
"""Name -> dtype and shape of each array of a sample."""
Limits = Callable[[SourceFile], tuple[float, int]]
"""The seconds of computing time and the bytes of memory that a task may take for a file."""


class Exceeded(str):
    """The reason of a file that exceeded a limit or ended its worker, rather than being refused by its reader."""


def seconds_for(size: int) -> float:
    """Seconds of computing time that a file of `size` bytes may take."""
    return min(LONGEST, SECONDS + size / BYTES_PER_SECOND)


def reading_limits(file: SourceFile) -> tuple[float, int]:
    """The limits for reading a file."""
    return seconds_for(file.size), MEMORY + MEMORY_RATIO * file.size


def read_files(
    modality: Modality, files: Sequence[SourceFile]
) -> Iterator[tuple[SourceFile, list[Sample], str | None]]:
    """Yield (file, samples, reason why it cannot be used or None) in the order of `files`."""
    return read_with(modality.read, files)


def read_with(
    task: Task, files: Sequence[SourceFile], limits: Limits = reading_limits
) -> Iterator[tuple[SourceFile, list[Sample], str | None]]:
    """Yield (file, what `task` returns for it, reason why it failed or None) in the order of `files`.

    Workers read ahead.
    """
    for file, samples, reason, _ in _results(task, files, limits, in_parts=False):
        yield file, samples, reason


@dataclass(frozen=True)
class Part:
    """Which part of the samples of a file it is."""

    begins: bool = True
    """Whether it is the first. What came before of the file is then void: it was read again."""
    is_last: bool = True


def read_in_parts(
    task: Task, files: Sequence[SourceFile], limits: Limits = reading_limits
) -> Iterator[tuple[SourceFile, list[Sample], str | None, Part]]:
    """As `read_with`, but samples of a file that holds more than `CHUNK` bytes of them come as they are read.

    If it fails later, the last part has the reason, and what came before is void.
    """
    yield from _results(task, files, limits, in_parts=True)


def _results(
    task: Task, files: Sequence[SourceFile], limits: Limits, *, in_parts: bool
) -> Iterator[tuple[SourceFile, list[Sample], str | None, Part]]:
    if sys.platform != "linux" or not files:
        for result in _with_threads(task, files):
            yield *result, Part()
        return
    crew = _Crew(task, files, limits)
    try:
        yield from crew.results(in_parts=in_parts)
    finally:
        crew.dismiss()


def _outcome(task: Task, file: SourceFile) -> tuple[list[Sample], str | None]:
    """What a task returns for a file, and the reason for a failure."""
    try:
        samples = list(task(file))
    except Companion:
        return [], None
    except Exception as error:  # noqa: BLE001  (a reader's failure concerns one file and is recorded in the pack)
        return [], _failure(error)
    return samples, None if samples else NOTHING


def _failure(error: Exception) -> str:
    """The reason why a file is skipped."""
    if isinstance(error, BadData):
        return _printable(error.reason)
    if isinstance(error, MemoryError):
        return TOO_MUCH_MEMORY
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    return _printable(f"{type(error).__name__}: {error}")


def _printable(reason: str) -> str:
    """A reason as one line without control characters: parsers quote what they could not read."""
    return "".join(letter if letter.isprintable() else "?" for letter in reason)


def _with_threads(task: Task, files: Sequence[SourceFile]) -> Iterator[tuple[SourceFile, list[Sample], str | None]]:
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[SourceFile, Future[tuple[list[Sample], str | None]]]] = deque()
        for file in files:
            waiting.append((file, pool.submit(_outcome, task, file)))
            if len(waiting) > 2 * workers:
                done = waiting.popleft()
                yield done[0], *done[1].result()
        for file, future in waiting:
            yield file, *future.result()


@dataclass
class _Worker:
    """A child process: it is sent numbers of files and returns their samples."""

    process: int
    to: int
    """Descriptor of the pipe for numbers of files."""
    back: int
    """Descriptor of the pipe for results."""
    counter: mmap.mmap
    """Memory shared with the process, which counts there the files that it has begun."""
    waiting: deque[int] = field(default_factory=deque)
    """Files that were sent to it and are not returned, in the order in which it reads them."""
    bytes_waiting: int = 0
    returned: int = 0
    begun: int = 0
    """Files that it had begun when it was looked at last."""
    since: float = 0.0
    """When it was seen to begin a file, in seconds of `time.monotonic`."""
    received: bytearray = field(default_factory=bytearray)
    samples: list[Sample] = field(default_factory=list)
    """Those of the first file that came so far."""
    ending: bool = False
    """Whether it said that it ends by itself after what it returned."""
    computed: float = 0.0
    """Seconds of computing time that it had taken when it was asked last."""

    def has_computed(self, seconds: float) -> bool:
        """Whether it has computed for at least so long since it was asked last: it then only has a busy machine."""
        before = self.computed
        with contextlib.suppress(OSError, IndexError, ValueError):
            status = Path(f"/proc/{self.process}/stat").read_text(errors="replace").rpartition(")")[2].split()
            self.computed = (int(status[11]) + int(status[12])) / os.sysconf("SC_CLK_TCK")
        return self.computed - before >= seconds

    def working_on(self) -> int:
        """The place in `waiting` of the file that it reads."""
        return max(0, int.from_bytes(self.counter[:8], sys.byteorder) - self.returned - 1)


class _Crew:
    """The workers that read one list of files."""

    def __init__(self, task: Task, files: Sequence[SourceFile], limits: Limits) -> None:
        self._task = task
        self._limits = limits
        self._files = files
        self._most = max(1, min(8, os.cpu_count() or 1, -(-len(files) // FILES_PER_WORKER)))
        self._workers: list[_Worker] = []
        self._unsent: deque[int] = deque()
        self._next = 0
        self._done: dict[int, tuple[list[Sample], str | None, int]] = {}
        """File -> samples, reason, and the process that read it."""
        self._held = 0
        self._buffer = bytearray(PIPE)

    def results(self, *, in_parts: bool) -> Iterator[tuple[SourceFile, list[Sample], str | None, Part]]:
        """The results in the order of the files."""
        for number, file in enumerate(self._files):
            source: int | None = None  # the process whose parts were given out
            while number not in self._done:
                self._send(number)
                self._receive()
                reader = next((w for w in self._workers if w.waiting and w.waiting[0] == number and w.samples), None)
                if in_parts and reader is not None:
                    samples, reader.samples = reader.samples, []
                    yield file, samples, None, Part(begins=reader.process != source, is_last=False)
                    source = reader.process
            samples, reason, process = self._done.pop(number)
            self._held -= _bytes(samples)
            yield file, samples, reason, Part(begins=reason is not None or process != source)

    def dismiss(self) -> None:
        """End all workers."""
        for worker in list(self._workers):
            self._remove(worker, kill=True)

    def _send(self, wanted: int) -> None:
        """Give out files, at most so far ahead of the file `wanted`."""
        last = wanted + 1 if self._held > HELD else wanted + 1 + AHEAD * self._most
        while left := len(self._unsent) + max(0, min(last, len(self._files)) - self._next):
            worker = min((w for w in self._workers if not w.ending), key=lambda w: len(w.waiting), default=None)
            if (worker is None or worker.waiting) and len(self._workers) < self._most:
                worker = self._start()
            if worker is None or len(worker.waiting) > AHEAD // 2 or worker.bytes_waiting > AHEAD_BYTES // 2:
                return
            if not worker.waiting:
                worker.since = time.monotonic()
            order: list[int] = []
            share = -(-left // (2 * self._most))  # the last files are shared
            while left and len(order) < share and len(worker.waiting) < AHEAD and worker.bytes_waiting < AHEAD_BYTES:
                number = self._unsent.popleft() if self._unsent else self._next
                self._next, left = max(self._next, number + 1), left - 1
                order.append(number)
                worker.waiting.append(number)
                worker.bytes_waiting += self._files[number].size
            with contextlib.suppress(OSError):  # it has ended, which `_receive` will see
                os.write(worker.to, b"".join(number.to_bytes(8, "little") for number in order))

    def _start(self) -> _Worker:
        orders, to = os.pipe()
        back, results = os.pipe()
        with contextlib.suppress(OSError):  # more than the system grants to one user
            fcntl.fcntl(results, F_SETPIPE_SZ, PIPE)
        counter = mmap.mmap(-1, 8)
        parent = os.getpid()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking where there are threads; see `_work`
            process = os.fork()
        if process == 0:
            pipes = _Pipes(orders, results, counter)
            _work(self._task, self._files, self._limits, pipes, parent, [to, back, *self._descriptors()])
        os.close(orders)
        os.close(results)
        worker = _Worker(process, to, back, counter, since=time.monotonic())
        self._workers.append(worker)
        return worker

    def _descriptors(self) -> list[int]:
        return [descriptor for worker in self._workers for descriptor in (worker.to, worker.back)]

    def _receive(self) -> None:
        """Wait for something from any worker, and end those that take too long."""
        check_stop()
        by_descriptor = {worker.back: worker for worker in self._workers}
        poll = select.poll()
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN | select.POLLHUP)
        ready = [descriptor for descriptor, _ in poll.poll(200)]
        for descriptor in ready:
            self._read(by_descriptor[descriptor])
        now = time.monotonic()
        for worker in list(self._workers):
            at = worker.working_on()
            if worker.begun != worker.returned + at or at >= len(worker.waiting):
                worker.begun, worker.since = worker.returned + at, now
            elif worker.back not in ready:
                allowed = WAITING * self._seconds(worker)
                if now - worker.since > allowed and worker.has_computed(COMPUTES * allowed):
                    worker.since = now
                elif now - worker.since > allowed:
                    self._blame(worker, f"took more than {allowed:.0f} seconds to read")
                    self._remove(worker, kill=True)

    def _read(self, worker: _Worker) -> None:
        count = os.readv(worker.back, [self._buffer])
        worker.received += memoryview(self._buffer)[:count]
        while len(worker.received) >= 16:
            head, body = (int.from_bytes(worker.received[at : at + 8], "little") for at in (0, 8))
            if len(worker.received) < 16 + head + body:
                break
            about = json.loads(worker.received[16 : 16 + head])
            arrays = worker.received[16 + head : 16 + head + body]
            del worker.received[: 16 + head + body]
            start = 0
            for described, last, reason, ending in about:
                samples, start = _unpacked(described, arrays, start)
                worker.samples += samples
                if last:
                    reason = Exceeded(reason) if reason == TOO_MUCH_MEMORY else reason
                    self._returned(worker, [] if reason else worker.samples, reason)
                    worker.samples, worker.ending = [], ending
        if not count:
            status = self._remove(worker)
            if worker.waiting and not worker.ending:
                self._blame(worker, _reason(status, self._seconds(worker)))
            self._unsent.extendleft(reversed(worker.waiting))

    def _returned(self, worker: _Worker, samples: list[Sample], reason: str | None) -> None:
        number = worker.waiting.popleft()
        worker.bytes_waiting -= self._files[number].size
        worker.returned += 1
        self._done[number] = samples, reason, worker.process
        self._held += _bytes(samples)

    def _seconds(self, worker: _Worker) -> float:
        return self._limits(self._files[worker.waiting[worker.working_on()]])[0]

    def _blame(self, worker: _Worker, reason: str) -> None:
        """Skip the file that a worker was reading. What it has read and not returned is read again."""
        at = worker.working_on()
        self._done[worker.waiting[at]] = ([], Exceeded(reason), worker.process)
        del worker.waiting[at]

    def _remove(self, worker: _Worker, *, kill: bool = False) -> int:
        """Forget a worker; what it has not returned is given to others. Returns its status."""
        self._workers.remove(worker)
        os.close(worker.to)
        os.close(worker.back)
        if kill:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process, signal.SIGKILL)
            self._unsent.extendleft(reversed(worker.waiting))
        with contextlib.suppress(ChildProcessError):
            return os.waitpid(worker.process, 0)[1]
        return 0


def _bytes(samples: list[Sample]) -> int:
    return sum(array.nbytes for sample in samples for array in sample.values())


def _reason(status: int, seconds: float) -> str:
    """Why a worker ended, as the reason why its file is skipped."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGPROF:
            return f"needs more than {seconds:.0f} seconds of computing time"
        if number == signal.SIGKILL:
            return TOO_MUCH_MEMORY
        with contextlib.suppress(ValueError):
            return f"its reader crashed ({signal.Signals(number).name})"
    return f"its reader ended (status {status})"


def _unpacked(described: list[Description], arrays: bytearray, start: int) -> tuple[list[Sample], int]:
    """The samples that a worker described, whose arrays begin at `start`, and where they end."""
    samples: list[Sample] = []
    for description in described:
        sample: Sample = {}
        for name, (dtype, shape) in description.items():
            kind, count = np.dtype(dtype), math.prod(shape)
            is_bits = kind.kind == "b"
            size = (count + 7) // 8 if is_bits else count * kind.itemsize
            if is_bits:
                bits = np.frombuffer(arrays, np.uint8, size, start)
                sample[name] = np.unpackbits(bits, count=count).view(bool).reshape(shape)
            else:
                sample[name] = np.frombuffer(arrays, kind, count, start).reshape(shape)
            start += size
        samples.append(sample)
    return samples, start


# in the worker


@dataclass
class _Pipes:
    """What connects a worker with its parent, in the worker."""

    orders: int
    results: int
    counter: mmap.mmap
    about: list[tuple[list[Description], bool, str | None, bool]] = field(default_factory=list)
    """Of each result that is not sent: its samples, whether it is the last of its file, why the file is skipped, and
    whether the worker ends."""
    parts: list[memoryview] = field(default_factory=list)
    """Their arrays."""
    size: int = 0

    def add(self, described: list[Description], parts: list[memoryview], **about: Any) -> None:
        """Add a result, and send what there is if it is enough."""
        self.about.append((described, about["last"], about.get("reason"), about.get("ending", False)))
        self.parts += parts
        self.size += sum(part.nbytes for part in parts)
        if self.size >= TOGETHER:
            self.send()

    def send(self) -> None:
        """Send what there is."""
        if not self.about:
            return
        head = json.dumps(self.about).encode()
        sizes = len(head).to_bytes(8, "little") + self.size.to_bytes(8, "little")
        whole = b"".join((sizes, head, *self.parts)) if self.size <= 2 * TOGETHER else b""
        for rest in (memoryview(whole),) if whole else (memoryview(sizes + head), *self.parts):
            while rest:
                rest = rest[os.write(self.results, rest) :]
        self.about, self.parts, self.size = [], [], 0


def _work(
    task: Task, files: Sequence[SourceFile], limits: Limits, pipes: _Pipes, parent: int, others: list[int]
) -> NoReturn:
    """Read files until there are no more orders. Nothing of the parent's is cleaned up or flushed at the end.

    The parent may have threads, of which a fork copies only the current one. PyTorch and OpenMP then hang when they
    use theirs, so computations use this thread alone.
    """
    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPROF):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the parent ends its workers
        end_with_parent(parent)
        for descriptor in others:
            os.close(descriptor)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        begun, ending = 0, False
        while not ending and (order := os.read(pipes.orders, 8 * AHEAD)):
            for at in range(0, len(order), 8):
                file = files[int.from_bytes(order[at : at + 8], "little")]
                begun += 1
                pipes.counter[:8] = begun.to_bytes(8, sys.byteorder)
                limit(*limits(file))
                ending = _deliver(task, file, pipes)
                if ending:
                    break
            limit(0, None)
            pipes.send()
        status = 0
    finally:
        os._exit(status)


def _deliver(task: Task, file: SourceFile, pipes: _Pipes) -> bool:
    """Add the samples of a file, and why they end if they should not. Returns whether the worker should end."""
    reason: str | None = NOTHING
    described: list[Description] = []
    parts: list[memoryview] = []
    size = 0
    try:
        for sample in task(file):
            reason = None
            description: Description = {}
            for name, value in sample.items():
                array = np.ascontiguousarray(value)
                if array.dtype.hasobject:
                    raise TypeError(f"the reader gave no array for '{name}'")
                description[name] = (array.dtype.str, np.shape(value))
                flat = np.packbits(array) if array.dtype.kind == "b" else array.reshape(-1).view(np.uint8)
                parts.append(flat.data.cast("B") if flat.size else memoryview(b""))
                size += flat.size
            described.append(description)
            if size > CHUNK:
                pipes.add(described, parts, last=False)
                described, parts, size = [], [], 0
    except Companion:
        described, parts, reason = [], [], None
    except Exception as error:  # noqa: BLE001  (a reader's failure concerns one file and is recorded in the pack)
        described, parts, reason = [], [], _failure(error)
    ending = reason == TOO_MUCH_MEMORY  # libraries may be half-imported
    pipes.add(described, parts, last=True, reason=reason, ending=ending)
    return ending


def end_with_parent(parent: int) -> None:
    """Make the kernel end this process when the one that forked it ends, however it does."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def limit(seconds: float, memory: int | None) -> None:
    """Limit the computing time and the further memory of this process; 0 and None remove the limits."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = hard
    if memory is not None:
        most = int(os.pread(_statm(os.getpid()), 20, 0).split()[0]) * resource.getpagesize() + memory
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


@lru_cache(maxsize=1)
def _statm(process: int) -> int:
    """A descriptor of the sizes of this process, whose number is `process`."""
    return os.open("/proc/self/statm", os.O_RDONLY)
