"""Audio plugin of `gan`: the modality ``audio``, WaveGAN, HiFi-GAN, Vocos, EnCodec, Jukebox, and metrics of sounds.

This module declares the entries of the plugin and imports nothing heavy.
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
        parameters={"generator": 345_025, "discriminator": 660_515},
        paper="Donahue, McAuley, Puckette: Adversarial audio synthesis, 2019, arXiv:1802.04208",
        small=("model.generator_width=2", "model.critic_width=2", "model.latent=8"),
    )
    yield ArchitectureEntry(
        name="hifigan",
        summary="Vocoder: turns mel spectrograms of any length into sound",
        target="gan_audio.architectures.hifigan:HiFiGAN",
        modality="audio",
        parameters={"generator": 39_010, "discriminator": 647_030},
        paper="Kong, Kim, Bae: HiFi-GAN: generative adversarial networks for efficient and high fidelity speech "
        "synthesis, 2020, arXiv:2010.05646",
        small=("model.width=8", "model.discriminator_width=2", "model.warm_up=16", "modality.seconds=0.128"),
    )
    yield ArchitectureEntry(
        name="vocos",
        summary="Fast vocoder: mel spectrograms become magnitudes and phases, and these sound",
        target="gan_audio.architectures.vocos:Vocos",
        modality="audio",
        parameters={"generator": 139_010, "discriminator": 664_066},
        paper="Siuzdak: Vocos: closing the gap between time-domain and Fourier-based neural vocoders for high-quality "
        "audio synthesis, 2023, arXiv:2306.00814",
        small=(
            "model.width=8",
            "model.hidden=16",
            "model.layers=1",
            "model.warm_up=16",
            "model.discriminator_width=2",
            "model.resolutions=[256,128]",
            "modality.seconds=0.128",
        ),
    )
    yield ArchitectureEntry(
        name="codec",
        summary="Neural codec: sounds become codes at several bit rates, and codes sounds",
        target="gan_audio.architectures.codec:Codec",
        modality="audio",
        parameters={"generator": 724_978, "discriminator": 3_468},
        paper="Défossez, Copet, Synnaeve, Adi: High fidelity neural audio compression, 2022, arXiv:2210.13438",
        small=(
            "model.width=2",
            "model.size=8",
            "model.stages=3",
            "model.codes=8",
            "model.choices=[1,3]",
            "model.discriminator_width=1",
            "model.warm_up=16",
            "modality.seconds=0.128",
        ),
    )
    yield ArchitectureEntry(
        name="vqvae",
        summary="Jukebox's autoencoder: sounds become codes at one or several rates, and codes sounds",
        target="gan_audio.architectures.vqvae:VQVAE",
        modality="audio",
        parameters={"autoencoder": 101_921},
        paper="Dhariwal et al.: Jukebox: a generative model for music, 2020, arXiv:2005.00341",
        small=(
            "model.downs=[3,2]",
            "model.width=4",
            "model.depth=2",
            "model.size=8",
            "model.codes=8",
            "model.transforms=[[128,30,64]]",
            "modality.seconds=0.128",
        ),
    )
    yield ArchitectureEntry(
        name="jukebox",
        summary="Music of any length: a VQ-VAE, a transformer over its codes, and upsamplers; continues clips",
        target="gan_audio.architectures.jukebox:Jukebox",
        modality="audio",
        parameters={"autoencoder": 259_842, "prior": 875_392, "upsampler0": 936_768},
        paper="Dhariwal et al.: Jukebox: a generative model for music, 2020, arXiv:2005.00341",
        small=(
            "model.downs=[3,2]",
            "model.width=4",
            "model.depth=2",
            "model.size=8",
            "model.codes=8",
            "model.transforms=[[128,30,64]]",
            "model.layers=1",
            "model.heads=2",
            "model.prior_width=16",
            "model.conditioner_width=4",
            "model.conditioner_depth=2",
            "model.crop=0",
            "model.context=0",
            "modality.seconds=0.128",
        ),
    )


@hookimpl
def gan_metrics() -> Iterator[MetricEntry]:
    """Distances of sounds from the recordings that they were made from, and how codecs use their codes."""
    for name, target, summary in (
        ("mel-l1", "MelL1", "Mean absolute difference of log-mel spectrograms of a sound and its recording"),
        ("si-sdr", "SignalToDistortion", "Scale-invariant signal-to-distortion ratio of a sound and its recording"),
        (
            "stft",
            "SpectralConvergence",
            "Spectral convergence and distance of log spectra of a sound and its recording",
        ),
    ):
        yield MetricEntry(name=name, summary=summary, target=f"gan_audio.metrics.pairs:{target}", modality="audio")
    yield MetricEntry(
        name="code-bits",
        summary="Bits that the transformers over a model's codes need for a code, and the entropy of the codes",
        target="gan_audio.metrics.codes:CodeBits",
        modality="audio",
        on_model=True,
    )
    yield MetricEntry(
        name="codebook-use",
        summary="Bit rate of a codec, and share and entropy of the codes that it uses",
        target="gan_audio.metrics.codes:CodebookUse",
        modality="audio",
        on_model=True,
    )


@hookimpl
def gan_extractors() -> Iterator[ExtractorEntry]:
    """Features: statistics without weights, and networks whose weights lie in wheels."""
    yield ExtractorEntry(
        name="logmel",
        summary="Statistics of the log-mel spectrogram of a sound: fid[logmel] is the Fréchet distance on them",
        target="gan_audio.metrics.logmel:LogMelStatistics",
        modality="audio",
        paper="this plugin; the mel scale is that of Slaney: Auditory Toolbox, 1998",
    )
    yield ExtractorEntry(
        name="musicnn",
        summary="musicnn, a tagger of music at 16 kHz: 200 features of sounds, for a Fréchet distance of music",
        target="gan_audio.extractors.musicnn:MusicNNExtractor",
        modality="audio",
        paper="Pons, Serra: musicnn: pre-trained convolutional neural networks for music audio tagging, 2019, "
        "arXiv:1909.06654",
        weights="the folder musicnn/MTT_musicnn of the wheel musicnn 0.1.0, 9 MB",
    )
    yield ExtractorEntry(
        name="basic-pitch",
        summary="Basic Pitch: how long and how often each of 88 notes sounds, as 176 features of sounds",
        target="gan_audio.extractors.basic_pitch:BasicPitchExtractor",
        modality="audio",
        paper="Bittner et al.: A lightweight instrument-agnostic model for polyphonic note transcription and "
        "multipitch estimation, 2022, arXiv:2203.09893",
        weights="nmp.onnx of the wheel basic-pitch 0.4.0, 0.2 MB",
    )


@hookimpl
def gan_marks() -> Iterator[MarkEntry]:
    """The invisible mark of written files."""
    yield MarkEntry(
        name="spectrum",
        summary="Spread spectrum on magnitudes from 1 to 6 kHz; survives MP3 and cuts",
        target="gan_audio.marking:AudioMark",
        modality="audio",
        suffixes=(".wav", ".flac", ".ogg", ".mp3"),
        paper="Kirovski, Malvar: Spread-spectrum watermarking of audio signals, 2003, "
        "https://doi.org/10.1109/TSP.2003.809384",
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
def gan_attributes() -> Iterator[AttributeEntry]:
    """Numbers that describe a sound."""
    for name, function, unit, summary in (
        ("loudness", "loudness", "decibels below full scale", "Root mean square of the samples"),
        ("centroid", "centroid", "Hz", "Mean frequency of the spectrum, weighted by its magnitude"),
    ):
        yield AttributeEntry(
            name=name, summary=summary, target=f"gan_audio.attributes:{function}", modality="audio", unit=unit
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
    yield RecipeEntry(
        name="codec",
        summary="EnCodec with few channels at 16 kHz, 0.4 to 6 kbit/s, for a CPU",
        target="gan_audio:recipes/codec.yaml",
        architecture="codec",
    )
    yield RecipeEntry(
        name="encodec",
        summary="EnCodec for 24 kHz with the published sizes and settings, 1.5 to 24 kbit/s, for GPUs",
        target="gan_audio:recipes/encodec.yaml",
        architecture="codec",
    )
    yield RecipeEntry(
        name="vocos-small",
        summary="Vocos with few channels at 16 kHz, for a CPU",
        target="gan_audio:recipes/vocos-small.yaml",
        architecture="vocos",
    )
    yield RecipeEntry(
        name="vocos",
        summary="Vocos for 24 kHz with the published sizes and settings, for a GPU",
        target="gan_audio:recipes/vocos.yaml",
        architecture="vocos",
    )
    yield RecipeEntry(
        name="vqvae",
        summary="Jukebox's autoencoder with few channels at 8 kHz, for a CPU",
        target="gan_audio:recipes/vqvae.yaml",
        architecture="vqvae",
    )
    yield RecipeEntry(
        name="jukebox",
        summary="Music in two levels of codes at 8 kHz, with few channels, for a CPU",
        target="gan_audio:recipes/jukebox.yaml",
        architecture="jukebox",
    )
    yield RecipeEntry(
        name="jukebox-small",
        summary="Jukebox's small profile of the autoencoder at 22.05 kHz and dense transformers, for a GPU",
        target="gan_audio:recipes/jukebox-small.yaml",
        architecture="jukebox",
    )
    yield RecipeEntry(
        name="hifigan-small",
        summary="HiFi-GAN with few channels at 16 kHz, for a CPU",
        target="gan_audio:recipes/hifigan-small.yaml",
        architecture="hifigan",
    )
    yield RecipeEntry(
        name="hifigan-v1",
        summary="HiFi-GAN V1 with the published sizes and settings, for a GPU",
        target="gan_audio:recipes/hifigan-v1.yaml",
        architecture="hifigan",
    )
    yield RecipeEntry(
        name="hifigan-v3",
        summary="HiFi-GAN V3, whose generator is fast on a CPU, with the published settings; trained on a GPU",
        target="gan_audio:recipes/hifigan-v3.yaml",
        architecture="hifigan",
    )
