"""Named text datasets: the language reference that comes with Python."""

from __future__ import annotations

from pathlib import Path

from gan.contracts import Download


def python_reference(folder: Path, download: Download) -> None:
    """Write the topics of Python's language reference (`pydoc_data.topics`), one file per first letter.

    Topics are concatenated because some are shorter than a sample.
    """
    from itertools import groupby
    from pydoc_data.topics import topics

    for letter, names in groupby(sorted(topics, key=str.lower), key=lambda name: name[0].lower()):
        text = "\n\n\n".join(topics[name].strip() for name in names) + "\n"
        (folder / f"{letter}.txt").write_text(text, encoding="utf-8", newline="\n")
