"""Call a modality's methods on files of other people within the limits of `gan.data.bounded`.

`Modality.read` is not the only method that parses what somebody else has written: a survey looks into every file, an
input of ``gan generate`` or ``gan translate`` is read whole, a page shows what lies in a folder. Each of these runs in
a worker here. Results are plain values or arrays; what a method raises is raised again in this process.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gan import errors
from gan.contracts import Given, Modality, Sample
from gan.data import bounded
from gan.data.bounded import Exceeded, Limits, read_with, reading_limits
from gan.errors import BadData, GanError
from gan.source import SourceFile

TOLD = " told"
"""Name of the field that carries a plain value between samples; no modality has one of this name."""
SURVEY_SECONDS = 60.0
"""Least computing time of a survey for one file. After the last file it may compute over all of them."""
SURVEY_MEMORY = 4 << 30
"""Bytes of a survey besides the content: vocabularies are learned with several threads."""
SHOW_SECONDS = 60.0
"""Computing time for showing one file besides that for reading it: notes are rendered as sound."""


class LimitExceeded(BadData):
    """A file that took too much time or memory, or ended the process that read it."""


def values_of(
    task: Callable[[SourceFile], Any], files: Sequence[SourceFile], limits: Limits = reading_limits
) -> Iterator[tuple[Any, Exception | None]]:
    """Yield (the JSON value that `task` returns, or the exception that it raised) for each file, in their order."""

    def told(file: SourceFile) -> Iterator[Sample]:
        try:
            yield _packed({"value": task(file)})
        except (MemoryError, RecursionError):
            raise
        except Exception as error:  # noqa: BLE001  (it is raised in the other process)
            yield _packed(_described(error))

    for file, samples, reason in read_with(told, files, limits):
        yield (None, _refused(reason, file)) if reason is not None else _unpacked(samples[0])


def survey(modality: Modality, files: Sequence[SourceFile]) -> tuple[dict[str, Any], dict[str, str]]:
    """`Modality.survey`, and the files that exceeded a limit in it with the reasons; the facts are those of the others.

    Raises what `Modality.survey` raises, and `LimitExceeded` if no file does so alone.
    """
    if sys.platform != "linux":
        return modality.survey(files), {}
    kept, skipped = list(files), dict[str, str]()
    while kept:
        size = sum(file.size for file in kept)
        listed = [_Watched(file.name, file.path, file.member, file.size) for file in kept]
        listed[-1] = _Watched(kept[-1].name, kept[-1].path, kept[-1].member, kept[-1].size, size)
        whole = SourceFile("", kept[0].path, None, size)
        ((facts, error),) = values_of(partial(_survey, modality, listed), [whole], _survey_limits)
        if error is None:
            return facts, skipped
        if not isinstance(error, LimitExceeded):
            raise error
        alone = values_of(partial(_survey_alone, modality), kept)
        bad = {file.name: str(why.reason) for file, (_, why) in zip(kept, alone) if isinstance(why, LimitExceeded)}
        if not bad:
            raise LimitExceeded(f"a survey of these files {error.reason}")
        skipped |= bad
        kept = [file for file in kept if file.name not in bad]
    return {}, skipped


def _survey(modality: Modality, files: Sequence[SourceFile], source: SourceFile) -> dict[str, Any]:
    return modality.survey(files)


def _survey_alone(modality: Modality, file: SourceFile) -> None:
    try:
        modality.survey([file])
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  (the survey of all files says this)
        return


def _survey_limits(file: SourceFile) -> tuple[float, int]:
    return SURVEY_SECONDS + file.size / bounded.BYTES_PER_SECOND, SURVEY_MEMORY + bounded.MEMORY_RATIO * file.size


@dataclass(frozen=True)
class _Watched(SourceFile):
    """A file whose first use sets the limits of this process anew, in a survey."""

    more: int = 0
    """Bytes of other files that a survey may compute over after this one."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("path", "data", "sibling") and _used[-1] is not self:
            _used[-1] = self
            bounded.limit(*_survey_limits(SourceFile("", Path(), None, self.size + self.more)))
        return super().__getattribute__(name)


_used: list[SourceFile | None] = [None]
"""The file that the survey of this worker used last."""


def read_given(modality: Modality, file: Any, given: Given) -> list[Sample]:
    """The samples of `Modality.read_given`. Raises what it raises; an exception that is none of ours is `BadData`.

    `file` may also be another input of the modality (a picture), which is not parsed.
    """
    if not isinstance(file, SourceFile):
        return list(modality.read_given(file, given))

    def told(file: SourceFile) -> Iterator[Sample]:
        try:
            yield from modality.read_given(file, given)
        except BadData:
            raise
        except GanError as error:  # an option that does not fit the file
            yield _packed(_described(error))

    ((_, samples, reason),) = read_with(told, [file])
    if reason is not None:
        raise _refused(reason, file)
    if TOLD in samples[-1]:
        raise _unpacked(samples[-1])[1] or GanError(file.name)
    return samples


def show(modality: Modality, shown: Sequence[tuple[SourceFile, str]], folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what `Modality.show` returns for each (file, link), or ``""``, and the reason why it cannot be shown."""
    links = {id(file): link for file, link in shown}

    def limits(file: SourceFile) -> tuple[float, int]:
        seconds, memory = reading_limits(file)
        return seconds + SHOW_SECONDS, 2 * memory

    task = lambda file: modality.show(file, links[id(file)], folder)  # noqa: E731
    for html, error in values_of(task, [file for file, _ in shown], limits):
        if error is not None and not isinstance(error, BadData):
            raise error
        yield html or "", "" if error is None else error.reason


def _refused(reason: str, file: SourceFile) -> BadData:
    kind = LimitExceeded if isinstance(reason, Exceeded) else BadData
    return kind(reason, file.name or None)


def _packed(value: dict[str, Any]) -> Sample:
    return {TOLD: np.frombuffer(json.dumps(value).encode(), np.uint8)}


def _unpacked(sample: Sample) -> tuple[Any, Exception | None]:
    """The value in a sample, or the exception."""
    told = json.loads(sample[TOLD].tobytes())
    if "value" in told:
        return told["value"], None
    kind = getattr(errors, told["kind"], None)
    if kind is BadData:
        return None, BadData(told["text"], told["file"])
    if kind is not None:
        return None, kind(told["text"])
    if told["number"] is not None:
        return None, OSError(told["number"], told["text"], told["file"])
    error = RuntimeError(told["text"])
    error.add_note(told["trace"])
    return None, error


_PLAIN = (errors.UsageError, errors.CheckpointError, errors.NumericError, errors.DiskError)
"""Exceptions that are made of their message alone; others of ours become a `GanError`."""


def _described(error: Exception) -> dict[str, Any]:
    """An exception as plain values."""
    if isinstance(error, BadData):
        return {"kind": "BadData", "text": error.reason, "file": error.file}
    if isinstance(error, GanError):
        kinds = [kind.__name__ for kind in _PLAIN if isinstance(error, kind)]
        return {"kind": kinds[0] if kinds else "GanError", "text": str(error)}
    if isinstance(error, OSError) and error.errno is not None:
        name = None if error.filename is None else str(error.filename)
        return {"kind": "", "number": error.errno, "text": error.strerror, "file": name}
    trace = "".join(traceback.format_exception(error))
    return {"kind": "", "number": None, "text": f"{type(error).__name__}: {error}", "trace": trace}
