"""The mark of sounds through files of every format."""

from __future__ import annotations

import numpy as np
import pytest
from gan.source import SourceFile
from gan_audio.marking import AudioMark
from gan_audio.modality import Audio, AudioConfig, AudioOptions

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_a_marked_sound_is_found_in_its_file(tmp_path, kind):
    rng = np.random.default_rng(0)
    modality = Audio(AudioConfig(rate=16_000, seconds=6, normalize="none"))
    sound = (3000 * rng.standard_normal((1, 96_000))).astype(np.int16)
    paths = []
    for mark in (None, AudioMark(KEY)):
        modality.mark = mark
        paths.append(modality.write({"sound": sound}, tmp_path / f"{mark is None}", AudioOptions(format=kind)))
    plain, marked = (SourceFile(path.name, path, None, path.stat().st_size) for path in paths)
    assert AudioMark(KEY).detect(marked).found
    assert not AudioMark(KEY).detect(plain).found
    assert not AudioMark(OTHER).detect(marked).found
