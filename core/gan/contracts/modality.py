"""What a kind of data promises: its fields, and how files become samples and samples become files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from pydantic import BaseModel

    from gan.source import SourceFile


Sample: TypeAlias = "dict[str, np.ndarray[Any, Any]]"
"""One item: field name -> array."""
Samples: TypeAlias = "dict[str, np.ndarray[Any, Any]]"
"""Many items: field name -> array with a leading axis."""


@dataclass(frozen=True)
class FieldSpec:
    """One field of a sample, as it is stored in the pack and as a generator returns it."""

    shape: tuple[int, ...]
    dtype: Literal["bool", "uint8", "int16", "int32", "int64", "float32"]
    low: float
    """Smallest value that occurs."""
    high: float
    """Largest value that occurs."""
    unit: str
    """What the numbers mean: ``"intensity"``, ``"class index"``, ``"note on"`` …"""
    _: KW_ONLY
    group: str = ""
    """Fields of one group come together in a sample. Unpaired data have several: a sample that `Modality.read` gives
    then holds the fields of one group, and training draws every group in an order of its own."""
    longer: bool = False
    """Whether a generator that is asked to may make `longer_axis` longer than `shape` says (a longer text)."""
    longer_axis: int = 0
    """The axis of `shape` that `longer` speaks of (the bars of a piano roll)."""
    names: tuple[str, ...] = ()
    """What the places along the first axis are called, where they have names (the tracks of a piano roll); of a number
    without axes, what 0, 1 … mean (classes)."""
    condition: bool = False
    """Whether it is a number that describes the sample (a class, a density) and may be asked for. An architecture that
    takes it names it among its `ConditionalOnInput.given_fields` and need not return it; `low` and `high` of the fields
    that it is built with are then those of the training data. ``gan generate`` offers ``--name``; what is not asked for
    is drawn from the values of the data, which the run keeps."""

    def mismatch(self, values: Any, count: int | None = None) -> str:
        """Why `values`, an array or a tensor, do not fit this field: ``"is (2,) int64, …"``; empty when they do.

        With `count`, `values` are those of `count` generated samples: they have a leading axis, may be longer where
        the field is `longer`, and their range is not checked.
        """
        shape, wanted = tuple(values.shape), self.shape if count is None else (count, *self.shape)
        dtype = str(values.dtype).removeprefix("torch.")
        axis = self.longer_axis + 1
        fits = shape
        if self.longer and count is not None and len(shape) == len(wanted) > axis:
            fits = (*shape[:axis], min(shape[axis], wanted[axis]), *shape[axis + 1 :])
        if fits != wanted or dtype != self.dtype:
            return f"is {shape} {dtype}, and its field is {wanted} {self.dtype}"
        return self.outside(values) if count is None else ""

    def outside(self, values: np.ndarray[Any, Any]) -> str:
        """Why an array is not within the range of this field: ``"lies in 0 … 9, …"``; empty when it is."""
        if self.dtype == "bool" or not values.size or (values.min() >= self.low and values.max() <= self.high):
            return ""
        return f"lies in {values.min():g} … {values.max():g}, and its field in {self.low:g} … {self.high:g}"


@dataclass(frozen=True)
class Given:
    """Which part of the samples a user gives, and what he chose when he gave it."""

    fields: tuple[str, ...]
    """The fields that are given (`ConditionalOnInput.given_fields`)."""
    places: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Of fields that are given in part, the places along the first axis (`GivenInPart.given_places`)."""
    options: Any = None
    """An instance of the modality's `GivenOptions`, or None for its defaults."""


