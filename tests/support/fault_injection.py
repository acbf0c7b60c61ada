"""Faults for a training: killed at any call that changes its folder, a full disk, a failing sync, a power cut.

    with FaultyProcess(work) as process:
        life = process.run(["run", "--recipe", "tiny.yaml", "--out", run], root=runs, mode="kill", at=17)
        life = process.run(["resume", run], root=runs)

The command line runs in a fork of one prepared process, so that a life costs no import. The faults come from a small
library between it and the C library (``fault_injection.c``, built with the system's C compiler when it is first
needed), so that Python, C and Rust code meet them alike. Linux only. `PowerCut` works out
what a disk may hold after a power cut.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODES = {"log": 1, "kill": 2, "no space": 3, "sync fails": 4, "short writes": 5, "read-only": 6, "signals": 7}
LONGEST_LIFE = 120
"""Seconds after which a life is ended by an alarm."""


def build_library(folder: Path) -> Path:
    """Compile the fault library into `folder`; the path of the shared object. Raises `OSError` without a compiler."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None or not sys.platform.startswith("linux"):
        raise OSError("fault injection needs Linux and a C compiler (cc, gcc or clang)")
    target = folder / "faults.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(source), "-ldl", "-lpthread"], check=True
    )
    return target


@dataclass
class Life:
    """What one process did."""

    code: int
    """Its exit code, or minus the signal that ended it."""
    operations: int
    """Calls that changed the watched folder; 0 when it was killed."""
    events: list[dict[str, Any]]
    """What it said on its standard output, with ``--json``."""
    errors: str
    """What it said on its standard error."""
    seconds: float = 0.0
    """How long it lived."""
    computing: float = 0.0
    """Seconds of computing time that it took."""
    output: str = ""
    """All that it said on its standard output."""
    megabytes: int = 0
    """Its largest memory, which began with that of the prepared process."""

    @property
    def saved(self) -> int:
        """Samples of the newest checkpoint that it announced as saved; -1: none."""
        return max((event["samples"] for event in self.events if event["event"] == "saved"), default=-1)

    @property
    def started_from(self) -> int:
        """Samples at which its training began; -1: it came to none."""
        return next((event["samples"] for event in self.events if event["event"] == "started"), -1)


class FaultyProcess:
    """A prepared process whose forks run commands of ``gan`` under faults."""

    def __init__(self, work: Path, environment: dict[str, str] | None = None, path: Sequence[Path] = ()) -> None:
        self.work = work
        library = build_library(work)
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "LD_PRELOAD": str(library),
                "PYTHONPATH": os.pathsep.join([*map(str, path), os.environ.get("PYTHONPATH", "")]),
                **(environment or {}),
            },
        )

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        root: Path,
        mode: str = "",
        at: int = 0,
        after: float = 0.0,
        log: Path | None = None,
        patch: str = "",
        as_json: bool = True,
    ) -> Life:
        """One life of ``gan ARGUMENTS --json``, or without ``--json``.

        `mode` is one of `MODES`, for the folder `root`, from its call number `at` on; the mode "kill" does not count
        syncs, since a kill at one leaves what a kill at the next call leaves. With `after` the kernel ends the
        process after so many seconds, wherever it is then (its code is -14). `patch` names a function
        ``"module:name"`` that is called in the fork first.
        """
        out = self.work / "life"
        request = {
            "arguments": [*map(str, arguments), *["--json"][: int(as_json)]],
            "root": str(root.resolve()),
            "mode": MODES.get(mode, 0),
            "at": at,
            "after": after or LONGEST_LIFE,
            "log": str(log or ""),
            "out": str(out),
            "patch": patch,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise OSError("the prepared process has died")
        found = json.loads(answer)
        output = out.with_suffix(".out").read_text(encoding="utf-8", errors="replace")
        lines = output.splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith("\n") and line.startswith('{"event"')]
        errors = out.with_suffix(".err").read_text(encoding="utf-8", errors="replace")
        return Life(found.pop("code"), found.pop("operations"), events, errors, output=output, **found)

    def __enter__(self) -> FaultyProcess:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _serve() -> None:
    """The prepared process: imports once, forks for every request."""
    import gan.training.session  # noqa: F401
    from gan import cli
    from gan.plugins.manager import Plugins
    from gan.reporting import plots  # noqa: F401

    plugins = Plugins.installed()
    for hook in ("gan_architectures", "gan_modalities", "gan_losses", "gan_penalties"):
        for plugin_entry in plugins.entries(hook):
            plugins.load(plugin_entry)
    _warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        for ending in (".out", ".err", ".count"):
            Path(request["out"] + ending).write_text("")
        born = time.monotonic()
        child = os.fork()
        if child == 0:
            _live(request, cli.main)
        _, status, usage = os.wait4(child, 0)
        seconds, megabytes = time.monotonic() - born, usage.ru_maxrss // 1024
        count = Path(request["out"] + ".count").read_text()
        answer = {"code": os.waitstatus_to_exitcode(status), "operations": int(count or 0)}
        computing = usage.ru_utime + usage.ru_stime
        about = {"seconds": seconds, "computing": computing, "megabytes": megabytes}
        print(json.dumps(answer | about), flush=True)


