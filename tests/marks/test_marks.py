"""The arithmetic of marks: found with the key, at any offset, and with no other key; statistics as promised."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from gan.contracts import Detection, tail
from gan.contracts.marks import SIGNS
from gan.marks import PixelSpectrum, WaveformSpectrum, chips
from gan.marks.pixels import BASIS, luminance
from PIL import Image

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
RATE = 1e-6


def scene(seed=0, side=144):
    """Smooth noise with about the spectrum of photographs."""
    rng = np.random.default_rng(seed)
    frequencies = np.fft.fftfreq(side)
    size = np.hypot(frequencies[:, None], frequencies[None]) + 1 / side
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((3, side, side))) / size).real
    noise = 128 + 45 * noise / noise.std((1, 2), keepdims=True)
    return np.clip(noise.transpose(1, 2, 0), 0, 255).astype(np.uint8)


def tone(seed=0, seconds=6, rate=22_050):
    """``(2, samples)``: a chord with noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(seconds * rate) / rate
    waves = sum(np.sin(2 * np.pi * f * time + rng.random()) for f in (220, 331, 1760, 2500, 3100))
    return (0.1 * np.stack([waves, waves]) + 0.02 * rng.standard_normal((2, len(time)))).astype(np.float32)


def test_chips_depend_on_key_and_purpose_alone():
    one = chips(KEY, "a", (100, 100))
    assert set(np.unique(one)) == {-1.0, 1.0}
    assert abs(one.mean()) < 0.05
    assert np.array_equal(one, chips(KEY, "a", (100, 100)))
    assert abs((one * chips(OTHER, "a", (100, 100))).mean()) < 0.05
    assert abs((one * chips(KEY, "b", (100, 100))).mean()) < 0.05


def test_a_detection_bounds_its_p_value_over_all_tries():
    """With 100 tries, z = 5 at the best has p = 2 · 100 · c Q(5); without a search z = 5 has p = 2 · c Q(5)."""
    assert Detection.of(0.0, 5.0, 100, RATE).p_value == pytest.approx(200 * SIGNS * tail(5.0))
    assert Detection.of(5.0, 5.0, 100, RATE).p_value == pytest.approx(2 * SIGNS * tail(5.0))
    assert tail(1.959964) == pytest.approx(0.025, abs=1e-7)
    assert not Detection(9.0, 1e-30, RATE, None, "too short").found


@pytest.mark.rule("V6")
def test_the_bound_holds_for_any_numbers_and_is_reached_by_two():
    """All 2^n signs: the sum of two equal numbers exceeds every z below √2 with a quarter, the constant's own case."""
    assert pytest.approx(3.178, abs=1e-3) == SIGNS
    assert SIGNS * tail(math.sqrt(2)) == pytest.approx(0.25)
    for numbers in ([1.0], [1, 1], [3, 1, 1], [1] * 12, [2.0**-n for n in range(12)]):
        signs = np.array(list(itertools.product((-1, 1), repeat=len(numbers))))
        sums = signs @ np.array(numbers) / np.linalg.norm(numbers)
        for z in np.linspace(0, 4, 41):
            assert np.mean(sums >= z + 1e-9) <= SIGNS * tail(z) + 1e-12


def test_the_basis_is_orthonormal_and_luminance_ignores_alpha():
    assert np.allclose(BASIS @ BASIS.T, np.eye(8), atol=1e-6)
    pixels = scene()
    alpha = np.concatenate([pixels, np.zeros_like(pixels[..., :1])], 2)
    assert np.array_equal(luminance(pixels), luminance(alpha))
    marked = PixelSpectrum(KEY, 2.5).embed(alpha)
    assert not marked[..., 3].any()
    assert np.array_equal(marked[..., :3], PixelSpectrum(KEY, 2.5).embed(pixels))


