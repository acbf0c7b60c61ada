"""The video modality: cuts films into clips of equal length, writes clips as films and animations, draws previews."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from gan.contracts import Continued, FieldSpec, Given, Modality
from gan.errors import BadData
from gan.source import SourceFile
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from gan_video.data.files import (
    FILMS,
    PICTURES,
    Used,
    frames,
    numbered,
    rate,
    still,
    strip,
    write_animation,
    write_film,
)

if TYPE_CHECKING:
    from gan.contracts import Sample, Samples

FLAT = 4
"""Levels of 255 by which the pixels of a frame that shows nothing may differ."""
INSPECTED = 16
"""Number of files whose frame rate `survey` reads."""
DEFAULT_FPS = 8.0
"""Frames per second of written clips where the data state none."""
PART = 64
"""Frames of a film that are converted at a time, where it is packed whole."""
SHOWN = 12
"""Maximum number of clips and of frames of a clip in a preview."""


class VideoConfig(BaseModel):
    """Settings of how video files are converted to arrays."""

    model_config = ConfigDict(extra="forbid")

    resolution: int = Field(64, ge=4, le=512, description="width and height of a frame, in pixels")
    frames: int = Field(16, ge=2, le=256, description="frames of a clip")
    stride: int = Field(1, ge=1, le=1000, description="every how many frames of a file one is used")
    rate: float = Field(
        0,
        ge=0,
        le=240,
        exclude_if=lambda value: value == 0,  # packs and runs of the first version stay valid
        description="frames a second that are used, in place of stride: of each film every n-th frame, n being its own "
        "rate over this one, rounded; 0: as stride says",
    )
    long: Literal["clips", "windows"] = Field(
        "clips",
        description="what is used of a longer film. clips: clips one after another, as `hop` says; windows: all of it, "
        "packed once, from a random frame each time",
    )
    hop: int = Field(
        0,
        ge=0,
        le=100_000,
        description="frames of a file between the starts of two clips; 0: they follow each other (for long=clips)",
    )
    channels: Literal[1, 3] = Field(3, description="1 grey, 3 RGB")
    fit: Literal["crop", "pad", "stretch"] = Field(
        "crop",
        description="how a frame is made square: crop takes the central square and scales it; pad scales the whole "
        "frame and centres it on the background; stretch scales both sides independently",
    )
    background: int = Field(0, ge=0, le=255, description="grey value of padding and behind transparent pixels")
    labels: bool = Field(False, description="whether the first subfolder is read as the class `label` of a clip")
    layout: Literal["films", "strips", "frames"] = Field(
        "films",
        description="films: films and animated pictures; strips: pictures in which square frames lie side by side; "
        "frames: folders of pictures with consecutive numbers, each folder a film",
    )


class VideoOptions(BaseModel):
    """Options of how clips are written as files."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["mp4", "gif", "webp", "apng", "strip"] = Field(
        "webp",
        description="file format: webp (lossless, loops in browsers), mp4 (H.264), gif, apng, strip (a PNG)",
    )
    fps: float = Field(0, ge=0, le=240, description="frames per second; 0: those of the training data")
    scale: int = Field(1, ge=1, le=64, description="integer factor by which frames are enlarged, without interpolation")


