"""Decoding of image and IDX files from untrusted bytes.

Pillow's limits stay in effect. The limits here are checked with the header of a file, before pixels are decoded.
"""

from __future__ import annotations

import functools
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
"""Maximum size of an image file; that of IDX files is the core's."""
MAX_PIXELS = 40_000_000
"""Maximum size of an image; as RGBA it takes 160 MB."""
MAX_IDX_SIDE = 4096
MAX_IDX_BYTES = 2 << 30
"""Maximum decompressed size of an IDX file."""
FORMATS: tuple[str, ...] = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA")
"""The allowed decoders of Pillow (that of EPS would start a program)."""
HEIC = (".heic", ".heif")
"""Suffixes of the format of many telephones, which Pillow reads with the package pillow-heif only."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".tga", *HEIC)
IDX = ("idx3-ubyte", "idx3-ubyte.gz", ".idx3", ".idx3.gz")
IDX_LABELS = tuple(ending.replace("idx3", "idx1") for ending in IDX)


def is_idx(file: SourceFile) -> bool:
    """Whether a file name is that of an IDX file of images."""
    return file.name.lower().endswith(IDX)


def is_idx_labels(file: SourceFile) -> bool:
    """Whether a file name is that of an IDX file of labels."""
    return file.name.lower().endswith(IDX_LABELS)


def open_picture(file: SourceFile) -> Image.Image:
    """Open an image file and read its header. Raises `BadData` if it is not an image or too large."""
    if file.size > MAX_FILE_BYTES:
        raise BadData(f"{file.size:,} bytes, more than the limit of {MAX_FILE_BYTES:,} for an image", file.name)
    formats = FORMATS
    if file.name.lower().endswith(HEIC):
        if not _reads_heic():
            raise BadData("HEIC pictures need a package: pip install pillow-heif; or save them as JPEG", file.name)
        formats = ("HEIF",)
    data = file.data()
    try:
        picture = Image.open(io.BytesIO(data), formats=formats)
        if picture.format == "PNG":  # decoding alone does not verify the checksums of pixel data
            picture.verify()
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:
        raise BadData(_reason(error), file.name) from error
    width, height = picture.size
    if width < 1 or height < 1:
        raise BadData(f"{width} x {height} pixels", file.name)
    if width * height > MAX_PIXELS:
        raise BadData(f"{width} x {height} pixels, more than the limit of {MAX_PIXELS:,}", file.name)
    return picture


@functools.cache
def _reads_heic() -> bool:
    """Whether Pillow can read HEIC here; its package is imported for that."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener(thumbnails=False)
    return True


def profile_of(picture: Image.Image, mode: str) -> bytes | None:
    """The colour profile that came with a picture, if it is one for the colours of `mode` (ICC.1, bytes 16 to 19)."""
    profile = picture.info.get("icc_profile")
    wanted = b"GRAY" if mode == "L" else b"RGB "
    return profile if isinstance(profile, bytes) and profile[16:20] == wanted else None


def read_picture(file: SourceFile) -> Image.Image:
    """Read an image file as a mode L, RGB or RGBA image.

    Animations give their first frame; EXIF orientation is applied; 16-bit channels are divided by 257; palettes and
    one-bit images are expanded; CMYK and other colour spaces become RGB; images with transparency become RGBA.
    Floating-point images have no declared range and are refused.
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
    """Convert an image to mode L, RGB or RGBA; see `read_picture`."""
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
        return f"more pixels than the limit of {MAX_PIXELS:,}"
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format, or a damaged header"
    text = str(error).strip().splitlines()
    return f"damaged: {text[0] if text else type(error).__name__}"


def read_idx(file: SourceFile) -> Iterator[NDArray[np.uint8]]:
    """Yield the ``(rows, columns)`` images of an IDX file (the format of MNIST: big-endian magic 0x00000803, three
    sizes, bytes), with or without gzip. A file that ends too early yields nothing."""
    (count, rows, columns), stream = _open_idx(file, 3)
    with stream:
        for _ in range(count):
            yield np.frombuffer(stream.read(rows * columns), np.uint8).reshape(rows, columns)


def read_idx_labels(file: SourceFile) -> NDArray[np.int64] | None:
    """The labels next to an IDX file of images (``images`` -> ``labels``, ``idx3`` -> ``idx1``), or None."""
    name = file.name.rsplit("/", 1)[-1]
    beside = _beside(file, name.replace("images", "labels").replace("idx3", "idx1"))
    if beside is None:
        return None
    (count,), stream = _open_idx(beside, 1)
    with stream:
        return np.frombuffer(stream.read(count), np.uint8).astype(np.int64)


def has_pictures_beside(file: SourceFile) -> bool:
    """Whether the images of an IDX file of labels are next to it."""
    name = file.name.rsplit("/", 1)[-1]
    return _beside(file, name.replace("labels", "images").replace("idx1", "idx3")) is not None


def _beside(file: SourceFile, name: str) -> SourceFile | None:
    """The other file called `name`, with or without gzip."""
    base = name.removesuffix(".gz")
    for candidate in (f"{base}.gz", base):
        beside = None if candidate == file.name.rsplit("/", 1)[-1] else file.sibling(candidate)
        if beside is not None:
            return beside
    return None


def _open_idx(file: SourceFile, axes: int) -> tuple[tuple[int, ...], io.BufferedIOBase]:
    """The sizes, and a stream after the header that is known to hold as many bytes as the sizes promise."""
    data = file.data()

    def unpacked() -> io.BufferedIOBase:
        return gzip.GzipFile(fileobj=io.BytesIO(data)) if data[:2] == b"\x1f\x8b" else io.BytesIO(data)

    try:
        with unpacked() as stream:
            header = stream.read(4 + 4 * axes)
            if len(header) < 4 + 4 * axes or header[:4] != bytes((0, 0, 8, axes)):
                began = header[:4].hex() or "nothing"
                raise BadData(f"is not an IDX file of bytes with {axes} axes (it starts with {began})", file.name)
            sizes = struct.unpack(f">{axes}I", header[4:])
            promised = math.prod(sizes)
            if min(sizes) < 1 or max(sizes[1:], default=1) > MAX_IDX_SIDE or promised > MAX_IDX_BYTES:
                raise BadData(f"has sizes {' x '.join(map(str, sizes))}, which are not supported", file.name)
            left = promised
            while left and (chunk := stream.read(min(left, 1 << 20))):
                left -= len(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"damaged: {error}", file.name) from error
    if left:
        raise BadData(
            f"is truncated: {left:,} of the {promised:,} bytes that its header promises are missing", file.name
        )
    stream = unpacked()
    stream.read(4 + 4 * axes)
    return sizes, stream
