"""Pictures of many samples: contact sheets in rows, and films as GIF, WebP or MP4."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan.errors import UsageError
from gan.storage.durable import write_bytes

if TYPE_CHECKING:
    from PIL import Image

    from gan.contracts import Modality, Samples

SMALLEST = 64
"""Pictures with a shorter longer side are enlarged by a whole factor, without interpolation."""
GAP = 2
BACKGROUND = (32, 32, 32)
SUFFIXES = (".gif", ".webp", ".mp4")


def pictures_of(modality: Modality, samples: Samples, options: Any = None) -> list[Image.Image]:
    """A picture of each sample, all of one size, in RGB."""
    from PIL import Image

    count = len(next(iter(samples.values())))
    found = [modality.picture({n: v[index] for n, v in samples.items()}, options) for index in range(count)]
    scale = max(1, math.ceil(SMALLEST / max(found[0].size)))
    size = (found[0].width * scale, found[0].height * scale)
    flat = []
    for picture in found:
        if picture.mode == "RGBA":
            ground = Image.new("RGBA", picture.size, (255, 255, 255, 255))
            picture = Image.alpha_composite(ground, picture)
        picture = picture.convert("RGB")
        flat.append(picture if picture.size == size else picture.resize(size, Image.Resampling.NEAREST))
    return flat


def sheet(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Pictures of one size in rows of `columns`."""
    from PIL import Image

    width, height = pictures[0].width + GAP, pictures[0].height + GAP
    rows = math.ceil(len(pictures) / columns)
    whole = Image.new("RGB", (columns * width + GAP, rows * height + GAP), BACKGROUND)
    for index, picture in enumerate(pictures):
        whole.paste(picture, (GAP + index % columns * width, GAP + index // columns * height))
    return whole


def save_sheet(pictures: Sequence[Image.Image], columns: int, path: Path) -> Path:
    """Write `sheet` as a PNG file."""
    content = io.BytesIO()
    sheet(pictures, columns).save(content, format="PNG")
    return _written(content, path)


def _written(content: io.BytesIO, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content.getvalue())
    return path


def check_film(path: Path) -> None:
    """Raise `UsageError` for a film that cannot be written: another ending, or no PyAV for MP4."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"--film {path}: a film ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if suffix == ".mp4":
        _av()


def save_film(frames: Sequence[Image.Image], path: Path, *, rate: float) -> Path:
    """Write frames of one size as a film of `rate` frames a second that repeats (an MP4 file does not say so).

    The same frames give the same bytes. Raises `UsageError` as `check_film`.
    """
    check_film(path)
    content = io.BytesIO()
    if path.suffix.lower() == ".mp4":
        _save_mp4(frames, content, rate)
    else:
        _save_animation(frames, content, path.suffix.lower(), rate)
    return _written(content, path)


def _save_animation(frames: Sequence[Image.Image], content: io.BytesIO, suffix: str, rate: float) -> None:
    from PIL import Image

    unit = 10 if suffix == ".gif" else 1  # GIF counts hundredths of a second
    ends = [round((number + 1) * 1000 / rate / unit) * unit for number in range(len(frames))]
    durations = [max(unit, end - start) for start, end in zip([0, *ends], ends, strict=False)]
    more: dict[str, Any] = {"method": 4, "quality": 90, "minimize_size": False}
    if suffix == ".gif":
        frames = [frame.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE) for frame in frames]
        more = {"optimize": False, "disposal": 1}
    first, *rest = frames
    first.save(
        content, format=suffix[1:].upper(), save_all=True, append_images=rest, duration=durations, loop=0, **more
    )


def _save_mp4(frames: Iterable[Image.Image], content: io.BytesIO, rate: float) -> None:
    av = _av()
    with av.open(content, "w", format="mp4") as container:
        stream = None
        for frame in frames:
            even = (frame.width // 2 * 2, frame.height // 2 * 2)  # YUV 4:2:0 halves both sides
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
                stream.width, stream.height = even
                stream.pix_fmt, stream.options = "yuv420p", {"crf": "16"}
                stream.codec_context.thread_count = 1
            for packet in stream.encode(av.VideoFrame.from_image(frame.crop((0, 0, *even)))):
                container.mux(packet)
        if stream is not None:
            for packet in stream.encode():
                container.mux(packet)


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise UsageError("an MP4 film needs PyAV: pip install av; GIF and WebP films need nothing more") from None
    return av
