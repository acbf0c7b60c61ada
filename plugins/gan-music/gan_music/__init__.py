"""The music plugin: MIDI phrases, MuseGAN and its relatives, metrics, dataset and recipes.

Importing this module imports nothing heavy.
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

_MUSEGAN = "Dong et al., MuseGAN: Multi-track Sequential GANs for Symbolic Music Generation, 2018, arXiv:1709.06298"


@hookimpl
def gan_modalities() -> Iterator[ModalityEntry]:
    """Piano rolls of a few bars."""
    yield ModalityEntry(
        name="music",
        summary="Phrases of a few bars and several instruments: MIDI, MusicXML, ABC",
        target="gan_music.modality:Music",
        dataset="bach-chorales",
    )


@hookimpl
def gan_architectures() -> Iterator[ArchitectureEntry]:
    """MuseGAN and its relatives, and a transformer as a baseline."""
    yield ArchitectureEntry(
        name="musegan",
        summary="MuseGAN's compact networks: composer, jamming and hybrid",
        target="gan_music.architectures.musegan:MuseGAN",
        modality="music",
        parameters={"generator": 123_620, "discriminator": 55_189},
        paper=_MUSEGAN,
    )
    yield ArchitectureEntry(
        name="framegan",
        summary="MuseGAN's game with layers over time and a gate per bar, for CPUs; composes or accompanies",
        target="gan_music.architectures.framegan:FrameGAN",
        modality="music",
        parameters={"generator": 321_964, "discriminator": 242_625},
        paper=_MUSEGAN,
    )
    yield ArchitectureEntry(
        name="accompaniment",
        summary="MuseGAN's accompanist: given tracks are kept, the others are composed to fit them",
        target="gan_music.architectures.accompaniment:Accompaniment",
        modality="music",
        parameters={"generator": 188_291, "discriminator": 55_189},
        paper=_MUSEGAN,
    )
    yield ArchitectureEntry(
        name="temporal",
        summary="MuseGAN's temporal model: a phrase from scratch, bar by bar",
        target="gan_music.architectures.temporal:TemporalMuseGAN",
        modality="music",
        parameters={"generator": 399_924, "discriminator": 55_809},
        paper=_MUSEGAN,
    )
    yield ArchitectureEntry(
        name="bmusegan",
        summary="MuseGAN with a refiner and binary neurons, deterministic or stochastic",
        target="gan_music.architectures.bmusegan:BMuseGAN",
        modality="music",
        parameters={"generator": 123_620, "discriminator": 55_189, "refiner": 4_824},
        paper="Dong and Yang, Convolutional GANs with Binary Neurons for Polyphonic Music, 2018, arXiv:1804.09399",
    )
    yield ArchitectureEntry(
        name="musictransformer",
        summary="An autoregressive transformer over note events: the baseline",
        target="gan_music.architectures.musictransformer:MusicTransformer",
        modality="music",
        parameters={"model": 411_264},
        paper="Huang et al., Music Transformer, 2019, arXiv:1809.04281",
    )


@hookimpl
def gan_metrics() -> Iterator[MetricEntry]:
    """The statistics that MuseGAN reports."""
    yield MetricEntry(
        name="music-statistics",
        summary="Empty bars, pitch classes, qualified notes, polyphony, scale, drum pattern, tonal distance …",
        target="gan_music.metrics.statistics:MusicStatistics",
        modality="music",
        meanings={
            "notes-per-bar": "notes that begin in a bar, all tracks together",
            "scale-consistency": "share of notes in the scale that fits best",
            "pitch-class-entropy": "how evenly the twelve pitch classes are used",
            "groove-consistency": "how alike the rhythms of neighbouring bars are",
            "key-clarity": "how clearly a key is heard",
            "empty-bars": "share of bars without a note",
            "pitches": "different pitches in a bar",
            "pitch-classes": "different pitch classes in a bar",
            "polyphony": "share of steps with two pitches or more",
            "qualified-notes": "share of notes that last at least a 32nd of a bar (the paper's 3 of 96 steps)",
            "tonal-distance": "how far two tracks are apart in harmony",
            "density": "share of the roll that sounds",
        },
    )


@hookimpl
def gan_extractors() -> Iterator[ExtractorEntry]:
    """Feature vectors for the Fréchet distance and similar metrics."""
    yield ExtractorEntry(
        name="phrases",
        summary="Hand-made statistics of a phrase by track: fid[phrases] is the Fréchet distance on them",
        target="gan_music.metrics.features:PhraseFeatures",
        modality="music",
        paper=_MUSEGAN,
    )


@hookimpl
def gan_marks() -> Iterator[MarkEntry]:
    """The invisible mark of written files."""
    yield MarkEntry(
        name="velocities",
        summary="Keyed signs on velocities; survives cuts and transposition, not new velocities",
        target="gan_music.marking:VelocityMark",
        modality="music",
        suffixes=(".mid", ".midi"),
        paper="Spread spectrum (Cox et al. 1997) on MIDI velocities; no publication of its own",
    )


@hookimpl
def gan_datasets() -> Iterator[DatasetEntry]:
    """Datasets that need no download."""
    yield DatasetEntry(
        name="bach-chorales",
        summary="The 371 chorales of J. S. Bach that music21 contains (350 distinct, 349 of four voices)",
        target="gan_music.reading.chorales:bach_chorales",
        modality="music",
        licence="Music in the public domain; the encodings come with music21 (BSD) and stay in your installation",
    )


@hookimpl
def gan_attributes() -> Iterator[AttributeEntry]:
    """Numbers that describe a phrase."""
    for name, function, unit, summary in (
        ("density", "densities", "notes a bar", "Notes per bar of all tracks together"),
        ("register", "registers", "mean pitch, 60 is C4", "Mean pitch of the pitched tracks, weighted by duration"),
        ("polyphony", "polyphonies", "pitches", "Mean number of pitches that sound together"),
        ("key-clarity", "key_clarities", "correlation", "How clearly the pitch classes belong to one of 24 keys"),
    ):
        yield AttributeEntry(
            name=name, summary=summary, target=f"gan_music.attributes:{function}", modality="music", unit=unit
        )


@hookimpl
def gan_recipes() -> Iterator[RecipeEntry]:
    """Recipes for every architecture."""
    yield RecipeEntry(
        name="frames",
        summary="Four-voice phrases from Bach's chorales, one note at a time in each voice, minutes on a CPU",
        target="gan_music:recipes/frames.yaml",
        architecture="framegan",
        default=True,
    )
    yield RecipeEntry(
        name="musegan",
        summary="The same data with MuseGAN's compact networks",
        target="gan_music:recipes/musegan.yaml",
        architecture="musegan",
    )
    yield RecipeEntry(
        name="compact",
        summary="Drums, piano, guitar, bass and strings from a folder of MIDI files (--data), networks for a CPU",
        target="gan_music:recipes/compact.yaml",
        architecture="musegan",
    )
    yield RecipeEntry(
        name="paper",
        summary="MuseGAN as released: 2.6 and 1.4 million parameters, 16 million phrases, for a GPU (--data)",
        target="gan_music:recipes/paper.yaml",
        architecture="musegan",
    )
    yield RecipeEntry(
        name="transformer",
        summary="The autoregressive baseline on Bach's chorales",
        target="gan_music:recipes/transformer.yaml",
        architecture="musictransformer",
    )
    yield RecipeEntry(
        name="accompaniment",
        summary="Alto, tenor and bass to a given soprano, on Bach's chorales",
        target="gan_music:recipes/accompaniment.yaml",
        architecture="accompaniment",
    )
    yield RecipeEntry(
        name="binary",
        summary="The default recipe's data, then a refiner with binary neurons",
        target="gan_music:recipes/binary.yaml",
        architecture="bmusegan",
    )
    yield RecipeEntry(
        name="accompany",
        summary="Alto, tenor and bass to a given soprano by FrameGAN, in five CPU minutes",
        target="gan_music:recipes/accompany.yaml",
        architecture="framegan",
    )
    yield RecipeEntry(
        name="control",
        summary="FrameGAN conditioned on notes per bar and mean pitch: gan generate RUN --density 12 --register C4",
        target="gan_music:recipes/control.yaml",
        architecture="framegan",
    )
    yield RecipeEntry(
        name="temporal",
        summary="Bar by bar, the hybrid model, on Bach's chorales",
        target="gan_music:recipes/temporal.yaml",
        architecture="temporal",
    )
