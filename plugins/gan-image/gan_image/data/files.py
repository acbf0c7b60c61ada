"""Decoding of picture files, from bytes that nobody vouches for.

Pillow's own limits stay as they are: what is refused here is refused by numbers read from the header, before pixels are
unpacked.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from gan.errors import BadData
from gan.source import SourceFile
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_FILE_BYTES = 100 << 20
"""Largest picture file that is read; IDX files may be as large as the core reads."""
MAX_PIXELS = 40_000_000
"""Largest picture that is unpacked; as RGBA it takes 160 MB."""
MAX_IDX_SIDE = 4096
MAX_IDX_BYTES = 2 << 30
"""Largest IDX file, unpacked."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA")
"""The decoders of Pillow that are used: no others (EPS would start a program)."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".tga")
IDX = ("idx3-ubyte", "idx3-ubyte.gz", ".idx3", ".idx3.gz")
IDX_LABELS = tuple(ending.replace("idx3", "idx1") for ending in IDX)


def is_idx(file: SourceFile) -> bool:
    """Whether the name is that of an IDX file of pictures."""
    return file.name.lower().endswith(IDX)


def is_idx_labels(file: SourceFile) -> bool:
    """Whether the name is that of an IDX file of labels."""
    return file.name.lower().endswith(IDX_LABELS)


def open_picture(file: SourceFile) -> Image.Image:
    """The header of a picture file. Raises `BadData` for what is no picture or too large to unpack."""
    if file.size > MAX_FILE_BYTES:
        raise BadData(f"{file.size:,} bytes, more than the {MAX_FILE_BYTES:,} that a picture may have", file.name)
    data = file.data()
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        if picture.format == "PNG":  # decoding alone does not look at the check sums of pixel data
            picture.verify()
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:
        raise BadData(_reason(error), file.name) from error
    width, height = picture.size
    if width < 1 or height < 1:
        raise BadData(f"{width} x {height} pixels", file.name)
    if width * height > MAX_PIXELS:
        raise BadData(f"{width} x {height} pixels, more than the {MAX_PIXELS:,} that are unpacked", file.name)
    return picture


def read_picture(file: SourceFile) -> Image.Image:
    """A picture file as a mode L, RGB or RGBA picture, upright.

    The rules: the first frame of an animation; turned as EXIF says; 16 bits a channel are divided by 257; a palette and
    one-bit pictures are expanded; CMYK and other colour spaces become RGB; whatever has transparency becomes RGBA.
    Floating-point pictures have no declared range and are refused.
    """
    picture = open_picture(file)
    try:
        picture.load()
        upright: Image.Image = ImageOps.exif_transpose(picture)
        return eight_bits(upright)
    except BadData as error:
        raise BadData(error.reason, file.name) from error
    except Exception as error:
        raise BadData(_reason(error), file.name) from error


def eight_bits(picture: Image.Image) -> Image.Image:
    """A picture in mode L, RGB or RGBA; see `read_picture`."""
    mode = picture.mode
    if mode == "F":
        raise BadData("floating-point pixels have no declared range; save it with 8 or 16 bits")
    if mode == "I" or mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.int64)
        return Image.fromarray(((np.clip(values, 0, 65535) + 128) // 257).astype(np.uint8), "L")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        return picture.convert("RGBA")
    if mode in ("1", "L"):
        return picture.convert("L")
    return picture.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"more pixels than the {MAX_PIXELS:,} that are unpacked"
    if isinstance(error, UnidentifiedImageError):
        return "no picture of a known format, or a damaged header"
    text = str(error).strip().splitlines()
    return f"damaged: {text[0] if text else type(error).__name__}"


def read_idx(file: SourceFile) -> Iterator[NDArray[np.uint8]]:
    """The ``(rows, columns)`` pictures of an IDX file (the format of MNIST: big-endian magic 0x00000803, three sizes,
    bytes), packed with gzip or not. Nothing is given of a file that ends too early."""
    (count, rows, columns), stream = _open_idx(file, 3)
    with stream:
        for _ in range(count):
            yield np.frombuffer(stream.read(rows * columns), np.uint8).reshape(rows, columns)


def read_idx_labels(file: SourceFile) -> NDArray[np.int64] | None:
    """The labels that lie beside an IDX file of pictures (``images`` -> ``labels``, ``idx3`` -> ``idx1``), or None."""
    name = file.name.rsplit("/", 1)[-1]
    beside = _beside(file, name.replace("images", "labels").replace("idx3", "idx1"))
    if beside is None:
        return None
    (count,), stream = _open_idx(beside, 1)
    with stream:
        return np.frombuffer(stream.read(count), np.uint8).astype(np.int64)


def has_pictures_beside(file: SourceFile) -> bool:
    """Whether the pictures of an IDX file of labels lie beside it."""
    name = file.name.rsplit("/", 1)[-1]
    return _beside(file, name.replace("labels", "images").replace("idx1", "idx3")) is not None


def _beside(file: SourceFile, name: str) -> SourceFile | None:
    """The other file called `name`, packed with gzip or not."""
    base = name.removesuffix(".gz")
    for candidate in (f"{base}.gz", base):
        beside = None if candidate == file.name.rsplit("/", 1)[-1] else file.sibling(candidate)
        if beside is not None:
            return beside
    return None


def _open_idx(file: SourceFile, axes: int) -> tuple[tuple[int, ...], io.BufferedIOBase]:
    """The sizes, and the stream behind the header, which is known to hold all that the sizes promise."""
    data = file.data()

    def unpacked() -> io.BufferedIOBase:
        return gzip.GzipFile(fileobj=io.BytesIO(data)) if data[:2] == b"\x1f\x8b" else io.BytesIO(data)

    try:
        with unpacked() as stream:
            header = stream.read(4 + 4 * axes)
            if len(header) < 4 + 4 * axes or header[:4] != bytes((0, 0, 8, axes)):
                began = header[:4].hex() or "nothing"
                raise BadData(f"is no IDX file of bytes with {axes} axes (it begins with {began})", file.name)
            sizes = struct.unpack(f">{axes}I", header[4:])
            promised = math.prod(sizes)
            if min(sizes) < 1 or max(sizes[1:], default=1) > MAX_IDX_SIDE or promised > MAX_IDX_BYTES:
                raise BadData(f"promises {' x '.join(map(str, sizes))} bytes, which is refused", file.name)
            left = promised
            while left and (chunk := stream.read(min(left, 1 << 20))):
                left -= len(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"damaged: {error}", file.name) from error
    if left:
        raise BadData(f"ends {left:,} bytes before the {promised:,} that its header promises", file.name)
    stream = unpacked()
    stream.read(4 + 4 * axes)
    return sizes, stream
