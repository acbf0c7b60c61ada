"""The mark of sounds: false positives, detection after attacks, and what it costs in signal-to-noise ratio.

    python benchmarks/provenance/sounds.py

Sounds of 10 s at 44.1 kHz: windows of five recordings of music, drum loops repeated, one-shots of percussion and spoken
digits (8 kHz) in random order. Marked: 200; unmarked: 1,000, each searched with a key of its own. The clipping of the
detector was chosen on 12 such sounds, the strength is that of the method's description; the threshold, p ≤ 1e-6 over
all alignments, follows from a bound and was not chosen on sounds.
"""

from __future__ import annotations

import io
import math
import time
import zipfile

import numpy as np
import soundfile
from common import MARKED, UNMARKED, attacked, false_positives, key, record, row
from gan.marks import WaveformSpectrum
from gan.testing import real_file
from gan_audio.marking import AudioMark
from scipy.signal import butter, resample_poly, sosfilt

SAMPLES, HZ = 441_000, 44_100
RATE = AudioMark.false_positive_rate
rng = np.random.Generator(np.random.Philox(1))


def recordings(name: str, suffix: str) -> list[np.ndarray]:
    found = []
    with zipfile.ZipFile(real_file("audio", name)) as archive:
        for member in sorted(archive.namelist()):
            if member.endswith(suffix):
                sound, rate = soundfile.read(io.BytesIO(archive.read(member)), dtype="float32", always_2d=True)
                divisor = math.gcd(rate, HZ)
                found.append(resample_poly(sound.mean(1), HZ // divisor, rate // divisor).astype(np.float32))
    return found


def source():
    clips, loops = recordings("librosa_clips.zip", ".ogg"), recordings("sonicpi_loops.zip", ".flac")
    pools = [recordings("sonicpi_oneshots.zip", ".flac"), recordings("fsdd_digits_8k.zip", ".wav")]
    number = 0
    while True:
        kind, number = number % 4, number + 1
        if kind == 0:
            clip = clips[rng.integers(len(clips))]
            begin = rng.integers(0, max(1, len(clip) - SAMPLES))
            sound = np.resize(clip[begin : begin + SAMPLES], SAMPLES)
        elif kind == 1:
            sound = np.resize(loops[rng.integers(len(loops))], SAMPLES)
            sound = np.roll(sound, rng.integers(SAMPLES))
        else:
            pool, parts = pools[kind - 2], []
            while sum(map(len, parts)) < SAMPLES:
                parts.append(pool[rng.integers(len(pool))])
            sound = np.concatenate(parts)[:SAMPLES]
        yield sound * np.float32(0.8 / np.abs(sound).max())


def codec(container: str, subtype: str, **settings):
    def attack(sound: np.ndarray) -> np.ndarray:
        buffer = io.BytesIO()
        with soundfile.SoundFile(buffer, "w", HZ, 1, subtype, format=container, **settings) as file:
            for begin in range(0, len(sound), 1 << 15):
                file.write(sound[begin : begin + (1 << 15)])
        buffer.seek(0)
        return soundfile.read(buffer, dtype="float32")[0]

    return attack


def noisy(decibels: float):
    def attack(sound: np.ndarray) -> np.ndarray:
        power = float(np.mean(np.square(sound))) * 10 ** (-decibels / 10)
        return sound + rng.normal(0, math.sqrt(power), len(sound)).astype(np.float32)

    return attack


def filtered(sound: np.ndarray) -> np.ndarray:
    return sosfilt(butter(4, 4000, output="sos", fs=HZ), sound).astype(np.float32)


ATTACKS = {
    "none": lambda sound: sound,
    "MP3 128 kbit/s": codec("MP3", "MPEG_LAYER_III", bitrate_mode="CONSTANT", compression_level=0.66),
    "Ogg Vorbis": codec("OGG", "VORBIS"),
    "first third cut": lambda sound: sound[SAMPLES // 3 :],
    "last third cut": lambda sound: sound[: -SAMPLES // 3],
    "cut to 3 s anywhere": lambda sound: sound[(begin := int(rng.integers(SAMPLES - 3 * HZ))) : begin + 3 * HZ],
    "noise at 30 dB": noisy(30),
    "noise at 20 dB": noisy(20),
    "quieter by 12 dB": lambda sound: sound * np.float32(0.25),
    "resampled to 16 kHz and back": lambda s: resample_poly(resample_poly(s, 160, 441), 441, 160).astype(np.float32),
    "low-pass at 4 kHz": filtered,
    "faster by 1 %": lambda sound: resample_poly(sound, 100, 101).astype(np.float32),
}


def main() -> None:
    started = time.process_time()
    sounds = source()
    result: dict[str, object] = {}
    found = [WaveformSpectrum(key(n), 1.0).detect(next(sounds)[None], HZ, RATE) for n in range(UNMARKED)]
    result["unmarked"] = false_positives(found)
    print(result["unmarked"], flush=True)
    mark = WaveformSpectrum(key(0), AudioMark.strength)
    originals = [next(sounds) for _ in range(MARKED)]
    marked = [mark.embed(sound[None], HZ)[0] for sound in originals]
    ratios = [10 * math.log10(float(np.sum(a * a) / np.sum((a - b) ** 2))) for a, b in zip(originals, marked)]
    result["snr_db"] = {"mean": float(np.mean(ratios)), "smallest": min(ratios)}
    result["attacks"] = attacked(marked, ATTACKS, lambda sound: mark.detect(sound[None], HZ, RATE))
    other = WaveformSpectrum(key(99), 1.0)
    result["another key"] = row([other.detect(sound[None], HZ, RATE) for sound in marked])
    lengths = {f"{s} s": lambda sound, s=s: sound[: s * HZ] for s in (1, 2, 5)}
    result["lengths"] = attacked(marked, lengths, lambda sound: mark.detect(sound[None], HZ, RATE))
    record("sounds", result, started)


if __name__ == "__main__":
    main()
