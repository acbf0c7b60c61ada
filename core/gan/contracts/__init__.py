"""The interfaces between the core and plugins: entries that hooks return, and protocols that their targets implement.

A plugin is a light module whose hooks (`gan.hookspecs`) return *entries*. An entry names its target as
``"package.module:attribute"``; the target is imported when it is first used, so that listing the installed plugins is
cheap. Importing this package imports neither torch nor numpy nor pydantic.

* `gan.contracts.entries`: `ModalityEntry`, `ArchitectureEntry`, `LossEntry` and the other entries, `Download`
* `gan.contracts.modality`: a kind of data: `Modality`, `FieldSpec`, `Given`, `Sample`, `Samples`
* `gan.contracts.architecture`: networks and their game: `Architecture`, `Request`, `GenerationSettings`, and the
  protocols of optional abilities: `ConditionalOnInput`, `GivenInPart`, `LatentSpace`, `SmoothLatentSpace`,
  `Likelihood`, `Settles`
* `gan.contracts.objectives`: `Loss`, `Critic`, `Penalty`, `Augmentation`,
  `AdaptiveAugmentation`
* `gan.contracts.metrics`: `Metric`, `FeatureMetric`, `ModelMetric`, `ModelFeatureMetric`, `MetricValue`, `Extractor`,
  `Features`
* `gan.contracts.marks`: invisible marks in artefacts: `Mark`, `Detection`, `tail`
* `gan.contracts.media`: HTML that shows an artefact by its media type
"""

from __future__ import annotations

from gan.contracts.architecture import (
    Architecture,
    ConditionalOnInput,
    GenerationSettings,
    GivenInPart,
    LatentSpace,
    Likelihood,
    Request,
    Settles,
    SmoothLatentSpace,
)
from gan.contracts.entries import (
    ENTRY_TYPES,
    ArchitectureEntry,
    AugmentationEntry,
    DatasetEntry,
    Download,
    Entry,
    ExtractorEntry,
    LossEntry,
    MarkEntry,
    MetricEntry,
    ModalityEntry,
    PenaltyEntry,
    RecipeEntry,
    kind,
)
from gan.contracts.marks import Detection, Mark, tail
from gan.contracts.metrics import (
    Extractor,
    FeatureMetric,
    Features,
    Metric,
    MetricValue,
    ModelFeatureMetric,
    ModelMetric,
    value_from_json,
)
from gan.contracts.modality import FieldSpec, Given, Modality, Sample, Samples
from gan.contracts.objectives import AdaptiveAugmentation, Augmentation, Critic, Loss, Penalty

__all__ = [
    "ENTRY_TYPES",
    "AdaptiveAugmentation",
    "Architecture",
    "ArchitectureEntry",
    "Augmentation",
    "AugmentationEntry",
    "ConditionalOnInput",
    "Critic",
    "DatasetEntry",
    "Detection",
    "Download",
    "Entry",
    "Extractor",
    "ExtractorEntry",
    "FeatureMetric",
    "Features",
    "FieldSpec",
    "GenerationSettings",
    "Given",
    "GivenInPart",
    "LatentSpace",
    "Likelihood",
    "Loss",
    "LossEntry",
    "Metric",
    "Mark",
    "MarkEntry",
    "MetricEntry",
    "MetricValue",
    "Modality",
    "ModalityEntry",
    "ModelFeatureMetric",
    "ModelMetric",
    "Penalty",
    "PenaltyEntry",
    "RecipeEntry",
    "Request",
    "Sample",
    "Samples",
    "Settles",
    "SmoothLatentSpace",
    "kind",
    "tail",
    "value_from_json",
]
