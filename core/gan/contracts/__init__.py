"""The interfaces between the core and plugins: entries that hooks return, and protocols that their targets implement.

A plugin is a light module whose hooks (`gan.hookspecs`) return *entries*. An entry names its target as
``"package.module:attribute"``; the target is imported when it is first used, so that listing the installed plugins is
cheap. Importing this package imports neither torch nor numpy nor pydantic.

* `gan.contracts.entries`: `ModalityEntry`, `ArchitectureEntry`, `LossEntry` and the other entries, `Download`
* `gan.contracts.modality`: a kind of data: `Modality`, `FieldSpec`, `Given`, `Sample`, `Samples`, `Continued`
* `gan.contracts.architecture`: networks and their game: `Architecture`, `Request`, `GenerationSettings`, and the
  protocols of optional abilities: `AnyData`, `Streams`, `ConditionalOnInput`, `GivenInPart`, `InTiles`, `Likelihood`,
  `Settles`
* `gan.contracts.latent`: optional abilities of latent spaces: `LatentSpace`, `SmoothLatentSpace`, `StyleSpace`,
  `Between`, `LatentParts`, `LinearMaps`, `CriticFeatures`
* `gan.contracts.objectives`: `Loss`, `Critic`, `Penalty`, `ScorePenalty`, `Augmentation`, `AdaptiveAugmentation`
* `gan.contracts.metrics`: `Metric`, `FeatureMetric`, `ModelMetric`, `ModelFeatureMetric`, `MetricValue`, `Extractor`,
  `DifferentiableExtractor`, `Features`
* `gan.contracts.guards`: what watches a training: `Guard`, `Measures`, `Window`, `Alarm`, `Remedy`
* `gan.contracts.marks`: invisible marks in artefacts: `Mark`, `Detection`, `tail`
* `gan.contracts.media`: HTML that shows an artefact by its media type
"""

from __future__ import annotations

from gan.contracts.architecture import (
    AnyData,
    Architecture,
    ConditionalOnInput,
    GenerationSettings,
    GivenInPart,
    InTiles,
    Likelihood,
    Request,
    Settles,
    Streams,
    Tiles,
)
from gan.contracts.entries import (
    ENTRY_TYPES,
    ArchitectureEntry,
    AttributeEntry,
    AugmentationEntry,
    DatasetEntry,
    Download,
    Entry,
    ExtractorEntry,
    GuardEntry,
    LossEntry,
    MarkEntry,
    MetricEntry,
    ModalityEntry,
    ModelEntry,
    PenaltyEntry,
    RecipeEntry,
    TrackerEntry,
    WeightsFile,
    kind,
)
from gan.contracts.guards import Alarm, Guard, Measures, Remedy, Window
from gan.contracts.latent import (
    Between,
    CriticFeatures,
    LatentParts,
    LatentSpace,
    LinearMaps,
    SmoothLatentSpace,
    StyleSpace,
)
from gan.contracts.marks import Detection, Mark, tail
from gan.contracts.metrics import (
    DifferentiableExtractor,
    Extractor,
    FeatureMetric,
    Features,
    Metric,
    MetricValue,
    ModelFeatureMetric,
    ModelMetric,
    value_from_json,
)
from gan.contracts.modality import Continued, FieldSpec, Given, Modality, Sample, Samples
from gan.contracts.objectives import AdaptiveAugmentation, Augmentation, Critic, Loss, Penalty, ScorePenalty

__all__ = [
    "AdaptiveAugmentation",
    "Alarm",
    "AnyData",
    "Architecture",
    "ArchitectureEntry",
    "AttributeEntry",
    "Augmentation",
    "AugmentationEntry",
    "Between",
    "ConditionalOnInput",
    "Continued",
    "Critic",
    "CriticFeatures",
    "DatasetEntry",
    "Detection",
    "DifferentiableExtractor",
    "Download",
    "ENTRY_TYPES",
    "Entry",
    "Extractor",
    "ExtractorEntry",
    "FeatureMetric",
    "Features",
    "FieldSpec",
    "GenerationSettings",
    "Given",
    "GivenInPart",
    "InTiles",
    "Guard",
    "GuardEntry",
    "LatentParts",
    "LatentSpace",
    "Likelihood",
    "LinearMaps",
    "Loss",
    "LossEntry",
    "Mark",
    "MarkEntry",
    "Measures",
    "Metric",
    "MetricEntry",
    "MetricValue",
    "Modality",
    "ModalityEntry",
    "ModelEntry",
    "ModelFeatureMetric",
    "ModelMetric",
    "Penalty",
    "PenaltyEntry",
    "RecipeEntry",
    "Remedy",
    "Request",
    "Sample",
    "Samples",
    "ScorePenalty",
    "Settles",
    "SmoothLatentSpace",
    "Streams",
    "StyleSpace",
    "Tiles",
    "TrackerEntry",
    "WeightsFile",
    "Window",
    "kind",
    "tail",
    "value_from_json",
]
