"""Decoding of films, animated pictures, strips and folders of frames from untrusted bytes, and their encoding.

Frames are decoded one after another and converted at once, so that a film of any length needs the memory of one clip.
PyAV (the libraries of FFmpeg) decodes films, Pillow decodes pictures. Readers yield None for a frame that is not used,
which is neither converted nor, where it stands in a file of its own, decoded.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from gan.errors import BadData, GanError
from gan.source import Companion, SourceFile
from PIL import Image

FILMS = (".mp4", ".m4v", ".webm", ".mov", ".mkv", ".avi")
PICTURES = (".gif", ".png", ".apng", ".webp", ".jpg", ".jpeg")
MAX_FILM_BYTES = 4 << 30
"""Maximum size of a film on the disk; inside an archive the core's limit holds."""
MAX_PICTURE_BYTES = 100 << 20
"""Maximum size of an animated picture or a strip."""
MAX_PIXELS = 40_000_000
"""Maximum number of pixels of a frame or of a strip."""
MAX_FRAMES = 1_000_000
"""Maximum number of frames decoded of one file: nine hours at 30 frames a second."""
MAX_RATE = 1000.0
"""Maximum frames per second that are believed."""
FORMATS = ("PNG", "GIF", "WEBP", "JPEG")

Used = Callable[[int], bool]
"""Whether the frame of a number, from 0 on, is used."""


Scaled = Callable[[int, int], tuple[int, int]]
"""The size to which a frame of a width and a height may be scaled while it is converted."""


def every(index: int) -> bool:
    """All frames are used."""
    return True


def frames(file: SourceFile, used: Used = every, scaled: Scaled | None = None) -> Iterator[Image.Image | None]:
    """Yield the frames of a film or an animated picture as RGB or RGBA images. Raises `BadData` with the reason.

    Frames of films that are larger than `scaled` says come in that size: their pixels are averaged while they are
    converted, which costs less than both one behind the other.
    """
    found = 0
    for picture in _film_frames(file, used, scaled) if file.suffix in FILMS else _picture_frames(file, used):
        found += 1
        if found > MAX_FRAMES:
            raise BadData(f"more than {MAX_FRAMES:,} frames", file.name)
        yield picture
    if not found:
        raise BadData("holds no frame", file.name)


def _source(file: SourceFile) -> Any:
    if file.member is not None:
        return io.BytesIO(file.data())
    if file.size > MAX_FILM_BYTES:
        raise BadData(f"{file.size:,} bytes, more than the limit of {MAX_FILM_BYTES:,} for a film", file.name)
    return str(file.path)


def _film_frames(file: SourceFile, used: Used, scaled: Scaled | None) -> Iterator[Image.Image | None]:
    import av
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()  # one for all frames: it keeps its tables

    def picture_of(frame: Any) -> Image.Image:
        width, height = (frame.width, frame.height) if scaled is None else scaled(frame.width, frame.height)
        if width > frame.width or height > frame.height:
            width, height = frame.width, frame.height
        converted: Any = reformatter.reformat(frame, width, height, "rgb24", interpolation="AREA")
        found: Image.Image = converted.to_image()
        return found

    try:
        with av.open(_source(file), metadata_errors="ignore") as container:
            if not container.streams.video:
                raise BadData("holds no moving pictures", file.name)
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise BadData("cannot be decoded: its codec is not known", file.name)
            stream.thread_type = "NONE"
            _check_size(stream.codec_context.width, stream.codec_context.height, file.name)
            for index, frame in enumerate(container.decode(stream)):
                _check_size(frame.width, frame.height, file.name)
                yield picture_of(frame) if used(index) else None
    except (av.FFmpegError, ValueError, OSError, MemoryError) as error:
        raise BadData(f"cannot be decoded: {getattr(error, 'strerror', None) or error}", file.name) from error


def rate(file: SourceFile) -> float | None:
    """Frames per second that a file states, or None. Raises `BadData` for a file that cannot be opened."""
    if file.suffix in FILMS:
        import av

        try:
            with av.open(_source(file), metadata_errors="ignore") as container:
                stated = container.streams.video[0].average_rate if container.streams.video else None
        except (av.FFmpegError, ValueError, OSError) as error:
            raise BadData(f"cannot be opened: {getattr(error, 'strerror', None) or error}", file.name) from error
        found = float(stated) if stated else 0.0
    else:
        milliseconds = open_picture(file).info.get("duration")
        found = 1000.0 / float(milliseconds) if milliseconds else 0.0
    return found if 0 < found <= MAX_RATE else None


def open_picture(file: SourceFile) -> Image.Image:
    """Open an animated picture or a strip and read its header. Raises `BadData`."""
    if file.size > MAX_PICTURE_BYTES:
        raise BadData(f"{file.size:,} bytes, more than the limit of {MAX_PICTURE_BYTES:,} for a picture", file.name)
    data = file.data()
    try:
        picture: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:
        raise BadData("is not a PNG, GIF, WebP or JPEG picture", file.name) from error
    _check_size(*picture.size, file.name)
    return picture


