"""The preview image of text samples, for reports.

It depends on the fonts of the machine: where DejaVu, which is part of matplotlib, lacks characters of a line, an
installed font that has them is used; if there is none, the image says so. The HTML page of a run shows every script.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH = 960
MARGIN = 24
SIZE = 15
COLUMNS = 96
LINES = 6
"""Maximum number of lines per text."""
PAPER, INK, GREY = (253, 252, 248), (32, 32, 36), (150, 150, 158)
NO_FONT = "(no font here draws some of these characters; the run's page, page/index.html, shows them)"


def page(texts: Sequence[str]) -> Image.Image:
    """Draw the numbered and wrapped texts, at most `LINES` lines of each."""
    own = _own_font()
    blocks = [_wrapped(text) for text in texts]
    lost = {character for block in blocks for line in block for character in line} - _drawn_by(own)
    other = _font_for(frozenset(lost)) if lost else None
    if lost and other is None:
        blocks.append([NO_FONT])
    step = SIZE + 6
    height = 2 * MARGIN + sum(step * len(block) + step // 2 for block in blocks)
    picture = Image.new("RGB", (WIDTH, max(height, 3 * MARGIN)), PAPER)
    draw = ImageDraw.Draw(picture)
    plain = ImageFont.truetype(own, SIZE)
    top = MARGIN
    for number, block in enumerate(blocks, 1):
        if block[0] != NO_FONT:
            draw.text((MARGIN, top), f"{number:>2}", GREY, plain)
        for line in block:
            font = ImageFont.truetype(other, SIZE) if other is not None and lost & set(line) else plain
            draw.text((MARGIN + 36, top), line, INK, font)
            top += step
        top += step // 2
    return picture


def _wrapped(text: str) -> list[str]:
    lines: list[str] = []
    for line in text.split("\n"):
        shown = "".join(c if c.isprintable() else " " for c in line)
        # half as many columns for scripts with wide characters
        columns = COLUMNS if sum(ord(c) > 0x2E7F for c in shown) * 4 < len(shown) else COLUMNS // 2
        lines.extend(textwrap.wrap(shown, columns) or ([""] if lines and lines[-1] else []))
    shown_lines = lines[:LINES]
    if len(lines) > LINES:
        shown_lines[-1] = shown_lines[-1][: COLUMNS - 2] + " …"
    return shown_lines or ["(empty)"]


def _own_font() -> str:
    """The path of DejaVu Sans Mono, which is part of matplotlib."""
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf")


@lru_cache(maxsize=256)
def _drawn_by(path: str) -> frozenset[str]:
    """The characters that a font has glyphs for; empty if it cannot be read."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        with TTFont(path, fontNumber=0, lazy=True) as font:
            return frozenset(map(chr, font.getBestCmap() or ()))
    except (TTLibError, OSError, KeyError, AssertionError):
        return frozenset()


@lru_cache(maxsize=8)
def _font_for(characters: frozenset[str]) -> str | None:
    """The installed font that has most of `characters`, and at least half of them, or None."""
    from matplotlib.font_manager import findSystemFonts

    best, most = None, (len(characters) - 1) // 2
    for path in sorted(findSystemFonts()):
        drawn = len(characters & _drawn_by(path))
        if drawn > most:
            best, most = path, drawn
        if most == len(characters):
            break
    return best
