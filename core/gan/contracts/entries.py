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

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    pass


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


class Download(Protocol):
    """Fetches one file over https into the cache, checks its sha256, and returns where it lies."""

    def __call__(self, url: str, *, sha256: str, size: int) -> Path:
        """`size` is the largest size accepted, in bytes."""
