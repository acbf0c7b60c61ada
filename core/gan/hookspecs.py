"""The hooks of a plugin. Each returns entries; the plugin's test is ``list(gan_music.gan_architectures())``.

A plugin is a distribution with an entry point in the group ``gan``::

    [project.entry-points.gan]
    sketch = "gan_sketch"

whose module implements some of these functions, marked with `hookimpl`::

    from gan.contracts import ModalityEntry
    from gan.hookspecs import hookimpl

    @hookimpl
    def gan_modalities():
        yield ModalityEntry(name="sketch", summary="Pen strokes", target="gan_sketch.data:Sketch", dataset="doodles")

The module imports nothing heavy at its top: entries name their targets, and the core imports them when they are used.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from gan.contracts import (
    ArchitectureEntry,
    DatasetEntry,
    ExtractorEntry,
    LossEntry,
    MetricEntry,
    ModalityEntry,
    PenaltyEntry,
    RecipeEntry,
)

hookspec = pluggy.HookspecMarker("gan")
hookimpl = pluggy.HookimplMarker("gan")


@hookspec
def gan_modalities() -> Iterable[ModalityEntry]:
    """Kinds of data: classes that keep `gan.contracts.Modality`."""
    return ()


@hookspec
def gan_architectures() -> Iterable[ArchitectureEntry]:
    """Published methods: classes that keep `gan.contracts.Architecture`."""
    return ()


@hookspec
def gan_losses() -> Iterable[LossEntry]:
    """Adversarial objectives: things that give a `gan.contracts.Loss`."""
    return ()


@hookspec
def gan_penalties() -> Iterable[PenaltyEntry]:
    """Regularisers: classes that give a `gan.contracts.Penalty`."""
    return ()


@hookspec
def gan_metrics() -> Iterable[MetricEntry]:
    """Numbers about samples: things that give a `gan.contracts.Metric`."""
    return ()


@hookspec
def gan_extractors() -> Iterable[ExtractorEntry]:
    """Named, versioned, hashed feature extractors for metrics: things that give a `gan.contracts.Extractor`."""
    return ()


@hookspec
def gan_datasets() -> Iterable[DatasetEntry]:
    """Named data: functions that fill a folder from a dependency or a checked download."""
    return ()


@hookspec
def gan_recipes() -> Iterable[RecipeEntry]:
    """Training runs as YAML files inside the plugin's package."""
    return ()
