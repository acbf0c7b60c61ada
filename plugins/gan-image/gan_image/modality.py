"""The image modality: reads image and IDX files as arrays, writes PNG files and draws preview grids.

The file is long because a kind of data is one class: how files become samples, and samples files.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from gan.contracts import FieldSpec, Modality
from gan.errors import BadData
from gan.source import Companion, SourceFile
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from gan_image.data.files import (
    IDX,
    IDX_LABELS,
    PICTURES,
    eight_bits,
    has_pictures_beside,
    is_idx,
    is_idx_labels,
    open_picture,
    profile_of,
    read_idx,
    read_idx_labels,
    read_picture,
)
from gan_image.data.png import write_rows

if TYPE_CHECKING:
    from gan.contracts import Given, Sample, Samples

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
FLAT = 4
"""Levels of 255 by which the pixels of a picture that shows nothing may differ."""
BESIDE = ("image", "source", "target", "reconstruction")
"""Fields of a sample in the order in which they are shown beside each other."""
LOOKED_AT = 64
"""Number of images whose header `survey` reads to detect colour and sizes."""
SMALL, LARGE, PHOTOGRAPH = 32, 64, 48
"""Resolutions that ``auto`` chooses from, and the median shorter side from which it chooses the larger one."""


class ImageConfig(BaseModel):
    """Settings of how image files are converted to arrays."""

    model_config = ConfigDict(extra="forbid")

    resolution: Annotated[int, Field(ge=4, le=1024)] | Literal["auto"] = Field(
        64,
        description="width and height of a sample, in pixels; auto: 64 for pictures whose shorter side has 48 or more, "
        "as photographs, else 32",
    )
    channels: Literal["auto", 1, 3, 4] = Field(
        "auto", description="1 grey, 3 RGB, 4 RGBA; auto: 1 if all inspected images are grey, else 3"
    )
    fit: Literal["crop", "pad", "stretch", "tiles"] = Field(
        "crop",
        description="how an image is made square: crop takes the central square and scales it; pad scales it down if "
        "it is too large and centres it on the background; stretch scales both sides independently; tiles cuts it into "
        "as many squares as fit, not scaled, each a sample",
    )
    background: int = Field(255, ge=0, le=255, description="grey value of padding and behind transparent pixels")
    mirror: bool = Field(False, description="whether a mirrored copy of each image is added, which doubles the data")
    labels: bool = Field(
        False,
        description="whether the first subfolder, or the label file of an IDX file, is read as the condition `label`",
    )
    layout: Literal["single", "side-by-side", "folders", "unpaired", "enlarge"] = Field(
        "single",
        description="single: one image per sample; side-by-side: a file has source and target, left and right; "
        "folders: two folders have source and target under equal names; unpaired: two folders without pairs; enlarge: "
        "an image is the target, and the same made smaller is the source",
    )
    direction: Literal["ab", "ba"] = Field(
        "ab", description="ab: the left half, or the first of the two folders by name, is the source"
    )
    factor: Literal[1, 2, 4] = Field(
        1, description="how many times as large the target is as the source, for the layouts enlarge and folders"
    )

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        indivisible = self.factor != 1 and (self.resolution == "auto" or self.resolution % self.factor)
        if self.factor != 1 and (self.layout not in ("enlarge", "folders") or indivisible):
            raise ValueError(
                f"factor {self.factor} needs a layout enlarge or folders, and a resolution that it divides"
            )
        if self.layout == "enlarge" and self.factor == 1:
            raise ValueError("the layout enlarge needs a factor of 2 or 4")
        if self.fit == "tiles" and self.layout not in ("single", "enlarge"):
            raise ValueError(f"fit tiles would cut the pairs of the layout {self.layout} apart; use another fit")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `factor` where it is 1: data packed and runs started before it existed stay the same."""
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if name != "factor" or value != 1}


class ImageOptions(BaseModel):
    """Options of how samples are written as files."""

    model_config = ConfigDict(extra="forbid")

    scale: int = Field(
        1, ge=1, le=64, description="integer factor by which the image is enlarged, without interpolation"
    )


