"""Audio plugin of `gan`: the modality ``audio``, WaveGAN, and features of sounds.

This module declares the entries of the plugin and imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator

from gan.contracts import ArchitectureEntry, DatasetEntry, ExtractorEntry, ModalityEntry, RecipeEntry
from gan.hookspecs import hookimpl

__version__ = "0.1.0"


@hookimpl
def gan_modalities() -> Iterator[ModalityEntry]:
    """The modality ``audio``."""
    yield ModalityEntry(
        name="audio",
        summary="Sounds as waveforms: WAV, FLAC, OGG, MP3 and AIFF files, with or without classes",
        target="gan_audio.modality:Audio",
        dataset="percussion",
    )


@hookimpl
def gan_architectures() -> Iterator[ArchitectureEntry]:
    """Architectures that generate sounds."""
    yield ArchitectureEntry(
        name="wavegan",
        summary="Convolutional GAN for short waveforms, with or without classes",
        target="gan_audio.architectures.wavegan:WaveGAN",
        modality="audio",
        paper="Donahue, McAuley, Puckette: Adversarial audio synthesis, 2019, arXiv:1802.04208",
        small=("model.generator_width=2", "model.critic_width=2", "model.latent=8"),
    )


@hookimpl
def gan_extractors() -> Iterator[ExtractorEntry]:
    """Features without weights."""
    yield ExtractorEntry(
        name="logmel",
        summary="Statistics of the log-mel spectrogram of a sound: fid[logmel] is the Fréchet distance on them",
        target="gan_audio.metrics.logmel:LogMelStatistics",
        modality="audio",
        paper="this plugin; the mel scale is that of Slaney: Auditory Toolbox, 1998",
    )


@hookimpl
def gan_datasets() -> Iterator[DatasetEntry]:
    """Named datasets."""
    yield DatasetEntry(
        name="percussion",
        summary="900 hits of kick, snare, hat, tom, clap and bell, 0.5 s at 16 kHz, made by this plugin's formulas",
        target="gan_audio.percussion:percussion",
        modality="audio",
        licence="that of this plugin, whose code makes them",
    )


@hookimpl
def gan_recipes() -> Iterator[RecipeEntry]:
    """Recipes: the settings of whole training runs."""
    yield RecipeEntry(
        name="percussion",
        summary="WaveGAN with classes on half a second of percussion, some minutes on two cores",
        target="gan_audio:recipes/percussion.yaml",
        architecture="wavegan",
        default=True,
    )
    yield RecipeEntry(
        name="wavegan",
        summary="WaveGAN with the published sizes and settings: a second at 16 kHz, for a GPU",
        target="gan_audio:recipes/wavegan.yaml",
        architecture="wavegan",
    )
    yield RecipeEntry(
        name="wavegan-long",
        summary="WaveGAN with the published sizes for four seconds at 16 kHz, for a GPU",
        target="gan_audio:recipes/wavegan-long.yaml",
        architecture="wavegan",
    )
