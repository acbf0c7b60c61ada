"""The audio modality: sound files become waveforms of one length, and waveforms become sound files and pictures."""

from __future__ import annotations

import base64
import html
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from gan.contracts import Continued, FieldSpec, Modality
from gan.errors import BadData, UsageError
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from gan_audio.loudness import LoudnessMeter
from gan_audio.picture import sheet, tile
from gan_audio.recordings import MAX_SECONDS, SUFFIXES, Block, Recording
from gan_audio.spectra import MelSettings, vocoder_mel
from gan_audio.writing import FORMATS, encoded, write_parts

if TYPE_CHECKING:
    from gan.contracts import Given, Sample, Samples
    from gan.source import SourceFile
    from PIL import Image

PEAK = 0.95
"""Largest value of a recording after normalisation."""
QUIET = 1e-3
"""Level under which a recording or a piece of one counts as silence: -60 dB relative to full scale."""
CLIPPED = 32_766 / 32_768
"""Level from which a sample counts as clipped."""
UNCHANGED = 1e-3
"""Gains as near to 1 as this are not applied, so that a sound that is normalised stays as it is."""


PART = 1 << 19
"""Frames of a long recording that are converted at a time, about."""


@dataclass(frozen=True, kw_only=True)
class SoundField(FieldSpec):
    """The field ``sound``, which knows its rate."""

    rate: int = 0
    """Samples per second."""


class AudioConfig(BaseModel):
    """Settings of how sound files are converted to waveforms."""

    model_config = ConfigDict(extra="forbid")

    rate: int = Field(16_000, ge=2_000, le=192_000, description="samples per second; other rates are resampled")
    seconds: float = Field(1.024, gt=0, le=60, description="length of a sample, rounded to whole samples of the rate")
    channels: Literal[1, 2] = Field(
        1,
        description="1: the mean of a file's channels; 2: stereo, mono doubled, of more the first two",
    )
    long: Literal["pieces", "beginning", "windows"] = Field(
        "pieces",
        description="what is used of a longer recording. pieces: consecutive pieces, of which the last one is kept if "
        "it is at least half full; beginning: the beginning only; windows: all of it, from a random start each time. "
        "Silence is added after sounds that are too short",
    )
    normalize: Literal["peak", "loudness", "none"] = Field(
        "peak",
        description="peak: every recording is scaled to a peak of 0.95; loudness: to the loudness `lufs`, or less "
        "where its peak would exceed 1; none: levels stay as they are",
    )
    lufs: float = Field(-23.0, ge=-60, le=-5, description="loudness after ITU-R BS.1770, in LUFS")
    trim: float = Field(
        60.0, ge=0, le=120, description="silence this many dB below the peak is removed at both ends; 0: nothing is"
    )
    mel: bool = Field(False, description="whether a sample also has its mel spectrogram, the field `mel`, for vocoders")
    mel_bands: int = Field(80, ge=8, le=256, description="bands of the mel spectrogram")
    mel_high: int = Field(0, ge=0, description="upper end of the mel bands in Hz; 0: half the rate")
    mel_hop: int = Field(256, ge=16, le=4096, description="samples per frame of the mel spectrogram; windows have four")
    timing: bool = Field(
        False,
        description="whether windows of recordings also say when they are: the fields `elapsed`, in seconds, and "
        "`duration`; needs long=windows",
    )
    labels: Literal["none", "folder", "prefix"] = Field(
        "none",
        description="the class of a sound, its field `label`: the first sub-folder, or the start of the file's name up "
        "to the first _, - or space",
    )


