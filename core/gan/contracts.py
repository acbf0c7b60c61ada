"""What a plugin promises: entries that name things, and the things that they name.

A plugin is a light module whose hooks (`gan.hookspecs`) return *entries*. An entry names its target as
``"package.module:attribute"``; the target is imported when somebody uses it, so listing what is installed costs
nothing. Importing this module imports neither torch nor numpy nor pydantic.

Targets by entry:

* `ModalityEntry`: a subclass of `Modality`
* `ArchitectureEntry`: a class that keeps `Architecture`
* `LossEntry`: a class or function without required arguments that gives a `Loss`
* `PenaltyEntry`: a class whose keyword arguments are the penalty's settings, that gives a `Penalty`
* `MetricEntry`: a class or function without required arguments that gives a `Metric`, or a `FeatureMetric` where
  `on_features` is set, a `ModelMetric` where `on_model` is set, a `ModelFeatureMetric` where both are
* `ExtractorEntry`: a class or function ``(weights: Path | None, device: str) -> Extractor``
* `DatasetEntry`: a function ``(folder: Path, download: Download) -> None`` that fills an empty folder
* `RecipeEntry`: a YAML file inside a package, ``"package:recipes/name.yaml"``
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from pydantic import BaseModel
    from torch import Tensor

    from gan.draws import Draws
    from gan.game import Phase, Player
    from gan.source import SourceFile

Sample: TypeAlias = "dict[str, np.ndarray[Any, Any]]"
"""One item: field name -> array."""
Samples: TypeAlias = "dict[str, np.ndarray[Any, Any]]"
"""Many items: field name -> array with a leading axis."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A named thing that a plugin offers."""

    name: str
    """What users type: lower-case letters, digits and hyphens."""
    summary: str
    """One line for listings."""
    target: str
    """``"package.module:attribute"``, imported when it is used."""


@dataclass(frozen=True, kw_only=True)
class ModalityEntry(Entry):
    """One kind of data."""

    dataset: str
    """Name of the `DatasetEntry` that is trained on when the user names no data; it needs no download."""


@dataclass(frozen=True, kw_only=True)
class ArchitectureEntry(Entry):
    """The networks of one published method and the game that they play."""

    modality: str
    paper: str
    """Authors, title, year, and where to read it."""
    parameters: Mapping[str, int] = field(default_factory=dict)
    """Trained parameters by player, as its recipe stands; `gan plugins check` holds them true."""
    small: tuple[str, ...] = ()
    """Settings (``"model.width=8"``) that make its recipe so small that `gan plugins check` takes seconds."""


@dataclass(frozen=True, kw_only=True)
class LossEntry(Entry):
    """An adversarial objective on scores."""

    paper: str


@dataclass(frozen=True, kw_only=True)
class PenaltyEntry(Entry):
    """A regulariser of a player."""

    paper: str


@dataclass(frozen=True, kw_only=True)
class MetricEntry(Entry):
    """A number computed from generated and real samples."""

    modality: str | None = None
    """The kind of data that it is for; None: any."""
    on_features: bool = False
    """Whether it is a `FeatureMetric`: users then name it with an extractor, ``name[extractor]``."""
    defined_on: str = ""
    """Of a `FeatureMetric`: the extractor that its definition names. The bare name means that one, and its values are
    printed without the extractor's name."""
    on_model: bool = False
    """Whether it is a `ModelMetric`: it asks the trained networks themselves, so that only runs have it."""


@dataclass(frozen=True, kw_only=True)
class ExtractorEntry(Entry):
    """Something that turns samples into feature vectors: a network with fixed weights, or statistics made by hand."""

    modality: str | None = None
    """The kind of data that it reads; None: any."""
    paper: str
    """Where the network or the statistics are defined."""
    weights: str = "none"
    """The file that it needs, in words ("none", "mnist_lenet5.npz, 0.2 MB")."""


@dataclass(frozen=True, kw_only=True)
class DatasetEntry(Entry):
    """Named data, made from an installed dependency or downloaded with a checksum."""

    modality: str
    licence: str
    """Licence of the data, as a person would cite it."""
    download: str = "none"
    """How much the first use downloads, in words ("none", "11 MB")."""
    version: str = "1"
    """Changes when the same function would fill the folder with something else."""


