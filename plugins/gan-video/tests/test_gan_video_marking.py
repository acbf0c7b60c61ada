"""The mark of films: found over all frames, in films, animations and strips."""

from __future__ import annotations

import numpy as np
import pytest
from gan.source import SourceFile
from gan_video.marking import VideoMark
from gan_video.modality import VideoConfig, VideoModality, VideoOptions

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


def clip(side=96):
    """``(4, 3, side, side)``: a smooth texture that drifts."""
    rng = np.random.default_rng(0)
    frequencies = np.fft.fftfreq(side)
    size = np.hypot(frequencies[:, None], frequencies[None]) + 1 / side
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) / size).real
    frame = np.clip(128 + 45 * noise / noise.std(), 0, 255).astype(np.uint8)
    return np.stack([np.stack([np.roll(frame, 3 * t, 1)] * 3) for t in range(4)])


@pytest.mark.parametrize("kind", ["mp4", "strip"])
def test_a_marked_film_is_found(tmp_path, kind):
    modality = VideoModality(VideoConfig(resolution=96, frames=4))
    paths = []
    for mark in (None, VideoMark(KEY)):
        modality.mark = mark
        paths.append(modality.write({"video": clip()}, tmp_path / f"{mark is None}", VideoOptions(format=kind)))
    plain, marked = (SourceFile(path.name, path, None, path.stat().st_size) for path in paths)
    assert VideoMark(KEY).detect(marked).found
    assert not VideoMark(KEY).detect(plain).found
    assert not VideoMark(OTHER).detect(marked).found
