"""The user's keys: an Ed25519 key that signs manifests, and a secret that marks are made and found with.

Both are made on first use, readable by the user alone, in ``$GAN_KEYS``, else ``$XDG_CONFIG_HOME/gan/keys``, else
``~/.config/gan/keys``. ``$GAN_SIGNING_KEY`` and ``$GAN_MARK_KEY`` name other files: a private key in PEM form, and 32
bytes in hexadecimal. A key is never written into a run or an artefact; of the signing key its public half is.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gan.errors import UsageError
from gan.storage.durable import create_file, disk_errors, fsync_dir, make_dirs, write_text
from gan.storage.regular import Broken, read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MARK_BYTES = 32
MAX_KEY_BYTES = 16_384
SIGNING, PUBLIC, MARK = "signing-key.pem", "signing-key.pub", "mark-key"
_HEX = re.compile(r"[0-9a-f]{64}")


def key_folder() -> Path:
    """The folder of the user's keys."""
    if os.environ.get("GAN_KEYS"):
        return Path(os.environ["GAN_KEYS"])
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "gan" / "keys"


@dataclass(frozen=True)
class KeyFile:
    """A key from a file that a user names: exactly one of the members is set."""

    public: str = ""
    """The public half of an Ed25519 key, 64 hexadecimal digits."""
    mark: bytes = b""
    """The secret of marks."""


class SigningKey:
    """An Ed25519 key (RFC 8032): equal contents have equal signatures."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public: str = key.public_key().public_bytes_raw().hex()

    def sign(self, content: bytes) -> str:
        """The signature, 128 hexadecimal digits."""
        return self._key.sign(content).hex()


def signature_is_valid(public: str, signature: str, content: bytes) -> bool:
    """Whether `signature` of `content` was made with the private half of the key `public`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def signing_key() -> SigningKey:
    """The user's signing key, made if there is none. Raises `UsageError` for a file that is no key, `DiskError`."""
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    named = os.environ.get("GAN_SIGNING_KEY")
    path = Path(named) if named else key_folder() / SIGNING
    if not named and not os.path.lexists(path):
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
        if make_secret(path, pem):
            write_text(path.with_name(PUBLIC), key.public_key().public_bytes_raw().hex() + "\n")
    try:
        key_or_other = forms.load_pem_private_key(read_secret(path), None)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: is no private key in PEM form without a passphrase ({error})") from None
    if not isinstance(key_or_other, Ed25519PrivateKey):
        raise UsageError(f"{path}: is a key of another kind; make an Ed25519 one: openssl genpkey -algorithm ed25519")
    return SigningKey(key_or_other)


def mark_key() -> bytes:
    """The user's secret for marks, made if there is none. Raises `UsageError`, `DiskError`."""
    named = os.environ.get("GAN_MARK_KEY")
    path = Path(named) if named else key_folder() / MARK
    if not named and not os.path.lexists(path):
        make_secret(path, secrets.token_hex(MARK_BYTES).encode() + b"\n")
    text = read_secret(path).decode("ascii", "replace").strip()
    if not _HEX.fullmatch(text):
        raise UsageError(f"{path}: is no key of marks: it must hold {MARK_BYTES} bytes in hexadecimal")
    return bytes.fromhex(text)


def own_keys() -> tuple[str, bytes]:
    """(public half of the user's signing key, secret of marks); empty where there is none. Nothing is made."""
    public, secret = "", b""
    if os.environ.get("GAN_SIGNING_KEY") or (key_folder() / SIGNING).is_file():
        public = signing_key().public
    if os.environ.get("GAN_MARK_KEY") or (key_folder() / MARK).is_file():
        secret = mark_key()
    return public, secret


def read_key(path: Path) -> KeyFile:
    """The key in a file: a private or public Ed25519 key (PEM, or 64 hexadecimal digits in a ``.pub`` file), or a
    secret of marks. Raises `UsageError`."""
    try:
        content = read_regular(path.resolve(), None, limit=MAX_KEY_BYTES)
    except Broken as error:
        raise UsageError(f"--key {path}: {error}") from None
    text = content.decode("ascii", "replace").strip()
    if _HEX.fullmatch(text):
        return KeyFile(public=text) if path.suffix == ".pub" else KeyFile(mark=bytes.fromhex(text))
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    with contextlib.suppress(ValueError, TypeError):
        private = forms.load_pem_private_key(content, None)
        if isinstance(private, Ed25519PrivateKey):
            return KeyFile(public=private.public_key().public_bytes_raw().hex())
    with contextlib.suppress(ValueError, TypeError):
        public = forms.load_pem_public_key(content)
        if isinstance(public, Ed25519PublicKey):
            return KeyFile(public=public.public_bytes_raw().hex())
    raise UsageError(f"--key {path}: is neither an Ed25519 key (PEM, .pub) nor a key of marks (64 hexadecimal digits)")


def make_secret(path: Path, content: bytes) -> bool:
    """Write a secret readable by the user alone; False if another process has just done so."""
    make_dirs(path.parent)
    unfinished = path.with_name(f".tmp-{path.name}-{secrets.token_hex(4)}")
    before = os.umask(0o077)
    try:
        create_file(unfinished, content)
    finally:
        os.umask(before)
    with disk_errors(path):
        try:
            os.link(unfinished, path)  # unlike a rename, fails if it exists
        except FileExistsError:
            return False
        finally:
            unfinished.unlink()
    fsync_dir(path.parent)
    return True


def read_secret(path: Path) -> bytes:
    """The content of a file that only the user can read. Raises `UsageError`."""
    try:
        content = read_regular(path.resolve(), None, limit=MAX_KEY_BYTES)
    except Broken as error:
        raise UsageError(f"the key {path}: {error}") from None
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UsageError(f"the key {path} can be read by others; make it yours alone: chmod 600 {path}")
    return content
