"""Generated samples that know how to show themselves: in a notebook, as a picture, as a file."""

from __future__ import annotations

import base64
import io
import mimetypes
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from gan.contracts import Modality, Sample, Samples
from gan.generation.chosen import Flags
from gan.source import SourceFile

if TYPE_CHECKING:
    from PIL import Image

    from gan.generation.model import Model

_TYPES = mimetypes.MimeTypes()
"""Python's built-in types only, so that the result does not depend on the machine."""
_LINK = re.compile(r'\b(src|href|poster)="([^":]+)"')


class GeneratedSample:
    """One generated sample. ``sample["image"]`` is the array of a field, ``sample.image`` its picture."""

    def __init__(self, model: Model, fields: Sample, chosen: Flags, facts: dict[str, Any]) -> None:
        self.fields = fields
        """Field name -> array ``(*shape)``."""
        self._model = model
        self._chosen = chosen
        self._facts = facts

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {values.shape}" for name, values in self.fields.items())
        return f"<{self._model.name}, seed {self._facts['seed']}, sample {self._facts['index']}: {shapes}>"

    @property
    def image(self) -> Image.Image:
        """A picture of the sample: the image itself, a piano roll, a spectrogram, a page of text."""
        return self._model.modality.picture(self.fields, self._chosen.output_options)

    def save(self, folder: str | Path, prefix: str = "sample") -> Path:
        """Write the sample as a file of its kind to `folder`, with the record of its origin; returns the path."""
        (path,) = self._model.write(
            {name: values[None] for name, values in self.fields.items()},
            Path(folder),
            prefix=prefix,
            first=self._facts["index"],
            options=self._chosen.output_options,
            seed=self._facts["seed"],
        )
        return path

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.image.save(content, "PNG")
        return content.getvalue()

    def _repr_html_(self) -> str:
        """The element that shows or plays the sample on a page, with everything that it needs inside."""
        with tempfile.TemporaryDirectory() as folder:
            path = self.save(folder)
            file = SourceFile(path.name, path, None, path.stat().st_size)
            html = self._model.modality.show(file, path.name, Path(folder))
            return _LINK.sub(lambda match: _inlined(match, Path(folder)), html) or f"<pre>{path.name}</pre>"


def _inlined(match: re.Match[str], folder: Path) -> str:
    """A link to a file in `folder` as a ``data:`` URL with its content."""
    path = folder / match[2]
    if not path.is_file():
        return match[0]
    kind = _TYPES.guess_type(path.name)[0] or "application/octet-stream"
    return f'{match[1]}="data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"'


class GeneratedSamples(Sequence[GeneratedSample]):
    """The samples of one call of `gan.generate`: a sequence that shows itself as a picture or as players."""

    def __init__(self, model: Model, samples: Samples, chosen: Flags, seed: int, first: int) -> None:
        self.fields = samples
        """Field name -> array ``(count, *shape)``."""
        self._model = model
        self._count = len(next(iter(samples.values()), ()))
        self._each = [
            GeneratedSample(
                model,
                {name: values[row] for name, values in samples.items()},
                chosen,
                {"seed": seed, "index": first + row},
            )
            for row in range(self._count)
        ]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> GeneratedSample: ...

    @overload
    def __getitem__(self, index: slice) -> list[GeneratedSample]: ...

    def __getitem__(self, index: int | slice) -> GeneratedSample | list[GeneratedSample]:
        return self._each[index]

    def __iter__(self) -> Iterator[GeneratedSample]:
        return iter(self._each)

    @property
    def modality(self) -> Modality:
        """The kind of data."""
        return self._model.modality

    @property
    def image(self) -> Image.Image:
        """A picture of all samples."""
        return self._model.modality.preview(self.fields)

    def save(self, folder: str | Path, prefix: str = "sample") -> list[Path]:
        """Write every sample to a file in `folder`; returns their paths."""
        return [sample.save(folder, prefix) for sample in self._each]

    def __repr__(self) -> str:
        return f"<{self._count} samples of {self._model.name}>"

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.image.save(content, "PNG")
        return content.getvalue()

    def _repr_html_(self) -> str:
        return "".join(f"<figure>{sample._repr_html_()}</figure>" for sample in self._each)