def _warm_up() -> None:
    """Draw a first picture, for the fonts that previews read; and draw no curves from now on. They take half of a tiny
    life and no call in its folder: a blank picture is written in their place."""
    import gan.training.outputs
    from gan.reporting.plots import plot_training
    from gan.storage.durable import write_bytes

    with tempfile.TemporaryDirectory() as folder:
        blank = plot_training([], Path(folder) / "training.png").read_bytes()

    def plot(records: Any, png: Path) -> Path:
        write_bytes(png, blank)
        return png

    vars(gan.training.outputs)["plot_training"] = plot
    gc.collect()
    gc.freeze()  # the collector of a fork leaves the shared pages alone


def _live(request: dict[str, Any], main: Any) -> None:
    """In the fork: arm the faults, run the command, leave without unwinding into the server."""
    code = 70
    try:
        signal.setitimer(signal.ITIMER_REAL, request["after"])  # nothing handles SIGALRM: it is a kill
        for number, ending in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(request["out"] + ending, os.O_WRONLY | os.O_TRUNC), number)
        os.close(0)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        if request["patch"]:
            from importlib import import_module

            module, _, name = request["patch"].partition(":")
            getattr(import_module(module), name)()
        library = ctypes.CDLL(None)
        library.gan_fault_count.restype = ctypes.c_long
        library.gan_fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p]
        library.gan_fault_arm(request["root"].encode(), request["mode"], request["at"], request["log"].encode())
        try:
            main(request["arguments"])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        sys.stdout.flush()
        sys.stderr.flush()
        Path(request["out"] + ".count").write_text(str(library.gan_fault_count()))
    except BaseException:  # noqa: BLE001  (reported to the server's reader, in the fork's own error stream)
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


# -- power cuts --------------------------------------------------------------------------------------------------------


@dataclass
class _Node:
    """A file or a folder on the simulated disk."""

    folder: bool
    now: dict[str, _Node] = field(default_factory=dict)
    """Names as processes see them."""
    kept: dict[str, _Node] = field(default_factory=dict)
    """Names that survive: those at the last sync of the folder."""
    content: bytes | None = None
    """Of the last sync; None: it was never synced."""
    dirty: bool = False
    """Whether it was written to since."""


VARIANTS = ("names lost", "names kept", "names mixed")
"""What may have become of names that were not synced. Content that was not synced is lost in all."""


