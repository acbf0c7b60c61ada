"""Entries: the records with which a plugin's hooks register modalities, architectures, losses, metrics and datasets.

The target of an entry depends on its type:

* `ModalityEntry`: a subclass of `Modality`
* `ArchitectureEntry`: a class that implements `Architecture`
* `LossEntry`: a class or function without required arguments that returns a `Loss`
* `PenaltyEntry`: a class that implements `Penalty`; its keyword arguments are the penalty's settings
* `AugmentationEntry`: a class that implements `Augmentation`; its keyword arguments are the settings in a recipe
* `MetricEntry`: a class or function without required arguments that returns a `Metric`; with `on_features` a
  `FeatureMetric`, with `on_model` a `ModelMetric`, with both a `ModelFeatureMetric`
* `ExtractorEntry`: a class or function ``(weights: Path | None, device: str) -> Extractor``
* `MarkEntry`: a subclass of `Mark`
* `AttributeEntry`: a function ``(samples: Samples, modality: Modality) -> numbers``, ``(N,)``, one for each sample
* `GuardEntry`: a class or function without required arguments that returns a `Guard`
* `DatasetEntry`: a function ``(folder: Path, download: Download) -> None`` that fills an empty folder
* `RecipeEntry`: a YAML file inside a package, ``"package:recipes/name.yaml"``
* `TrackerEntry`: a class without required arguments whose instances have the methods of a reporter that they need:
  ``started(run, title, samples, total)``, ``tick(tick)``, ``measured(samples, values, best)``, ``preview(path)``,
  ``finished(summary)``, ``close()``
* `ModelEntry`: a folder inside a package, ``"package:models/name"``, that `gan zoo pack` has written
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The fields that all entries have."""

    name: str
    """The name that users type: lower-case letters, digits and hyphens."""
    summary: str
    """One line, shown in listings."""
    target: str
    """``"package.module:attribute"``, imported on first use."""


@dataclass(frozen=True, kw_only=True)
class ModalityEntry(Entry):
    """A kind of data (pictures, music, text)."""

    dataset: str
    """Name of the `DatasetEntry` that is used when the user specifies no data. It must not need a download."""


@dataclass(frozen=True, kw_only=True)
class ArchitectureEntry(Entry):
    """The networks of one published method and the game in which they are trained."""

    modality: str | None
    """Name of the `ModalityEntry` whose data it is trained on; None: any kind that it accepts (`AnyData`)."""
    paper: str
    """Authors, title, year and a link."""
    parameters: Mapping[str, int] = field(default_factory=dict)
    """Number of trained parameters by player with its recipe; ``gan plugins check`` verifies them."""
    small: tuple[str, ...] = ()
    """Settings (``"model.width=8"``) that make its recipe small enough for ``gan plugins check`` to take seconds."""


@dataclass(frozen=True, kw_only=True)
class LossEntry(Entry):
    """An adversarial objective on scores."""

    paper: str
    """Authors, title, year and a link."""


@dataclass(frozen=True, kw_only=True)
class PenaltyEntry(Entry):
    """A regulariser of a player, such as a gradient penalty."""

    paper: str
    """Authors, title, year and a link."""


@dataclass(frozen=True, kw_only=True)
class AugmentationEntry(Entry):
    """A change of the samples that critics see, such as ADA and DiffAugment for images."""

    modality: str
    """Name of the `ModalityEntry` whose samples it changes."""
    fields: tuple[str, ...]
    """Names of the modality's fields that it is for: what critics see represents one of them."""
    paper: str
    """Authors, title, year and a link."""


