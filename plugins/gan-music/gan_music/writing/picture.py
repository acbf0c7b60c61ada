"""Draws piano rolls as pictures and animations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from gan_music import rolls
from gan_music.tracks import Track

COLOURS = (
    (31, 119, 180), (214, 39, 40), (44, 160, 44), (255, 127, 14), (148, 103, 189), (140, 86, 75), (23, 190, 207), (227,
    119, 194),
)  # fmt: skip
"""Colors of the tracks in their order; more tracks start again with the first."""
WIDTH = 480
"""Minimum width of one roll in pixels."""


def draw(batch: np.ndarray[Any, Any], tracks: Sequence[Track], columns: int = 2) -> Image.Image:
    """``batch (N, track, bar, step, pitch)`` -> one picture with `columns` rolls per row and a legend on top.

    All rolls show the pitches from the lowest to the highest that any of them uses, and at least two octaves.
    """
    count, _, bars, steps, _ = batch.shape
    across = max(1, round(WIDTH / (bars * steps)))
    low, high = _range(batch, tracks)
    drum_rows = [index for index, track in enumerate(tracks) if track.drums]
    height = (high - low) * 4 + (26 if drum_rows else 0)
    width = bars * steps * across
    columns = min(columns, count)
    grid_rows = -(-count // columns)
    sheet = Image.new("RGB", (columns * (width + 12) + 12, grid_rows * (height + 12) + 34), "white")
    pen = ImageDraw.Draw(sheet)
    left = 12
    for index, track in enumerate(tracks):
        pen.rectangle((left, 9, left + 12, 21), fill=COLOURS[index % len(COLOURS)])
        pen.text((left + 17, 9), track.name, fill="black")
        left += 30 + int(pen.textlength(track.name))
    for number, roll in enumerate(batch):
        corner = (12 + number % columns * (width + 12), 30 + number // columns * (height + 12))
        sheet.paste(_one(roll, tracks, low, high, across, height), corner)
    return sheet


def animate(roll: np.ndarray[Any, Any], tracks: Sequence[Track], beats: int) -> list[Image.Image]:
    """``roll (track, bar, step, pitch)`` -> one frame for each of `beats` beats of the phrase.

    A line marks the current beat, and later beats are pale.
    """
    whole = draw(roll[None], tracks, 1)
    top, left, right = 30, 12, whole.width - 12
    pale = Image.blend(whole, Image.new("RGB", whole.size, "white"), 0.75)
    frames = []
    for beat in range(beats):
        here = left + (right - left) * beat // beats
        until = left + (right - left) * (beat + 1) // beats
        frame = pale.copy()
        frame.paste(whole.crop((0, 0, whole.width, top)), (0, 0))
        frame.paste(whole.crop((left, top, until, whole.height)), (left, top))
        ImageDraw.Draw(frame).line((here, top, here, whole.height - 12), fill="black")
        frames.append(frame)
    return frames


def _range(batch: np.ndarray[Any, Any], tracks: Sequence[Track]) -> tuple[int, int]:
    """The range of rows to show: from the lowest that a pitched track uses to after the highest."""
    pitched = [index for index, track in enumerate(tracks) if not track.drums]
    used = np.nonzero(batch[:, pitched].any(axis=(0, 1, 2, 3)))[0] if pitched else np.zeros(0, int)
    low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 24)
    spare = max(0, 24 - (high - low))
    low = max(0, low - 2 - spare // 2)
    return low, min(batch.shape[-1], max(high + 2, low + 24))


def _one(
    roll: np.ndarray[Any, Any], tracks: Sequence[Track], low: int, high: int, across: int, height: int
) -> Image.Image:
    bars, steps = roll.shape[1:3]
    picture = np.full((height, bars * steps * across, 3), 250, np.uint8)
    picture[:, :: steps * across] = 150  # bar lines
    for index, track in enumerate(tracks):
        line = roll[index].reshape(bars * steps, -1)
        starts = rolls.onsets(roll[index]).reshape(line.shape)
        if track.drums:
            down = 22 - 20 * np.arange(line.shape[1]) // max(line.shape[1] - 1, 1)
            for step, row in zip(*np.nonzero(line)):
                top = (high - low) * 4 + int(down[row])
                picture[top : top + 2, step * across : step * across + max(across - 1, 2)] = COLOURS[
                    index % len(COLOURS)
                ]
            continue
        for step, row in zip(*np.nonzero(line[:, low:high])):
            top = (high - low - 1 - row) * 4
            begin = step * across + (1 if starts[step, row + low] else 0)  # a gap where a note begins
            picture[top : top + 3, begin : (step + 1) * across] = COLOURS[index % len(COLOURS)]
    if any(track.drums for track in tracks):
        picture[(high - low) * 4, :] = 200
    return Image.fromarray(picture)
