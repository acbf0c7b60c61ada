"""The modality: what files become, and which are refused."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from gan.data.packing import open_pack
from gan.errors import BadData
from gan.source import Companion, SourceFile, list_source
from gan_image.data.datasets import digits, shape_domains, shape_pairs, write_idx
from gan_image.modality import ImageConfig, ImageModality, ImageOptions
from PIL import Image


def source(path: Path, root: Path | None = None) -> SourceFile:
    return SourceFile(path.relative_to(root or path.parent).as_posix(), path, None, path.stat().st_size)


def read(path: Path, root: Path | None = None, **config) -> dict:
    modality = ImageModality(ImageConfig(**{"channels": 3, "resolution": 8, **config}))
    (sample,) = modality.read(source(path, root))
    return sample


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, depth: int = 8, extra: bytes = b"", pixels: bytes | None = None) -> bytes:
    """A grey PNG written by hand; `pixels` are packed rows with their filter bytes."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    rows = pixels if pixels is not None else b"".join(b"\0" + bytes(width * depth // 8) for _ in range(height))
    body = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + extra + body + png_chunk(b"IEND", b"")


# ---------------------------------------------------------------------------- rules


def test_fields_are_what_read_gives(tmp_path: Path):
    Image.new("RGB", (20, 10), (1, 2, 3)).save(tmp_path / "a.png")
    for channels in (1, 3, 4):
        modality = ImageModality(ImageConfig(resolution=16, channels=channels))
        (sample,) = modality.read(source(tmp_path / "a.png"))
        assert sample["image"].shape == modality.fields["image"].shape == (channels, 16, 16)
        assert sample["image"].dtype == np.uint8


@pytest.mark.rule("I10")
def test_crop_keeps_the_middle_square(tmp_path: Path):
    """Red sides, a green middle as wide as the height: only green is left."""
    picture = Image.new("RGB", (40, 20), (255, 0, 0))
    picture.paste((0, 255, 0), (10, 0, 30, 20))
    picture.save(tmp_path / "a.png")
    assert (read(tmp_path / "a.png")["image"] == np.array([0, 255, 0])[:, None, None]).all()


@pytest.mark.rule("I10")
def test_stretch_keeps_everything(tmp_path: Path):
    """Left half black, right half white: halves stay halves."""
    picture = Image.new("L", (40, 10), 0)
    picture.paste(255, (20, 0, 40, 10))
    picture.save(tmp_path / "a.png")
    image = read(tmp_path / "a.png", fit="stretch", channels=1)["image"][0]
    assert (image[:, :3] <= 20).all()  # Lanczos rings a little
    assert (image[:, 5:] >= 235).all()


@pytest.mark.rule("I10")
def test_pad_never_enlarges(tmp_path: Path):
    """4x2 white on 8x8: two rows and four columns of white in the middle, the background around them."""
    Image.new("L", (4, 2), 255).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png", fit="pad", channels=1, background=7)["image"][0]
    assert (image[3:5, 2:6] == 255).all()
    assert (image == 255).sum() == 8
    assert image[0, 0] == 7


def test_transparent_pixels_show_the_background(tmp_path: Path):
    Image.new("RGBA", (8, 8), (200, 0, 0, 0)).save(tmp_path / "a.png")
    assert (read(tmp_path / "a.png", background=9)["image"] == 9).all()
    assert (read(tmp_path / "a.png", channels=4)["image"][3] == 0).all()


@pytest.mark.rule("I10")
def test_16_bit_grey_is_divided_by_257(tmp_path: Path):
    values = np.full((8, 8), 257 * 100, np.uint16)
    values[0, 0] = 65535
    Image.fromarray(values).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png", channels=1)["image"][0]
    assert image[0, 0] == 255
    assert image[5, 5] == 100


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "bmp", "tif", "ppm", "tga"])
def test_every_promised_format_is_read(tmp_path: Path, ending: str):
    Image.new("RGB", (8, 8), (40, 80, 120)).save(tmp_path / f"a.{ending}")
    image = read(tmp_path / f"a.{ending}")["image"].astype(int)
    assert abs(image - np.array([40, 80, 120])[:, None, None]).max() <= 8


@pytest.mark.rule("I10")
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_modes_are_converted(tmp_path: Path, mode: str):
    Image.new("L", (8, 8), 255).convert(mode).save(tmp_path / "a.png")
    assert (read(tmp_path / "a.png")["image"] == 255).all()


def test_cmyk_and_exif_orientation(tmp_path: Path):
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "cmyk.jpg")
    assert (read(tmp_path / "cmyk.jpg")["image"] == 255).all()
    picture = Image.new("L", (8, 8), 0)
    picture.paste(255, (0, 0, 8, 4))  # white above; orientation 3 turns it by 180 degrees
    exif = Image.Exif()
    exif[0x0112] = 3
    picture.save(tmp_path / "turned.png", exif=exif)
    image = read(tmp_path / "turned.png", channels=1)["image"][0]
    assert (image[:4] == 0).all()
    assert (image[4:] == 255).all()


