"""The readers that are fuzzed, each with a small undamaged file: those of the core and of every modality."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from gan.evaluation.receipts import read_receipts
from gan.plugins import registry
from gan.plugins.manager import Plugins
from gan.provenance import containers
from gan.provenance.folder import FolderManifest
from gan.provenance.folder import read_manifest as read_folder_manifest
from gan.provenance.record import canonical, parse_record, record_of
from gan.recipe import Recipe, parse_yaml, validated
from gan.reporting.manifest import read_manifest
from gan.source import SourceFile, list_source
from gan.storage.regular import read_json
from gan.storage.serialization import join, read_tensors
from PIL import Image

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
"""A folder for each reader: what it could not stand (``*.bin``) and files that reach other lines (``found.zip``)."""


def picture(kind: str) -> bytes:
    made = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 255, (12, 10, 3)).astype(np.uint8)
    Image.fromarray(values).save(made, kind)
    return made.getvalue()


def idx() -> bytes:
    return struct.pack(">IIII", 0x803, 3, 5, 4) + bytes(range(60))


def midi() -> bytes:
    body = b"\0\xff\x58\x04\4\2\x18\x08\0\x90\x3c\x50\x83\x60\x80\x3c\0\0\x90\x40\x50\x83\x60\x80\x40\0\0\xff\x2f\0"
    return b"MThd" + struct.pack(">IHHH", 6, 1, 1, 480) + b"MTrk" + struct.pack(">I", len(body)) + body


def archive() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.txt", "some text\n" * 50)
        file.writestr("b/c.txt", "other")
    return made.getvalue()


def sound(kind: str) -> bytes:
    """A quarter of a second of a fading tone of 440 Hz in a container that soundfile writes."""
    import soundfile

    made, time = io.BytesIO(), np.arange(4000) / 16_000
    soundfile.write(made, (np.sin(2765 * time) * (1 - 3 * time)).astype(np.float32), 16_000, format=kind)
    return made.getvalue()


def film() -> bytes:
    """Twenty frames of 32 by 32 pixels."""
    import av

    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for number in range(20):
            values = np.full((32, 32, 3), 12 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
        container.mux(stream.encode())
    return made.getvalue()


OFF = b"OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"
OBJ = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
PLY = (
    b"ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\nelement face 4\n"
    b"property list uchar int vertex_indices\nend_header\n"
    b"0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"
)


def stl() -> bytes:
    corners = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    faces = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]
    return bytes(80) + struct.pack("<I", 4) + b"".join(
        struct.pack("<12fH", 0, 0, 0, *(value for corner in face for value in corners[corner]), 0) for face in faces
    )  # fmt: skip


def grid() -> bytes:
    made = io.BytesIO()
    np.savez_compressed(made, voxels=np.arange(64).reshape(4, 4, 4) % 3 == 0)
    return made.getvalue()


ABC = b"X:1\nT:Tune\nM:4/4\nL:1/8\nK:G\nV:1\nGABc d2 e>f|[GBd]4 (3abc z2|1 G8:|2 A8|]\n"
XML = (
    b'<?xml version="1.0"?><score-partwise version="3.1"><part-list><score-part id="P1"><part-name>M</part-name>'
    b'</score-part></part-list><part id="P1"><measure number="1"><attributes><divisions>1</divisions><key><fifths>0'
    b"</fifths></key><time><beats>4</beats><beat-type>4</beat-type></time></attributes><note><pitch><step>C</step>"
    b"<octave>4</octave></pitch><duration>4</duration><type>whole</type></note></measure></part></score-partwise>"
)
FILES = {
    ".png": [picture("PNG")], ".jpg": [picture("JPEG")], ".gif": [picture("GIF")], ".webp": [picture("WEBP")],
    ".bmp": [picture("BMP")], ".tif": [picture("TIFF")], ".ppm": [picture("PPM")], ".tga": [picture("TGA")],
    ".idx3": [idx()], ".idx3.gz": [gzip.compress(idx(), mtime=0)], ".mid": [midi()], ".abc": [ABC], ".musicxml": [XML],
    ".json": [b'{"train": [[[60, 64, 67, 72], [60, 64, 67, -1]]]}'], ".txt": [b"one line\nanother, longer line\n"],
    ".jsonl": [b'{"text": "a record"}\n{"text": "another"}\n'],
    ".wav": [sound("WAV")], ".flac": [sound("FLAC")], ".ogg": [sound("OGG")], ".mp3": [sound("MP3")], ".mp4": [film()],
    ".off": [OFF], ".obj": [OBJ], ".ply": [PLY], ".stl": [stl()], ".npz": [grid()],
    ".binvox": [b"#binvox 1\ndim 4 4 4\ntranslate 0 0 0\nscale 1\ndata\n\x01\x20\x00\x20"],
}  # fmt: skip
INSTALLED = Plugins.installed()
MODALITIES = {
    (entry.entry.name, suffix): entry
    for entry in INSTALLED.entries("gan_modalities")
    for suffix in FILES
    if suffix in INSTALLED.load(entry).suffixes
}


def tensors(content: bytes) -> None:
    read_tensors(content, "x")


def state(content: bytes) -> None:
    join(read_json(content, "x"), {"a": torch.zeros(2)}, "x")


def manifest(content: bytes, folder: Path) -> None:
    (folder / "manifest.json").write_bytes(content)
    read_manifest(folder / "manifest.json")


def receipts(content: bytes, folder: Path) -> None:
    (folder / "receipts.json").write_bytes(content)
    read_receipts(folder / "receipts.json")


def unzipped(content: bytes, folder: Path) -> None:
    (folder / "a.zip").write_bytes(content)
    for file in list_source(folder / "a.zip", (".txt",)).files:
        file.data()


def provenance_manifest() -> bytes:
    record = {"digitalSourceType": "a", "generator": "b", "seed": 1}
    return FolderManifest({"a.png": {"sha256": "0" * 64, "size": 3, "record": record}}).text(None).encode()


def provenance(content: bytes, folder: Path) -> None:
    (folder / "provenance.json").write_bytes(content)
    assert read_folder_manifest(folder / "provenance.json").signed in (True, False)


def recipe(content: bytes) -> None:
    values = parse_yaml(content.decode("utf-8", "surrogateescape"), "x")
    if isinstance(values, dict):
        validated(Recipe, values, "")


OWN: dict[str, tuple[Callable[..., None], bytes]] = {
    "safetensors": (tensors, safetensors.torch.save({"a": torch.ones(2, 3), "b": torch.zeros(0)})),
    "state": (state, b'{"x": [1, 2.5, null, {"\\u0000": "t"}], "step": 3, "w": {"$": "tensor", "name": "a"}}'),
    "manifest": (manifest, b'{"format": 1, "exit": "finished", "versions": {"gan-core": "1"}, "samples": 3}'),
    "receipts": (receipts, b'[{"metric": "fid", "values": {"FID": 1.5}, "count": 3}]'),
    "archive": (unzipped, archive()),
    "recipe": (recipe, b"format: 1\nplugin: image\narchitecture: dcgan\ntraining: {batch: 0x10, samples: 1_000}\n"),
    "provenance": (provenance, provenance_manifest()),
    "index": (lambda content: registry.parse(content, "x"), registry.bundled_text().encode()[:3000]),
}
"""Readers of the core: name -> (reader, an undamaged file)."""
IN_FOLDER = ("manifest", "receipts", "archive", "provenance")
"""Those that read a file in a folder, which is passed to them as well."""


RECORDED = (".png", ".jpg", ".gif", ".webp", ".wav", ".flac", ".ogg", ".mp3", ".mid", ".mp4", ".ply", ".obj")


def recorded(suffix: str) -> tuple[Callable[[bytes], None], bytes]:
    """A reader of the record of where a file comes from, and a file with one."""

    def read(content: bytes) -> None:
        text = containers.extract(content, suffix)
        if text is not None:
            parse_record(text)
        containers.embed(content, suffix, RECORD, "gan-core 1")

    labelled = containers.embed(FILES[suffix][0], suffix, RECORD, "gan-core 1")
    assert labelled is not None, suffix
    return read, labelled


RECORD = canonical(record_of({"model": "image/dcgan", "weights": "0" * 64}, {"seed": 1, "index": 2}))
OWN |= {f"record{suffix}": recorded(suffix) for suffix in RECORDED}


def modality_for(name: str, suffix: str, folder: Path) -> Any:
    """The modality `name` with its default settings, after a survey of the undamaged file of this kind."""
    kind = INSTALLED.load(MODALITIES[name, suffix])
    config = kind.Config()
    first = folder / f"seed{suffix}"
    first.write_bytes(FILES[suffix][0])
    return kind(config, kind(config).survey([SourceFile(first.name, first, None, first.stat().st_size)]))


def corpus(name: str) -> Iterator[bytes]:
    """What was found and kept for a reader, in a fixed order."""
    folder = CORPUS / name
    yield from (path.read_bytes() for path in sorted(folder.glob("*.bin")))
    if (folder / "found.zip").is_file():
        with zipfile.ZipFile(folder / "found.zip") as found:
            yield from (found.read(member) for member in sorted(found.namelist()))
