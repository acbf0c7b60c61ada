"""Pictures for `gan`: the modality ``image``, its architectures, data and recipes.

This module names things; it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator

from gan.contracts import ArchitectureEntry, DatasetEntry, ModalityEntry, RecipeEntry
from gan.hookspecs import hookimpl

__version__ = "0.1.0"


@hookimpl
def gan_modalities() -> Iterator[ModalityEntry]:
    """Pictures."""
    yield ModalityEntry(
        name="image",
        summary="Pictures: PNG, JPEG, WebP, GIF, BMP, TIFF and IDX files; single, paired or in two domains",
        target="gan_image.modality:ImageModality",
        dataset="digits",
    )


@hookimpl
def gan_architectures() -> Iterator[ArchitectureEntry]:
    """Networks that draw pictures."""
    yield ArchitectureEntry(
        name="dcgan",
        summary="Convolutional GAN for square pictures of 4·2^n pixels",
        target="gan_image.dcgan:DCGAN",
        modality="image",
        paper="Radford, Metz, Chintala: Unsupervised representation learning with deep convolutional generative "
        "adversarial networks, 2016, arXiv:1511.06434",
    )
    yield ArchitectureEntry(
        name="dcgan-original",
        summary="The 2015 form of DCGAN: 5x5 kernels, linear ends, uniform latents",
        target="gan_image.dcgan_original:DCGANOriginal",
        modality="image",
        paper="Radford, Metz, Chintala: Unsupervised representation learning with deep convolutional generative "
        "adversarial networks, 2016, arXiv:1511.06434",
    )


@hookimpl
def gan_datasets() -> Iterator[DatasetEntry]:
    """Named pictures."""
    yield DatasetEntry(
        name="digits",
        summary="1,797 handwritten digits, 8x8 grey, with labels (from scikit-learn)",
        target="gan_image.datasets:digits",
        modality="image",
        licence="CC BY 4.0 (Alpaydin and Kaynak: Optical Recognition of Handwritten Digits, UCI repository, 1998)",
    )


@hookimpl
def gan_recipes() -> Iterator[RecipeEntry]:
    """Trainings."""
    yield RecipeEntry(
        name="dcgan-digits",
        summary="DCGAN on handwritten digits, some minutes on two cores",
        target="gan_image:recipes/dcgan-digits.yaml",
        architecture="dcgan",
        default=True,
    )
    yield RecipeEntry(
        name="dcgan-32",
        summary="DCGAN for pictures of 32 pixels (MNIST: about ten minutes on one core)",
        target="gan_image:recipes/dcgan-32.yaml",
        architecture="dcgan",
    )
    yield RecipeEntry(
        name="dcgan-64",
        summary="DCGAN for pictures of 64 pixels, with the published widths and settings",
        target="gan_image:recipes/dcgan-64.yaml",
        architecture="dcgan",
    )
