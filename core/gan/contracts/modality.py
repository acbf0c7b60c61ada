"""The base class of a kind of data (modality): its fields, and how files become samples and samples become files."""

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

    from gan.contracts.marks import Mark
    from gan.source import SourceFile


Sample: TypeAlias = "dict[str, np.ndarray[Any, Any]]"
"""One sample: field name -> array ``(*shape)``."""
Samples: TypeAlias = "dict[str, np.ndarray[Any, Any]]"
"""N samples: field name -> array ``(N, *shape)``."""


@dataclass(frozen=True)
class FieldSpec:
    """Specification of one field of a sample, as it is stored in the pack and as a generator returns it."""

    shape: tuple[int, ...]
    """Shape of one sample, without the batch axis."""
    dtype: Literal["bool", "uint8", "int16", "int32", "int64", "float32"]
    low: float
    """Smallest possible value."""
    high: float
    """Largest possible value."""
    unit: str
    """Meaning of the numbers: ``"intensity"``, ``"class index"``, ``"note on"`` …"""
    _: KW_ONLY
    group: str = ""
    """Fields of one group belong to the same sample. Unpaired data have several groups: each sample that
    `Modality.read` yields then holds the fields of one group, and each group is shuffled independently in training."""
    longer: bool = False
    """Whether a generator may return a larger `longer_axis` than `shape` on request (a longer text)."""
    longer_axis: int = 0
    """The axis of `shape` to which `longer` and `window` apply (the bars of a piano roll, the samples of a sound)."""
    finer: bool = False
    """Whether a generator may return all axes larger, by a common factor, on request (a shape at a higher resolution);
    all axes of `shape` are then equal."""
    window: int = 0
    """Places of `longer_axis` in one step, for a field whose data are recordings of any length; 0: they are not.

    `Modality.read` then yields whole recordings: along `longer_axis` any number of steps, at least that of `shape`.
    They are packed as they are, and a sample of the training is a window of `shape` that begins at a random step, a
    function of the seed and of the position in the training. Fields of one group are cut at the same step (a sound at
    256 places a step, its spectrogram at 1); fields without windows belong to the whole recording."""
    names: tuple[str, ...] = ()
    """Names of the indices along the first axis, if they have names (the tracks of a piano roll); for a field without
    axes, the names of the values 0, 1 … (classes)."""
    condition: bool = False
    """Whether the field is a number that describes the sample (a class, a density) and that users may specify. An
    architecture that supports it lists it in `ConditionalOnInput.given_fields` and need not return it; `low` and `high`
    of the fields that the architecture is built with are then those of the training data. ``gan generate`` offers
    ``--NAME``. Unspecified conditions are sampled from the training data's values, which the run stores."""
    any_value: bool = False
    """Whether a condition may have any value of `low` … `high`, also one that the training data do not have (the angle
    of a camera). `low` and `high` are then those of the modality for the architecture too."""

    def mismatch(self, values: Any, count: int | None = None) -> str:
        """Why `values`, an array or a tensor, do not fit this field: ``"is (2,) int64, …"``; empty when they do.

        With `count`, `values` are those of `count` generated samples: they have a leading axis, may be longer where
        the field is `longer` or larger where it is `finer`, and their range is not checked. Without it, values of a
        field with windows are a part of a recording, of any number of whole steps.
        """
        shape, wanted = tuple(values.shape), self.shape if count is None else (count, *self.shape)
        dtype = str(values.dtype).removeprefix("torch.")
        axis = self.longer_axis + 1
        fits = shape
        if self.longer and count is not None and len(shape) == len(wanted) > axis:
            fits = (*shape[:axis], min(shape[axis], wanted[axis]), *shape[axis + 1 :])
        if self.finer and count is not None and len(shape) == len(wanted) and shape[0] == count:
            fits = wanted if len(set(shape[1:])) == 1 and shape[1] >= wanted[1] else shape
        if self.window and count is None and len(shape) == len(wanted):
            axis = self.longer_axis
            if not shape[axis] or shape[axis] % self.window:
                return f"has {shape[axis]} places, no whole steps of {self.window}"
            fits = (*shape[:axis], wanted[axis], *shape[axis + 1 :])
        if fits != wanted or dtype != self.dtype:
            return f"is {shape} {dtype}, and its field is {wanted} {self.dtype}"
        return self.outside(values) if count is None else ""

    def outside(self, values: np.ndarray[Any, Any]) -> str:
        """Why an array is not within the range of this field: ``"lies in 0 … 9, …"``; empty when it is."""
        if self.dtype == "bool" or not values.size or (values.min() >= self.low and values.max() <= self.high):
            return ""
        return f"lies in {values.min():g} … {values.max():g}, and its field in {self.low:g} … {self.high:g}"


class Continued(dict[str, "np.ndarray[Any, Any]"]):
    """A further part of the recording that `Modality.read` yielded before: its fields with windows only, which are
    appended (`FieldSpec.window`). So a recording is never whole in memory."""


