"""The record of a run: what ran on what, and how it ended."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def manifest_start(**record: Any) -> dict[str, Any]:
    """The record at the start of a run."""
    versions = {name: version(name) for name in ("torch", "numpy")}
    return {**record, "python": platform.python_version(), "versions": versions, "arguments": sys.argv[1:]}


def manifest_end(manifest: Path, reason: str, samples: int) -> dict[str, Any]:
    """The record completed with how the run ended."""
    return {**json.loads(manifest.read_text(encoding="utf-8")), "ended": reason, "samples": samples}
