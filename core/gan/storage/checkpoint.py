"""The whole state of a training, written so that a kill or a power cut at any moment leaves the old or the new one.

    checkpoints/samples-000200000/
      OWNER.safetensors   the tensors of one owner, if it has any
      OWNER.json          its structure and plain values
      manifest.json       schema, samples, what the trainer says about the run, size and sha256 of each file

Saving: everything is written and synced in a folder aside, the folder is renamed, its parent is synced; only then is
the checkpoint said to be saved. Loading: the newest checkpoint whose manifest verifies. Nothing is unpickled on any
path; what a file names is only ever compared with what the program expects.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gan.errors import CheckpointError, NumericError
from gan.storage.durable import ASIDE, aside, create_file, disk_errors, dump_json, fsync_dir, make_dirs
from gan.storage.serialization import (
    Broken,
    digest_regular,
    join,
    read_json,
    read_regular,
    read_tensors,
    split,
    tensor_bytes,
    unlike,
)

SCHEMA = 1
"""Version of the layout; a checkpoint with another one names the release that it needs."""
_FOLDER = re.compile(r"samples-(\d{9,18})")
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REPLACED = ASIDE + "old-"
_DELETED = ASIDE + "del-"


class StateOwner(Protocol):
    """A part with a state: modules, optimisers, averages, pools, counters."""

    def state_dict(self) -> Mapping[str, Any]:
        """Nested dicts, lists and tuples of dense tensors and plain values (int, float, str, bool, None)."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Take over a state that `state_dict` gave."""


class Checkpoint:
    """One checkpoint that was verified when it was found."""

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self.samples: int = manifest["samples"]
        self.about: dict[str, Any] = manifest["about"]
        self.owners: list[str] = manifest["owners"]
        self._files: Mapping[str, Mapping[str, Any]] = manifest["files"]

    def state(self, owner: str) -> dict[str, Any]:
        """The nested state of one owner, tensors on the CPU. Raises `CheckpointError`."""
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
            raise CheckpointError(f"{self.path}: the state of '{owner}' needs more memory than there is") from error
        if not isinstance(state, dict):
            raise _damaged(self.path, f"{owner}.json is no mapping")
        return state

    def load(self, owners: Mapping[str, StateOwner], *, surplus: bool = False) -> None:
        """Give every owner its state. Everything is checked before anything is changed.

        With `surplus` the checkpoint may hold the state of others too (a generator needs no optimiser). Raises
        `CheckpointError` that names what is missing or surplus, or has another shape or dtype than expected.
        """
        missing = sorted(owners.keys() - set(self.owners))
        untaken = [] if surplus else sorted(set(self.owners) - owners.keys())
        if missing or untaken:
            complaints = [f"it lacks the state of {', '.join(missing)}"] if missing else []
            complaints += [f"nothing here takes the state of {', '.join(untaken)}"] if untaken else []
            raise CheckpointError(
                f"{self.path}: does not fit this run: {'; '.join(complaints)}. Resume with the recipe and the plugin "
                "versions that wrote it, or train anew with another --out"
            )
        states = {}
        for name, owner in owners.items():
            states[name] = self.state(name)
            complaint = unlike(owner, states[name])
            if complaint:
                raise CheckpointError(
                    f"{self.path}: the state of '{name}' does not fit this run: {complaint}. Resume with the recipe "
                    "and the plugin versions that wrote it, or train anew with another --out"
                )
        for name, owner in owners.items():
            owner.load_state_dict(states[name])

    def _content(self, name: str) -> bytes:
        expected = self._files[name]
        content = read_regular(self.path / name, expected["size"])
        if hashlib.sha256(content).hexdigest() != expected["sha256"]:
            raise Broken(f"{name} is not what was written (its sha256 differs)")
        return content


class Checkpoints:
    """The checkpoints of one run; the caller holds the run folder's lock.

    `keep` newest ones stay. `warn` gets sentences about damaged or undeletable checkpoints (default: the `warnings`
    module). `saved` is called with the folder once a checkpoint is durable, from the thread that wrote it.
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
        """Save the state after `samples` real samples; `about` (plain JSON values) is given back by `Checkpoint.about`.

        The state is copied before this returns. With `background` it is written by a thread, and what goes wrong
        there is raised by the next `save` or `wait`. Raises `NumericError` when a weight is not finite (nothing is
        written then) and `DiskError`.
        """
        self.wait()
        parts: dict[str, tuple[Any, dict[str, Tensor]]] = {}
        for name, owner in owners.items():
            if not _OWNER.fullmatch(name):
                raise ValueError(f"'{name}' cannot name an owner of state: letters, digits, dots, hyphens, underscores")
            structure, tensors = split(owner.state_dict())
            _refuse_not_finite(samples, name, owner, tensors)
            parts[name] = (structure, tensors)
        final = self.folder / f"samples-{samples:09d}"
        about_text = dump_json(about)
        if background:
            self._thread = threading.Thread(target=self._attempt, args=(final, samples, parts, about_text))
            self._thread.start()
        else:
            self._write(final, samples, parts, about_text)
        return final

    def wait(self) -> None:
        """Wait for the checkpoint that is being written; raise what went wrong with it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def all(self) -> list[Path]:
        """The folders of all checkpoints, oldest first, unverified."""
        if not self.folder.is_dir():
            return []
        with disk_errors(self.folder):
            names = [name for name in os.listdir(self.folder) if _FOLDER.fullmatch(name)]
        return [self.folder / name for name in sorted(names, key=lambda name: int(name.removeprefix("samples-")))]

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that verifies, after a warning for each newer one that does not; None when there is
        none at all. Raises `CheckpointError` when all are damaged."""
        self.wait()
        damaged = []
        for path in reversed(self.all()):
            try:
                found = verify(path)
            except CheckpointError as error:
                damaged.append(error)
                continue
            for complaint in damaged:
                self._warn(f"{complaint} It is passed over: going on from {path.name}.")
            return found
        if damaged:
            more = f" So are all {len(damaged) - 1} older ones." if len(damaged) > 1 else ""
            raise CheckpointError(f"{damaged[0]}{more} Restore one from a backup, or train anew with another --out")
        return None

    def sweep(self) -> None:
        """Remove what killed runs left unfinished. Call it with the run folder's lock held."""
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
                structure, tensors = parts.pop(owner)  # a copy's memory is given back as soon as it is written
                contents = {f"{owner}.json": (dump_json(structure) + "\n").encode("utf-8")}
                if tensors:
                    contents[f"{owner}.safetensors"] = tensor_bytes(tensors)
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
        """Rename `unfinished` to `final`; where the old `final` went, which `sweep` restores after a kill in here."""
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
        """Keep the `keep` newest up to the one just written, and none past it: those are damaged, or a future that
        the run has left."""
        paths = self.all()
        index = paths.index(newest)
        for path in paths[: max(0, index + 1 - self.keep)] + paths[index + 1 :]:
            doomed = path.with_name(f"{_DELETED}{path.name}-{os.getpid()}")
            try:  # renamed first: a kill in the deletion must not leave half a checkpoint under a good name
                os.rename(path, doomed)
            except OSError as error:
                self._warn(f"{path}: cannot be deleted: {error.strerror or error}")
                continue
            self._delete(doomed)

    def _delete(self, path: Path) -> None:
        try:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            self._warn(f"{path}: cannot be deleted: {error.strerror or error}")