@dataclass(frozen=True)
class Given:
    """The part of the samples that a user provides as input, and the options chosen for it."""

    fields: tuple[str, ...]
    """The given fields (`ConditionalOnInput.given_fields`)."""
    places: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """For fields given in part, the given indices along the first axis (`GivenInPart.given_places`)."""
    options: Any = None
    """An instance of the modality's `GivenOptions`, or None for the defaults."""
    any_size: bool = False
    """Whether the architecture takes inputs of any size (`InTiles`): `Modality.read_given` then keeps that of the
    file."""


class Modality(ABC):
    """Base class of a kind of data: reads files into arrays, writes arrays as files, draws previews.

    `config` is an instance of `Config`. `facts` is what `survey` found in the training data (class names, a
    vocabulary); it is saved with the run, so that a trained run can write files without its data. A modality's module
    uses numpy arrays and does not import torch.
    """

    Config: ClassVar[type[BaseModel]]
    """The settings in the recipe's section `modality`; each field has a description with meaning and unit."""
    suffixes: ClassVar[tuple[str, ...]]
    """Suffixes of the files that `read` accepts, with the dot, in lower case. The core opens archives (``.zip``)
    itself; they are not listed."""
    recognised_by: ClassVar[tuple[str, ...]] = ()
    """The suffixes by which a dataset is recognised as this kind of data where nobody names it; empty: all `suffixes`.
    Leave out those of files that are more often of another kind."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """Names of the metrics computed at the end of training, unless the recipe names others."""
    conditions: ClassVar[Mapping[str, str]] = {}
    """Conditions that `fields` may contain -> the setting that enables it (``modality.labels=true``), for messages."""
    perceptual: ClassVar[tuple[str, ...]] = ()
    """Names of extractors whose Euclidean distances are like perceived ones, best first. Paths and projections use the
    first one whose weights are at hand."""
    headline: ClassVar[tuple[str, ...]] = ()
    """Names of the values, without their extractor, that the end of a training shows first; five are shown."""
    trade_offs: ClassVar[tuple[tuple[str, str], ...]] = (("precision", "recall"), ("density", "coverage"))
    """Pairs of value names that are only meaningful together, quality before variety. Sweeps and comparisons plot them
    against each other. Values on features are named without their extractor."""

    mark: Mark | None = None
    """The mark that `marked` applies; the core sets it while files are written that a user wants marked."""

    def __init__(self, config: BaseModel, facts: Mapping[str, Any] | None = None) -> None:
        self.config: Any = config
        self.facts: dict[str, Any] = dict(facts or {})

    def marked(self, content: Any, **about: Any) -> Any:
        """Return `content` with the user's mark (`gan.contracts.Mark`), or unchanged where none is wanted.

        `write` and `write_like` pass what they are about to encode: the final pixels, the samples of a sound.
        """
        return content if self.mark is None else self.mark.embed(content, **about)

    def survey(self, files: Sequence[SourceFile]) -> dict[str, Any]:
        """Inspect the whole source once before it is read. The result (JSON values) becomes `facts`.

        `SourceFile.name` costs nothing; the content of a file costs a read. The default returns no facts. Called in a
        worker process as `read` is. The survey begins again without a file that exceeds a limit there.
        """
        return {}

    @classmethod
    def comparison_config(cls, config: Any) -> Any:
        """Settings for comparing files with files, which no run determines; the default returns `config`.

        What the user has set is in ``config.model_fields_set``. The survey before the comparison sees both sides.
        """
        return config

    def inventory(self, file: SourceFile) -> dict[str, int]:
        """Return counts of what a file contains (notes by instrument) for the report of ``gan data check``.

        The default is empty: the report then only counts samples. Raises the same errors as `read`, and is called
        before it in the same worker process.
        """
        return {}

    def remarks(self) -> Sequence[str]:
        """Sentences about what was chosen from the data (a resolution), which a user is told before a training."""
        return ()

    @property
    @abstractmethod
    def fields(self) -> dict[str, FieldSpec]:
        """The fields of a sample by name, for this `config` and these `facts`.

        Raises `LookupError` if they depend on facts that are missing (the size of a vocabulary).
        """

    @abstractmethod
    def read(self, file: SourceFile) -> Iterator[Sample]:
        """Yield the samples of one file (one MIDI file yields many phrases). Recordings of fields with windows may be
        yielded in parts, the first one a sample, the others `Continued`.

        Raises `BadData` with a readable reason if the file is damaged or contains nothing usable; any other exception
        is treated in the same way. So every file is either used or reported. Raises `gan.source.Companion` for a file
        that is the second half of another file's sample. Called in several worker processes with limits on computing
        time and memory (in threads where processes cannot be forked), so it must not change this object.
        """

    def read_condition(self, name: str, text: str) -> float:
        """Return the value of the condition `name` that a user wrote as `text`. Raises `ValueError` with a reason.

        The default accepts numbers and the field's `names`.
        """
        names = self.fields[name].names
        if text in names:
            return float(names.index(text))
        try:
            return float(text)
        except ValueError:
            known = f" (known: {', '.join(names)})" if names else ""
            raise ValueError(f"'{text}' is no number{known}") from None

    def read_given(self, file: SourceFile, given: Given) -> Iterator[Sample]:
        """Yield the whole of `file`, in order, as samples with only the given fields: the input of a translation, an
        accompaniment or a continuation.

        Raises the same errors as `read`, and `UsageError` for options that do not fit the file. Called in a worker
        process as `read` is.
        """
        for sample in self.read(file):
            yield {name: sample[name] for name in given.fields}

    @abstractmethod
    def write(self, sample: Sample, stem: Path, options: BaseModel | None = None) -> Path:
        """Write one sample to the path ``stem`` + a suffix, and return that path. The same sample must give the same
        bytes. `options` is an instance of `Options`, or None for the defaults.

        The file need not say that it was generated: the core adds that (`gan.provenance`)."""

    def write_stream(self, parts: Iterator[Sample], stem: Path, options: BaseModel | None = None) -> Path:
        """Write one sample whose parts come one behind the other, joined along the `longer_axis` of its fields (see
        `Streams`), like `write`. The default joins them first, which needs the memory of the whole."""
        import numpy as np

        whole = [dict(part) for part in parts]
        fields = self.fields
        joined = {
            name: np.concatenate([part[name] for part in whole], fields[name].longer_axis)
            if fields[name].longer
            else whole[0][name]
            for name in whole[0]
        }
        return self.write(joined, stem, options)

    def write_like(
        self, samples: Sequence[Sample], stem: Path, like: SourceFile, given: Given, options: BaseModel | None = None
    ) -> list[Path]:
        """Write the samples made from the file `like` and return the paths, keeping properties of that file (the size
        of a picture, the tempo of a piece).

        `samples` are in the order of `read_given` and hold the generated fields; fields given in part are complete.
        Called without limits, after `read_given` has read the file within them.
        The default writes one file per sample, numbered if there are several.
        """
        if len(samples) == 1:
            return [self.write(samples[0], stem, options)]
        return [
            self.write(sample, stem.with_name(f"{stem.name}-{index:04d}"), options)
            for index, sample in enumerate(samples)
        ]

    def write_in_strips(
        self,
        strips: Iterator[Sample],
        shape: tuple[int, int],
        stem: Path,
        like: SourceFile,
        given: Given,
        options: BaseModel | None = None,
    ) -> list[Path]:
        """Write the sample made from an input of any size (`InTiles`), which comes in strips along the last but one
        axis, first things first; `shape` is that of the whole along its last two axes.

        Like `write_like`. The default joins the strips, which needs the memory of the whole.
        """
        import numpy as np

        parts = list(strips)
        whole = {name: np.concatenate([part[name] for part in parts], -2) for name in parts[0]}
        return self.write_like([whole], stem, like, given, options)

    Options: ClassVar[type[BaseModel] | None] = None
    """A pydantic model of what a user may choose when files are written (tempo, instruments, a file format). The
    command line offers each field as ``--field`` of ``gan generate`` and ``gan translate``."""
    GivenOptions: ClassVar[type[BaseModel] | None] = None
    """A pydantic model of what a user may choose about an input file (which of its tracks), offered in the same way."""
    whole_input: ClassVar[str] = ""
    """Name of a flag of ``gan generate`` that takes a file to be processed as a whole (``accompany``). If empty there
    is only ``--input``, which takes the first samples of the file."""

    def spoken(self, sample: Sample) -> str:
        """What a sample says, if it is a text: ``gan generate`` prints it in place of its file's name. Else empty."""
        return ""

    def is_empty(self, sample: Sample) -> bool:
        """Whether a generated sample, with its generated fields only, holds nothing: no note, no sound, one colour.

        The default: no field varies within the sample. The end of a training, ``gan generate`` and ``gan evaluate``
        say how many samples are empty.
        """
        return all(values.size < 2 or values.min() == values.max() for values in sample.values())

    @abstractmethod
    def preview(self, samples: Samples) -> Image.Image:
        """Return a picture of `samples`: a grid of images, piano rolls, spectrograms, a page of text."""

    def picture(self, sample: Sample, options: BaseModel | None = None) -> Image.Image:
        """Return a picture of one sample: a tile of contact sheets, a frame of films. All have one size.

        The default is the preview of the sample alone. `options` is an instance of `Options`, or None.
        """
        return self.preview({name: values[None] for name, values in sample.items()})

    def show(self, file: SourceFile, link: str, folder: Path) -> str:
        """Return HTML that shows or plays one artefact on a page in `folder`. `link` is the relative link to `file`.

        Additional files (a rendered sound) may be written to `folder` under names that begin like the artefact's.
        The default shows pictures, sound, video and text with the browser's own elements. Raises `BadData` if the file
        cannot be read. ``gan page`` calls it in a worker process as `read` is, with another minute of computing time.
        """
        from gan.contracts.media import shown_by_type

        return shown_by_type(file, link)
