"""Pictures of sounds: the waveform above the mel spectrogram of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gan_audio.spectra import log_mel

WIDTH, WAVE, BANDS = 208, 48, 64
"""Pixels of a tile: its width, and the heights of waveform and spectrogram."""
GAP, CAPTION = 4, 12
RANGE = math.log(10) * 80 / 20
"""Decibels that the colours of a spectrogram span below its loudest value: 80."""
PAPER, INK = (18, 18, 24), (120, 200, 255)
_COLOURS = (
    (0, 0, 4),
    (40, 11, 84),
    (101, 21, 110),
    (159, 42, 99),
    (212, 72, 66),
    (245, 125, 21),
    (250, 193, 39),
    (252, 255, 164),
)
"""From quiet to loud."""


def sheet(sounds: NDArray[np.int16], rate: int, captions: Sequence[str] = ()) -> Image.Image:
    """``(N, channels, samples)`` int16 as a sheet of tiles, up to four in a row."""
    tiles = [tile(sound, rate) for sound in sounds]
    columns = max(1, min(4, math.ceil(math.sqrt(len(tiles)))))
    height = tiles[0].height + (CAPTION if captions else 0)
    rows = math.ceil(len(tiles) / columns)
    whole = Image.new("RGB", (columns * (WIDTH + GAP) + GAP, rows * (height + GAP) + GAP), (48, 48, 56))
    draw = ImageDraw.Draw(whole)
    for index, picture in enumerate(tiles):
        x, y = GAP + index % columns * (WIDTH + GAP), GAP + index // columns * (height + GAP)
        whole.paste(picture, (x, y))
        if captions:
            draw.text((x + 2, y + picture.height), captions[index], fill=(230, 230, 230))
    return whole


def tile(sound: NDArray[np.int16], rate: int) -> Image.Image:
    """``(channels, samples)``: the waveform of the channels' mean, and its mel spectrogram with low tones below."""
    wave = sound.mean(0) / 32768
    picture = Image.new("RGB", (WIDTH, WAVE + BANDS), PAPER)
    draw = ImageDraw.Draw(picture)
    edges = np.linspace(0, len(wave), WIDTH + 1).astype(int)
    for x, (start, end) in enumerate(pairwise(edges.tolist())):
        part = wave[start : max(end, start + 1)]
        top, bottom = (WAVE / 2 * (1 - value) for value in (part.max(initial=0), part.min(initial=0)))
        draw.line((x, round(top), x, min(WAVE - 1, round(bottom))), fill=INK)
    hop = max(1, len(wave) // WIDTH)
    mels = log_mel(wave[None].astype(np.float32), rate, window=_window(rate), hop=hop, bands=BANDS)[0]
    shares = np.clip(1 + (mels - mels.max()) / RANGE, 0, 1)[::-1]
    if mels.max() <= mels.min():
        shares = np.zeros_like(shares)
    anchors = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(shares, anchors, [c[i] for c in _COLOURS]) for i in range(3)], 2)
    spectrogram = Image.fromarray(np.rint(colours).astype(np.uint8)).resize((WIDTH, BANDS), Image.Resampling.BILINEAR)
    picture.paste(spectrogram, (0, WAVE))
    return picture


def _window(rate: int) -> int:
    """About 50 ms, a power of two: 64 bands at 16 kHz then have a bin each, except the lowest."""
    return 1 << max(6, round(math.log2(0.05 * rate)))
