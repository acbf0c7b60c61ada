"""Every reader with damaged files: a reason or samples, never a crash, a hang, a flood of memory or another exception.

``make fuzz`` searches for minutes with new seeds (`GAN_FUZZ_SECONDS`, in total for all readers) and keeps what it finds
in tests/fuzz/corpus, one folder per reader; the ordinary suite repeats the corpus and a few damaged files per reader.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from gan.data import bounded
from gan.errors import GanError
from gan.evaluation.receipts import read_receipts
from gan.plugins import registry
from gan.plugins.manager import Plugins
from gan.recipe import Recipe, parse_yaml, validated
from gan.reporting.manifest import read_manifest
from gan.source import SourceFile, list_source
from gan.storage.regular import Broken, read_json
from gan.storage.serialization import join, read_tensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutate import damaged
from PIL import Image

pytestmark = pytest.mark.rule("L6")
CORPUS = Path(__file__).parent / "corpus"
SECONDS = float(os.environ.get("GAN_FUZZ_SECONDS", "0"))
QUICK = 25
"""Damaged files of each reader in the ordinary suite."""


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
    "index": (lambda content: registry.parse(content, "x"), registry.bundled_text().encode()[:3000]),
}
"""Readers of the core: name -> (reader, an undamaged file)."""


def cases(name: str, seed: bytes) -> Iterator[bytes]:
    """The corpus of a reader, then damaged copies of `seed`: a few, or as many as the time allows."""
    folder = CORPUS / name
    yield from (path.read_bytes() for path in sorted(folder.glob("*.bin")))
    share = SECONDS / (len(OWN) + len(MODALITIES))
    start, rng = time.monotonic(), random.Random(f"{name} {time.time_ns() if SECONDS else 0}")
    number = 0
    while number < QUICK or time.monotonic() - start < share:
        number += 1
        yield damaged(seed, rng)


def keep(name: str, content: bytes) -> str:
    """Add a case to the corpus; returns its path."""
    path = CORPUS / name / f"{hashlib.sha256(content).hexdigest()[:16]}.bin"
    if SECONDS:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("name", OWN)
def test_a_reader_of_the_core(name, tmp_path):
    reader, seed = OWN[name]
    folder = [tmp_path] if name in ("manifest", "receipts", "archive") else []
    for content in cases(name, seed):
        try:
            reader(content, *folder)
        except (GanError, Broken):
            continue
        except BaseException as error:
            pytest.fail(f"{type(error).__name__}: {error}: {content[:300]!r} ({keep(name, content)})")


@pytest.mark.parametrize(("modality", "suffix"), MODALITIES)
def test_a_reader_of_a_modality(modality, suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "MEMORY", 1 << 30)
    known = INSTALLED.load(MODALITIES[modality, suffix])
    plain = known.Config()
    first = tmp_path / f"seed{suffix}"
    first.write_bytes(FILES[suffix][0])
    reader = known(plain, known(plain).survey([SourceFile(first.name, first, None, first.stat().st_size)]))

    def listed() -> Iterator[SourceFile]:
        for number, content in enumerate(cases(f"{modality}{suffix}", FILES[suffix][0])):
            path = tmp_path / f"{number}{suffix}"
            path.write_bytes(content)
            yield SourceFile(path.name, path, None, len(content))

    files = [file for file in listed() if file.size]
    bad = []
    for file, samples, reason in bounded.read_files(reader, files):
        for sample in samples:
            for name, spec in reader.fields.items():
                assert not spec.mismatch(np.asarray(sample[name])), file.name
        unexpected = ("its reader", "needs more", "took more")
        if reason is not None and (reason.startswith(unexpected) or not reason.isprintable()):
            bad.append(f"{reason!r} {keep(f'{modality}{suffix}', file.path.read_bytes())}")
    assert not bad, "\n".join(bad[:5])


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(section=st.sampled_from(list(Recipe.model_fields)), key=st.text(max_size=8), value=plain)
def test_any_value_in_any_section_of_a_recipe(section, key, value):
    values = {"plugin": "image", "architecture": "dcgan", section: value}
    inner = {"plugin": "image", "architecture": "dcgan", section: {key: value}}
    for changed in (values, inner):
        try:
            validated(Recipe, changed, "")
        except GanError as error:
            text = str(error)
        else:
            text = json.dumps(value, default=str)
        assert text
