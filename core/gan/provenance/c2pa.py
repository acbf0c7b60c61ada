"""C2PA manifests (Coalition for Content Provenance and Authenticity), by c2pa-python: ``gan-core[provenance]``.

A manifest is signed with the certificate that ``$GAN_C2PA_CERTIFICATE`` (a chain in PEM form) and ``$GAN_C2PA_KEY``
name, or with one that is made on first use and that nobody trusts: readers then show a valid manifest of an unknown
signer. Its identifiers are drawn at random, so that files with it differ from one writing to the next.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gan.errors import UsageError
from gan.provenance.containers.raster import GENERATED
from gan.provenance.keys import key_folder, make_secret, read_secret
from gan.provenance.record import SOFTWARE
from gan.storage.durable import write_text

MIME = {
    "png": "image/png", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp", "wav": "audio/wav",
    "flac": "audio/flac", "mp3": "audio/mpeg", "mp4": "video/mp4",
}  # fmt: skip
"""Format (`gan.provenance.containers`) -> media type, of the formats that the library and `gan` know."""
CERTIFICATE, KEY = "c2pa-certificate.pem", "c2pa-key.pem"
_NONE = ("ManifestNotFound", "no JUMBF", "could not be parsed")
"""Parts of what the library says of files without a manifest, and of files that are no media."""
YEARS = 10
"""Validity of a self-made certificate."""


@dataclass(frozen=True)
class Found:
    """A C2PA manifest in a file."""

    valid: bool
    """Whether the content and the manifest are as they were signed."""
    trusted: bool
    """Whether the signer's certificate leads to one that the library trusts."""
    signer: str
    """The organisation in the signer's certificate, as it states it."""
    generated: bool
    """Whether it says that a trained model made the file."""
    reason: str
    """Codes of what is wrong."""


def require() -> Any:
    """The library. Raises `UsageError` if it is not installed."""
    try:
        import c2pa
    except ImportError:
        raise UsageError("C2PA manifests need c2pa-python: pip install 'gan-core[provenance]'") from None
    return c2pa


def _context(library: Any) -> Any:
    """Without thumbnails, which would be larger than the files."""
    return library.Context(library.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}}))


def with_manifest(content: bytes, kind: str, record: Mapping[str, Any]) -> bytes:
    """The content of a file of the format `kind` with a signed manifest; unchanged for a format that C2PA has none for.

    Raises `UsageError` if the certificate cannot be used.
    """
    if kind not in MIME:
        return content
    library = require()
    action = {"action": "c2pa.created", "digitalSourceType": GENERATED, "softwareAgent": {"name": SOFTWARE}}
    name, _, version = SOFTWARE.partition(" ")
    manifest = {
        "claim_generator_info": [{"name": name, "version": version}],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": "org.gan.provenance", "data": dict(record)},
        ],
    }
    certificate, key = _credentials()
    info = library.C2paSignerInfo(alg=b"es256", sign_cert=certificate, private_key=key, ta_url=None)
    target = io.BytesIO()
    try:
        builder = library.Builder(json.dumps(manifest), context=_context(library))
        builder.sign(library.Signer.from_info(info), MIME[kind], io.BytesIO(content), target)
    except library.C2paError as error:
        raise UsageError(f"the C2PA manifest cannot be signed with this certificate: {error}") from None
    return target.getvalue()


def has_manifest(content: bytes, kind: str) -> bool:
    """Whether a file seems to hold a C2PA manifest; needs no library."""
    return kind in MIME and b"c2pa" in content


def find_manifest(content: bytes, kind: str) -> Found | None:
    """The manifest in a file; None if there is none. Raises `UsageError` if the library is needed and not installed."""
    if not has_manifest(content, kind):
        return None
    library = require()
    try:
        reader = library.Reader(MIME[kind], io.BytesIO(content), context=_context(library))
        return _found(json.loads(reader.json()))
    except library.C2paError as error:
        if any(text in f"{type(error).__name__} {error}" for text in _NONE):
            return None
        return Found(False, False, "", False, str(error)[:200])


def _found(store: dict[str, Any]) -> Found:
    active = store.get("manifests", {}).get(store.get("active_manifest"), {})
    codes = [status.get("code", "") for status in store.get("validation_status") or []]
    state = store.get("validation_state", "")
    actions = [a for one in active.get("assertions", ()) for a in one.get("data", {}).get("actions", ())]
    return Found(
        state in ("Valid", "Trusted"),
        state == "Trusted",
        str(active.get("signature_info", {}).get("issuer", ""))[:100],
        any(action.get("digitalSourceType") == GENERATED for action in actions),
        ", ".join(code for code in codes if code != "signingCredential.untrusted"),
    )


def _credentials() -> tuple[bytes, bytes]:
    """(certificates, private key), in PEM form."""
    named = [os.environ.get(name) for name in ("GAN_C2PA_CERTIFICATE", "GAN_C2PA_KEY")]
    if any(named) and not all(named):
        raise UsageError("GAN_C2PA_CERTIFICATE and GAN_C2PA_KEY name a certificate and its key; set both or none")
    certificate, key = (Path(name or key_folder() / own) for name, own in zip(named, (CERTIFICATE, KEY)))
    if not any(named) and not os.path.lexists(key):
        _make_certificate(certificate, key)
    try:
        return certificate.read_bytes(), read_secret(key)
    except OSError as error:
        raise UsageError(f"the certificate {certificate}: {error.strerror}") from None


def _make_certificate(certificate: Path, key: Path) -> None:
    """A certificate authority of one's own, and a certificate of it that may sign (ES256)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def name(common: str) -> x509.Name:
        attributes = (NameOID.ORGANIZATION_NAME, "self-made by gan, untrusted"), (NameOID.COMMON_NAME, common)
        return x509.Name([x509.NameAttribute(*attribute) for attribute in attributes])

    def issued(subject: str, public: Any, *, authority: bool) -> bytes:
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
             "decipher_only"), False
        )  # fmt: skip
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject)).issuer_name(name("root")).public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=365 * YEARS))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage
                ), critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
        )  # fmt: skip
        if not authority:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, critical=False)
        return builder.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    chain = issued("signer", leaf.public_key(), authority=False) + issued("root", root.public_key(), authority=True)
    private = leaf.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    if make_secret(key, private):
        write_text(certificate, chain.decode())
