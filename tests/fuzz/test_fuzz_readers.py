"""Every reader with damaged files: a reason or samples, never a crash, a hang, a flood of memory or another exception.

``make fuzz`` searches for minutes with new seeds (`GAN_FUZZ_SECONDS`, in total for all readers), and as long guided by
the lines that are reached (guided.py). What they find is kept in tests/fuzz/corpus, one folder per reader; the ordinary
suite repeats the corpus and a few damaged files per reader.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Iterator

import numpy as np
import pytest
from gan.data import bounded
from gan.errors import GanError
from gan.recipe import Recipe, validated
from gan.source import SourceFile
from gan.storage.regular import Broken
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutate import damaged
from readers import CORPUS, FILES, IN_FOLDER, MODALITIES, OWN, corpus, modality_for

pytestmark = pytest.mark.rule("L6")
SECONDS = float(os.environ.get("GAN_FUZZ_SECONDS", "0"))
QUICK = 12
"""Damaged files of each reader in the ordinary suite."""


def cases(name: str, seed: bytes) -> Iterator[bytes]:
    """The corpus of a reader, then damaged copies of `seed`: a few, or as many as the time allows."""
    yield from corpus(name)
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
    folder = [tmp_path] if name in IN_FOLDER else []
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
    reader = modality_for(modality, suffix, tmp_path)

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
