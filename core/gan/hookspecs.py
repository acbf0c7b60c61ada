"""The hooks that a plugin implements. Each returns entries, as in ``list(gan_music.gan_architectures())``.

A plugin is a distribution with an entry point in the group ``gan``::

    [project.entry-points.gan]
    sketch = "gan_sketch"

whose module implements some of these functions, marked with `hookimpl`::

    from gan.contracts import ModalityEntry
    from gan.hookspecs import hookimpl

    @hookimpl
    def gan_modalities():
        yield ModalityEntry(name="sketch", summary="Pen strokes", target="gan_sketch.data:Sketch", dataset="doodles")

The module must not import heavy packages at its top. Entries name their targets, which the core imports on use.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from gan.contracts import (
    ArchitectureEntry,
    AttributeEntry,
    AugmentationEntry,
    DatasetEntry,
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
)

hookspec = pluggy.HookspecMarker("gan")
hookimpl = pluggy.HookimplMarker("gan")


@hookspec
def gan_modalities() -> Iterable[ModalityEntry]:
    """Kinds of data: classes that implement `gan.contracts.Modality`."""
    return ()


@hookspec
def gan_architectures() -> Iterable[ArchitectureEntry]:
    """Published methods: classes that implement `gan.contracts.Architecture`."""
    return ()


@hookspec
def gan_losses() -> Iterable[LossEntry]:
    """Adversarial losses: callables that return a `gan.contracts.Loss`."""
    return ()


@hookspec
def gan_penalties() -> Iterable[PenaltyEntry]:
    """Regularizers: classes whose instances are a `gan.contracts.Penalty`."""
    return ()


@hookspec
def gan_augmentations() -> Iterable[AugmentationEntry]:
    """Changes of the samples that critics see: classes whose instances are a `gan.contracts.Augmentation`."""
    return ()


@hookspec
def gan_metrics() -> Iterable[MetricEntry]:
    """Metrics of samples: callables that return a `gan.contracts.Metric`."""
    return ()


@hookspec
def gan_extractors() -> Iterable[ExtractorEntry]:
    """Named, versioned, hashed feature extractors for metrics: callables that return a `gan.contracts.Extractor`."""
    return ()


@hookspec
def gan_marks() -> Iterable[MarkEntry]:
    """Invisible, keyed marks in generated files: classes that implement `gan.contracts.Mark`."""
    return ()


@hookspec
def gan_attributes() -> Iterable[AttributeEntry]:
    """Numbers that describe single samples, for directions: functions ``(samples, modality) -> (N,)``."""
    return ()


@hookspec
def gan_guards() -> Iterable[GuardEntry]:
    """What watches a training: callables that return a `gan.contracts.Guard`."""
    return ()


@hookspec
def gan_datasets() -> Iterable[DatasetEntry]:
    """Named datasets: functions that fill a folder from a dependency or a verified download."""
    return ()


@hookspec
def gan_recipes() -> Iterable[RecipeEntry]:
    """Training runs as YAML files inside the plugin's package."""
    return ()


@hookspec
def gan_models() -> Iterable[ModelEntry]:
    """Trained models inside the plugin's package, as light run folders: ``gan generate zoo:NAME``."""
    return ()


@hookspec
def gan_trackers() -> Iterable[TrackerEntry]:
    """Services that are told of trainings: ``gan run --track NAME``."""
    return ()
