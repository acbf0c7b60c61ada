"""Shapes for `gan`: the modality ``shape``, 3D-GAN, Triplane-SDF, metrics of sets of shapes, and drawn furniture.

This module declares the entries of the plugin and imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator

from gan.contracts import (
    ArchitectureEntry,
    AttributeEntry,
    DatasetEntry,
    ExtractorEntry,
    MetricEntry,
    ModalityEntry,
    RecipeEntry,
)
from gan.hookspecs import hookimpl

__version__ = "0.1.0"


@hookimpl
def gan_modalities() -> Iterator[ModalityEntry]:
    """The modality ``shape``."""
    yield ModalityEntry(
        name="shape",
        summary="Shapes: meshes (GLB, glTF, OBJ, PLY, STL, OFF) and voxels (VOX, NPZ, binvox), of classes or not",
        target="gan_3d.modality:Shape",
        dataset="furniture",
    )


@hookimpl
def gan_architectures() -> Iterator[ArchitectureEntry]:
    """Architectures that generate shapes."""
    yield ArchitectureEntry(
        name="3dgan",
        summary="Convolutional GAN for grids of 4·2^n voxels, of a class or not",
        target="gan_3d.architectures.voxelgan:VoxelGAN",
        modality="shape",
        paper="Wu, Zhang, Xue, Freeman, Tenenbaum: Learning a probabilistic latent space of object shapes via 3D "
        "generative-adversarial modeling, 2016, arXiv:1610.07584",
        parameters={"generator": 461_056, "discriminator": 153_600},
        small=("modality.resolution=8", "model.generator_width=4", "model.discriminator_width=4"),
    )

    yield ArchitectureEntry(
        name="triplane-sdf",
        summary="Signed distances from three feature planes, at any resolution, of a class or not",
        target="gan_3d.architectures.triplanesdf:TriplaneSDF",
        modality="shape",
        paper="Chan et al.: Efficient geometry-aware 3D generative adversarial networks, 2022, arXiv:2112.07945 "
        "(tri-planes; the networks are this plugin's)",
        parameters={"generator": 153_121, "discriminator": 666_337},
        small=("modality.resolution=16", "model.width=16", "model.features=4", "model.discriminator_width=4"),
    )

    yield ArchitectureEntry(
        name="eg3d",
        summary="Shapes with colours from pictures alone: tri-planes and volume rendering, of a class or not",
        target="gan_3d.architectures.eg3d:EG3D",
        modality="shape",
        paper="Chan et al.: Efficient geometry-aware 3D generative adversarial networks, 2022, arXiv:2112.07945",
        parameters={"generator": 212_942, "discriminator": 257_792},
        small=(
            "modality.resolution=8",
            "modality.views=1",
            "model.plane_resolution=8",
            "model.raw_resolution=4",
            "model.capacity=32",
            "model.max_channels=8",
            "model.superresolution=[4,4]",
            "model.latent=8",
            "model.style=8",
            "model.coarse=4",
            "model.fine=2",
        ),
    )


@hookimpl
def gan_metrics() -> Iterator[MetricEntry]:
    """Distances of sets of shapes, and statistics of single ones."""
    yield MetricEntry(
        name="chamfer",
        summary="MMD, COV and 1-NNA on the Chamfer distance of 2,048 points on each surface, and JSD of their places",
        target="gan_3d.metrics.clouds:ChamferMetrics",
        modality="shape",
        meanings={
            "MMD-CD": "distance of a real shape from the nearest generated one",
            "COV-CD": "share of the real shapes that a generated one is nearest to",
            "1-NNA-CD": "how well neighbours tell generated from real; 0.5 is best",
            "JSD": "how differently space is filled; 0: as by real shapes",
        },
    )
    yield MetricEntry(
        name="emd",
        summary="MMD, COV and 1-NNA on the earth mover's distance of 256 points on each surface",
        target="gan_3d.metrics.clouds:EarthMoverMetrics",
        modality="shape",
    )
    yield MetricEntry(
        name="nearest-iou",
        summary="Overlap (IoU) with the most similar real shape; a share above 0.98 means copies of the data",
        target="gan_3d.metrics.grids:NearestIoU",
        modality="shape",
    )
    yield MetricEntry(
        name="shape-statistics",
        summary="Occupied share of the cube, connected shapes, and watertight shapes of positive volume",
        target="gan_3d.metrics.grids:ShapeStatistics",
        modality="shape",
        meanings={
            "occupied": "share of the cube that a shape fills",
            "connected": "share of shapes in one piece",
            "watertight": "share of shapes whose surface is closed",
            "largest-component": "share of a shape that is its largest piece",
        },
    )

    yield MetricEntry(
        name="depth-consistency",
        summary="Whether pictures of a generated shape from two cameras show the same shape: reprojected depths",
        target="gan_3d.metrics.views:DepthConsistency",
        modality="shape",
        on_model=True,
        meanings={
            "reprojection-error": "distance of surfaces that two cameras see, in sides of the cube",
            "agreement": "share of places that both cameras see at the same depth",
            "colour-difference": "between two pictures of a place, 0 to 255",
        },
    )


@hookimpl
def gan_extractors() -> Iterator[ExtractorEntry]:
    """Features of pictures of shapes."""
    yield ExtractorEntry(
        name="hog",
        summary="Directions of edges and brightness in a picture of a shape, or in two of a shape that is none",
        target="gan_3d.metrics.views:EdgeHistograms",
        modality="shape",
        paper="Dalal and Triggs: Histograms of oriented gradients for human detection, 2005",
    )


@hookimpl
def gan_datasets() -> Iterator[DatasetEntry]:
    """Named datasets."""
    yield DatasetEntry(
        name="furniture",
        summary="1,600 chairs, lamps, shelves and tables in four folders, drawn by this plugin",
        target="gan_3d.data.furniture:furniture",
        modality="shape",
        licence="that of this plugin, whose code draws them",
    )


@hookimpl
def gan_attributes() -> Iterator[AttributeEntry]:
    """Numbers that describe a shape."""
    for name, function, unit, summary in (
        ("volume", "volume", "share", "Share of the voxels that are occupied"),
        ("height", "height", "share", "Height of the highest occupied voxel over that of the grid"),
    ):
        yield AttributeEntry(
            name=name, summary=summary, target=f"gan_3d.attributes:{function}", modality="shape", unit=unit
        )


@hookimpl
def gan_recipes() -> Iterator[RecipeEntry]:
    """Recipes: the settings of whole training runs."""
    yield RecipeEntry(
        name="3dgan-furniture",
        summary="3D-GAN of furniture by class, some minutes on two cores",
        target="gan_3d:recipes/3dgan-furniture.yaml",
        architecture="3dgan",
        default=True,
    )
    yield RecipeEntry(
        name="3dgan-64",
        summary="3D-GAN with the published sizes in its stable form, WGAN-GP; for a GPU",
        target="gan_3d:recipes/3dgan-64.yaml",
        architecture="3dgan",
    )
    yield RecipeEntry(
        name="3dgan-paper",
        summary="3D-GAN as published: batch normalisation, cross-entropy, a gated discriminator; for a GPU",
        target="gan_3d:recipes/3dgan-paper.yaml",
        architecture="3dgan",
    )
    yield RecipeEntry(
        name="triplane-furniture",
        summary="Triplane-SDF of furniture by class: smooth shapes at any resolution",
        target="gan_3d:recipes/triplane-furniture.yaml",
        architecture="triplane-sdf",
    )
    yield RecipeEntry(
        name="eg3d-furniture",
        summary="EG3D of pictures of furniture by class: shapes from pictures alone, at 32 pixels",
        target="gan_3d:recipes/eg3d-furniture.yaml",
        architecture="eg3d",
    )
