"""Percussion by formula: six kinds of hits whose parameters are drawn, as WAV files in a folder for each kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from gan.contracts import Download
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

RATE = 16_000
SAMPLES = 8_192
PER_KIND = 150

Wave = NDArray[np.float64]
_TIME = np.arange(SAMPLES) / RATE


def _decay(seconds: float) -> Wave:
    """Falls by 60 dB in `seconds`."""
    envelope: Wave = np.exp(-math.log(1000) / seconds * _TIME)
    return envelope


def _glide(first: float, last: float, seconds: float, phase: float = 0.0) -> Wave:
    """A sine whose frequency approaches `last` Hz from `first` with the time constant `seconds`."""
    frequency = last + (first - last) * np.exp(-_TIME / seconds)
    wave: Wave = np.sin(2 * np.pi * np.cumsum(frequency) / RATE + phase)
    return wave


def _noise(rng: np.random.Generator, low: float, high: float | None = None) -> Wave:
    """Noise above `low` Hz, or between `low` and `high`, with a standard deviation of about 1."""
    band: Any = low if high is None else (low, high)
    sections = butter(2, band, "highpass" if high is None else "bandpass", fs=RATE, output="sos")
    noise: Wave = sosfilt(sections, rng.standard_normal(SAMPLES))
    scaled: Wave = noise / noise.std()
    return scaled


def kick(rng: np.random.Generator) -> Wave:
    """A low sine that falls quickly in pitch, with a click."""
    body = _glide(rng.uniform(140, 320), rng.uniform(42, 62), rng.uniform(0.015, 0.05)) * _decay(
        rng.uniform(0.25, 0.45)
    )
    return body + rng.uniform(0, 0.25) * _noise(rng, 1500) * _decay(0.02)


def snare(rng: np.random.Generator) -> Wave:
    """Two modes of a skin and the rattle of the wires."""
    pitch = rng.uniform(160, 230)
    skin = (_glide(1.3 * pitch, pitch, 0.02) + 0.6 * _glide(2.0 * pitch, 1.75 * pitch, 0.02)) * _decay(0.15)
    return 0.6 * skin + rng.uniform(0.4, 0.8) * _noise(rng, 900) * _decay(rng.uniform(0.18, 0.35))


def hat(rng: np.random.Generator) -> Wave:
    """Square waves without a common period and noise, above 5 kHz."""
    base = rng.uniform(280, 420)
    metal = sum(np.sign(np.sin(2 * np.pi * base * ratio * _TIME)) for ratio in (2.0, 3.0, 4.16, 5.43, 6.79, 8.21))
    sections = butter(4, 5000, "highpass", fs=RATE, output="sos")
    tone: Wave = sosfilt(sections, np.asarray(metal))
    length = float(rng.choice([0.07, 0.12, 0.4]) * rng.uniform(0.8, 1.2))
    wave: Wave = (tone / tone.std() + _noise(rng, 5000)) * _decay(length)
    return wave


def tom(rng: np.random.Generator) -> Wave:
    """A sine that falls by about a third in pitch and lasts longer than a kick."""
    pitch = rng.uniform(90, 210)
    body = _glide(1.5 * pitch, pitch, rng.uniform(0.04, 0.09)) + 0.25 * _glide(2.4 * pitch, 1.6 * pitch, 0.05)
    return body * _decay(rng.uniform(0.35, 0.6)) + 0.08 * _noise(rng, 400, 3000) * _decay(0.05)


def clap(rng: np.random.Generator) -> Wave:
    """Three or four bursts of noise around 1.2 kHz, a hundredth of a second apart, and a tail."""
    gap, bursts = rng.uniform(0.008, 0.014), int(rng.integers(3, 5))
    envelope = np.zeros(SAMPLES)
    for number in range(bursts):
        since = _TIME - number * gap
        decay = 0.03 if number < bursts - 1 else rng.uniform(0.15, 0.3)
        envelope = np.maximum(envelope, np.where(since >= 0, np.exp(-math.log(1000) / decay * np.maximum(since, 0)), 0))
    middle = rng.uniform(900, 1500)
    return _noise(rng, 0.6 * middle, 1.7 * middle) * envelope


def bell(rng: np.random.Generator) -> Wave:
    """Five partials of a bar, whose frequencies are no multiples of the first; the higher ones end sooner."""
    pitch, length = rng.uniform(420, 900), rng.uniform(0.5, 1.2)
    wave = np.zeros(SAMPLES)
    for ratio, level in ((1.0, 1.0), (2.0, 0.6), (2.76, 0.7), (4.07, 0.35), (5.4, 0.4)):
        if ratio * pitch < 0.45 * RATE:
            phase = rng.uniform(0, 2 * np.pi)
            wave += level * np.sin(2 * np.pi * ratio * pitch * _TIME + phase) * _decay(length / ratio**0.5)
    return wave


KINDS: dict[str, Callable[[np.random.Generator], Wave]] = {
    "bell": bell, "clap": clap, "hat": hat, "kick": kick, "snare": snare, "tom": tom,
}  # fmt: skip


def hit(kind: str, number: int) -> NDArray[np.int16]:
    """``(8192,)``: the hit `number` of a kind, with a peak of 0.95; it fades to zero at the end."""
    rng = np.random.Generator(np.random.Philox(key=[list(KINDS).index(kind), number]))
    wave = KINDS[kind](rng)
    wave[:16] *= np.linspace(0, 1, 16)
    wave[-1024:] *= np.linspace(1, 0, 1024)
    sound: NDArray[np.int16] = np.rint(wave * (0.95 * 32767 / np.abs(wave).max())).astype(np.int16)
    return sound


def percussion(folder: Path, download: Download) -> None:
    """Write `PER_KIND` hits of every kind: 16 kHz, 16 bits, mono, 0.512 s."""
    import soundfile

    for kind in KINDS:
        (folder / kind).mkdir()
        for number in range(PER_KIND):
            soundfile.write(folder / kind / f"{kind}-{number:03}.wav", hit(kind, number), RATE, subtype="PCM_16")
