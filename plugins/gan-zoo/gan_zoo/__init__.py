"""Small trained models: ``gan zoo`` lists them, ``gan demo`` shows them, ``gan generate zoo:chorales`` uses one.

Each was trained by a recipe of this repository on data whose licence allows it; ``python -m gan_zoo.make NAME`` makes
it again. A model is a folder in ``models`` that ``gan zoo pack`` has written.
"""

from __future__ import annotations

from collections.abc import Iterator

from gan.contracts import ModelEntry
from gan.hookspecs import hookimpl


@hookimpl
def gan_models() -> Iterator[ModelEntry]:
    """One model for each kind of data."""
    for name, plugin, summary, licence in (
        (
            "chorales",
            "music",
            "four-part phrases in the manner of Bach's chorales",
            "MIT; trained on chorales of J. S. Bach (public domain), as encoded in music21 (BSD)",
        ),
        (
            "digits",
            "image",
            "handwritten digits",
            "CC BY 4.0; trained on Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, UCI, 1998)",
        ),
        ("furniture", "3d", "chairs, lamps, shelves and tables", "MIT; trained on shapes that gan-3d draws"),
        ("motions", "video", "coloured shapes that move, grow or turn", "MIT; trained on clips that gan-video draws"),
        (
            "percussion",
            "audio",
            "bells, claps, hats, kicks, snares, toms",
            "MIT; trained on sounds that gan-audio makes",
        ),
        (
            "reference",
            "text",
            "passages in the manner of Python's language reference",
            "PSF-2.0; trained on The Python Language Reference, copyright Python Software Foundation",
        ),
    ):
        yield ModelEntry(
            name=name,
            summary=summary,
            target=f"gan_zoo:models/{name}",
            plugin=plugin,
            licence=licence,
            command=f"python -m gan_zoo.make {name}",
        )
