"""Downloads are refused until their checks exist."""

from __future__ import annotations

from pathlib import Path

from gan.errors import UsageError


class Downloader:
    """Fetches files into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, url: str, *, sha256: str, size: int) -> Path:
        """Refuses."""
        raise UsageError(f"cannot fetch {url}")
