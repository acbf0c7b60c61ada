"""Search for files that a reader cannot stand, guided by the lines that they reach (atheris, libFuzzer).

    python tests/fuzz/guided.py --seconds 300

Every reader of `readers` is searched in a process of its own, from its undamaged file and what was found before. Files
that reach new lines are kept in tests/fuzz/corpus/READER/found.zip. Those that hang, take 2 GB, crash or raise what a
reader must not are kept as READER/HASH.bin, and the exit code is 1. Linux with CPython 3.11 to 3.13 only.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

PACKAGES = ["gan", "gan_3d", "gan_audio", "gan_image", "gan_music", "gan_text", "gan_video", "mido"]
"""Packages whose lines guide the search."""
LIMITS = ["-timeout=10", "-rss_limit_mb=2048", "-malloc_limit_mb=1024", "-max_len=65536"]
KEPT, KEPT_BYTES = 40, 4096
"""Most files, and their largest size, that are kept for a reader: the smallest ones."""


def main() -> None:
    """Search for all readers, or in a child process for one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300, help="in total")
    parser.add_argument("--only", default="", help="readers whose name contains this")
    parser.add_argument("--one", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        raise SystemExit("guided.py needs atheris, which is not installed: pip install atheris")
    if arguments.one:
        _search(*arguments.one)
    from readers import MODALITIES, OWN, corpus

    names = [name for name in [*OWN, *map("".join, MODALITIES)] if arguments.only in name]
    found = 0
    for name in names:
        with tempfile.TemporaryDirectory() as work:
            inputs, bad = Path(work, "inputs"), Path(work, "bad")
            for folder in (inputs, bad):
                folder.mkdir()
            for content in corpus(name):
                (inputs / _name(content)).write_bytes(content)
            seconds = max(1, int(arguments.seconds / len(names)))
            said = _child(name, work, [inputs], [f"-max_total_time={seconds}", f"-artifact_prefix={bad}/", *LIMITS])
            print(f"{name}: {said}", flush=True)
            found += _keep(name, Path(work), inputs, bad)
    raise SystemExit(f"{found} files that a reader could not stand" if found else 0)


def _child(name: str, work: str, folders: list[Path], flags: list[str]) -> str:
    """Run libFuzzer for a reader; the last line of its statistics."""
    script = Path(work, "search")  # libFuzzer starts itself again by the path of its program
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" --one "{name}" "{work}" "$@"\n')
    script.chmod(0o755)
    command = [str(script), *map(str, folders), *flags]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith(("#", "INFO: seed corpus", "Done "))]
    return f"exit code {done.returncode}, {lines[-1] if lines else done.stderr[-500:]}"


def _keep(name: str, work: Path, inputs: Path, bad: Path) -> int:
    """Add to the corpus what was found; the number of files that the reader could not stand."""
    from readers import CORPUS

    merged = work / "merged"
    merged.mkdir()
    _child(name, str(work), [merged, inputs], ["-merge=1", *LIMITS])
    folder = CORPUS / name
    kept = sorted((path.read_bytes() for path in merged.iterdir()), key=lambda content: (len(content), content))
    kept = [content for content in kept if len(content) <= KEPT_BYTES][:KEPT]
    if kept:
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / "found.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for content in kept:
                archive.writestr(zipfile.ZipInfo(_name(content)), content)
    failed = [path for path in bad.iterdir() if not path.name.startswith("slow-unit")]
    for path in failed:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{_name(path.read_bytes())}.bin").write_bytes(path.read_bytes())
        print(f"  {path.name} {path.read_bytes()[:100]!r}")
    return len(failed)


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _search(name: str, work: str, *arguments: str) -> None:
    """In the child: feed a reader. Does not return."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES):
        import readers  # noqa: F401

    read, seed = _reader(name, Path(work))
    for folder in [argument for argument in arguments if not argument.startswith("-")][-1:]:
        Path(folder, _name(seed)).write_bytes(seed)
    atheris.Setup([str(Path(work, "search")), *arguments], read)
    atheris.Fuzz()


def _reader(name: str, work: Path) -> tuple[Callable[[bytes], None], bytes]:
    """A function that feeds a reader, and its undamaged file."""
    from gan.errors import GanError
    from gan.source import SourceFile
    from gan.storage.regular import Broken
    from readers import FILES, IN_FOLDER, MODALITIES, OWN, modality_for

    if name in OWN:
        reader, seed = OWN[name]
        folder = [work] if name in IN_FOLDER else []

        def own(content: bytes) -> None:
            try:
                reader(content, *folder)
            except (GanError, Broken):
                return

        return own, seed
    kind, suffix = next(key for key in MODALITIES if "".join(key) == name)
    modality = modality_for(kind, suffix, work)

    def parsed(content: bytes) -> None:
        if not content:
            return
        path = work / f"file{suffix}"
        path.write_bytes(content)
        try:
            for _ in modality.read(SourceFile(path.name, path, None, len(content))):
                pass
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  (a reason to skip a file)
            return

    return parsed, FILES[suffix][0]


if __name__ == "__main__":
    main()