def test_a_mark_of_pixels_is_found_at_any_offset_and_scale_and_with_no_other_key():
    pixels = scene()
    marked = PixelSpectrum(KEY, 2.5).embed(pixels)
    error = np.mean((marked.astype(float) - pixels) ** 2)
    assert 10 * np.log10(255**2 / error) > 38
    detector = PixelSpectrum(KEY, 1.0)  # the strength is not needed to find it
    works = {
        "as it is": marked,
        "cropped": marked[13:, 21:-5],
        "doubled": np.asarray(Image.fromarray(marked).resize((288, 288), Image.Resampling.BICUBIC)),
        "grey": np.asarray(Image.fromarray(marked).convert("L")),
    }
    for name, work in works.items():
        assert detector.detect([work], RATE).found, name
    assert not detector.detect([pixels], RATE).found
    assert not PixelSpectrum(OTHER, 1.0).detect([marked], RATE).found
    assert "too small" in detector.detect([marked[:31]], RATE).note


def test_frames_give_evidence_together():
    """Each frame alone is too weak, all together are not."""
    mark = PixelSpectrum(KEY, 0.5)
    frames = [scene(seed, 96) for seed in range(12)]
    marked = [mark.embed(frame) for frame in frames]
    alone, together = mark.detect(marked[:1], RATE), mark.detect(marked, RATE)
    assert together.z > 1.5 * alone.z
    assert together.found


def drawing(side=256, height=48):
    """A flat ground with the same few hard shapes every 64 pixels, ``(height, side)``."""
    tile = np.full((64, 64), 230, np.uint8)
    tile[10:30, 8:40] = 20
    tile[24:60, 30:33] = 120
    return np.tile(tile, (1, side // 64))[:height]


@pytest.mark.rule("V6")
def test_p_values_of_unmarked_drawings_are_honest():
    """Over 30 keys the aligned z of a drawing that repeats itself has deviation 1, and few p-values are small."""
    found = [PixelSpectrum(n.to_bytes(32, "big"), 1.0).detect([drawing()], RATE) for n in range(30)]
    assert 0.7 < np.sqrt(np.mean([one.aligned**2 for one in found])) < 1.3
    assert np.mean([one.p_value <= 0.05 for one in found]) <= 0.05


@pytest.mark.rule("V6")
def test_files_that_are_alike_give_no_evidence_together():
    """The evidence of copies is that of one file; that of different marked files adds up."""
    pixels = scene(side=64)
    for number in range(8):
        mark = PixelSpectrum(number.to_bytes(32, "big"), 1.0)
        one = mark.detect([pixels], RATE)
        z, p_value = Detection.together([one] * 50)
        assert abs(z) < 4.5
        assert p_value > RATE
    marked = [mark.detect([PixelSpectrum(mark._key, 2.5).embed(scene(seed, 64))], RATE) for seed in range(8)]
    z, p_value = Detection.together(marked)
    assert z > 1.5 * np.median([one.aligned for one in marked])
    assert p_value < RATE
    nothing = [Detection(0.0, 1.0, RATE, None, "too small")]
    assert Detection.together(nothing) == (0.0, 0.5)


def test_a_mark_of_sound_is_found_from_any_start_and_with_no_other_key():
    sound, rate = tone(), 22_050
    mark = WaveformSpectrum(KEY, 1.0)
    marked = mark.embed(sound, rate)
    assert marked.shape == sound.shape
    power = np.sum(sound**2) / np.sum((marked - sound) ** 2)
    assert 10 * np.log10(power) > 20
    for work in (marked, marked[:, 2 * rate + 777 :], 0.2 * marked):
        assert mark.detect(work, rate, RATE).found
    assert not mark.detect(sound, rate, RATE).found
    assert not WaveformSpectrum(OTHER, 1.0).detect(marked, rate, RATE).found
    assert "too short" in mark.detect(sound[:, :1000], rate, RATE).note
    assert mark.detect(np.zeros((1, rate * 2)), rate, RATE).note == "silent"


def test_unmarked_sounds_have_a_standard_normal_statistic():
    """Over 25 keys the aligned z of one sound has mean 0 ± 0.8 and deviation 1 ± 0.5."""
    sound = tone(1, 2, 16_000)
    z = np.array([WaveformSpectrum(n.to_bytes(32, "big"), 1.0).detect(sound, 16_000, RATE).aligned for n in range(25)])
    assert abs(z.mean()) < 0.8
    assert 0.5 < z.std() < 1.5
