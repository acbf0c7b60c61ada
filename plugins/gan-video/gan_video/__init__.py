"""Moving pictures for `gan`: the modality ``video``, its architectures, data, metrics and recipes.

This module names things; it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator

from gan.contracts import (
    ArchitectureEntry,
    AttributeEntry,
    DatasetEntry,
    ExtractorEntry,
    MarkEntry,
    MetricEntry,
    ModalityEntry,
    RecipeEntry,
)
from gan.hookspecs import hookimpl

__version__ = "0.1.0"


@hookimpl
def gan_modalities() -> Iterator[ModalityEntry]:
    """Moving pictures."""
    yield ModalityEntry(
        name="video",
        summary="Moving pictures: MP4, WebM, MOV, MKV, AVI, GIF, APNG, animated WebP and strips of frames",
        target="gan_video.modality:VideoModality",
        dataset="motions",
    )


@hookimpl
def gan_architectures() -> Iterator[ArchitectureEntry]:
    """Networks that generate clips."""
    yield ArchitectureEntry(
        name="mocogan",
        summary="Clips from a content code and a path of motion, with critics of frames and of clips",
        target="gan_video.architectures.mocogan:MoCoGAN",
        modality="video",
        parameters={"generator": 219_824, "discriminator": 521_856},
        paper="Tulyakov, Liu, Yang, Kautz: MoCoGAN: Decomposing motion and content for video generation, 2018, "
        "arXiv:1707.04993",
        small=("model.width=4", "model.critic_width=4", "model.content=6"),
    )

    yield ArchitectureEntry(
        name="dvdgan",
        summary="Clips from convolutional recurrence and residual blocks, with critics of full frames and small clips",
        target="gan_video.architectures.dvdgan:DVDGAN",
        modality="video",
        parameters={"generator": 518_675, "discriminator": 218_210},
        paper="Clark, Donahue, Simonyan: Adversarial video generation on complex datasets, 2019, arXiv:1907.06571",
        small=("model.width=4", "model.critic_width=4", "model.latent=8", "model.embedding=4", "model.frames_seen=2"),
    )

    yield ArchitectureEntry(
        name="stylegan-v",
        summary="Films as functions of continuous time, of any length and rate, judged by a few of their frames",
        target="gan_video.architectures.styleganv:StyleGANV",
        modality="video",
        parameters={"generator": 383_532, "discriminator": 360_624},
        paper="Skorokhodov, Tulyakov, Elhoseiny: StyleGAN-V, 2022, arXiv:2112.14683",
        small=(
            "model.latent=8", "model.style=8", "model.mapping_layers=2", "model.capacity=64", "model.max_channels=8",
            "model.motion=4", "model.encoding=4", "model.distance=6",
        ),
    )  # fmt: skip

    yield ArchitectureEntry(
        name="animate",
        summary="Clips that begin with a given picture, for gan translate",
        target="gan_video.architectures.animate:Animate",
        modality="video",
        parameters={"generator": 407_854, "discriminator": 532_224},
        paper="Tulyakov, Liu, Yang, Kautz: MoCoGAN: Decomposing motion and content for video generation, 2018, "
        "arXiv:1707.04993 (image-to-video translation)",
        small=("model.width=4", "model.critic_width=4", "model.encoder_width=4", "model.content=6", "model.state=6"),
    )


@hookimpl
def gan_metrics() -> Iterator[MetricEntry]:
    """Statistics of motion and content."""
    yield MetricEntry(
        name="motion",
        summary="how much frames change, how much of a clip's content stays, and the share of frozen clips",
        target="gan_video.metrics:Motion",
        modality="video",
        meanings={
            "motion": "how much a frame differs from the next",
            "content-kept": "how much of a clip's content stays to its end",
            "frozen": "share of clips that do not move",
        },
    )


@hookimpl
def gan_extractors() -> Iterator[ExtractorEntry]:
    """Features of clips."""
    yield ExtractorEntry(
        name="clip-statistics",
        summary="mean frame, mean change and mean absolute change of frames at 8x8 pixels",
        target="gan_video.metrics:ClipStatistics",
        modality="video",
        paper="defined in gan_video.metrics; no weights",
    )
    yield ExtractorEntry(
        name="frame-statistics",
        summary="the middle frame of a clip at 8x8 pixels",
        target="gan_video.metrics:FrameStatistics",
        modality="video",
        paper="defined in gan_video.metrics; no weights",
    )
    yield ExtractorEntry(
        name="i3d",
        summary="The network of the Fréchet video distance, from a file: i3d=rgb_imagenet.pt",
        target="gan_video.i3d:I3DExtractor",
        modality="video",
        paper="Carreira, Zisserman: Quo vadis, action recognition?, 2017, arXiv:1705.07750",
        weights="a file of yours, I3D of Kinetics-400 in PyTorch, 51 MB",
    )


@hookimpl
def gan_marks() -> Iterator[MarkEntry]:
    """The invisible mark of written files."""
    yield MarkEntry(
        name="frames",
        summary="Spread spectrum on 8x8 DCT blocks of every frame, found over all frames together",
        target="gan_video.marking:VideoMark",
        modality="video",
        suffixes=(".mp4", ".gif", ".webp", ".png", ".apng", ".m4v", ".webm", ".mov", ".mkv", ".avi"),
        paper="Cox, Kilian, Leighton, Shamoon: Secure spread spectrum watermarking for multimedia, 1997, "
        "https://doi.org/10.1109/83.650120",
    )


@hookimpl
def gan_datasets() -> Iterator[DatasetEntry]:
    """Data that are drawn."""
    yield DatasetEntry(
        name="motions",
        summary="600 clips of coloured shapes that move, grow or turn, in six classes; 16 frames of 64x64 pixels",
        target="gan_video.data.datasets:motions",
        modality="video",
        licence="drawn by formula; public domain",
    )


@hookimpl
def gan_attributes() -> Iterator[AttributeEntry]:
    """Numbers that describe a clip."""
    for name, function, unit, summary in (
        ("motion", "motion", "0 to 255", "Mean absolute change of a pixel from frame to frame"),
        ("brightness", "brightness", "0 to 255", "Mean value of all pixels"),
    ):
        yield AttributeEntry(
            name=name, summary=summary, target=f"gan_video.attributes:{function}", modality="video", unit=unit
        )


@hookimpl
def gan_recipes() -> Iterator[RecipeEntry]:
    """Trainings."""
    yield RecipeEntry(
        name="motions",
        summary="MoCoGAN at 32x32 pixels, conditional on the class of motion, sized to learn on a CPU",
        target="gan_video:recipes/motions.yaml",
        architecture="mocogan",
        default=True,
    )
    yield RecipeEntry(
        name="mocogan-64",
        summary="MoCoGAN as published: 16 frames of 64x64 pixels, for a GPU",
        target="gan_video:recipes/mocogan-64.yaml",
        architecture="mocogan",
    )
    yield RecipeEntry(
        name="animate",
        summary="Clips that begin with a given picture, learned from the drawn clips at 32x32 pixels, sized for a CPU",
        target="gan_video:recipes/animate.yaml",
        architecture="animate",
    )
    yield RecipeEntry(
        name="dvdgan-motions",
        summary="DVD-GAN on the drawn clips at 32x32 pixels, conditional on the class of motion, sized for a CPU",
        target="gan_video:recipes/dvdgan-motions.yaml",
        architecture="dvdgan",
    )
    yield RecipeEntry(
        name="dvdgan-64",
        summary="DVD-GAN with the published channels, 16 frames of 64x64 pixels, for a GPU",
        target="gan_video:recipes/dvdgan-64.yaml",
        architecture="dvdgan",
    )
    yield RecipeEntry(
        name="stylegan-v-motions",
        summary="StyleGAN-V on the drawn clips at 32x32 pixels, conditional on the class of motion, sized for a CPU",
        target="gan_video:recipes/stylegan-v-motions.yaml",
        architecture="stylegan-v",
    )
    yield RecipeEntry(
        name="stylegan-v-256",
        summary="StyleGAN-V with the published sizes on windows of long films at 256x256 pixels, for a GPU (--data)",
        target="gan_video:recipes/stylegan-v-256.yaml",
        architecture="stylegan-v",
    )