@dataclass(frozen=True, kw_only=True)
class RecipeEntry(Entry):
    """A training run, as YAML inside a package. The target is ``"package:path/in/package.yaml"``."""

    architecture: str
    default: bool = False
    """Whether ``gan run --plugin NAME`` takes this one; exactly one recipe of a plugin says so."""


ENTRY_TYPES: dict[str, type[Entry]] = {
    "gan_modalities": ModalityEntry,
    "gan_architectures": ArchitectureEntry,
    "gan_losses": LossEntry,
    "gan_penalties": PenaltyEntry,
    "gan_metrics": MetricEntry,
    "gan_extractors": ExtractorEntry,
    "gan_datasets": DatasetEntry,
    "gan_recipes": RecipeEntry,
}
"""Every hook, and the type of entry that it yields."""


def kind(hook: str) -> str:
    """The word for what a hook gives: ``kind("gan_losses") == "loss"``."""
    return ENTRY_TYPES[hook].__name__.removesuffix("Entry").lower()


@dataclass(frozen=True)
class Field:
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
    def fields(self) -> dict[str, Field]:
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
        from gan.page import shown_by_type

        return shown_by_type(file, link)


@dataclass(frozen=True)
class Request:
    """What a user asks of one call of `Architecture.generate`."""

    options: Any = None
    """An instance of the architecture's `Options`, or None for its defaults."""
    given: Mapping[str, Tensor] | None = None
    """Fields of the samples that are given, ``count`` rows each: the input of a translation, the tracks to accompany,
    the tokens to continue, and conditions. Only for architectures that keep `ConditionalOnInput`."""


@runtime_checkable
class Architecture(Protocol):
    """The networks of one published method and the game that they play: a `torch.nn.Module`.

    Constructed as ``ArchitectureClass(config, fields)`` with its section of the recipe and the modality's fields.
    Everything that must survive a restart is a parameter or a buffer.
    """

    Config: ClassVar[type[BaseModel]]

    def players(self) -> dict[str, Player]:
        """The players by name; their parameters are disjoint."""

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """The phases in the order of training."""

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """`count` samples: field name -> ``(count, *shape)`` in the field's dtype and range.

        Row i depends on the weights, `request` and row i of what `rng` gives, on nothing else: not on `count`.
        Called in evaluation mode, without gradients, with the averaged weights where there are some.
        """


# An architecture may have, beside `Config`:
#
#   Options: a pydantic model of what one call of `generate` may choose (truncation, temperature, class …); the command
#       line offers each field as ``--field`` of ``gan generate``
#   generation_batch: int (default 16), how many samples one call of `generate` makes
#   preview_options: values of `Options` for previews and metrics; `generate` may then return further fields, which the
#       modality's preview and metrics may know (a picture translated there and back)
#
# and may keep the protocols below, which the command line and the API check.


@runtime_checkable
class ConditionalOnInput(Protocol):
    """Samples are made from given fields: translation, accompaniment, continuation, a class (`Field.condition`)."""

    def given_fields(self, options: Any = None) -> tuple[str, ...]:
        """The fields that `Request.given` must hold where `options` (None: the defaults) are asked for."""


@runtime_checkable
class GivenInPart(ConditionalOnInput, Protocol):
    """Of some given fields only a part is given, and the rest of them is made (the tracks that accompany another).
    Where the user chooses the part, the option of the architecture that says which is called `given`."""

    def given_places(self, options: Any = None) -> Mapping[str, Sequence[int]]:
        """Field -> the places along its first axis that are given. `generate` returns these as they were given."""


@runtime_checkable
class LatentSpace(Protocol):
    """Samples are made from latent vectors that can be interpolated."""

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, …)`` latents, as `generate` would draw them."""

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The samples of given latents; `generate` is ``decode(latents(count, rng), request)``."""


@runtime_checkable
class SmoothLatentSpace(LatentSpace, Protocol):
    """A latent space whose samples can be had before they are rounded, so that tiny steps show."""

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """As `decode`, but float32 in the fields' ranges."""


