"""C2PA manifests by c2pa-python: signed by a self-made certificate that nobody trusts, broken by any change."""

from __future__ import annotations

import io
import stat
import sys

import numpy as np
import pytest
from gan.errors import UsageError
from gan.provenance import c2pa
from gan.provenance.containers import embed
from PIL import Image


def picture(kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def own(tmp_path, monkeypatch):
    pytest.importorskip("c2pa", reason="needs gan-core[provenance]")
    monkeypatch.setenv("GAN_KEYS", str(tmp_path))
    return tmp_path


def test_a_manifest_is_valid_untrusted_and_small(own):
    plain = embed(picture(), ".png", '{"seed":1}', "gan-core 1")
    signed = c2pa.with_manifest(plain, "png", {"seed": 1})
    assert len(signed) - len(plain) < 8_000  # no thumbnail
    found = c2pa.find_manifest(signed, "png")
    assert (found.valid, found.trusted, found.generated) == (True, False, True)
    assert "untrusted" in found.signer
    assert stat.S_IMODE((own / "c2pa-key.pem").stat().st_mode) == 0o600
    assert np.array_equal(Image.open(io.BytesIO(signed)), Image.open(io.BytesIO(plain)))
    assert c2pa.find_manifest(plain, "png") is None
    changed = bytearray(signed)
    changed[-100] ^= 1
    assert not c2pa.find_manifest(bytes(changed), "png").valid


def test_formats_without_c2pa_are_left_alone_and_no_media_have_none(own):
    assert c2pa.with_manifest(b"MThd", "midi", {}) == b"MThd"
    assert c2pa.find_manifest(b"RIFF\0\0\0\0WAVE", "wav") is None


def test_a_certificate_of_ones_own_needs_its_key(own, monkeypatch):
    monkeypatch.setenv("GAN_C2PA_CERTIFICATE", str(own / "c.pem"))
    with pytest.raises(UsageError, match="set both or none"):
        c2pa.with_manifest(picture(), "png", {})
    monkeypatch.setenv("GAN_C2PA_KEY", str(own / "k.pem"))
    with pytest.raises(UsageError, match="the certificate"):
        c2pa.with_manifest(picture(), "png", {})


def test_without_the_library_the_remedy_is_told_and_nothing_is_found(monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(UsageError, match=r"gan-core\[provenance\]"):
        c2pa.require()
    assert c2pa.find_manifest(picture(), "png") is None
    with pytest.raises(UsageError, match=r"gan-core\[provenance\]"):
        c2pa.find_manifest(picture() + b"c2pa", "png")
