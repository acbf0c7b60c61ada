"""The plugin `toy` for tests: points in the plane and a small multilayer perceptron.

A test registers it::

    plugins = Plugins()
    plugins.register("toy", gan.testing.toy)

and ``gan.testing.install(folder, "toy", ...)`` makes it a distribution for a child process.
"""

from __future__ import annotations

from collections.abc import Iterator

from gan.contracts import ArchitectureEntry, AttributeEntry, DatasetEntry, MetricEntry, ModalityEntry, RecipeEntry
from gan.hookspecs import hookimpl


@hookimpl
def gan_modalities() -> Iterator[ModalityEntry]:
    """Points in the plane."""
    yield ModalityEntry(
        name="points", summary="Points in the plane", target="gan.testing.points:Points", dataset="ring"
    )


@hookimpl
def gan_architectures() -> Iterator[ArchitectureEntry]:
    """Two perceptrons."""
    yield ArchitectureEntry(
        name="mlp",
        summary="Two perceptrons with hidden layers of one width",
        target="gan.testing.mlp:MLP",
        modality=None,
        paper="Goodfellow et al., Generative Adversarial Nets, 2014, arXiv:1406.2661",
    )


@hookimpl
def gan_datasets() -> Iterator[DatasetEntry]:
    """The two standard mixtures of Gaussians."""
    for name, summary in (
        ("ring", "8 Gaussians with sigma 0.02 on a ring of radius 2"),
        ("grid", "25 Gaussians with sigma 0.05 on a grid of spacing 2"),
    ):
        yield DatasetEntry(
            name=name,
            summary=summary,
            target=f"gan.testing.points:write_{name}",
            modality="points",
            licence="CC0 1.0 (made by a formula)",
        )


@hookimpl
def gan_metrics() -> Iterator[MetricEntry]:
    """How many Gaussians of the ring are hit."""
    yield MetricEntry(
        name="ring-modes",
        summary="Gaussians of the ring with a sample within 0.25, and the share of samples this near to one",
        target="gan.testing.points:RingModes",
        modality="points",
    )


@hookimpl
def gan_attributes() -> Iterator[AttributeEntry]:
    """How far right a point lies."""
    yield AttributeEntry(
        name="right", summary="The first coordinate", target="gan.testing.points:right", modality="points"
    )


@hookimpl
def gan_recipes() -> Iterator[RecipeEntry]:
    """A training run of half a minute."""
    yield RecipeEntry(
        name="ring",
        summary="A perceptron learns the ring of 8 Gaussians",
        target="gan.testing:recipes/ring.yaml",
        architecture="mlp",
        default=True,
    )