@runtime_checkable
class Likelihood(Protocol):
    """Says how likely given samples are (a language model)."""

    def nll(self, samples: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Samples by field, ``(N, *shape)`` on the architecture's device -> ``(N,), (N,)``: minus the log-probability
        of each in nats, and the number of elements (tokens) that it is spread over."""


class Loss(Protocol):
    """The adversarial objective on raw scores (no sigmoid): arithmetic only, minimised by both players."""

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """``(N, …), (N, …) -> (N,)``: one value a sample; further axes (patches) are averaged."""

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """``(N, …), (N, …) -> (N,)``. Losses that ignore `real_scores` declare ``needs_real = False``."""

    needs_real: bool
    """Whether `generator` reads `real_scores`."""


class Critic(Protocol):
    """Gives raw scores ``(N, …)`` to a batch of samples."""

    def __call__(self, samples: Tensor, /) -> Tensor:
        """Scores of `samples`."""


class Penalty(Protocol):
    """A regulariser of a player: arithmetic only.

    `weight` scales it. `every` = k > 1 makes it lazy: the trainer evaluates it every k-th iteration, multiplies it by k
    and corrects the player's optimiser (Karras et al. 2020, appendix B).
    """

    weight: float
    every: int

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor, draws: Draws) -> Tensor:
        """``(N,)``, before `weight`; `real` and `fake` are detached samples."""


@dataclass(frozen=True)
class MetricValue:
    """One number of a metric."""

    name: str
    value: float
    real: float | None = None
    """The same statistic of the real samples, where it is a statistic of one set."""
    error: float | None = None
    """Standard error or half-width, in the value's unit."""
    direction: Literal["lower", "higher", "real"] = "real"
    """What is better: lower, higher, or close to `real`."""
    details: Mapping[str, Any] = field(default_factory=dict)


class Metric(Protocol):
    """A number computed from generated and real samples. It may have `settings`, as a `FeatureMetric`."""

    version: str
    """Changes when the same samples would give another value."""

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """Values in the order of the table. Both sets hold the modality's fields with a leading axis."""


@dataclass(frozen=True)
class Features:
    """What an extractor says of N samples."""

    vectors: np.ndarray[Any, Any]
    """``(N, d)`` float32."""
    probabilities: np.ndarray[Any, Any] | None = None
    """``(N, classes)``, rows that sum to 1, where the extractor is a classifier."""


class Extractor(Protocol):
    """Turns samples into feature vectors, always the same for the same samples.

    One entry that serves many networks (any model in a folder) has a `label`, which names the scores instead of the
    entry's name.
    """

    version: str
    """Changes when the same samples would give other features."""
    sha256: str
    """Of the file of weights, or ``""`` where there is none."""
    preprocessing: str
    """What is done to the samples first, in words: size, filter, range, normalisation."""

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """Features of samples with a leading axis, row by row: a row does not depend on the others."""


class FeatureMetric(Protocol):
    """A number computed from features, so that it serves every kind of data. `MetricEntry.on_features` is set.

    Beside the two members below it may have `settings`, a mapping of what its value depends on (neighbours, subsets,
    a seed), which goes into the receipt.
    """

    version: str

    def compute(self, generated: Features, real: Features) -> Sequence[MetricValue]:
        """Values in the order of the table, named without the extractor, which is added: ``FID`` -> ``FID[lenet5]``."""


class ModelMetric(Protocol):
    """A number computed from the trained networks: likelihoods, smoothness of a latent space. `MetricEntry.on_model` is
    set.

    The core calls it with the weights that samples are made with, in evaluation mode, without gradients. Its receipt
    names these weights by their sha256. Files without a run have no such metric.
    """

    version: str

    def compute(
        self, architecture: Architecture, generated: Samples, real: Samples, modality: Modality
    ) -> Sequence[MetricValue]:
        """Values in the order of the table; `generated` is what the architecture has made, `real` the real samples.

        Raises `UsageError` where the architecture cannot be asked (it keeps no `Likelihood`, no `LatentSpace`). What
        it draws comes from a seed in its `settings`.
        """


class ModelFeatureMetric(Protocol):
    """A `ModelMetric` that looks at what it makes through an extractor, as `FeatureMetric` does. `MetricEntry.on_model`
    and `MetricEntry.on_features` are set."""

    version: str

    def compute(
        self,
        architecture: Architecture,
        extractor: Callable[[Samples, Modality], Features],
        generated: Samples,
        real: Samples,
        modality: Modality,
    ) -> Sequence[MetricValue]:
        """As `ModelMetric.compute`; the values are named without the extractor, which is added."""


class Download(Protocol):
    """Fetches one file over https into the cache, checks its sha256, and returns where it lies."""

    def __call__(self, url: str, *, sha256: str, size: int) -> Path:
        """`size` is the largest size accepted, in bytes."""