@dataclass(frozen=True, kw_only=True)
class MetricEntry(Entry):
    """A number computed from generated and real samples."""

    modality: str | None = None
    """The kind of data that it measures; None: any."""
    on_features: bool = False
    """Whether the target is a `FeatureMetric`. Users then name it together with an extractor, ``name[extractor]``."""
    defined_on: str = ""
    """The extractor that the definition of a `FeatureMetric` prescribes. The name without an extractor then selects it,
    and its values are printed without the extractor's name."""
    meanings: Mapping[str, str] = field(default_factory=dict)
    """What its values say, in a few words for a newcomer, by their names without extractor; where a value has none,
    the summary is shown. A blank in a name is written as a hyphen."""
    on_model: bool = False
    """Whether the target is a `ModelMetric`. It evaluates the trained networks, so it is only available for runs."""


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A file of pretrained weights that a user may ask for: ``gan data fetch weights:NAME``."""

    name: str
    """Name of the file, as `gan.weights.find_weights` looks for it."""
    url: str
    sha256: str
    size: int
    """Bytes."""
    licence: str


@dataclass(frozen=True, kw_only=True)
class ExtractorEntry(Entry):
    """Maps samples to feature vectors: a network with fixed weights, or hand-written statistics."""

    modality: str | None = None
    """The kind of data that it reads; None: any."""
    paper: str
    """The publication that defines the network or the statistics."""
    weights: str = "none"
    """Description of the file of weights that it needs ("none", "mnist_lenet5.npz, 0.2 MB")."""
    files: tuple[WeightsFile, ...] = ()
    """Where its files of weights are published, if they may be downloaded."""


@dataclass(frozen=True, kw_only=True)
class MarkEntry(Entry):
    """An invisible, keyed mark of generated files."""

    modality: str
    """Name of the `ModalityEntry` whose files it marks."""
    suffixes: tuple[str, ...]
    """Suffixes of the files in which it can be found, as `Mark.suffixes`."""
    paper: str
    """The publication that describes the method."""


@dataclass(frozen=True, kw_only=True)
class AttributeEntry(Entry):
    """A number that describes each sample: brightness, density. Directions in latent spaces change it."""

    modality: str | None = None
    """The kind of data that it measures; None: any."""
    unit: str = ""
    """The unit of the number, in words."""


@dataclass(frozen=True, kw_only=True)
class GuardEntry(Entry):
    """Watches a training: signals, alarms and remedies. The guards of the core and of the plugins that provide the
    architecture and the modality of a recipe are used."""

    modality: str | None = None
    """The kind of data whose trainings it watches; None: any."""


@dataclass(frozen=True, kw_only=True)
class DatasetEntry(Entry):
    """A named dataset, created from an installed dependency or downloaded and verified by checksum."""

    modality: str
    """Name of the `ModalityEntry` that reads it."""
    licence: str
    """Licence of the data, in words."""
    download: str = "none"
    """Size of the download at first use, in words ("none", "11 MB")."""
    version: str = "1"
    """Must change when the function fills the folder with different content."""


@dataclass(frozen=True, kw_only=True)
class RecipeEntry(Entry):
    """The settings of a training run, as YAML inside a package. The target is ``"package:path/in/package.yaml"``."""

    architecture: str
    """Name of the `ArchitectureEntry` that it trains."""
    default: bool = False
    """Whether ``gan run --plugin NAME`` uses this recipe. Exactly one recipe of a plugin sets it."""


@dataclass(frozen=True, kw_only=True)
class TrackerEntry(Entry):
    """A service that is told of trainings, such as TensorBoard: ``gan run --track NAME``."""


@dataclass(frozen=True, kw_only=True)
class ModelEntry(Entry):
    """A trained model that comes with a plugin: a light run folder, used as ``zoo:NAME`` in place of a run."""

    plugin: str
    """The plugin that trained it and makes its samples."""
    licence: str
    """Licence of the weights, with the attribution of the data."""
    command: str
    """The command that makes it again."""


ENTRY_TYPES: dict[str, type[Entry]] = {
    "gan_modalities": ModalityEntry,
    "gan_architectures": ArchitectureEntry,
    "gan_losses": LossEntry,
    "gan_penalties": PenaltyEntry,
    "gan_augmentations": AugmentationEntry,
    "gan_metrics": MetricEntry,
    "gan_extractors": ExtractorEntry,
    "gan_marks": MarkEntry,
    "gan_attributes": AttributeEntry,
    "gan_guards": GuardEntry,
    "gan_datasets": DatasetEntry,
    "gan_recipes": RecipeEntry,
    "gan_models": ModelEntry,
    "gan_trackers": TrackerEntry,
}
"""Hook -> the type of the entries that it returns."""


def kind(hook: str) -> str:
    """Return the name of what a hook registers: ``kind("gan_losses") == "loss"``."""
    return ENTRY_TYPES[hook].__name__.removesuffix("Entry").lower()


class Download(Protocol):
    """Downloads a file over https into the cache, verifies its sha256 and returns its path."""

    def __call__(self, url: str, *, sha256: str, size: int) -> Path:
        """`size` is the largest accepted size in bytes. Raises `BadData` if the file cannot be downloaded or differs,
        `DiskError` if it cannot be written."""
