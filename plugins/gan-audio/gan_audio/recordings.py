"""Decoding of sound files from untrusted bytes, part by part, at the rate and with the channels that are wanted.

soundfile (libsndfile) recognises the format by content, so an MP3 named ``.wav`` is read as what it is. A recording is
never whole in memory, however long the silence is that a few compressed bytes unpack to, and a file that is not in an
archive is read as it is decoded.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from gan.errors import BadData
from numpy.typing import NDArray

if TYPE_CHECKING:
    import soundfile
    from gan.source import SourceFile

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64")
RATES = range(1_000, 768_001)
"""Accepted rates, in Hz."""
MAX_CHANNELS = 64
MAX_SECONDS = 24 * 3600
"""Longest recording that is read."""
BLOCK = 1 << 17
"""Frames that are decoded at a time."""
KEPT = 1 << 22
"""Values of a recording that are kept decoded for its second pass; a longer one is decoded twice."""
_UNKNOWN = (0, 0xFFFFFFFF)
"""Lengths that programs write into the header of a WAV file while they do not know the length yet."""

Block = NDArray[np.float32]


class Recording:
    """A sound file whose header has been read and checked. Raises `BadData` if it is none, or not a usable one."""

    def __init__(self, file: SourceFile, rate: int, channels: int) -> None:
        self.name = file.name
        self.rate = rate
        """Samples per second that `blocks` yields."""
        self.channels = channels
        """Channels that `blocks` yields, 1 or 2."""
        self._source = file
        self._kept: list[Block] | None = None
        with self._open() as sound:
            self.source_rate: int = sound.samplerate
            """Samples per second in the file."""
            self.source_channels: int = sound.channels
            """Channels in the file."""
            self.frames: int = sound.frames
            """Samples of each channel that the header promises."""
            self.format: str = sound.format
        if self.source_rate not in RATES:
            raise BadData(f"{self.source_rate:,} Hz; {RATES[0]:,} to {RATES[-1]:,} are supported", self.name)
        if not 1 <= self.source_channels <= MAX_CHANNELS:
            raise BadData(f"{self.source_channels} channels; 1 to {MAX_CHANNELS} are supported", self.name)
        if self.format in ("WAV", "WAVEX"):
            self._check_length()

    @property
    def seconds(self) -> float:
        """Length that the header promises."""
        return self.frames / self.source_rate

    def blocks(self) -> Iterator[Block]:
        """Yield the whole recording as ``(n, channels)`` float32, full scale at ±1.

        One channel is the mean of all; two are the channels of a stereo file, the one of a mono file twice, or the
        first two of more. Raises `BadData` for damaged and truncated files, and for values that are not finite.
        """
        if self._kept is not None:
            yield from self._kept
            return
        kept, size = [], 0
        for block in self._resampled():
            size += block.size
            if size <= KEPT:
                kept.append(block)
            yield block
        if size <= KEPT:
            self._kept = kept

    def source_blocks(self) -> Iterator[Block]:
        """Yield the recording as it is in the file, ``(n, source_channels)`` float32; otherwise like `blocks`."""
        done, most = 0, MAX_SECONDS * self.source_rate
        with self._open() as sound:
            while True:
                try:
                    block = sound.read(BLOCK, dtype="float32", always_2d=True)
                except Exception as error:
                    raise BadData(
                        f"damaged after {done / self.source_rate:.1f} s: {_reason(error)}", self.name
                    ) from error
                if not len(block):
                    break
                if not np.isfinite(block).all():
                    raise BadData("has samples that are not finite (NaN or infinite)", self.name)
                done += len(block)
                if done > most:
                    raise BadData(f"more than the limit of {MAX_SECONDS // 3600} hours", self.name)
                yield block
        if not done:
            raise BadData("has no samples", self.name)
        if done < self.frames and self.format != "MP3":  # without a table, the length of an MP3 is an estimate
            raise BadData(f"is truncated: {done:,} of the {self.frames:,} samples that its header promises", self.name)

    def _resampled(self) -> Iterator[Block]:
        if self.source_rate == self.rate:
            for block in self.source_blocks():
                yield self._mixed(block)
            return
        import soxr

        stream = soxr.ResampleStream(self.source_rate, self.rate, self.channels, dtype="float32", quality="HQ")
        for block in self.source_blocks():
            yield stream.resample_chunk(self._mixed(block)).reshape(-1, self.channels)
        yield stream.resample_chunk(np.zeros((0, self.channels), np.float32), last=True).reshape(-1, self.channels)

    def _mixed(self, block: Block) -> Block:
        if self.channels == 1 and block.shape[1] > 1:
            mono: Block = block.mean(1, keepdims=True, dtype=np.float32)
            return mono
        if self.channels == 2:
            return block[:, :2] if block.shape[1] > 1 else np.repeat(block, 2, axis=1)
        return block

    @contextmanager
    def _open(self) -> Iterator[soundfile.SoundFile]:
        import soundfile

        with self._source.open() as file:
            try:
                sound = soundfile.SoundFile(file)
            except Exception as error:
                raise BadData(f"not a sound file, or a damaged header: {_reason(error)}", self.name) from error
            with sound:
                yield sound

    def _check_length(self) -> None:
        """libsndfile shortens a WAV file whose header promises more than there is; that would lose sound in silence."""
        with self._source.open() as file:
            size = file.seek(0, io.SEEK_END)
            place = 12
            while place + 8 <= size:
                file.seek(place)
                head = file.read(8)
                kind, promised = head[:4], int.from_bytes(head[4:], "little")
                place += 8
                if kind == b"data":
                    if promised > size - place and promised not in _UNKNOWN:
                        raise BadData(
                            f"is truncated: {size - place:,} of the {promised:,} bytes that its header promises",
                            self.name,
                        )
                    return
                place += promised + promised % 2


def _reason(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or error).strip().splitlines()
    return text[0].rstrip(".") if text else type(error).__name__