def _picture_frames(file: SourceFile, used: Used) -> Iterator[Image.Image | None]:
    picture = open_picture(file)
    count = int(getattr(picture, "n_frames", 1))
    if count < 2:
        raise BadData(
            "is a still picture; set modality.layout=strips if its frames lie side by side, modality.layout=frames if "
            "its folder is a film",
            file.name,
        )
    for index in range(count):
        try:
            picture.seek(index)
            frame = picture.convert(_mode(picture)) if used(index) else None
        except Exception as error:
            raise BadData(f"frame {index + 1} cannot be decoded: {error}", file.name) from error
        yield frame


def still(file: SourceFile) -> Image.Image:
    """The picture of a file, the first one of an animation. Raises `BadData`."""
    picture = open_picture(file)
    try:
        return picture.convert(_mode(picture))
    except Exception as error:
        raise BadData(f"cannot be decoded: {error}", file.name) from error


def numbered(file: SourceFile, used: Used = every) -> Iterator[Image.Image | None]:
    """Yield the pictures of a folder whose names end in consecutive numbers (``0001.png``, ``0002.png`` …), from `file`
    on; a number that is missing ends the film.

    Raises `Companion` for a picture that another one precedes, and `BadData` for one without a number.
    """
    if _beside(file, -1) is not None:
        raise Companion
    if _beside(file, 1) is None:
        raise BadData("is a single picture; with modality.layout=frames names end in consecutive numbers", file.name)
    following: SourceFile | None = file
    index = 0
    while following is not None:
        if index == MAX_FRAMES:
            raise BadData(f"more than {MAX_FRAMES:,} frames", file.name)
        yield still(following) if used(index) else None
        following, index = _beside(following, 1), index + 1


def _beside(file: SourceFile, step: int) -> SourceFile | None:
    """The picture whose number is larger by `step`, with as many digits or without leading zeros, or None."""
    name = PurePosixPath(file.name)
    match = re.fullmatch(r"(.*?)(\d{1,12})", name.stem)
    if match is None:
        raise BadData("has no number in its name; with modality.layout=frames names end in numbers", file.name)
    number, digits = int(match[2]) + step, len(match[2])
    if number < 0:
        return None
    suffix = name.suffix
    for wanted in dict.fromkeys((f"{number:0{digits}d}", str(number))):
        if found := file.sibling(f"{match[1]}{wanted}{suffix}"):
            return found
    return None


def strip(file: SourceFile, used: Used = every) -> Iterator[Image.Image | None]:
    """Yield the square frames of a picture in which they lie side by side, from left to right. Raises `BadData`."""
    picture = open_picture(file)
    width, height = picture.size
    if width < 2 * height or width % height:
        raise BadData(f"{width} x {height} pixels are not a row of square frames", file.name)
    try:
        whole = picture.convert(_mode(picture))
    except Exception as error:
        raise BadData(f"cannot be decoded: {error}", file.name) from error
    for index, left in enumerate(range(0, width, height)):
        yield whole.crop((left, 0, left + height, height)) if used(index) else None


def _check_size(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise BadData(f"frames of {width} x {height} pixels; at most {MAX_PIXELS:,} pixels are read", name)


def _mode(picture: Image.Image) -> str:
    return "RGBA" if picture.mode in ("RGBA", "LA", "PA", "La") or "transparency" in picture.info else "RGB"


# ------------------------------------------------------------------ frames -> files


def write_film(pictures: Iterable[Image.Image], path: Path, fps: float) -> None:
    """Write an MP4 file (H.264 where the library has it, else VP9); equal frames give equal bytes."""
    import av

    codec = next((name for name in ("libx264", "libvpx-vp9") if name in av.codecs_available), None)
    if codec is None:
        raise GanError("this PyAV encodes neither H.264 nor VP9; use --format gif, webp or apng")
    coming = iter(pictures)
    first = next(coming)
    width, height = (side + side % 2 for side in first.size)  # subsampled colours need even sides
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "18", "threads": "1"}
        for picture in chain([first], coming):
            whole = picture.convert("RGB")
            if whole.size != (width, height):
                whole = whole.resize((width, height), Image.Resampling.NEAREST)
            frame: Any = av.VideoFrame
            container.mux(stream.encode(frame.from_image(whole)))
        container.mux(stream.encode())


def write_animation(pictures: Sequence[Image.Image], path: Path, kind: str, fps: float) -> None:
    """Write an endless ``gif``, ``webp`` (lossless) or ``apng``; equal frames give equal bytes."""
    first, others = pictures[0], list(pictures[1:])
    duration = round(1000 / fps)
    if kind == "gif":
        first.save(
            path, "GIF", save_all=True, append_images=others, duration=max(20, duration), loop=0,
            disposal=2,
        )  # fmt: skip
    elif kind == "webp":
        first.save(path, "WEBP", save_all=True, append_images=others, duration=duration, loop=0, lossless=True)
    else:
        first.save(path, "PNG", save_all=True, append_images=others, duration=duration, loop=0)