class ImageGivenOptions(BaseModel):
    """Options of a picture that is translated."""

    model_config = ConfigDict(extra="forbid")

    side: int | None = Field(
        None,
        ge=0,
        le=16_384,
        description="shorter side of the picture as the networks see it, in pixels; 0: its own; none: that of training",
    )


class ImageModality(Modality):
    """Images. A sample has ``image``, or ``source`` and ``target``, each ``(channels, height, width)`` uint8."""

    Config = ImageConfig
    Options = ImageOptions
    GivenOptions = ImageGivenOptions
    suffixes = (*PICTURES, *IDX, *IDX_LABELS)
    metrics = ("swd", "kid[raw]", "precision-recall[raw]")
    conditions = {"label": "modality.labels=true"}
    perceptual = ("lpips-vgg", "lpips-squeeze", "lpips", "squeezenet-distance")

    # ------------------------------------------------------------------ what the data are

    def survey(self, files: Sequence[SourceFile]) -> dict[str, Any]:
        """Detect colour, and find the names of the classes or of the two domains."""
        facts: dict[str, Any] = {"channels": self.config.channels}
        if self.config.channels == "auto":
            facts["channels"] = _channels(files)
        if self.config.resolution == "auto":
            facts |= _resolution(files)
        if self.config.layout in ("folders", "unpaired"):
            facts["domains"] = self._domains(files)
        if self.config.labels:
            if self.config.layout != "single":
                raise BadData(f"the layout '{self.config.layout}' has no labels; set modality.labels to false")
            facts["classes"] = _classes(files)
        return facts

    def remarks(self) -> Sequence[str]:
        """The resolution, if it was chosen from the pictures."""
        seen = self.facts.get("shorter_side")
        if seen is None:
            return ()
        chosen = f"resolution {self.resolution}, chosen from pictures with a shorter side of about {seen} pixels"
        return (f"{chosen}; another: --set modality.resolution={2 * self.resolution}",)

    def _domains(self, files: Sequence[SourceFile]) -> list[str]:
        folders = sorted({file.folder for file in files})
        if len(folders) != 2 or "" in folders:
            found = ", ".join(folder or "images outside of a folder" for folder in folders[:6])
            raise BadData(f"the layout '{self.config.layout}' needs two folders with images, found: {found}")
        return folders if self.config.direction == "ab" else folders[::-1]

    @property
    def channels(self) -> int:
        """1, 3 or 4."""
        known = self.facts.get("channels", self.config.channels)
        return 3 if known == "auto" else int(known)

    @property
    def resolution(self) -> int:
        """Width and height of a sample, in pixels."""
        known = self.facts.get("resolution", self.config.resolution)
        return SMALL if known == "auto" else int(known)

    @property
    def fields(self) -> dict[str, FieldSpec]:
        """``image``, or ``source`` and ``target``; the condition ``label`` if the settings ask for it."""
        side = self.resolution
        picture = FieldSpec((self.channels, side, side), "uint8", 0, 255, "intensity")
        if self.config.layout == "unpaired":
            return {"source": replace(picture, group="source"), "target": replace(picture, group="target")}
        if self.config.layout != "single":
            small = side // self.config.factor
            return {"source": replace(picture, shape=(self.channels, small, small)), "target": picture}
        fields = {"image": picture}
        if self.config.labels:
            classes = tuple(self.facts.get("classes", ()))
            last = max(0, len(classes) - 1)
            fields["label"] = FieldSpec((), "int64", 0, last, "class index", names=classes, condition=True)
        return fields

    # ------------------------------------------------------------------ files -> samples

    def read(self, file: SourceFile) -> Iterator[Sample]:
        """Yield the samples of one file; see `ImageConfig` for the rules."""
        for sample in self._read(file):
            yield sample
            if self.config.mirror:
                yield {
                    name: np.ascontiguousarray(array[..., ::-1]) if array.ndim == 3 else array
                    for name, array in sample.items()
                }

    def _read(self, file: SourceFile) -> Iterator[Sample]:
        if self.config.layout == "single":
            yield from self._read_single(file)
            return
        if self.config.layout == "enlarge":
            for picture in self._whole(file):
                yield {"source": self._smaller(picture), "target": _array(picture)}
            return
        if is_idx(file) or is_idx_labels(file):
            raise BadData("an IDX file has no pairs; use image files", file.name)
        if self.config.layout == "side-by-side":
            left, right = _halves(read_picture(file), file.name)
            first, second = self._array(left), self._array(right)
            if self.config.direction == "ba":
                first, second = second, first
            yield {"source": first, "target": second}
        elif self.config.layout == "unpaired":
            field = "source" if file.folder == self.facts["domains"][0] else "target"
            yield {field: self._array(read_picture(file))}
        else:
            yield from self._read_partners(file)

    def _read_single(self, file: SourceFile) -> Iterator[Sample]:
        if is_idx_labels(file):
            if has_pictures_beside(file):
                raise Companion
            raise BadData("holds labels, and there is no file with their images next to it", file.name)
        classes = {name: index for index, name in enumerate(self.facts.get("classes", ()))}
        if not is_idx(file):
            if self.config.labels and file.folder not in classes:
                raise BadData("is not in a class folder", file.name)
            for picture in self._whole(file):
                sample: Sample = {"image": _array(picture)}
                if self.config.labels:
                    sample["label"] = np.asarray(classes[file.folder], np.int64)
                yield sample
            return
        labels = read_idx_labels(file) if self.config.labels else None
        if self.config.labels and labels is None:
            raise BadData("has no label file next to it", file.name)
        for index, pixels in enumerate(read_idx(file)):
            sample = {"image": self._array(Image.fromarray(pixels, "L"))}
            if labels is not None:
                if index >= len(labels):
                    raise BadData(f"has more images than the {len(labels):,} labels of its label file", file.name)
                sample["label"] = np.asarray(classes[str(labels[index])], np.int64)
            yield sample

    def _read_partners(self, file: SourceFile) -> Iterator[Sample]:
        first, second = self.facts["domains"]
        here, there = (first, second) if file.folder == first else (second, first)
        partner = _partner(file, here, there)
        if partner is None:
            raise BadData(f"has no counterpart of this name in '{there}'", file.name)
        if here != first:
            raise Companion
        small = self.resolution // self.config.factor
        yield {"source": self._array(read_picture(file), small), "target": self._array(read_picture(partner))}

    def read_given(self, file: SourceFile | Image.Image, given: Given) -> Iterator[Sample]:
        """Read a whole image as the given field, regardless of the layout of the training data.

        An architecture that takes any size sees it in its own aspect, scaled as the pictures of training were (see
        `ImageGivenOptions.side`), or in its own size if it learned to enlarge; its transparency is kept aside.
        """
        (field,) = given.fields
        picture = eight_bits(file) if isinstance(file, Image.Image) else read_picture(file)
        if given.any_size:
            yield {field: _array(self._seen(picture.convert(MODES[self.channels]), given.options))}
        else:
            yield {field: self._array(picture, self.fields[field].shape[-1])}

    def _seen(self, picture: Image.Image, options: Any) -> Image.Image:
        """A picture in the scale of the training data."""
        side = options.side if isinstance(options, ImageGivenOptions) else None
        shorter = min(picture.size)
        if side is None:
            own = self.config.factor > 1 or self.config.layout == "enlarge"
            side = 0 if own or (self.config.fit == "pad" and shorter < self.resolution) else self.resolution
        if side in (0, shorter):
            return picture
        size = (max(1, round(picture.width * side / shorter)), max(1, round(picture.height * side / shorter)))
        return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)

    def _whole(self, file: SourceFile) -> Iterator[Image.Image]:
        """The image of a file, or its tiles, in the mode of the samples and square."""
        picture, side = read_picture(file), self.resolution
        if self.config.fit != "tiles":
            yield self._square(picture, side)
            return
        picture = self._flat(picture)
        across, down = picture.width // side, picture.height // side
        if not across or not down:
            raise BadData(f"{picture.width} x {picture.height} pixels are smaller than a tile of {side}", file.name)
        left, top = (picture.width - across * side) // 2, (picture.height - down * side) // 2
        for y in range(top, top + down * side, side):
            for x in range(left, left + across * side, side):
                yield picture.crop((x, y, x + side, y + side))

    def _smaller(self, picture: Image.Image) -> NDArray[np.uint8]:
        """The source of a target: bicubic, with antialiasing."""
        side = self.resolution // self.config.factor
        return _array(picture.resize((side, side), Image.Resampling.BICUBIC))

    def _flat(self, picture: Image.Image) -> Image.Image:
        """In the mode of the samples; what is transparent lies on the background."""
        if picture.mode == "RGBA" and self.channels != 4:
            ground = Image.new("RGBA", picture.size, (self.config.background,) * 3 + (255,))
            picture = Image.alpha_composite(ground, picture)
        return picture.convert(MODES[self.channels])

    def _array(self, picture: Image.Image, side: int | None = None) -> NDArray[np.uint8]:
        """``(channels, side, side)``, see `_square`; none: the resolution."""
        return _array(self._square(picture, side or self.resolution))

    def _square(self, picture: Image.Image, side: int) -> Image.Image:
        """In the mode of the samples and made square as `ImageConfig.fit` says (tiles: as crop)."""
        channels = self.channels
        picture = self._flat(picture)
        width, height = picture.size
        if self.config.fit == "pad":
            scale = min(1.0, side / max(width, height))
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            if size != picture.size:
                picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
            colour = (self.config.background,) * 3 + (0,) * (channels == 4)
            whole = Image.new(picture.mode, (side, side), colour[0] if channels == 1 else colour)
            whole.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
            picture = whole
        elif (width, height) != (side, side):
            if self.config.fit in ("crop", "tiles"):
                shorter = min(width, height)
                left, top = (width - shorter) // 2, (height - shorter) // 2
                picture = picture.crop((left, top, left + shorter, top + shorter))
            picture = picture.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
        return picture

    # ------------------------------------------------------------------ samples -> files

    def write(self, sample: Sample, stem: Path, options: BaseModel | None = None) -> Path:
        """Write one PNG file; source and target are placed side by side."""
        return self._save(self.picture(sample, options), stem)

    def picture(self, sample: Sample, options: BaseModel | None = None) -> Image.Image:
        """The image as `write` writes it."""
        return _enlarged(_picture(_beside({name: values[None] for name, values in sample.items()})[0]), options)

    def write_like(
        self, samples: Sequence[Sample], stem: Path, like: SourceFile, given: Given, options: BaseModel | None = None
    ) -> list[Path]:
        """Write the image scaled (Lanczos) to the upright size of its input file, with its transparency and profile.

        Here an architecture takes squares only; what `fit` cropped is lost.
        """
        (sample,) = samples
        (array,) = sample.values()
        return [self._save_like(_picture(array), read_picture(like), stem, options)]

    def _save_like(self, made: Image.Image, before: Image.Image, stem: Path, options: BaseModel | None) -> Path:
        """Write `made` in the size of the picture `before` that it was made from, times the factor of its data."""
        size = (before.width * self.config.factor, before.height * self.config.factor)
        if made.size != size:
            made = made.resize(size, Image.Resampling.LANCZOS)
        if before.mode == "RGBA" and self.channels != 4:
            alpha = before.getchannel("A")
            made = made.convert("RGB")
            made.putalpha(alpha if alpha.size == size else alpha.resize(size, Image.Resampling.BICUBIC))
        return self._save(_enlarged(made, options), stem, profile_of(before, made.mode))

    def write_in_strips(
        self,
        strips: Iterator[Sample],
        shape: tuple[int, int],
        stem: Path,
        like: SourceFile,
        given: Given,
        options: BaseModel | None = None,
    ) -> list[Path]:
        """Write the image while it is made, with the size, the transparency and the profile of its input.

        Transparency is enlarged bicubically. An image that the network saw in another size is made whole and scaled.
        """
        height, width = shape
        picture = read_picture(like)
        factor = self.config.factor
        if (width, height) != (picture.width * factor, picture.height * factor) or self.mark or _enlarging(options) > 1:
            array = np.concatenate([next(iter(strip.values())) for strip in strips], 1)
            return [self._save_like(_picture(array), picture, stem, options)]
        alpha = picture.getchannel("A") if picture.mode == "RGBA" and self.channels != 4 else None
        small, profile = picture.size, profile_of(picture, "L" if self.channels == 1 and alpha is None else "RGB")
        del picture

        def rows() -> Iterator[NDArray[np.uint8]]:
            top = 0
            for strip in strips:
                (array,) = strip.values()
                array = array.transpose(1, 2, 0)
                if alpha is not None:
                    ends = [min(small[1], row * small[1] / height) for row in (top, top + len(array))]
                    box = (0, ends[0], small[0], ends[1])
                    cover = alpha.resize((width, len(array)), Image.Resampling.BICUBIC, box=box)
                    colours = array if array.shape[2] == 3 else array.repeat(3, 2)
                    array = np.concatenate([colours, np.asarray(cover)[..., None]], 2)
                top += len(array)
                yield array

        path = stem.with_name(f"{stem.name}.png")
        write_rows(path, width, height, rows(), profile)
        return [path]

    def _save(self, picture: Image.Image, stem: Path, profile: bytes | None = None) -> Path:
        """Write ``stem.png``, with the mark where one is wanted, and a colour profile."""
        path = stem.with_name(f"{stem.name}.png")
        if self.mark is not None:
            picture = Image.fromarray(self.marked(np.asarray(picture)))
        picture.save(path, format="PNG", compress_level=6, icc_profile=profile)
        return path

    def is_empty(self, sample: Sample) -> bool:
        """Whether the picture is of one colour, up to `FLAT` levels of a channel."""
        return all(np.ptp(values.astype(np.int16), axis=(-2, -1)).max() <= FLAT for values in sample.values())

    def preview(self, samples: Samples) -> Image.Image:
        """A grid that is as square as possible; a tile shows source, target and, if the architecture provides it, the
        reconstruction."""
        arrays = [samples[name] for name in BESIDE if name in samples]
        columns = None if len(arrays) == 1 else max(1, math.isqrt(len(arrays[0]) // len(arrays)))
        return grid(_beside(samples), columns)


def _array(picture: Image.Image) -> NDArray[np.uint8]:
    """``(channels, height, width)``."""
    array = np.asarray(picture)
    return np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))