class Modality(ABC):
    """One kind of data: reads files into tensors, writes tensors back as files, draws a preview.

    `config` is the modality's section of the recipe. `facts` is what `survey` learned of the training data (class
    names, a vocabulary): it is saved with the run, so that a trained run can write files without its data.
    A modality's module does not import torch: arrays are numpy's.
    """

    Config: ClassVar[type[BaseModel]]
    """Typed settings; each field has a description with meaning and unit."""
    suffixes: ClassVar[tuple[str, ...]]
    """Endings of the files that `read` understands, with the dot, in lower case. Archives (.zip) are opened by the
    core and need no mention."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """Names of the metrics that a training ends with, unless the recipe names others."""
    conditions: ClassVar[Mapping[str, str]] = {}
    """Conditions that `fields` may have -> the setting that brings them (``modality.labels=true``), for messages."""
    trade_offs: ClassVar[tuple[tuple[str, str], ...]] = (("precision", "recall"), ("density", "coverage"))
    """Names of values that only mean something together, quality before variety: what sweeps and comparisons
    draw against each other. Values on features are named without their extractor."""

    def __init__(self, config: BaseModel, facts: Mapping[str, Any] | None = None) -> None:
        self.config: Any = config
        self.facts: dict[str, Any] = dict(facts or {})

    def survey(self, files: Sequence[SourceFile]) -> dict[str, Any]:
        """Look at the whole source once before anything is read; the answer (plain JSON values) becomes `facts`.

        Names are cheap to look at (`SourceFile.name`); contents cost a read.
        """
        return {}

    def inventory(self, file: SourceFile) -> dict[str, int]:
        """What a file holds, in words -> how often (instruments -> their notes), for the report of ``gan data check``;
        nothing where that tells no more than the samples. Raises as `read` does.
        """
        return {}

    @property
    @abstractmethod
    def fields(self) -> dict[str, FieldSpec]:
        """Name, shape, dtype, range and unit of every field of a sample, for this config and these facts.

        Raises `LookupError` when they depend on facts that are not there (the size of a vocabulary).
        """

    @abstractmethod
    def read(self, file: SourceFile) -> Iterator[Sample]:
        """The samples of one file (one MIDI file gives many phrases).

        Raises `BadData` with a reason for people; any other exception is taken as one too. A file that is fine but
        holds nothing to use raises `BadData` as well: every file is used or named. A file that is the other half of
        another one's sample raises `gan.source.Companion`. Called from several threads.
        """

    def read_condition(self, name: str, text: str) -> float:
        """The value of the condition `name` that a user wrote: a number, or one of the field's names (here). Raises
        `ValueError` with a reason."""
        names = self.fields[name].names
        if text in names:
            return float(names.index(text))
        try:
            return float(text)
        except ValueError:
            known = f" (known: {', '.join(names)})" if names else ""
            raise ValueError(f"'{text}' is no number{known}") from None

    def read_given(self, file: SourceFile, given: Given) -> Iterator[Sample]:
        """What a user gives to be translated, accompanied or continued: the whole of `file` as samples, in its order,
        that hold the given fields only. Raises as `read` does, and `UsageError` for choices that do not fit the file.
        """
        for sample in self.read(file):
            yield {name: sample[name] for name in given.fields}

    @abstractmethod
    def write(self, sample: Sample, stem: Path, options: BaseModel | None = None) -> Path:
        """Write one sample as the artefact ``stem`` + a suffix, and return its path. The same sample gives the same
        bytes. `options` is an instance of `Options`, or None for its defaults."""

    def write_like(
        self, samples: Sequence[Sample], stem: Path, like: SourceFile, given: Given, options: BaseModel | None = None
    ) -> list[Path]:
        """Write what was made from the file `like`, keeping what belongs to that file (the size of a picture, the
        tempo of a piece). `samples` are in the order in which `read_given` gave theirs, and hold what was made only:
        of fields given in part, all of it. Here: a file for each, numbered where there are several."""
        if len(samples) == 1:
            return [self.write(samples[0], stem, options)]
        return [
            self.write(sample, stem.with_name(f"{stem.name}-{index:04d}"), options)
            for index, sample in enumerate(samples)
        ]

    Options: ClassVar[type[BaseModel] | None] = None
    """What a user may choose when files are written (tempo, instruments, a file format); the command line offers each
    field of this model as ``--field`` of ``gan generate`` and ``gan translate``."""
    GivenOptions: ClassVar[type[BaseModel] | None] = None
    """What a user may choose when he gives a file to work from (which of its tracks); offered in the same way."""
    whole_input: ClassVar[str] = ""
    """The flag of ``gan generate`` that names a file to work from as a whole, in the words of this kind of data
    (``accompany``); none: only ``--input``, which takes samples from the front."""

    @abstractmethod
    def preview(self, samples: Samples) -> Image.Image:
        """A picture of many samples: a grid of images, piano rolls, spectrograms, a page of text."""

    def show(self, file: SourceFile, link: str, folder: Path) -> str:
        """HTML that shows or plays one artefact on a page in `folder`, beside whose files what it needs (a rendered
        sound) may be written under names that begin like the artefact's. `link` leads from the page to `file`.

        As it stands, pictures, sounds, films and texts are shown as browsers show them. Raises `BadData`.
        """
        from gan.contracts.media import shown_by_type

        return shown_by_type(file, link)