class VideoModality(Modality):
    """Clips. A sample has ``video``, ``(frames, channels, height, width)`` uint8, and ``label`` if configured."""

    Config = VideoConfig
    Options = VideoOptions
    suffixes = (*FILMS, *PICTURES)
    recognised_by = (*FILMS, ".gif", ".apng")
    headline = ("FID", "motion", "frozen")
    metrics = ("motion", "fid[clip-statistics]", "precision-recall[clip-statistics]")
    conditions = {"label": "modality.labels=true"}

    def survey(self, files: Sequence[SourceFile]) -> dict[str, Any]:
        """Find the names of the classes and the frames per second."""
        facts: dict[str, Any] = {"fps": self._frame_rate(files)}
        if self.config.labels:
            classes = sorted({file.folder for file in files} - {""})
            if len(classes) < 2:
                raise BadData("modality.labels needs a subfolder for each of two classes or more")
            facts["classes"] = classes
        return facts

    def _frame_rate(self, files: Sequence[SourceFile]) -> float:
        if self.config.layout != "films":
            return DEFAULT_FPS
        found: list[float] = []
        for file in files[:INSPECTED]:
            try:
                stated = rate(file)
            except BadData:
                continue
            found += [stated / self._stride_of(stated)] if stated else []
        return round(statistics.median(found), 3) if found else DEFAULT_FPS

    def _stride_of(self, stated: float) -> int:
        """Every how many frames one is used, in a file of so many frames a second."""
        return max(1, round(stated / self.config.rate)) if self.config.rate else int(self.config.stride)

    def _stride(self, file: SourceFile) -> int:
        if not self.config.rate:
            return int(self.config.stride)
        stated = rate(file) if self.config.layout == "films" else None
        if stated is None:
            raise BadData("states no frame rate; set modality.stride in place of modality.rate", file.name)
        return self._stride_of(stated)

    @property
    def fields(self) -> dict[str, FieldSpec]:
        """``video``, and ``label`` if the settings ask for it."""
        config = self.config
        shape = (config.frames, config.channels, config.resolution, config.resolution)
        window = int(config.long == "windows")
        fields = {"video": FieldSpec(shape, "uint8", 0, 255, "intensity", longer=True, longer_axis=0, window=window)}
        if config.labels:
            names = tuple(self.facts.get("classes", ()))
            high = max(0, len(names) - 1)
            fields["label"] = FieldSpec((), "int64", 0, high, "class index", names=names, condition=True)
        return fields

    def inventory(self, file: SourceFile) -> dict[str, int]:
        """Count the frames of a file."""
        return {"frames": sum(1 for _ in self._frames(file, lambda index: False))}

    def read(self, file: SourceFile) -> Iterator[Sample]:
        """Yield the clips of a file; frames after the last whole clip are left out. With windows, yield the whole film
        in parts. Frames of no clip are decoded where others depend on them, and never converted."""
        config = self.config
        label = self._label(file) if config.labels else None
        stride = self._stride(file)
        if config.long == "windows":
            yield from self._film(file, stride, label)
            return
        length = (config.frames - 1) * stride + 1
        hop = config.hop or config.frames * stride
        window: deque[NDArray[np.uint8] | None] = deque(maxlen=length)
        count = clips = 0

        def used(index: int) -> bool:
            """Whether a clip has this frame: clip n has those at n · hop, n · hop + stride …"""
            starts = range(index - index % hop, max(-1, index - length), -hop)
            return any((index - start) % stride == 0 for start in starts)

        for picture in self._frames(file, used):
            window.append(None if picture is None else self._array(picture))
            count += 1
            if count >= length and (count - length) % hop == 0:
                clips += 1
                chosen = [frame for frame in list(window)[::stride] if frame is not None]
                sample: Sample = {"video": np.stack(chosen)}
                if label is not None:
                    sample["label"] = np.asarray(label, np.int64)
                yield sample
        if not clips:
            raise BadData(f"has {count} frames; a clip needs {length}", file.name)

    def _film(self, file: SourceFile, stride: int, label: int | None) -> Iterator[Sample]:
        """Every `stride`-th frame of a film, in parts; the first has a whole clip."""
        coming = self._frames(file, lambda index: index % stride == 0)
        used = (self._array(picture) for picture in coming if picture is not None)
        first = list(islice(used, max(self.config.frames, PART)))
        if len(first) < self.config.frames:
            reason = f" at modality.stride={stride}" if stride > 1 else ""
            raise BadData(f"has {len(first)} frames{reason}; a clip needs {self.config.frames}", file.name)
        yield {"video": np.stack(first), **({} if label is None else {"label": np.asarray(label, np.int64)})}
        while part := list(islice(used, PART)):
            yield Continued({"video": np.stack(part)})

    def read_given(self, file: SourceFile | Image.Image, given: Given) -> Iterator[Sample]:
        """Read a picture, or the first frame of a film, as the beginning of a clip; the frames after it are black."""
        if isinstance(file, Image.Image):
            first = file.convert("RGBA" if "A" in file.getbands() or "transparency" in file.info else "RGB")
        else:
            first = still(file) if file.suffix in PICTURES else next(shown for shown in frames(file) if shown)
        clip = np.zeros(self.fields["video"].shape, np.uint8)
        clip[0] = self._array(first)
        yield {"video": clip}

    def _frames(self, file: SourceFile, used: Used) -> Iterator[Image.Image | None]:
        if self.config.layout == "films":
            return frames(file, used, self._scaled)
        return (strip if self.config.layout == "strips" else numbered)(file, used)

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """The size of a frame before `_array` makes it square."""
        side = self.config.resolution
        if self.config.fit == "stretch":
            return side, side
        scale = side / (max if self.config.fit == "pad" else min)(width, height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def _label(self, file: SourceFile) -> int:
        classes: list[str] = self.facts.get("classes", [])
        if file.folder not in classes:
            raise BadData("is not in a class folder", file.name)
        return classes.index(file.folder)

    def _array(self, picture: Image.Image) -> NDArray[np.uint8]:
        """``(channels, resolution, resolution)``: converted and made square as `VideoConfig.fit` says."""
        side, ground = self.config.resolution, self.config.background
        if picture.mode == "RGBA":
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, (ground,) * 3 + (255,)), picture)
        picture = picture.convert("L" if self.config.channels == 1 else "RGB")
        width, height = picture.size
        if self.config.fit == "pad":
            scale = side / max(width, height)
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            whole = Image.new(picture.mode, (side, side), ground if picture.mode == "L" else (ground,) * 3)
            whole.paste(_resized(picture, size), ((side - size[0]) // 2, (side - size[1]) // 2))
            picture = whole
        elif self.config.fit == "crop" and width != height:
            shorter = min(width, height)
            left, top = (width - shorter) // 2, (height - shorter) // 2
            picture = picture.crop((left, top, left + shorter, top + shorter))
        array = np.asarray(_resized(picture, (side, side)))
        return np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))

    # ------------------------------------------------------------------ samples -> files

    def write(self, sample: Sample, stem: Path, options: BaseModel | None = None) -> Path:
        """Write one clip; equal clips give equal bytes with equal versions of PyAV and Pillow."""
        return self.write_stream(iter([sample]), stem, options)

    def write_stream(self, parts: Iterator[Sample], stem: Path, options: BaseModel | None = None) -> Path:
        """Write one clip whose parts come one behind the other. An MP4 file takes each picture when it comes; the other
        formats hold all of them."""
        chosen = options if isinstance(options, VideoOptions) else VideoOptions()
        coming = (_enlarged(picture(frame), chosen.scale) for part in parts for frame in part["video"])
        if self.mark is not None:
            coming = (Image.fromarray(self.marked(np.asarray(picture))) for picture in coming)
        fps = chosen.fps or float(self.facts.get("fps", DEFAULT_FPS))
        path = stem.with_name(f"{stem.name}.{'png' if chosen.format in ('apng', 'strip') else chosen.format}")
        if chosen.format == "mp4":
            write_film(coming, path, fps)
        elif chosen.format == "strip":
            row(list(coming)).save(path, "PNG")
        else:
            write_animation(list(coming), path, chosen.format, fps)
        return path

    def is_empty(self, sample: Sample) -> bool:
        """Whether no frame shows anything: each is of one colour, up to `FLAT` levels of a channel."""
        return bool(np.ptp(sample["video"].astype(np.int16), axis=(-2, -1)).max() <= FLAT)

    def preview(self, samples: Samples) -> Image.Image:
        """One row of frames for each clip; at most `SHOWN` clips and `SHOWN` frames, evenly spaced."""
        clips = samples["video"][:SHOWN]
        places = np.linspace(0, clips.shape[1] - 1, min(SHOWN, clips.shape[1])).round().astype(int)
        scale = max(1, -(-48 // clips.shape[-1]))
        rows = [row([_enlarged(picture(clip[place]), scale) for place in places], gap=1) for clip in clips]
        sheet = Image.new("RGB", (rows[0].width, len(rows) * (rows[0].height + 3)), (32, 32, 32))
        for index, line in enumerate(rows):
            sheet.paste(line, (0, index * (line.height + 3)))
        return sheet


def picture(frame: NDArray[np.uint8]) -> Image.Image:
    """``(channels, height, width)`` uint8 as a grey or RGB image."""
    return Image.fromarray(frame[0] if frame.shape[0] == 1 else np.ascontiguousarray(frame.transpose(1, 2, 0)))


def row(pictures: Sequence[Image.Image], gap: int = 0) -> Image.Image:
    """Images of one size side by side."""
    width, height = pictures[0].size
    whole = Image.new(pictures[0].mode, (len(pictures) * (width + gap) - gap, height))
    for index, tile in enumerate(pictures):
        whole.paste(tile, (index * (width + gap), 0))
    return whole


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _enlarged(picture: Image.Image, scale: int) -> Image.Image:
    if scale == 1:
        return picture
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