def _beside(samples: Samples) -> NDArray[np.uint8]:
    """``(N, channels, height, width)``: the images of each sample beside each other; smaller ones are enlarged by a
    whole factor, without interpolation."""
    arrays = [samples[name] for name in BESIDE if name in samples]
    height = max(array.shape[2] for array in arrays)
    return np.concatenate([np.kron(a, np.ones((height // a.shape[2],) * 2, np.uint8)) for a in arrays], axis=3)


def pictures(samples: Samples) -> NDArray[Any]:
    """``(N, channels, height, width)`` uint8: the field ``image``, or ``target`` where the samples are pairs."""
    for name in ("image", "target"):
        if name in samples:
            return samples[name]
    raise BadData(f"the samples hold no images (fields: {', '.join(samples)})")


def _enlarging(options: BaseModel | None) -> int:
    return options.scale if isinstance(options, ImageOptions) else 1


def _enlarged(picture: Image.Image, options: BaseModel | None) -> Image.Image:
    scale = _enlarging(options)
    if scale == 1:
        return picture
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def grid(images: NDArray[np.uint8], columns: int | None = None) -> Image.Image:
    """``(N, channels, height, width)`` uint8 as one image with gaps of two pixels; small tiles are enlarged to 64.

    Transparent pixels are shown on a chessboard pattern.
    """
    count, _, height, width = images.shape
    scale = max(1, math.ceil(64 / max(height, width)))
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    step_x, step_y = width * scale + 2, height * scale + 2
    sheet = Image.new("RGB", (columns * step_x + 2, rows * step_y + 2), (32, 32, 32))
    for index in range(count):
        tile = _picture(images[index]).resize((width * scale, height * scale), Image.Resampling.NEAREST)
        place = (2 + index % columns * step_x, 2 + index // columns * step_y)
        if tile.mode == "RGBA":
            sheet.paste(_chessboard(tile.size), place)
            sheet.paste(tile, place, tile)
        else:
            sheet.paste(tile, place)
    return sheet


def _chessboard(size: tuple[int, int], square: int = 8) -> Image.Image:
    board = Image.new("RGB", size, (204, 204, 204))
    draw = ImageDraw.Draw(board)
    for y in range(0, size[1], square):
        for x in range(y // square % 2 * square, size[0], 2 * square):
            draw.rectangle((x, y, x + square - 1, y + square - 1), fill=(255, 255, 255))
    return board


def _picture(array: NDArray[np.uint8]) -> Image.Image:
    """A mode L, RGB or RGBA image of a ``(channels, height, width)`` array."""
    return Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))


def _halves(picture: Image.Image, name: str) -> tuple[Image.Image, Image.Image]:
    width, height = picture.size
    if width < 2 or width % 2:
        raise BadData(f"{width} x {height} pixels cannot be split into source and target", name)
    return picture.crop((0, 0, width // 2, height)), picture.crop((width // 2, 0, width, height))


def _partner(file: SourceFile, here: str, there: str) -> SourceFile | None:
    """The file of the same name in the other folder, with any suffix."""
    inner = file.name.removeprefix(f"{here}/")
    up = "../" * (inner.count("/") + 1)
    stem = inner[: len(inner) - len(file.suffix)]
    for ending in (inner[len(stem) :], *PICTURES):
        partner = file.sibling(f"{up}{there}/{stem}{ending}")
        if partner is not None:
            return partner
    return None


def _channels(files: Sequence[SourceFile]) -> int:
    """3 if one of the inspected images has colour, else 1; broken files are reported by `read`."""
    step = max(1, len(files) // LOOKED_AT)
    for file in files[::step][:LOOKED_AT]:
        if is_idx(file) or is_idx_labels(file):
            continue
        try:
            picture = open_picture(file)
        except BadData:
            continue
        if picture.mode not in ("1", "L", "LA", "I", "F", "La") and not picture.mode.startswith("I;16"):
            return 3
    return 1


def _resolution(files: Sequence[SourceFile]) -> dict[str, Any]:
    """The resolution for the pictures in `files`, and their median shorter side if there are any but IDX files."""
    sides = []
    step = max(1, len(files) // LOOKED_AT)
    for file in files[::step][:LOOKED_AT]:
        if not is_idx(file) and not is_idx_labels(file):
            with contextlib.suppress(BadData):
                sides.append(min(open_picture(file).size))
    if not sides:
        return {"resolution": SMALL}
    seen = int(median(sides))
    return {"resolution": LARGE if seen >= PHOTOGRAPH else SMALL, "shorter_side": seen}


def _classes(files: Sequence[SourceFile]) -> list[str]:
    """The sorted names of the first subfolders, then the numbers in label files."""
    folders = {file.folder for file in files if not is_idx(file) and not is_idx_labels(file)} - {""}
    numbers: set[int] = set()
    for file in files:
        if is_idx(file):
            labels = read_idx_labels(file)
            numbers |= set() if labels is None else set(labels.tolist())
    classes = sorted(folders) + [str(number) for number in sorted(numbers)]
    if len(classes) < 2:
        raise BadData("labels need two classes or more: a subfolder for each, or label files next to IDX files")
    return classes