def test_mirror_doubles_the_data(tmp_path: Path):
    Image.fromarray(np.tile(np.arange(8, dtype=np.uint8), (8, 1))).save(tmp_path / "a.png")
    modality = ImageModality(ImageConfig(resolution=8, channels=1, mirror=True))
    plain, mirrored = modality.read(source(tmp_path / "a.png"))
    assert (plain["image"][0, 0] == np.arange(8)).all()
    assert (mirrored["image"][0, 0] == np.arange(8)[::-1]).all()


# ---------------------------------------------------------------------------- survey, labels, IDX


@pytest.mark.rule("I10")
def test_auto_channels_follow_the_pictures(tmp_path: Path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    modality = ImageModality(ImageConfig(resolution=8))
    assert modality.survey(list_source(tmp_path, modality.suffixes).files)["channels"] == 1
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"no picture")
    assert modality.survey(list_source(tmp_path, modality.suffixes).files)["channels"] == 3


def test_labels_come_from_the_first_sub_folder(tmp_path: Path):
    for name in ("cats/x/1.png", "dogs/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / name)
    config = ImageConfig(resolution=8, labels=True)
    files = list_source(tmp_path, ImageModality.suffixes).files
    modality = ImageModality(config, ImageModality(config).survey(files))
    assert modality.facts["classes"] == ["cats", "dogs"]
    label = modality.fields["label"]
    assert (label.high, label.names, label.condition) == (1, ("cats", "dogs"), True)
    assert [modality.read_condition("label", text) for text in ("dogs", "0")] == [1.0, 0.0]
    with pytest.raises(ValueError, match="known: cats, dogs"):
        modality.read_condition("label", "bird")
    assert [int(next(modality.read(file))["label"]) for file in files] == [0, 1]
    Image.new("L", (8, 8)).save(tmp_path / "loose.png")
    with pytest.raises(BadData, match="not in a class folder"):
        list(modality.read(source(tmp_path / "loose.png")))


def test_labels_without_classes_are_refused(tmp_path: Path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    modality = ImageModality(ImageConfig(labels=True))
    with pytest.raises(BadData, match="two classes"):
        modality.survey(list_source(tmp_path, modality.suffixes).files)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_and_their_labels(tmp_path: Path, packed: bool, zipped: bool):
    pixels = np.arange(3 * 4 * 6, dtype=np.uint8).reshape(3, 4, 6)
    for name, values in (("t-images-idx3-ubyte", pixels), ("t-labels-idx1-ubyte", np.array([7, 9, 7], np.uint8))):
        write_idx(tmp_path / name, values)
        if packed:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
            (tmp_path / name).unlink()
    root = tmp_path
    if zipped:
        root = tmp_path / "all.zip"
        with zipfile.ZipFile(root, "w") as archive:
            for path in tmp_path.glob("t-*"):
                archive.write(path, f"deep/{path.name}")
    config = ImageConfig(resolution=8, fit="pad", background=0, labels=True)
    files = list_source(root, ImageModality.suffixes).files
    assert len(files) == 2  # the labels count as data: another label is other data
    modality = ImageModality(config, ImageModality(config).survey(files))
    assert modality.facts["classes"] == ["7", "9"]
    samples = list(modality.read(files[0]))
    with pytest.raises(Companion):
        list(modality.read(files[1]))
    assert [int(sample["label"]) for sample in samples] == [0, 1, 0]
    assert (samples[2]["image"][0, 2:6, 1:7] == pixels[2]).all()


def test_other_labels_are_other_data(tmp_path: Path):
    """The pack of old labels is not taken for that of new ones; labels without pictures are named."""
    data, config = tmp_path / "data", ImageConfig(resolution=4, channels=1, labels=True)
    data.mkdir()
    write_idx(data / "t-images-idx3-ubyte", np.zeros((2, 4, 4), np.uint8))
    write_idx(data / "lone-labels-idx1-ubyte", np.zeros(2, np.uint8))
    found = []
    for labels in ([0, 1], [1, 0]):
        write_idx(data / "t-labels-idx1-ubyte", np.array(labels, np.uint8))
        os.utime(data / "t-labels-idx1-ubyte", ns=(0, len(found)))
        pack = open_pack(data, ImageModality, config, "image", cache=tmp_path / "cache")
        assert pack.take(np.arange(2))["label"].tolist() == labels
        assert list(pack.skipped) == ["lone-labels-idx1-ubyte"]
        found.append(pack.fingerprint)
    assert found[0] != found[1]


def test_idx_files_that_lie_are_refused(tmp_path: Path):
    write_idx(tmp_path / "good-idx3-ubyte", np.zeros((3, 4, 4), np.uint8))
    good = (tmp_path / "good-idx3-ubyte").read_bytes()
    cases = {
        "short": good[:-1],
        "magic": b"\0\0\x08\x01" + good[4:],
        "huge": struct.pack(">4I", 0x0803, 1 << 31, 4096, 4096),
        "none": struct.pack(">4I", 0x0803, 0, 4, 4),
        "empty": b"",
    }
    for name, content in cases.items():
        for ending, data in (("-idx3-ubyte", content), ("-idx3-ubyte.gz", gzip.compress(content))):
            path = tmp_path / f"{name}{ending}"
            path.write_bytes(data)
            with pytest.raises(BadData):
                next(ImageModality(ImageConfig(channels=1)).read(source(path)))
    (tmp_path / "cut-idx3-ubyte.gz").write_bytes(gzip.compress(good)[:-12])
    with pytest.raises(BadData):
        next(ImageModality(ImageConfig(channels=1)).read(source(tmp_path / "cut-idx3-ubyte.gz")))


def test_the_default_data_need_no_download(tmp_path: Path):
    def no_download(*args, **kwargs):
        raise AssertionError

    digits(tmp_path, no_download)
    config = ImageConfig(resolution=8, labels=True)
    files = list_source(tmp_path, ImageModality.suffixes).files
    modality = ImageModality(config, ImageModality(config).survey(files))
    samples = list(modality.read(files[0]))
    assert len(samples) == 1797
    assert modality.facts == {"channels": 1, "classes": [str(digit) for digit in range(10)]}
    assert max(sample["image"].max() for sample in samples) == 255


def test_shapes_are_drawn_by_formula(tmp_path: Path):
    """Pairs: the right half is the left one coloured, so it is dark where that is. Domains: the same shapes in other
    colours, so that the mean of red and blue is exchanged; nothing differs from one machine to another."""

    def no_download(*args, **kwargs):
        raise AssertionError

    for name, fill in (("pairs", shape_pairs), ("domains", shape_domains)):
        (tmp_path / name).mkdir()
        fill(tmp_path / name, no_download)

    def samples(name: str, layout: str) -> list[dict[str, np.ndarray]]:
        files = list_source(tmp_path / name, ImageModality.suffixes).files
        assert len(files) == 400 * (1 + (layout == "unpaired"))
        config = ImageConfig(resolution=64, channels=3, layout=layout)
        modality = ImageModality(config, ImageModality(config).survey(files))
        return [sample for file in files[::40] for sample in modality.read(file)]

    pairs = samples("pairs", "side-by-side")
    for pair in pairs:
        outline, coloured = (pair[field].astype(int) for field in ("source", "target"))
        assert (outline >= coloured - 1).all()
        assert (coloured.max(axis=0) - coloured.min(axis=0)).max() > 150
        assert (outline.max(axis=0) == outline.min(axis=0)).all()
        border = outline[0] < 20
        assert border.sum() > 50
        assert (coloured[:, border] < 40).all()
    by_domain: dict[str, list[np.ndarray]] = {"source": [], "target": []}
    for sample in samples("domains", "unpaired"):
        (field,) = sample
        by_domain[field].append(sample[field].mean(axis=(1, 2)))
    cold, warm = (np.mean(by_domain[field], axis=0) for field in ("source", "target"))
    assert cold[2] > cold[0] + 20
    assert warm[0] > warm[2] + 20


# ---------------------------------------------------------------------------- refusals


def zeros(count: int) -> bytes:
    """`count` MiB of zeros, packed."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(count)) + packer.flush()


@cache
def broken_pictures() -> dict[str, bytes]:
    good = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(good, "PNG")
    data = good.getvalue()
    jpeg = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(jpeg, "JPEG")
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    return {
        "truncated.png": data[: len(data) // 2],
        "bad-crc.png": bytes(flipped),
        "zero-width.png": png(0, 4),
        "zero-height.png": png(4, 0),
        "header-only.png": data[:8],
        "empty.png": b"",
        "text.png": b"hello",
        "truncated.jpg": jpeg.getvalue()[:300],
        "truncated.gif": b"GIF89a\x10\x00\x10\x00\x80\x00\x00",
        "svg.png": b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "aaaa">]><svg xmlns="http://www.w3.org/2000/svg"/>',
        "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(run) show\n",
        "header-bomb.png": png(60000, 60000, pixels=b"\0"),
        "pixel-bomb.png": png(16384, 16384, pixels=b"\0" * 1000),
        "text-bomb.png": png(4, 4, extra=png_chunk(b"zTXt", b"Comment\0\0" + zeros(256))),
        "jpeg-bomb.jpg": jpeg.getvalue().replace(struct.pack(">HH", 64, 64), struct.pack(">HH", 65500, 65500), 1),
    }


@pytest.mark.rule("I1")
@pytest.mark.parametrize("name", sorted(broken_pictures()))
def test_broken_pictures_are_refused_by_name(tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_bytes(broken_pictures()[name])
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(BadData, match=f"^{name}: .") as refusal:
        list(ImageModality(ImageConfig(resolution=8)).read(source(path)))
    assert "\n" not in str(refusal.value)
    assert Image.MAX_IMAGE_PIXELS == limit is not None


@pytest.mark.rule("I1")
def test_unusual_pictures_are_read(tmp_path: Path):
    """1 x 20,000, 1 x 1, a palette with transparency, 16 bits, a PNG with an archive behind it."""
    Image.new("RGB", (1, 20_000), (5, 6, 7)).save(tmp_path / "tall.png")
    Image.new("RGB", (1, 1), (5, 6, 7)).save(tmp_path / "dot.png")
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 5, 6, 7])
    palette.save(tmp_path / "palette.png", transparency=0)
    Image.new("RGB", (8, 8), (5, 6, 7)).save(tmp_path / "polyglot.png")
    with zipfile.ZipFile(tmp_path / "polyglot.png", "a") as archive:
        archive.writestr("x.py", "print(1)")
    for fit in ("crop", "pad", "stretch"):
        for path in tmp_path.glob("*.png"):
            image = read(path, fit=fit, resolution=16)["image"]
            middle = 7 if path.stem in ("dot", "tall") and fit == "pad" else 8  # (16 - 1) // 2: one pixel wide
            assert (image[:, middle, middle] == [5, 6, 7]).all(), (path.name, fit)


@pytest.mark.rule("I2")
def test_bombs_cost_little(tmp_path: Path):
    """Each is refused in under five seconds of CPU time, in a process that never holds 600 MB."""
    names = [name for name in broken_pictures() if "bomb" in name]
    (tmp_path / "raw-text-bomb.png").write_bytes(png(4, 4, extra=png_chunk(b"tEXt", b"Comment\0" + bytes(256 << 20))))
    for name in names:
        (tmp_path / name).write_bytes(broken_pictures()[name])
    script = """
import re, sys, time
from pathlib import Path
from gan.errors import BadData
from gan.source import SourceFile
from gan_image.modality import ImageConfig, ImageModality
modality = ImageModality(ImageConfig(resolution=8))
for path in sorted(Path(sys.argv[1]).iterdir()):
    start = time.process_time()
    try:
        list(modality.read(SourceFile(path.name, path, None, path.stat().st_size)))
    except BadData:
        assert time.process_time() - start < 30, path.name
    else:
        sys.exit(f"{path.name} was read")
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
sys.exit(0 if peak < 600 else f"{peak} MB")
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------------- writing


def test_written_files_are_equal(tmp_path: Path):
    sample = {"image": np.random.default_rng(1).integers(0, 256, (3, 8, 8), dtype=np.uint8)}
    modality = ImageModality(ImageConfig(resolution=8, channels=3))
    first = modality.write(sample, tmp_path / "a.b")
    time.sleep(0.01)
    second = modality.write(sample, tmp_path / "c")
    assert first.name == "a.b.png"
    assert first.read_bytes() == second.read_bytes()
    assert (read(first)["image"] == sample["image"]).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_write_then_read_is_the_identity(tmp_path: Path, channels: int):
    image = np.random.default_rng(2).integers(0, 256, (channels, 8, 8), dtype=np.uint8)
    if channels == 4:
        image[3] = 255
    path = ImageModality(ImageConfig(resolution=8, channels=channels)).write({"image": image}, tmp_path / "a")
    assert (read(path, channels=channels)["image"] == image).all()


def test_scale_enlarges_pixel_by_pixel(tmp_path: Path):
    image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    modality = ImageModality(ImageConfig(resolution=8, channels=1))
    path = modality.write({"image": image}, tmp_path / "a", ImageOptions(scale=3))
    with Image.open(path) as picture:
        assert (np.asarray(picture) == image[0].repeat(3, 0).repeat(3, 1)).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_preview_is_a_grid_in_reading_order(channels: int):
    """Five tiles of 32 pixels, enlarged twice, in three columns."""
    images = np.zeros((5, channels, 32, 32), np.uint8)
    images[3] = 255
    preview = ImageModality(ImageConfig(resolution=32, channels=channels)).preview({"image": images})
    assert preview.size == (3 * 66 + 2, 2 * 66 + 2)
    assert preview.convert("L").getpixel((34, 66 + 34)) == 255
    assert preview.convert("L").getpixel((66 + 34, 34)) in (0, 204, 255)
