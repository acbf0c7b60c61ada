"""HTML of a phrase for a report page: an animated piano roll, an audio player, and a line of statistics."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.errors import BadData

from gan_music.grid import Grid
from gan_music.metrics.statistics import statistics
from gan_music.rolls import joined
from gan_music.writing.audio import render
from gan_music.writing.picture import animate

if TYPE_CHECKING:
    from gan.contracts import Sample
    from gan.source import SourceFile


def player(
    file: SourceFile, folder: Path, grid: Grid, tempo: float, read: Callable[[SourceFile], Iterator[Sample]]
) -> str:
    """HTML for one MIDI file; its audio is rendered into `folder`.

    `read` gives the phrases of a file. A file without a phrase gets only the audio player and the reason.
    """
    sound = render(file.data(), folder / f"{Path(file.name).stem}.ogg")
    audio = f'<audio controls preload="none" src="{html.escape(sound.name)}"></audio>'
    try:
        roll = joined(next(read(file)))
    except BadData as error:
        return f"{audio}<small>{html.escape(error.reason)}</small>"
    picture = io.BytesIO()
    frames = animate(roll, grid.tracks, round(roll.shape[1] * grid.steps / grid.steps_per_beat))
    beat = round(60_000 / tempo)  # milliseconds
    frames[0].save(picture, "GIF", save_all=True, append_images=frames[1:], duration=beat, loop=0)
    encoded = base64.b64encode(picture.getvalue()).decode()
    return (
        f'<img alt="piano roll" src="data:image/gif;base64,{encoded}">{audio}'
        f"<small>{html.escape(_facts(roll, grid))}</small>"
    )


def _facts(roll: np.ndarray[Any, Any], grid: Grid) -> str:
    values = statistics(roll[None], grid)
    named = (("notes-per-bar", "notes a bar", 1), ("scale-consistency", "in one scale", 2))
    return ", ".join(f"{values[key][0]:.{digits}f} {words}" for key, words, digits in named)
