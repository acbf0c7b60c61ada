"""Checkpoints: the complete training state, saved so that a kill or a power cut leaves the old or the new one whole.

    checkpoints/samples-000200000/
      OWNER.safetensors   the tensors of one owner, if it has any
      OWNER.json          its structure and plain values
      manifest.json       schema, samples, the trainer's description of the run, size and SHA-256 of each file

To save, all files are written and synced in a temporary folder, the folder is renamed and its parent synced; only then
is the checkpoint reported as saved. To load, the newest checkpoint whose manifest verifies is used. Nothing is ever
unpickled; names in files are only compared with the names that the program expects.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch
import torch
from torch import Tensor, nn

from gan.errors import CheckpointError, NumericError
from gan.storage.durable import ASIDE, aside, create_file, disk_errors, dump_json, fsync_dir, make_dirs
from gan.storage.regular import Broken, digest_regular, read_json, read_regular
from gan.storage.serialization import join, read_tensors, split, unlike

SCHEMA = 1
"""Version of the layout; a newer one is refused with the advice to upgrade."""
_FOLDER = re.compile(r"samples-(\d{9,18})")
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CHANGED = "{} is not what was written (its SHA-256 differs)"
_REPLACED = ASIDE + "old-"
_DELETED = ASIDE + "del-"


class StateOwner(Protocol):
    """An object with a state: modules, optimizers, averages, pools, counters."""

    def state_dict(self) -> Mapping[str, Any]:
        """Nested dicts, lists and tuples of dense tensors and plain values (int, float, str, bool, None)."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Restore a state that `state_dict` returned."""


class Checkpoint:
    """A checkpoint whose files have been verified."""

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self.samples: int = manifest["samples"]
        self.about: dict[str, Any] = manifest["about"]
        self.owners: list[str] = manifest["owners"]
        self._files: Mapping[str, Mapping[str, Any]] = manifest["files"]
        self._kept: dict[str, bytes] = {}
        """Verified contents that are read only once more."""

    def state(self, owner: str) -> dict[str, Any]:
        """The nested state of one owner, with tensors on the CPU. Raises `CheckpointError`."""
        if owner not in self.owners:
            raise CheckpointError(f"{self.path}: holds no state of '{owner}' (it has: {', '.join(self.owners)})")
        try:
            structure = read_json(self._content(f"{owner}.json"), f"{owner}.json")
            name = f"{owner}.safetensors"
            tensors = read_tensors(self._content(name), name) if name in self._files else {}
            state = join(structure, tensors, f"{owner}.json")
        except Broken as error:
            raise _damaged(self.path, str(error)) from error
        except MemoryError as error:
            raise CheckpointError(f"{self.path}: the state of '{owner}' needs more memory than is available") from error
        if not isinstance(state, dict):
            raise _damaged(self.path, f"{owner}.json is not a mapping")
        return state

    def load(self, owners: Mapping[str, StateOwner], *, surplus: bool = False) -> None:
        """Load the state of every owner. Everything is checked before anything is changed.

        An owner whose attribute `optional` is true may be absent; it keeps its state. With `surplus`, the checkpoint
        may also hold the states of other owners (a generator needs no optimizer). Raises `CheckpointError` that names
        what is missing or surplus, or has an unexpected shape or dtype.
        """
        absent = {name for name, owner in owners.items() if getattr(owner, "optional", False)} - set(self.owners)
        owners = {name: owner for name, owner in owners.items() if name not in absent}
        missing = sorted(owners.keys() - set(self.owners))
        unclaimed = [] if surplus else sorted(set(self.owners) - owners.keys())
        complaints = [f"it lacks the state of {', '.join(missing)}"] if missing else []
        complaints += [f"nothing here takes the state of {', '.join(unclaimed)}"] if unclaimed else []
        if complaints:
            raise self._misfit("", "; ".join(complaints))
        states = {}
        for name, owner in owners.items():
            states[name] = self.state(name)
            complaint = unlike(owner, states[name])
            if complaint:
                raise self._misfit(f"the state of '{name}' ", complaint)
        for name, owner in owners.items():
            owner.load_state_dict(states[name])

    def _misfit(self, what: str, complaint: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path}: {what}does not fit this run: {complaint}. Resume with the recipe and the plugin versions "
            "that wrote it, or train again with another --out"
        )

    def keep(self, owners: Callable[[str], bool]) -> None:
        """Verify the files of some owners and keep them in memory until `state` reads them. Raises `Broken`."""
        for owner in filter(owners, self.owners):
            for name in (f"{owner}.json", f"{owner}.safetensors"):
                if name in self._files:
                    self._kept[name] = self._content(name)

    def digest(self, owners: Callable[[str], bool]) -> str:
        """A SHA-256 of the files of some owners."""
        files = sorted(f"{owner}.{kind}" for owner in filter(owners, self.owners) for kind in ("json", "safetensors"))
        lines = [f"{name} {self._files[name]['sha256']}" for name in files if name in self._files]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def _content(self, name: str) -> bytes:
        if name in self._kept:
            return self._kept.pop(name)
        expected = self._files[name]
        content = read_regular(self.path / name, expected["size"])
        if hashlib.sha256(content).hexdigest() != expected["sha256"]:
            raise Broken(_CHANGED.format(name))
        return content


