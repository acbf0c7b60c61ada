"""A phrase on a page: a piano roll that moves in the recipe's tempo, a player, and a line of statistics."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.errors import BadData
from gan.source import SourceFile

from gan_music.audio import render
from gan_music.metrics import statistics
from gan_music.picture import animate

if TYPE_CHECKING:
    from gan_music.modality import Music


def player(file: SourceFile, folder: Path, music: Music) -> str:
    """HTML for one MIDI file; its sound is rendered into `folder`. A file without a phrase is only played."""
    sound = render(file.data(), folder / f"{Path(file.name).stem}.ogg")
    audio = f'<audio controls preload="none" src="{html.escape(sound.name)}"></audio>'
    try:
        roll = next(iter(music.read(file)))["roll"]
    except BadData as error:
        return f"{audio}<small>{html.escape(error.reason)}</small>"
    picture = io.BytesIO()
    frames = animate(roll, music.tracks, round(roll.shape[1] * music.steps / music.config.steps_per_beat))
    beat = round(60_000 / music.config.tempo)  # milliseconds
    frames[0].save(picture, "GIF", save_all=True, append_images=frames[1:], duration=beat, loop=0)
    encoded = base64.b64encode(picture.getvalue()).decode()
    return (
        f'<img alt="piano roll" src="data:image/gif;base64,{encoded}">{audio}'
        f"<small>{html.escape(_facts(roll, music))}</small>"
    )


def _facts(roll: np.ndarray[Any, Any], music: Music) -> str:
    values = statistics(roll[None], music)
    named = (("notes-per-bar", "notes a bar", 1), ("scale-consistency", "in one scale", 2))
    return ", ".join(f"{values[key][0]:.{digits}f} {words}" for key, words, digits in named)