class AudioOptions(BaseModel):
    """Options of how samples are written as files."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["wav", "flac", "ogg", "mp3"] = Field("wav", description="kind of sound file")


class Audio(Modality):
    """Sounds of one length. A sample has ``sound``, ``(channels, samples)`` int16, and ``label`` with classes."""

    Config = AudioConfig
    Options = AudioOptions
    suffixes = SUFFIXES
    metrics = ("fid[logmel]", "precision-recall[logmel]")
    conditions = {"label": "modality.labels=folder"}

    # ------------------------------------------------------------------ what the data are

    def survey(self, files: Sequence[SourceFile]) -> dict[str, Any]:
        """Find the names of the classes."""
        if self.config.labels == "none":
            return {}
        classes = sorted({self._class(file) for file in files} - {""})
        if len(classes) < 2:
            wanted = "a sub-folder for each" if self.config.labels == "folder" else "file names that start with them"
            raise BadData(f"labels need two classes or more: {wanted}; or set modality.labels=none")
        return {"classes": classes}

    def _class(self, file: SourceFile) -> str:
        if self.config.labels == "folder":
            return file.folder
        return re.split(r"[_\- ]", file.name.rsplit("/", 1)[-1].rsplit(".", 1)[0], maxsplit=1)[0]

    @property
    def length(self) -> int:
        """Samples of each channel."""
        samples: int = round(self.config.rate * self.config.seconds)
        return max(1, samples)

    @property
    def fields(self) -> dict[str, FieldSpec]:
        """``sound``; ``label`` if the settings ask for it."""
        shape = (self.config.channels, self.length)
        mel, windows = self.config.mel, self.config.long == "windows"
        fields: dict[str, FieldSpec] = {
            "sound": SoundField(
                shape,
                "int16",
                -32_768,
                32_767,
                "amplitude, 16 bits",
                longer=True,
                longer_axis=1,
                window=self._step if windows else 0,
                rate=self.config.rate,
            )
        }
        if mel:
            if self.length % self.config.mel_hop or self.config.channels != 1:
                raise UsageError(
                    f"modality.mel needs mono sound and a length that is a multiple of modality.mel_hop, not "
                    f"{self.length:,} samples and {self.config.mel_hop}"
                )
            frames = self.length // self.config.mel_hop
            fields["mel"] = FieldSpec(
                (self.config.mel_bands, frames),
                "float32",
                -12,
                12,
                f"log mel magnitude at {self.config.rate} Hz",
                longer=True,
                longer_axis=1,
                window=int(windows),
            )
        if self.config.timing:
            if not windows or self.length % self.config.mel_hop:
                raise UsageError(
                    "modality.timing needs modality.long=windows and a length that is a multiple of modality.mel_hop, "
                    f"not {self.length:,} samples and {self.config.mel_hop}"
                )
            steps, most = self.length // self.config.mel_hop, float(MAX_SECONDS)
            fields["elapsed"] = FieldSpec((steps,), "float32", 0, most, "seconds before", longer=True, window=1)
            fields["duration"] = FieldSpec((), "float32", 0, most, "seconds of the recording")
        if self.config.labels != "none":
            names = tuple(self.facts.get("classes", ()))
            last = max(1, len(names) - 1)
            fields["label"] = FieldSpec((), "int64", 0, last, "class index", names=names, condition=True)
        return fields

    # ------------------------------------------------------------------ files -> samples

    def read(self, file: SourceFile) -> Iterator[Sample]:
        """Yield the sounds of one file; see `AudioConfig` for the rules."""
        label: Sample = {}
        if self.config.labels != "none":
            names, name = self.fields["label"].names, self._class(file)
            if name not in names:
                raise BadData(
                    "is not in a class folder" if self.config.labels == "folder" else "has no class", file.name
                )
            label = {"label": np.asarray(names.index(name), np.int64)}
        recording = Recording(file, self.config.rate, self.config.channels)
        gain, start, end = self._measured(recording)
        if self.config.long == "windows":
            parts = _parts(recording.blocks(), start, end, self._part)
            if self.config.timing:
                label["duration"] = np.asarray((end - start) / self.config.rate, np.float32)
            yield from self._recording(_filled(parts, self.length, self._step), gain, label)
            return
        found = False
        for piece in _pieces(recording.blocks(), start, end, self.length, self.config.long == "beginning"):
            if np.abs(piece).max() * gain < QUIET:
                continue
            found = True
            sound = to_int16(piece.T * np.float32(gain))
            yield {"sound": sound, **({"mel": self._mel(sound)} if self.config.mel else {}), **label}
        if not found:
            raise BadData("is silent", file.name)

    @property
    def _step(self) -> int:
        """Frames in a step of a recording."""
        step: int = self.config.mel_hop if self.config.mel or self.config.timing else 1
        return step

    @property
    def _part(self) -> int:
        """Frames of a recording that are converted at a time: whole steps."""
        return PART // self._step * self._step

    def _recording(self, blocks: Iterator[Block], gain: float, label: Sample) -> Iterator[Sample]:
        """A whole recording as one sample in parts."""
        before: Block | None = None
        current: Block | None = next(blocks)
        done = 0
        while current is not None:
            after = next(blocks, None)
            sound = to_int16(current.T * np.float32(gain))
            part: Sample = {"sound": sound}
            if self.config.timing:
                times = np.arange(done, done + len(current), self._step) / self.config.rate
                part["elapsed"] = times.astype(np.float32)
            done += len(current)
            if self.config.mel:
                beside = [to_int16(block.T * np.float32(gain)) for block in (before, after) if block is not None]
                part["mel"] = self._mel(
                    sound,
                    beside[0] if before is not None else None,
                    beside[-1] if after is not None else None,
                )
            yield {**part, **label} if before is None else Continued(part)
            before, current = current, after

    def _mel(
        self,
        sound: NDArray[np.int16],
        before: NDArray[np.int16] | None = None,
        after: NDArray[np.int16] | None = None,
    ) -> NDArray[np.float32]:
        wave, *beside = (
            None if part is None else (part[0] / 32_768).astype(np.float32) for part in (sound, before, after)
        )
        assert wave is not None
        return vocoder_mel(wave, self.mel_settings, *beside)

    @property
    def mel_settings(self) -> MelSettings:
        """How the field ``mel`` is computed."""
        config = self.config
        return MelSettings(config.rate, config.mel_hop, config.mel_bands, config.mel_high or config.rate / 2)

    def read_given(self, file: SourceFile, given: Given) -> Iterator[Sample]:
        """Yield one sample: a whole recording, or its mel spectrogram, for which it is filled with silence up to whole
        frames and at least the length of a sample. Its level is normalised as in training; nothing is trimmed."""
        recording = Recording(file, self.config.rate, self.config.channels)
        gain = self._measured(recording)[0]
        sound = np.concatenate([to_int16(block.T * np.float32(gain)) for block in recording.blocks()], 1)
        sample: Sample = {"sound": sound} if "sound" in given.fields else {}
        if "mel" in given.fields:
            short = max(self.length - sound.shape[1], -sound.shape[1] % self.config.mel_hop)
            sample["mel"] = self._mel(np.pad(sound, ((0, 0), (0, short))))
        yield sample

    def write_like(
        self, samples: Sequence[Sample], stem: Path, like: SourceFile, given: Given, options: BaseModel | None = None
    ) -> list[Path]:
        """Write the sound with the length and the level of its recording."""
        (sample,) = samples
        recording = Recording(like, self.config.rate, self.config.channels)
        gain = self._measured(recording)[0]
        length = sum(len(block) for block in recording.blocks())
        sound = to_int16(sample["sound"][:, :length] / np.float32(32_768 * gain))
        return [self.write({"sound": sound}, stem, options)]

    def _measured(self, recording: Recording) -> tuple[float, int, int]:
        """(gain, first frame, end) of a recording, from its peak, its loudness and the silence at both ends."""
        meter = LoudnessMeter(recording.rate, recording.channels) if self.config.normalize == "loudness" else None
        peaks: list[float] = []
        frames = 0
        for block in recording.blocks():
            peaks.append(float(np.abs(block).max(initial=0)))
            frames += len(block)
            if meter is not None:
                meter.add(block)
        peak = max(peaks, default=0.0)
        if peak == 0 or (peak < QUIET and self.config.normalize == "none"):
            raise BadData("is silent", recording.name)
        first, end = 0, frames
        if self.config.trim:
            first, end = _loud_part(recording.blocks(), peak * 10 ** (-self.config.trim / 20))
        gain = 1.0
        if self.config.normalize == "peak":
            gain = PEAK / peak
        elif meter is not None:
            lufs = meter.loudness()
            if math.isinf(lufs):
                raise BadData("is silent: its loudness is below -70 LUFS", recording.name)
            gain = min(10 ** ((self.config.lufs - lufs) / 20), 1 / peak)
        return (1.0 if abs(gain - 1) < UNCHANGED else gain), first, end

    def inventory(self, file: SourceFile) -> dict[str, int]:
        """Rate, channels, length, silence and clipping of a file."""
        recording = Recording(file, self.config.rate, self.config.channels)
        step = max(1, recording.source_rate // 50)
        frames = silent = clipped = 0
        for block in recording.source_blocks():
            levels = np.abs(block).max(1)
            frames += len(levels)
            clipped += int((levels >= CLIPPED).sum())
            whole = levels[: len(levels) // step * step].reshape(-1, step).max(1)
            silent += int((whole < QUIET).sum()) * step
        rate = recording.source_rate
        held = {
            f"files at {rate:,} Hz": 1,
            f"files with {recording.source_channels} channel{'s' * (recording.source_channels > 1)}": 1,
            "milliseconds": round(1000 * frames / rate),
            "milliseconds of silence (below -60 dB)": round(1000 * silent / rate),
            "clipped samples": clipped if clipped > 1 else 0,  # one alone is the peak of a normalised file
        }
        if self.config.labels != "none":
            held[f"files of class {self._class(file)}"] = 1
        return {name: count for name, count in held.items() if count}

    # ------------------------------------------------------------------ samples -> files

    def write(self, sample: Sample, stem: Path, options: BaseModel | None = None) -> Path:
        """Write one sound file of 16 bits; equal samples give equal bytes in every format."""
        suffix = options.format if isinstance(options, AudioOptions) else "wav"
        assert suffix in FORMATS
        path = stem.with_name(f"{stem.name}.{suffix}")
        path.write_bytes(encoded(self.marked(sample["sound"], rate=self.config.rate), self.config.rate, suffix))
        return path

    def write_stream(self, parts: Iterator[Sample], stem: Path, options: BaseModel | None = None) -> Path:
        """Write a sound part by part as it is made. A mark is put into the whole, which is then joined first."""
        if self.mark is not None:
            return super().write_stream(parts, stem, options)
        suffix = options.format if isinstance(options, AudioOptions) else "wav"
        path = stem.with_name(f"{stem.name}.{suffix}")
        write_parts(path, (part["sound"] for part in parts), self.config.channels, self.config.rate, suffix)
        return path

    def is_empty(self, sample: Sample) -> bool:
        """Whether the sound is silence, below `QUIET`."""
        return "sound" in sample and float(np.abs(sample["sound"].astype(np.float32)).max()) < QUIET * 32_768

    def preview(self, samples: Samples) -> Image.Image:
        """The waveform and the mel spectrogram of each sample, with the names of their classes."""
        captions: list[str] = []
        if "label" in samples and "label" in self.fields:
            names = self.fields["label"].names
            captions = [names[int(label)] if int(label) < len(names) else str(label) for label in samples["label"]]
        return sheet(samples["sound"], self.config.rate, captions)

    def show(self, file: SourceFile, link: str, folder: Path) -> str:
        """The picture of a sound over a player."""
        parts = list(Recording(file, self.config.rate, self.config.channels).blocks())
        picture = io.BytesIO()
        tile(to_int16(np.concatenate(parts).T), self.config.rate).save(picture, "PNG")
        encoded_picture = base64.b64encode(picture.getvalue()).decode()
        return (
            f'<img alt="waveform and mel spectrogram" src="data:image/png;base64,{encoded_picture}">'
            f'<audio controls preload="none" src="{html.escape(link)}"></audio>'
        )


def to_int16(values: NDArray[Any]) -> NDArray[np.int16]:
    """Waveforms with full scale at ±1 as 16 bits; values beyond are clipped."""
    sound: NDArray[np.int16] = np.clip(np.rint(np.ascontiguousarray(values) * 32_768), -32_768, 32_767).astype(np.int16)
    return sound


def _loud_part(blocks: Iterator[Block], threshold: float) -> tuple[int, int]:
    """(first frame, end) of the part between the silence at both ends."""
    first, end, place = -1, 0, 0
    for block in blocks:
        loud = np.flatnonzero(np.abs(block).max(1) >= threshold)
        if len(loud):
            first = place + int(loud[0]) if first < 0 else first
            end = place + int(loud[-1]) + 1
        place += len(block)
    return max(0, first), end


def _parts(blocks: Iterator[Block], start: int, end: int, length: int) -> Iterator[Block]:
    """Yield the frames from `start` to `end` in parts ``(length, channels)``, of which the last may be shorter."""
    rest: Block | None = None
    place = 0
    for block in blocks:
        part = block[max(0, start - place) : max(0, end - place)]
        place += len(block)
        rest = part if rest is None else np.concatenate([rest, part])
        while len(rest) >= length:
            yield rest[:length]
            rest = rest[length:]
    if rest is not None and len(rest):
        yield rest


def _filled(parts: Iterator[Block], least: int, step: int) -> Iterator[Block]:
    """The parts of a recording, followed by silence up to whole steps and `least` frames in all."""
    total, last = 0, next(parts)
    for part in parts:
        yield last
        total, last = total + len(last), part
    total += len(last)
    yield np.pad(last, ((0, max(least - total, -total % step)), (0, 0)))


def _pieces(blocks: Iterator[Block], start: int, end: int, length: int, one: bool) -> Iterator[Block]:
    """Yield ``(length, channels)`` pieces of the frames from `start` to `end`; the last may end with zeros."""
    for number, part in enumerate(_parts(blocks, start, end, length)):
        if len(part) == length:
            yield part
        elif number == 0 or len(part) >= length / 2:
            yield np.pad(part, ((0, length - len(part)), (0, 0)))
        if one:
            return
