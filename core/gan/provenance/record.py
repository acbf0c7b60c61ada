"""The record of a generated file: what is stated about it, as canonical JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from gan.provenance.containers.raster import GENERATED
from gan.storage.regular import Broken, read_json
from gan.version import __version__

SOFTWARE = f"gan-core {__version__}"
"""Name and version of what writes records."""
_SHOWN = (
    ("model", "{}"), ("plugin", "of {}"), ("generator", "with {}"), ("weights", "weights {:.16}…"), ("seed", "seed {}"),
    ("index", "index {}"), ("inputs", "from {}"), ("mark", "marked: {}"), ("date", "on {}"),
)  # fmt: skip


def canonical(value: Any) -> str:
    """JSON with sorted keys, without blanks, in ASCII: equal values give equal text (cf. RFC 8785).

    Numbers are integers or short decimals here, so that the spelling of floating-point numbers does not matter.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def record_of(origin: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The record of one file: `origin` is what made it (model, weights, recipe), `facts` what is its own (seed, index,
    inputs). Nothing depends on the clock, the machine or the place of a file."""
    return {"digitalSourceType": GENERATED, "generator": SOFTWARE, **origin, **facts}


def parse_record(text: str) -> dict[str, Any]:
    """The record in a text from a file, which may be anything. Raises `Broken`."""
    found = read_json(text.encode("utf-8", "surrogatepass"), "its record")
    stated = ("digitalSourceType", "generator")
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in stated):
        raise Broken("its record is no record of generated media")
    return found


def in_words(record: Mapping[str, Any]) -> str:
    """A record in one line, for people. Values come from foreign files and are shortened."""
    parts = []
    for name, form in _SHOWN:
        if name in record:
            value = record[name]
            value = f"{len(value)} input files" if name == "inputs" and isinstance(value, list) else str(value)
            parts.append(form.format(re.sub(r"[^\x20-\x7e]", "?", value)[:100]))
    return ", ".join(parts)