class PowerCut:
    """Replays a log of the mode ``"log"`` and writes down what the disk may hold when the power goes.

    A name is safe once its folder was synced after it was made, changed or deleted; a file's content once the file was
    synced after it was written. `root` existed and was empty when the log began.
    """

    def __init__(self, log: Path, root: Path) -> None:
        self._root = str(root.resolve())
        self._stash = Path(f"{log}.stash")
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        self.events = [line.split("\t") for line in lines]
        """``[number, operation, path, other path]``."""

    def __len__(self) -> int:
        return len(self.events)

    def announced(self, length: int) -> int:
        """Samples of the newest checkpoint that was said to be saved in the first `length` events; -1: none."""
        said = [text for _, operation, text, _ in self.events[:length] if operation == "N"]
        return max((json.loads(text)["samples"] for text in said if text.startswith('{"event": "saved"')), default=-1)

    def write(self, length: int, variant: str, target: Path, seed: int = 0) -> None:
        """Make `target` what the disk holds after the first `length` events and a power cut."""
        disk = _Node(True)
        for number, operation, path, other in self.events[:length]:
            self._replay(disk, number, operation, path, other)
        _write_folder(disk, variant, target, random.Random(seed))

    def _replay(self, disk: _Node, number: str, operation: str, path: str, other: str) -> None:
        if operation == "N" or not path.startswith(self._root):
            return
        if operation == "S" and path == self._root:
            disk.kept = dict(disk.now)
            return
        parent, name = self._place(disk, path)
        if parent is None or not name:
            return
        node = parent.now.get(name)
        if operation == "M" and node is None:
            parent.now[name] = _Node(True)
        elif operation == "C":
            if node is None:
                node = parent.now[name] = _Node(False)
            node.dirty = True
        elif operation == "W" and node is not None:
            node.dirty = True
        elif operation == "S" and node is not None:
            if node.folder:
                node.kept = dict(node.now)
            else:
                copy = self._stash / number
                node.content = copy.read_bytes() if copy.exists() else b""
                node.dirty = False
        elif operation in "UD" and node is not None and (operation == "U" or not node.now):
            del parent.now[name]
        elif operation == "R" and node is not None:
            target, new = self._place(disk, other)
            if target is not None:
                del parent.now[name]
                target.now[new] = node

    def _place(self, disk: _Node, path: str) -> tuple[_Node | None, str]:
        *folders, name = path[len(self._root) :].strip("/").split("/")
        node: _Node | None = disk
        for folder in folders:
            node = node.now.get(folder) if node is not None else None
        return node, name


def _write_folder(node: _Node, variant: str, target: Path, rng: random.Random) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in sorted({**node.kept, **node.now}):
        kept, now = node.kept.get(name), node.now.get(name)
        child = {"names lost": kept, "names kept": now}.get(variant, rng.choice((kept, now)))
        if child is None:
            continue
        if child.folder:
            _write_folder(child, variant, target / name, rng)
        else:
            lost = b"\0" * 37 if child.dirty and variant != "names lost" else b""  # a length without its data
            (target / name).write_bytes((child.content or b"") + lost)


def newest(run: Path) -> int:
    """Samples of a run's newest checkpoint that verifies; -1: none."""
    from gan.storage.checkpoint import Checkpoints

    found = Checkpoints(run / "checkpoints", warn=lambda message: None).newest()
    return -1 if found is None else found.samples


def spread(count: int, wanted: int) -> list[int]:
    """About `wanted` of the numbers 1 … `count`, evenly, with both ends."""
    return sorted({1 + round(index * (count - 1) / max(1, wanted - 1)) for index in range(min(wanted, count))})


def final_state(run: Path) -> dict[str, bytes]:
    """What two runs must agree on when they are the same: weights, averages, optimisers, records, artefacts, and the
    names of all files but the checkpoints before the last one."""
    newest = max((run / "checkpoints").glob("samples-*"))
    state = {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}
    for path in [
        run / "metrics.jsonl",
        run / "recipe.yaml",
        *(run / "samples").glob("*"),
        *(run / "previews").glob("*"),
    ]:
        state[str(path.relative_to(run))] = path.read_bytes()
    names = [str(path.relative_to(run)) for path in sorted(run.rglob("*")) if "checkpoints" not in path.parts]
    state["names"] = "\n".join([*names, newest.name]).encode()
    return state


if __name__ == "__main__":
    _serve()