class Checkpoints:
    """The checkpoints of one run; the caller must hold the run folder's lock.

    The `keep` newest ones are kept. `warn` receives messages about checkpoints that are damaged or cannot be deleted
    (default: the `warnings` module). `saved` is called with the folder of each checkpoint once it is durable, from the
    thread that wrote it.
    """

    def __init__(
        self,
        folder: Path,
        keep: int = 3,
        *,
        warn: Callable[[str], None] | None = None,
        saved: Callable[[Path], None] | None = None,
    ) -> None:
        if keep < 1:
            raise ValueError("keep must be at least 1")
        self.folder = Path(folder)
        self.keep = keep
        self.protected: frozenset[int] = frozenset()
        """Samples shown at checkpoints that are kept beside the newest ones."""
        self._warn = warn or (lambda message: warnings.warn(message, stacklevel=3))
        self._saved = saved or (lambda path: None)
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def save(
        self,
        samples: int,
        owners: Mapping[str, StateOwner],
        about: Mapping[str, Any],
        *,
        background: bool = False,
    ) -> Path:
        """Save the state after `samples` real samples; `about` (plain JSON values) is stored as `Checkpoint.about`.

        The state is copied before this returns. With `background`, a thread writes it, and its errors are raised by
        the next `save` or `wait`. Raises `NumericError` if a weight is not finite (nothing is written then) and
        `DiskError`.
        """
        self.wait()
        parts: dict[str, tuple[Any, dict[str, Tensor]]] = {}
        for name, owner in owners.items():
            if not _OWNER.fullmatch(name):
                raise ValueError(f"'{name}' cannot name an owner of state: letters, digits, dots, hyphens, underscores")
            structure, tensors = split(owner.state_dict())
            _refuse_not_finite(samples, name, owner, tensors)
            parts[name] = (structure, tensors)
        final = self.folder_of(samples)
        about_text = dump_json(about)
        if background:
            self._thread = threading.Thread(target=self._attempt, args=(final, samples, parts, about_text))
            self._thread.start()
        else:
            self._write(final, samples, parts, about_text)
        return final

    def wait(self) -> None:
        """Wait for the checkpoint that is being written and raise the error of its thread, if any."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """`wait`, and delete once more what could not be deleted before."""
        self.wait()
        self._delete_again()

    def folder_of(self, samples: int) -> Path:
        """The folder of the checkpoint after `samples` real samples."""
        return self.folder / f"samples-{samples:09d}"

    def all(self) -> list[Path]:
        """The folders of all checkpoints, oldest first, not verified."""
        if not self.folder.is_dir():
            return []
        with disk_errors(self.folder):
            names = [name for name in os.listdir(self.folder) if _FOLDER.fullmatch(name)]
        return [self.folder / name for name in sorted(names, key=lambda name: int(name.removeprefix("samples-")))]

    def newest(self, owners: Callable[[str], bool] | None = None) -> Checkpoint | None:
        """The newest checkpoint that verifies, with a warning for each newer one that does not; None if there are no
        checkpoints. `owners` as for `verify`. Raises `CheckpointError` if all are damaged."""
        self.wait()
        damaged = []
        for path in reversed(self.all()):
            try:
                found = verify(path, owners)
            except CheckpointError as error:
                damaged.append(error)
                continue
            for complaint in damaged:
                self._warn(f"{complaint} It is skipped; continuing from {path.name}.")
            return found
        if damaged:
            more = f" Older checkpoints that are damaged too: {len(damaged) - 1}." if len(damaged) > 1 else ""
            raise CheckpointError(f"{damaged[0]}{more} Restore one from a backup, or train again with another --out")
        return None

    def remove_unfinished(self) -> None:
        """Remove what killed runs left unfinished. Requires the run folder's lock."""
        if not self.folder.is_dir():
            return
        with disk_errors(self.folder):
            names = sorted(os.listdir(self.folder))
        for name in names:
            path = self.folder / name
            if name.startswith(_REPLACED):  # a kill came between the two renames of a replacement
                original = self.folder / name.removeprefix(_REPLACED).rsplit("-", 2)[0]
                if _FOLDER.fullmatch(original.name) and not original.exists():
                    with disk_errors(path):
                        os.rename(path, original)
                    fsync_dir(self.folder)
                    continue
            if name.startswith(ASIDE):
                self._delete(path)

    def _attempt(self, *arguments: Any) -> None:
        try:
            self._write(*arguments)
        except BaseException as error:  # noqa: BLE001  (it is raised by the next save or wait)
            self._failure = error

    def _write(self, final: Path, samples: int, parts: dict[str, tuple[Any, dict[str, Tensor]]], about: str) -> None:
        make_dirs(self.folder)
        unfinished = aside(final)
        try:
            with disk_errors(unfinished):
                os.mkdir(unfinished)
            files = {}
            for owner in list(parts):
                structure, tensors = parts.pop(owner)  # frees the memory of the copy once it is written
                contents = {f"{owner}.json": (dump_json(structure) + "\n").encode("utf-8")}
                if tensors:
                    contents[f"{owner}.safetensors"] = safetensors.torch.save(tensors)
                for name, content in contents.items():
                    create_file(unfinished / name, content)
                    files[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            owners = sorted(name.removesuffix(".json") for name in files if name.endswith(".json"))
            create_file(unfinished / "manifest.json", _manifest(samples, owners, files, about).encode("utf-8"))
            fsync_dir(unfinished)
            replaced = self._put(unfinished, final)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        self._saved(final)
        if replaced is not None:
            self._delete(replaced)
        self._prune(final)

    def _put(self, unfinished: Path, final: Path) -> Path | None:
        """Rename `unfinished` to `final` and return the new name of an old `final`.

        `remove_unfinished` restores the old one if the process is killed between the two renames.
        """
        replaced = None
        if final.exists():
            replaced = aside(final)
            replaced = replaced.with_name(_REPLACED + replaced.name.removeprefix(ASIDE))
            with disk_errors(final):
                os.rename(final, replaced)
        with disk_errors(final):
            os.rename(unfinished, final)
        fsync_dir(self.folder)
        return replaced

    def _prune(self, newest: Path) -> None:
        """Keep the `keep` newest up to the one just written and the protected ones, and none past it: those are
        damaged, or belong to a continuation that the run has rolled back."""
        self._delete_again()
        paths = self.all()
        index = paths.index(newest)
        kept = {self.folder_of(samples) for samples in self.protected}
        older = [path for path in paths[: max(0, index + 1 - self.keep)] if path not in kept]
        for path in older + paths[index + 1 :]:
            doomed = path.with_name(f"{_DELETED}{path.name}-{secrets.token_hex(4)}")
            try:  # renamed first, so that a kill during deletion leaves no partial checkpoint under a valid name
                os.rename(path, doomed)
            except OSError as error:
                self._warn(f"{path}: cannot be deleted: {error.strerror or error}")
                continue
            self._delete(doomed)

    def _delete_again(self) -> None:
        """Delete what an earlier deletion left because the disk reported an error."""
        with contextlib.suppress(OSError):
            for path in sorted(self.folder.glob(_DELETED + "*")):
                self._delete(path)

    def _delete(self, path: Path) -> None:
        try:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            self._warn(f"{path}: cannot be deleted: {error.strerror or error}")


def verify(path: Path, owners: Callable[[str], bool] | None = None) -> Checkpoint:
    """The checkpoint at `path`, after comparing every file with its SHA-256. Raises `CheckpointError`.

    Where `owners` is given, only the files of the owners for which it is true are compared, and read once for both
    that and `Checkpoint.load`: a generator needs no optimizer.
    """
    try:
        manifest = _read_manifest(path)
        checkpoint = Checkpoint(path, manifest)
        if owners is not None:
            checkpoint.keep(owners)
            return checkpoint
        for name, expected in manifest["files"].items():
            if digest_regular(path / name, expected["size"]) != expected["sha256"]:
                raise Broken(_CHANGED.format(name))
    except Broken as error:
        raise _damaged(path, str(error)) from error
    return checkpoint


def _manifest(samples: int, owners: list[str], files: dict[str, Any], about: str) -> str:
    """The text of the manifest. Its last line seals the lines before it with their SHA-256."""
    body = dump_json({"schema": SCHEMA, "samples": samples, "owners": owners, "files": files})
    text = f'{{"checkpoint": {body},\n"about": {about},\n'
    return text + _seal(text.encode("utf-8"))


def _seal(text: bytes) -> str:
    return f'"seal": "{hashlib.sha256(text).hexdigest()}"}}\n'


def _read_manifest(path: Path) -> dict[str, Any]:
    def require(condition: bool, problem: str = "is not a manifest") -> None:
        if not condition:
            raise Broken(f"manifest.json {problem}")

    content = read_regular(path / "manifest.json", None)
    document = read_json(content, "manifest.json")
    require(isinstance(document, dict))
    body, about = document.get("checkpoint"), document.get("about")
    require(isinstance(body, dict) and isinstance(about, dict))
    schema, samples, owners, files = (body.get(key) for key in ("schema", "samples", "owners", "files"))
    if isinstance(schema, int) and not isinstance(schema, bool) and schema > SCHEMA:
        raise CheckpointError(
            f"{path}: was written by a newer gan-core (layout {schema}, this one reads up to {SCHEMA}); "
            f"upgrade with `pip install --upgrade gan-core`"
        )
    require(schema == SCHEMA and set(document) == {"checkpoint", "about", "seal"})
    end = content.rfind(b'"seal"')
    require(content[end:] == _seal(content[:end]).encode("utf-8"), "is not what was written (its seal differs)")
    require(isinstance(samples, int) and isinstance(owners, list) and isinstance(files, dict))
    match = _FOLDER.fullmatch(path.name)
    require(not match or int(match[1]) == samples, f"belongs to another checkpoint (samples {samples})")
    require(all(isinstance(owner, str) and _OWNER.fullmatch(owner) for owner in owners), "has an invalid owner name")
    structures = {owner + ".json" for owner in owners}
    require(
        structures <= set(files) <= structures | {owner + ".safetensors" for owner in owners},
        "lists other files than its owners have",
    )
    for expected in files.values():
        require(isinstance(expected, dict) and isinstance(expected.get("sha256"), str))
        require(type(expected.get("size")) is int and expected["size"] >= 0)
    return {"samples": samples, "owners": owners, "files": files, "about": about}


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path}: damaged: {reason}.")


def _refuse_not_finite(samples: int, name: str, owner: StateOwner, tensors: Mapping[str, Tensor]) -> None:
    """Weights and optimizer states must be finite; a module's buffer may hold an infinity (a mask) but no NaN."""
    buffers: set[str] = set()
    if isinstance(owner, nn.Module):
        buffers = {key for key, _ in owner.named_buffers(remove_duplicate=False)}
    for key, tensor in tensors.items():
        if not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        bad = torch.isnan(tensor).any() if key in buffers else ~torch.isfinite(tensor).all()
        if bool(bad):
            raise NumericError(
                f"'{key}' of '{name}' is not finite after {samples:,} samples; no checkpoint was written. Resume "
                "from the last one with a smaller learning rate or fp32 precision"
            )
