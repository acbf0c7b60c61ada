"""Renders MIDI files to audio: WAV, OGG or MP3.

FluidSynth is used if its command is installed and a SoundFont is found; otherwise a simple synthesiser, which is enough
to hear notes and rhythm.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

RATE = 44_100
"""Samples per second."""
FORMATS = {"wav": "WAV", "ogg": "OGG", "mp3": "MP3"}
SERIAL = 1
"""Stream serial number of the Ogg files."""
SOUNDFONT_FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
)

_log = logging.getLogger(__name__)
_warned = False


def render(midi: bytes, path: Path) -> Path:
    """Renders a MIDI file into `path` at 44.1 kHz; the suffix (.wav, .ogg, .mp3) gives the format."""
    import soundfile

    font = soundfont()
    sound = None
    if font is not None and shutil.which("fluidsynth"):
        sound = with_fluidsynth(midi, font)
    if sound is None:
        _warn_once(font)
        sound = simple(midi)
    peak = float(np.abs(sound).max(initial=0.0))
    if peak > 0:
        sound = sound * (0.8 / peak)
    buffer = io.BytesIO()
    soundfile.write(buffer, sound.astype(np.float32), RATE, format=FORMATS[path.suffix[1:]])
    content = buffer.getvalue()
    path.write_bytes(with_serial(content, SERIAL) if path.suffix == ".ogg" else content)
    return path


def with_serial(content: bytes, serial: int) -> bytes:
    """An Ogg file whose pages have this stream serial number (RFC 3533, section 6).

    The encoder draws a random one, so that the same sound would not be the same bytes twice.
    """
    pages = bytearray(content)
    start = 0
    while pages[start : start + 4] == b"OggS":
        segments = pages[start + 26]
        end = start + 27 + segments + sum(pages[start + 27 : start + 27 + segments])
        pages[start + 14 : start + 18] = serial.to_bytes(4, "little")
        pages[start + 22 : start + 26] = bytes(4)  # the checksum is that of the page without it
        pages[start + 22 : start + 26] = _checksum(bytes(pages[start:end])).to_bytes(4, "little")
        start = end
    return bytes(pages)


def _checksum(page: bytes) -> int:
    """CRC-32 with the polynomial 04c11db7, neither reflected nor inverted."""
    found = 0
    for byte in page:
        found = (found << 8 & 0xFFFFFFFF) ^ _CRC[found >> 24 ^ byte]
    return found


def _crc_of(byte: int) -> int:
    found = byte << 24
    for _ in range(8):
        found = (found << 1 ^ (0x04C11DB7 if found & 0x80000000 else 0)) & 0xFFFFFFFF
    return found


_CRC = [_crc_of(byte) for byte in range(256)]


def soundfont() -> Path | None:
    """``$GAN_SOUNDFONT``, else the first SoundFont in the usual folders, else the one that pretty_midi contains."""
    if named := os.environ.get("GAN_SOUNDFONT"):
        return Path(named)
    for folder in SOUNDFONT_FOLDERS:
        if found := sorted([*Path(folder).glob("*.sf2"), *Path(folder).glob("*.sf3")]):
            return found[0]
    import pretty_midi

    bundled = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"
    return bundled if bundled.is_file() else None


def with_fluidsynth(midi: bytes, font: Path) -> np.ndarray[Any, Any] | None:
    """``(samples, 2)`` rendered by FluidSynth's command, or None if it fails."""
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "phrase.mid"), Path(folder, "phrase.wav")
        source.write_bytes(midi)
        command = ["fluidsynth", "-ni", "-q", "-r", str(RATE), "-F", str(target), str(font), str(source)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            sound, _ = soundfile.read(target, dtype="float32")
        except (OSError, subprocess.SubprocessError, RuntimeError) as error:
            _log.warning("FluidSynth failed (%s); the simple synthesiser is used", error)
            return None
        return np.asarray(sound)


def simple(midi: bytes) -> np.ndarray[Any, Any]:
    """``(samples,)``: pitched notes as a few harmonics, drums as short noises, dull for low ones and bright for high
    ones."""
    import pretty_midi

    piece = pretty_midi.PrettyMIDI(io.BytesIO(midi))
    length = int((piece.get_end_time() + 1.0) * RATE)
    sound = np.zeros(length)
    for instrument in piece.instruments:
        if not instrument.is_drum:
            part = instrument.synthesize(fs=RATE, wave=_harmonics)[:length]
            sound[: len(part)] += part
    for instrument in piece.instruments:
        for hit in instrument.notes if instrument.is_drum else ():
            start = int(hit.start * RATE)
            noise = _drum(hit.pitch)[: length - start]
            sound[start : start + len(noise)] += noise * (hit.velocity * 2.0)
    return sound


def _harmonics(phase: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    wave: np.ndarray[Any, Any] = np.sin(phase) + 0.4 * np.sin(2 * phase) + 0.15 * np.sin(3 * phase)
    return wave


def _drum(pitch: int) -> np.ndarray[Any, Any]:
    """A third of a second: a hum for kicks (General MIDI 35, 36), a rattle for snares (37 … 40), a hiss for others."""
    time = np.arange(RATE // 3) / RATE
    noise = np.random.default_rng(pitch).standard_normal(len(time))
    if pitch <= 36:
        return np.sin(2 * np.pi * 55 * time) * np.exp(-time * 18)
    if pitch <= 40:
        return (0.5 * noise + np.sin(2 * np.pi * 180 * time)) * np.exp(-time * 25)
    return np.diff(noise, prepend=0.0) * 0.3 * np.exp(-time * (60 if pitch in (42, 44) else 15))


def _warn_once(font: Path | None) -> None:
    global _warned
    if not _warned:
        missing = "FluidSynth" if not shutil.which("fluidsynth") else "a SoundFont"
        _log.warning(
            "%s is not installed; using the simple synthesiser. For realistic instruments install "
            "fluidsynth and a SoundFont (Debian: fluidsynth timgm6mb-soundfont), or name one in GAN_SOUNDFONT.",
            missing,
        )
        _warned = True
