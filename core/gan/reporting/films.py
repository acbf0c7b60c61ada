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
FRAMES, SIDE, FILM_BYTES = 100, 640, 8 << 20
"""Most frames, longest side in pixels and largest size of the film of a training."""


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


def film_of(paths: Sequence[Path]) -> bytes | None:
    """A GIF film of pictures on the disk, in their order, for a training that is looked back at; None for fewer than
    two.

    At most `FRAMES` of them are shown, evenly spread and with the first and the last one, which stays for a second.
    Sides are at most `SIDE` pixels and the film has at most `FILM_BYTES`: else it is made smaller. Pictures that
    cannot be read are left out. The same pictures give the same bytes.
    """
    from PIL import Image, UnidentifiedImageError

    count = min(len(paths), FRAMES)
    chosen = [paths[round(index * (len(paths) - 1) / max(1, count - 1))] for index in range(count)]
    frames = []
    for path in chosen:
        try:
            with Image.open(path) as picture:
                frames.append(picture.convert("RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
            continue
    if len(frames) < 2:
        return None
    size = tuple(max(frame.size[axis] for frame in frames) for axis in (0, 1))
    scale = min(1.0, SIDE / max(size))
    rate = min(12.0, max(2.0, len(frames) / 8))
    while True:
        whole = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        shown = [_fitted(frame, scale, whole) for frame in frames]
        content = io.BytesIO()
        _save_animation([*shown, *[shown[-1]] * round(rate)], content, ".gif", rate)
        if content.tell() <= FILM_BYTES or max(whole) < SMALLEST:
            return content.getvalue()
        scale *= 0.7


def _fitted(frame: Image.Image, scale: float, size: tuple[int, int]) -> Image.Image:
    """A frame in its scale, in the corner of a frame of `size`."""
    from PIL import Image

    if scale < 1:
        inner = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
        frame = frame.resize(inner, Image.Resampling.LANCZOS)
    if frame.size == size:
        return frame
    ground = Image.new("RGB", size, BACKGROUND)
    ground.paste(frame, (0, 0))
    return ground


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
