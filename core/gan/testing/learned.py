"""The plugin `learned` for tests: state that objectives observe and learn without gradients, on points in the plane.

It uses the modality and the data of `gan.testing.toy`, which must be registered too.
"""

from __future__ import annotations

from collections.abc import Iterator

from gan.contracts import ArchitectureEntry, AugmentationEntry, RecipeEntry
from gan.hookspecs import hookimpl


@hookimpl
def gan_architectures() -> Iterator[ArchitectureEntry]:
    """A GAN with a running mean, and a vector quantizer."""
    yield ArchitectureEntry(
        name="running-mean",
        summary="Two perceptrons; the generator's outputs are offsets from the running mean of the real points",
        target="gan.testing.learned_nets:RunningMean",
        modality="points",
        paper="Goodfellow et al., Generative Adversarial Nets, 2014, arXiv:1406.2661",
        small=("model.hidden=8", "model.layers=1"),
    )
    yield ArchitectureEntry(
        name="vq",
        summary="An autoencoder with a quantized code",
        target="gan.testing.learned_nets:VQ",
        modality="points",
        paper="van den Oord et al., Neural Discrete Representation Learning, 2017, arXiv:1711.00937",
        small=("model.hidden=8", "model.codes=8"),
    )


@hookimpl
def gan_augmentations() -> Iterator[AugmentationEntry]:
    """Rotations that are as frequent as the critic overfits."""
    yield AugmentationEntry(
        name="turns",
        summary="Rotations around the origin, as often as the critic's scores of real points demand",
        target="gan.testing.learned_nets:Turns",
        modality="points",
        fields=("points",),
        paper="Karras et al., Training Generative Adversarial Networks with Limited Data, 2020, arXiv:2006.06676",
    )


@hookimpl
def gan_recipes() -> Iterator[RecipeEntry]:
    """One recipe for each architecture."""
    yield RecipeEntry(
        name="running-mean",
        summary="A perceptron learns the ring of 8 Gaussians around its running mean",
        target="gan.testing:recipes/running-mean.yaml",
        architecture="running-mean",
    )
    yield RecipeEntry(
        name="vq",
        summary="A vector quantizer learns the grid of 25 Gaussians",
        target="gan.testing:recipes/vq.yaml",
        architecture="vq",
        default=True,
    )
