"""A page to listen to: ``python -m gan_music.page runs/music-musegan-0001/samples`` writes ``index.html`` into the
folder.

Every MIDI file of the folder gets a piano roll that moves in the recipe's tempo, a player (OGG beside the page) and a
line of statistics. The page needs no network and no other file than those beside it.
"""

from __future__ import annotations

import base64
import html
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from gan.errors import BadData, GanError, UsageError
from gan.source import list_source

from gan_music.audio import render
from gan_music.metrics import statistics
from gan_music.modality import Music, MusicConfig, quarters
from gan_music.picture import animate

STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "figure{margin:2em 0}img{max-width:100%}audio{width:100%}figcaption{color:#555}"
)


def write_page(folder: Path, config: MusicConfig | None = None) -> Path:
    """Render the MIDI files of `folder` and write its ``index.html``.

    `config` is the recipe's section `modality`; without one it is read from the run that the folder belongs to, else
    the
    modality's defaults hold. Raises `UsageError` where there is no MIDI file.
    """
    music = Music(config or _config_of(folder))
    files = [f for f in list_source(folder, (".mid",)).files if f.member is None and "/" not in f.name]
    if not files:
        raise UsageError(f"{folder} holds no MIDI files; make some with: gan generate RUN --out {folder}")
    parts = []
    for file in files:
        sound = render(file.data(), folder / (Path(file.name).stem + ".ogg"))
        try:
            roll = next(iter(music.read(file)))["roll"]
        except BadData as error:
            parts.append(_figure(file.name, sound.name, "", error.reason))
            continue
        picture = io.BytesIO()
        frames = animate(roll, music.tracks, round(roll.shape[1] * quarters(music.meter)))
        beat = round(60_000 / music.config.tempo)  # milliseconds
        frames[0].save(picture, "GIF", save_all=True, append_images=frames[1:], duration=beat, loop=0)
        parts.append(_figure(file.name, sound.name, base64.b64encode(picture.getvalue()).decode(), _facts(roll, music)))
    page = folder / "index.html"
    title = html.escape(folder.resolve().parent.name)
    page.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
        f"<h1>{title}</h1><p>Made by a neural network.</p>{''.join(parts)}</html>\n",
        encoding="utf-8",
    )
    return page


def _figure(name: str, sound: str, picture: str, text: str) -> str:
    image = f'<img alt="piano roll" src="data:image/gif;base64,{picture}">' if picture else ""
    shown = html.escape(name)
    return (
        f'<figure>{image}<audio controls preload=none src="{html.escape(sound)}"></audio>'
        f'<figcaption><a href="{shown}">{shown}</a> {html.escape(text)}</figcaption></figure>'
    )


def _facts(roll: np.ndarray[Any, Any], music: Music) -> str:
    values = statistics(roll[None], music)
    named = (("notes-per-bar", "notes a bar", 1), ("scale-consistency", "in one scale", 2))
    return ", ".join(f"{values[key][0]:.{digits}f} {words}" for key, words, digits in named)


def _config_of(folder: Path) -> MusicConfig:
    from gan.recipe import read_values

    for above in folder.resolve().parents[:3]:
        if (above / "recipe.yaml").is_file():
            return MusicConfig(**read_values(above / "recipe.yaml").get("modality", {}))
    return MusicConfig()


def main(arguments: list[str]) -> int:
    """``python -m gan_music.page FOLDER``."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m gan_music.page FOLDER_OF_MIDI_FILES")
        return 2
    try:
        print(write_page(Path(arguments[0])))
    except GanError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