def verify(path: Path) -> Checkpoint:
    """The checkpoint at `path`, every file compared with its sha256. Raises `CheckpointError`."""
    try:
        manifest = _read_manifest(path)
        checkpoint = Checkpoint(path, manifest)
        for name, expected in manifest["files"].items():
            if digest_regular(path / name, expected["size"]) != expected["sha256"]:
                raise Broken(f"{name} is not what was written (its sha256 differs)")
    except Broken as error:
        raise _damaged(path, str(error)) from error
    return checkpoint


def _manifest(samples: int, owners: list[str], files: dict[str, Any], about: str) -> str:
    """The manifest's text. Its last line seals the lines before it, so that a flipped bit anywhere is noticed."""
    body = dump_json({"schema": SCHEMA, "samples": samples, "owners": owners, "files": files})
    text = f'{{"checkpoint": {body},\n"about": {about},\n'
    return text + _seal(text.encode("utf-8"))


def _seal(text: bytes) -> str:
    return f'"seal": "{hashlib.sha256(text).hexdigest()}"}}\n'


def _read_manifest(path: Path) -> dict[str, Any]:
    content = read_regular(path / "manifest.json", None)
    document = read_json(content, "manifest.json")
    body, about = (document.get(key) if isinstance(document, dict) else None for key in ("checkpoint", "about"))
    if not isinstance(body, dict) or not isinstance(about, dict):
        raise Broken("manifest.json is no manifest")
    schema = body.get("schema")
    if isinstance(schema, int) and not isinstance(schema, bool) and schema > SCHEMA:
        raise CheckpointError(
            f"{path}: was written by a newer gan-core (layout {schema}, this one reads up to {SCHEMA}); "
            f"upgrade with `pip install --upgrade gan-core`"
        )
    if schema != SCHEMA or set(document) != {"checkpoint", "about", "seal"}:
        raise Broken("manifest.json is no manifest")
    end = content.rfind(b'"seal"')
    if content[end:] != _seal(content[:end]).encode("utf-8"):
        raise Broken("manifest.json is not what was written (its seal differs)")
    samples, owners, files = body.get("samples"), body.get("owners"), body.get("files")
    if not (isinstance(samples, int) and isinstance(owners, list) and isinstance(files, dict)):
        raise Broken("manifest.json is no manifest")
    match = _FOLDER.fullmatch(path.name)
    if match and int(match[1]) != samples:
        raise Broken(f"manifest.json is that of another checkpoint (samples {samples})")
    if not all(isinstance(owner, str) and _OWNER.fullmatch(owner) for owner in owners):
        raise Broken("manifest.json names an impossible owner")
    structures = {owner + ".json" for owner in owners}
    if not structures <= set(files) <= structures | {owner + ".safetensors" for owner in owners}:
        raise Broken("manifest.json lists other files than its owners have")
    for expected in files.values():
        if not isinstance(expected, dict) or not isinstance(expected.get("sha256"), str):
            raise Broken("manifest.json is no manifest")
        if type(expected.get("size")) is not int or expected["size"] < 0:
            raise Broken("manifest.json is no manifest")
    return {"samples": samples, "owners": owners, "files": files, "about": about}


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path}: damaged: {reason}.")


def _refuse_not_finite(samples: int, name: str, owner: StateOwner, tensors: Mapping[str, Tensor]) -> None:
    """Weights and optimiser states must be finite; a module's buffer may hold an infinity (a mask) but no NaN."""
    buffers: set[str] = set()
    if isinstance(owner, nn.Module):
        buffers = {key for key, _ in owner.named_buffers(remove_duplicate=False)}
    for key, tensor in tensors.items():
        if not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        bad = torch.isnan(tensor).any() if key in buffers else ~torch.isfinite(tensor).all()
        if bool(bad):
            raise NumericError(
                f"'{key}' of '{name}' is not finite after {samples:,} samples; no checkpoint was written. Go on from "
                "the last one with a smaller learning rate or fp32 precision"
            )
