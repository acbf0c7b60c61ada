"""A page of text as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH = 960
MARGIN = 24
SIZE = 15
COLUMNS = 96
LINES = 6
"""Most lines that one text gets."""
PAPER, INK, GREY = (253, 252, 248), (32, 32, 36), (150, 150, 158)


def page(texts: Sequence[str]) -> Image.Image:
    """Each text after its number, wrapped, at most `LINES` lines of it."""
    font = _font()
    blocks = [_wrapped(text) for text in texts]
    step = SIZE + 6
    height = 2 * MARGIN + sum(step * len(block) + step // 2 for block in blocks)
    picture = Image.new("RGB", (WIDTH, max(height, 3 * MARGIN)), PAPER)
    draw = ImageDraw.Draw(picture)
    top = MARGIN
    for number, block in enumerate(blocks, 1):
        draw.text((MARGIN, top), f"{number:>2}", GREY, font)
        for line in block:
            draw.text((MARGIN + 36, top), line, INK, font)
            top += step
        top += step // 2
    return picture


def _wrapped(text: str) -> list[str]:
    lines: list[str] = []
    for line in text.split("\n"):
        shown = "".join(c if c.isprintable() else " " for c in line)
        # a script without blanks and with wide characters fits half as many
        columns = COLUMNS if sum(ord(c) > 0x2E7F for c in shown) * 4 < len(shown) else COLUMNS // 2
        lines.extend(textwrap.wrap(shown, columns) or ([""] if lines and lines[-1] else []))
    shown_lines = lines[:LINES]
    if len(lines) > LINES:
        shown_lines[-1] = shown_lines[-1][: COLUMNS - 2] + " …"
    return shown_lines or ["(empty)"]


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans Mono, which matplotlib brings along."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"
    return ImageFont.truetype(str(path), SIZE) if path.is_file() else ImageFont.load_default(SIZE)
