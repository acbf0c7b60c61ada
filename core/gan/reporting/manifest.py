"""The manifest of a run: versions, machine, data and settings to reproduce it and to explain differences; no secrets.

`manifest.json` is written when a run starts, gets an entry whenever it is resumed, and is closed with the reason of its
end. Importing this module does not import torch.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from gan.errors import CheckpointError
from gan.reporting.scrub import scrub
from gan.storage.regular import Broken, read_regular
from gan.storage.seal import unsealed
from gan.version import __version__

SCHEMA = 1
LIBRARIES = ("torch", "numpy", "safetensors", "pillow", "scipy", "pydantic", "pluggy")
"""Distributions whose versions can change a result, in addition to the core and the plugins."""


def manifest_start(
    *,
    recipe: Mapping[str, Any],
    distributions: Mapping[str, str],
    data: Mapping[str, Any],
    seed: int,
    device: str,
    precision: str,
    processes: int = 1,
    argv: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The manifest at the start of a run.

    `distributions` maps the plugins that are used to their versions. `data` holds the source, its fingerprint, counts,
    and every skipped file with its reason. `argv` defaults to that of this process.
    """
    record = {
        "schema": SCHEMA,
        "command": list(sys.argv if argv is None else argv),
        "started": _now(),
        "ended": None,
        "exit": None,
        "samples": 0,
        "resumed": [],
        "seed": seed,
        "device": device,
        "precision": precision,
        "processes": processes,
        "versions": versions(distributions),
        "machine": machine(),
        "determinism": determinism(),
        "git": git_state(Path(__file__).resolve().parent),
        "data": dict(data),
        "recipe": dict(recipe),
    }
    return dict(scrub(record))


def manifest_resumed(
    manifest: Mapping[str, Any], *, samples: int, distributions: Mapping[str, str], argv: Sequence[str] | None = None
) -> dict[str, Any]:
    """The manifest of a run that is resumed from `samples`, with the time, the command and the changed versions."""
    entry = {
        "at": _now(),
        "samples": samples,
        "command": list(sys.argv if argv is None else argv),
        "changed": changes(manifest, distributions),
    }
    resumed = [*manifest.get("resumed", []), scrub(entry)]
    return {**manifest, "ended": None, "exit": None, "resumed": resumed}


def manifest_end(path: Path, reason: str, samples: int) -> dict[str, Any]:
    """The manifest at `path`, closed with the reason of the end and the samples shown so far."""
    return {**read_manifest(path), "ended": _now(), "exit": scrub(reason), "samples": samples}


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest at `path`. Raises `CheckpointError` if it cannot be read."""
    try:
        manifest, has_seal = unsealed(read_regular(path, None), path.name)
        if not has_seal and "sealed" in manifest:  # earlier versions wrote neither
            raise Broken(f"{path.name} is not what was written (its seal is missing)")
        _check_form(manifest, path.name)
    except Broken as error:
        raise CheckpointError(
            f"{path}: damaged: {error}. Restore it from a backup, or remove it: `gan resume` writes a new one, "
            "without the history of the run"
        ) from error
    return manifest


def _check_form(manifest: Mapping[str, Any], where: str) -> None:
    """Raise `Broken` where a member that this version reads is of another kind than it writes."""
    kinds: Mapping[str, type] = {"versions": dict, "data": dict, "resumed": list, "sealed": dict, "recipe": dict}
    for name, kind in kinds.items():
        if not isinstance(manifest.get(name, kind()), kind):
            raise Broken(f"{where} has a '{name}' of another kind")


def versions(distributions: Mapping[str, str]) -> dict[str, str]:
    """Versions of Python, the core, `LIBRARIES` and the plugins that are used."""
    return {"python": platform.python_version(), "gan-core": __version__, **_installed(LIBRARIES), **distributions}


def _installed(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError, ValueError):
            found[name] = metadata.version(name)
    return found


def changes(manifest: Mapping[str, Any], distributions: Mapping[str, str] | None = None) -> list[str]:
    """Differences between the versions in `manifest` and the installed ones: ``"torch 2.12.0 -> 2.13.0"``.

    Without `distributions` the installed versions of the plugins in the manifest are compared.
    """
    before = manifest.get("versions")
    before = before if isinstance(before, dict) else {}
    if distributions is None:
        distributions = _installed(before)
        before = {name: found for name, found in before.items() if name in versions(distributions)}
    now = versions(distributions)
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [f"{name} {before.get(name, 'none')} -> {now.get(name, 'none')}" for name in names]


def differences(before: Mapping[str, Any], now: Mapping[str, Any], ignore: Sequence[str] = ()) -> list[str]:
    """Differences between two nested records: ``"recipe.training.batch: 8 -> 16"``, sorted.

    `ignore` holds paths of keys that may differ, with everything below them.
    """
    one, other = _flat(before, ""), _flat(now, "")
    return [
        f"{path}: {_brief(one.get(path, _ABSENT))} -> {_brief(other.get(path, _ABSENT))}"
        for path in sorted({**one, **other})
        if one.get(path, _ABSENT) != other.get(path, _ABSENT)
        and not any(f"{path}.".startswith(f"{name}.") for name in ignore)
    ]


_ABSENT = object()


def _flat(value: Any, path: str) -> dict[str, Any]:
    """Every leaf by its path; an empty mapping or list is a leaf."""
    if not isinstance(value, (Mapping, list, tuple)) or not value:
        return {path: value}
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    return {k: v for key, item in items for k, v in _flat(item, f"{path}.{key}" if path else str(key)).items()}


def _brief(value: Any) -> str:
    text = "none" if value is _ABSENT else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def machine() -> dict[str, Any]:
    """The system, the processor and the GPUs of this machine, without its host name."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpus": gpus,
        "cuda": torch.version.cuda if gpus else None,
    }


def surroundings(*libraries: str) -> dict[str, Any]:
    """The environment of a benchmark: machine, threads, and versions of `LIBRARIES` and of those named."""
    import torch

    more = {name: metadata.version(name) for name in libraries}
    return {**machine(), "threads": torch.get_num_threads(), "versions": versions(more)}


def determinism() -> dict[str, Any]:
    """Settings that decide whether the same seed gives bit-identical results."""
    import torch

    return {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED"),
        "CUBLAS_WORKSPACE_CONFIG": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit of the checkout that holds `folder`, and whether files have changed; None outside a checkout."""
    if "site-packages" in folder.parts:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": None if changed is None else bool(changed)}


def _git(folder: Path, *arguments: str) -> str | None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
